"""Passes over memory, gathers of table rows, optimizer updates. docs/cost.md section 5."""

from __future__ import annotations

import math

from ..jit import inline
from .machine import (
    CLOCK_HZ,
    HOST_LATENCY,
    HOST_RATE,
    MEMORY_RATE,
    SRAM_BYTES,
    SRAM_RATE,
    UNITS,
    VECTOR_RATE,
    Row,
)
from .matmul import missed

LAUNCH, MEMORY_EFFICIENCY, VECTOR_EFFICIENCY, CACHE_SHARE, GRANULE, ROW, HOST_EFFICIENCY = range(7)


@inline
def stream_s(size: float, p: Row, chip: Row) -> float:
    """Time to move `size` bytes once: what the cache still holds comes at its rate, the rest at that of memory."""
    memory = 1.0 / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY])
    if p[CACHE_SHARE] <= 0.0 or size <= 0.0:
        return size * memory
    share = missed(size, p[CACHE_SHARE] * chip[SRAM_BYTES])
    return size * (share * memory + (1.0 - share) / chip[SRAM_RATE])


@inline
def memory_s(d: Row, p: Row, chip: Row) -> float:
    """Time of `kernels` launches that together move `bytes` and do `flops` vector operations [s]. d: bytes, flops, kernels."""
    vector = d[1] / (chip[VECTOR_RATE] * p[VECTOR_EFFICIENCY])
    return max(d[2], 1.0) * p[LAUNCH] / chip[CLOCK_HZ] + max(stream_s(d[0], p, chip), vector)


@inline
def cached_share(held: float, table: float, skew: float) -> float:
    """Share of accesses that hit when the most popular rows of a table are held; Zipf popularity with exponent `skew`.

    held, table: bytes. Integral of x^-skew over the rows held, over that of all rows.
    """
    if held >= table:
        return 1.0
    if held <= 1.0:
        return 0.0
    if abs(skew - 1.0) < 1e-6:
        return math.log(held) / math.log(table)
    exponent = 1.0 - skew
    return float((held**exponent - 1.0) / (table**exponent - 1.0))


@inline
def gather_s(d: Row, p: Row, chip: Row) -> float:
    """Time to gather rows of a table [s]. d: rows, row_bytes, table_bytes, skew. Accesses are `granule_bytes` at least."""
    rows, row_bytes = d[0], d[1]
    if rows <= 0.0:
        return 0.0
    held = p[CACHE_SHARE] * chip[SRAM_BYTES] / max(row_bytes, 1.0)
    hits = cached_share(held, max(d[2] / max(row_bytes, 1.0), 1.0), d[3])
    access = math.ceil(row_bytes / p[GRANULE]) * p[GRANULE]
    each = (1.0 - hits) / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]) + hits / chip[SRAM_RATE]
    by_rows = math.ceil(rows / chip[UNITS]) * p[ROW] / chip[CLOCK_HZ]
    return p[LAUNCH] / chip[CLOCK_HZ] + max(rows * access * each, by_rows)


@inline
def optimizer_s(d: Row, p: Row, chip: Row) -> float:
    """Time to update `parameters` parameters, moving `bytes_each` for each; offloaded: over the host port [s]."""
    moved = d[0] * d[1]
    launch = p[LAUNCH] / chip[CLOCK_HZ]
    if d[2] > 0.0:
        return launch + chip[HOST_LATENCY] + moved / (chip[HOST_RATE] * p[HOST_EFFICIENCY])
    vector = 12.0 * d[0] / (chip[VECTOR_RATE] * p[VECTOR_EFFICIENCY])
    return launch + max(moved / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]), vector)
