"""Passes over memory, gathers of table rows, optimizer updates. docs/cost.md section 5."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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
    FloatArray,
    Row,
)
from .matmul import missed
from .powers import exp_less_one, log

LAUNCH, MEMORY_EFFICIENCY, VECTOR_EFFICIENCY, CACHE_SHARE, GRANULE, ROW, HOST_EFFICIENCY = range(7)
# seconds of the launch, bytes held, smallest access, seconds a byte of memory and of cache, units, seconds a row of one unit
Gather = tuple[float, float, float, float, float, float, float]
Indices = NDArray[np.intp]
_NEARLY = 1e-14  # exponent that stands for 0: shares are the same within rounding
_TINY = 1e-200


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

    held, table: rows. Integral of x^-skew over the rows held, over that of all rows.
    """
    if held >= table:
        return 1.0
    if held <= 1.0:
        return 0.0
    exponent = _exponent(skew)
    return exp_less_one(exponent * log(held)) / exp_less_one(exponent * log(table))


@inline
def _exponent(skew: float) -> float:
    return 1.0 - skew if abs(1.0 - skew) > _NEARLY else _NEARLY


@inline
def gather_constants(p: Row, chip: Row) -> Gather:
    """What all gathers of a chip and stack have in common."""
    return (
        p[LAUNCH] / chip[CLOCK_HZ],
        p[CACHE_SHARE] * chip[SRAM_BYTES],
        p[GRANULE],
        1.0 / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]),
        1.0 / chip[SRAM_RATE],
        chip[UNITS],
        p[ROW] / chip[CLOCK_HZ],
    )


@inline
def gathers_s(dims: FloatArray, at: Indices, of: Gather, room: FloatArray, out: FloatArray) -> None:
    """Times to gather rows of a table [s], into `out`, of the kernels `at`. dims: rows, row_bytes, table_bytes, skew. Accesses
    are `granule_bytes` at least. room[2, at.size or more]: scratch. Each step is a loop of its own, which the compiler can
    turn into vector code: in one loop each kernel waits for its own powers."""
    launch_s, held, granule, memory_s_each, sram_s_each, units, row_s = of
    own, all_rows = room[0, : at.size], room[1, : at.size]
    for i in range(at.size):
        own[i] = max(dims[at[i], 1], 1.0)
        all_rows[i] = max(dims[at[i], 2], own[i])
    for i in range(at.size):
        own[i] = log(own[i])
    for i in range(at.size):
        all_rows[i] = log(all_rows[i])
    log_held = log(max(held, 1.0))
    for i in range(at.size):
        exponent = _exponent(dims[at[i], 3])
        whole = max(all_rows[i] - own[i], _TINY)  # of a table of one row: held or not
        own[i] = exponent * min(max(log_held - own[i], 0.0), whole)
        all_rows[i] = exponent * whole
    for i in range(at.size):
        own[i] = exp_less_one(own[i])
    for i in range(at.size):
        all_rows[i] = exp_less_one(all_rows[i])
    for i in range(at.size):
        d = dims[at[i]]
        hits = own[i] / all_rows[i]
        each = (1.0 - hits) * memory_s_each + hits * sram_s_each
        took = d[0] * (math.ceil(d[1] / granule) * granule) * each
        if row_s > 0.0:
            took = max(took, math.ceil(d[0] / units) * row_s)
        out[at[i]] = launch_s + took if d[0] > 0.0 else 0.0


@inline
def optimizer_s(d: Row, p: Row, chip: Row) -> float:
    """Time to update `parameters` parameters, moving `bytes_each` for each; offloaded: over the host port [s]."""
    moved = d[0] * d[1]
    launch = p[LAUNCH] / chip[CLOCK_HZ]
    if d[2] > 0.0:
        return launch + chip[HOST_LATENCY] + moved / (chip[HOST_RATE] * p[HOST_EFFICIENCY])
    vector = 12.0 * d[0] / (chip[VECTOR_RATE] * p[VECTOR_EFFICIENCY])
    return launch + max(moved / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]), vector)
