"""Matrix products by mechanism: output tiles in waves, systolic passes, a grid of processing elements. docs/cost.md section 2."""

from __future__ import annotations

import math

import numpy as np

from ..jit import inline
from .machine import (
    ARRAY,
    CLOCK_HZ,
    HELD,
    IDLE_W,
    MEMORY_RATE,
    PEAK_RATE,
    SRAM_BYTES,
    SRAM_RATE,
    TDP_W,
    UNITS,
    Row,
)

LAUNCH, EFFICIENCY, MEMORY_EFFICIENCY, CACHE_SHARE, NORM, FILL, STEP, QUANTUM, SPLIT, UNIT_BYTES, RAMP = range(11)
QUANTISE, QUANTISE_ROW, QUANTISE_BYTES, GRANULE, EXPERTS, STORE, SMALL_TILE, RESIDENT = range(11, 19)
FLOP_PJ, QUANTISE_VALUE, BLOCKS, SINGLE = range(19, 23)
MOST_PARTS = 26
LONG_S = 1e-3  # of a product of this length the power limit takes half of what it takes of one that never ends

Elements = tuple[float, float, float, float]  # bytes of an element of A and of B, FLOP/s of a rank, bytes of one of C
TILE_ROWS = np.array([128.0, 128.0, 256.0, 64.0, 64.0, 128.0, 64.0, 32.0, 32.0, 16.0, 16.0])
TILE_COLUMNS = np.array([256.0, 128.0, 128.0, 256.0, 128.0, 64.0, 64.0, 128.0, 64.0, 128.0, 64.0])
PER_ROWS, PER_COLUMNS = 1.0 / TILE_ROWS, 1.0 / TILE_COLUMNS  # powers of two: exact
SMALL_ROWS = 32.0
SMALL_AREA = 64.0 * 64.0
SPLITS = np.array([2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
LEAST_SHARE = 1.0 / 16.0
SPLIT_WAVES = 8.0  # a product of so many waves gains nothing from a further split


@inline
def joined(first: float, second: float, norm: float) -> float:
    """(first^norm + second^norm)^(1/norm): two times that overlap the less the smaller the norm."""
    large = max(first, second)
    if large <= 0.0:
        return 0.0
    ratio = min(first, second) / large
    if ratio < 1e-4:
        return large
    return float(large * (1.0 + ratio**norm) ** (1.0 / norm))


@inline
def missed(size: float, cache: float) -> float:
    """Share of `size` bytes that a cache of `cache` bytes does not keep from one use to the next."""
    if cache <= 0.0:
        return 1.0
    ratio = cache / size
    ratio *= ratio
    return 1.0 / (1.0 + ratio * ratio)


@inline
def _whole_waves(waves: float, quantum: float) -> float:
    """Waves that are paid: at least one; a unit that idles in the last one costs `quantum` of a busy one."""
    return max(1.0, waves + quantum * (math.ceil(waves) - waves))


@inline
def _is_block(a: float, b: float, m: float, rows: float) -> bool:
    """True for the tile that kernels compiled for few sizes take: 64 x 64 up to `rows` rows, 64 x 128 up to twice as many, else
    128 x 128."""
    if m <= 2.0 * rows:
        return a == 64.0 and b == (64.0 if m <= rows else 128.0)
    return a == 128.0 and b == 128.0


@inline
def tile_waves_s(d: Row, inside: Elements, p: Row, chip: Row) -> float:
    """Least time over TILES and splits of k of the waves that the units need for the output tiles. d: m, n, k, batch.

    A tile or a split whose lower bound (arithmetic spread evenly over units) exceeds the best found so far is passed over, so
    that the result is that of trying all.
    """
    m, n, k, batch = d[0], d[1], d[2], max(d[3], 1.0)
    units, clock, quantum = chip[UNITS], chip[CLOCK_HZ], p[QUANTUM]
    flop = 2.0 * units / (inside[2] * p[EFFICIENCY])
    byte, latency = 1.0 / (p[UNIT_BYTES] * clock), p[STEP] / clock
    latency *= latency
    fill, store = p[FILL] / clock, inside[3] * p[STORE] / clock
    adding, added = p[SPLIT] * 1e-6, 4.0 * m * n * batch / chip[SRAM_RATE]
    best = math.inf
    count = TILE_ROWS.size
    for index in range(count):
        i = index if m > SMALL_ROWS else count - 1 - index  # the likely winner first
        a, b = TILE_ROWS[i], TILE_COLUMNS[i]
        if p[BLOCKS] > 0.0 and not _is_block(a, b, m, p[BLOCKS]):
            continue
        high, wide = min(a, m), min(b, n)
        tiles = math.ceil(m * PER_ROWS[i]) * math.ceil(n * PER_COLUMNS[i]) * batch
        arithmetic = flop * (a * b + p[SMALL_TILE] * SMALL_AREA)
        each = fill + store * high * wide
        spread = tiles / units
        if k * arithmetic * max(LEAST_SHARE, spread) + each >= best:
            continue
        operands = byte * (high * inside[0] + wide * inside[1])
        whole = k * math.sqrt(arithmetic * arithmetic + operands * operands + latency)
        best = min(best, _whole_waves(spread, quantum) * (whole + each))
        if (
            p[BLOCKS] > 0.0
            or p[MOST_PARTS] < 2.0
            or whole * max(LEAST_SHARE, spread) + each + adding + 2.0 * added >= best
        ):
            continue
        for j in range(SPLITS.size):
            split = SPLITS[j]
            if split > p[MOST_PARTS]:
                break
            waves = spread * split
            extra = adding + added * split
            if max(1.0, waves) * (whole / split + each) + extra < best:
                best = min(best, _whole_waves(waves, quantum) * (whole / split + each) + extra)
            if waves >= SPLIT_WAVES:
                break
    return best


@inline
def quantise_s(m: float, k: float, p: Row, chip: Row) -> float:
    """The pass that turns activations into a narrow format before the product; one unit works on a row."""
    by_rows = math.ceil(m / chip[UNITS]) * max(p[QUANTISE_ROW], p[QUANTISE_VALUE] * k) / chip[CLOCK_HZ]
    return p[QUANTISE] / chip[CLOCK_HZ] + max(by_rows, p[QUANTISE_BYTES] * m * k / chip[MEMORY_RATE])


@inline
def slowed(flop_s: float, rate: float, p: Row, chip: Row) -> float:
    """Printed clock over the one at which an endless product of so many FLOP/s keeps the chip's power limit: energy goes with
    its square. rate: FLOP/s of a rank in its format, each of which takes the less the more of them there are."""
    spare = chip[TDP_W] - chip[IDLE_W]
    if not spare > 0.0:
        return 1.0
    flop_j = p[FLOP_PJ] * 1e-12 * chip[PEAK_RATE] * chip[HELD] ** 3 / rate
    return math.sqrt(max(1.0, flop_j * flop_s / spare))


@inline
def _tiles(d: Row, inside: Elements, p: Row, chip: Row) -> float:
    m, n, k, batch = d[0], d[1], d[2], max(d[3], 1.0)
    compute = tile_waves_s(d, inside, p, chip)
    slower = slowed(2.0 * m * n * k * batch / compute, inside[2], p, chip)
    compute *= 1.0 + (slower - 1.0) * compute * compute / (compute * compute + LONG_S * LONG_S)
    weights = inside[1] * n * k * batch
    activations = (inside[0] * m * k + inside[3] * m * n) * batch
    cache = p[CACHE_SHARE] * chip[SRAM_BYTES]
    fetched = weights + activations * missed(activations, cache)
    memory = max(fetched / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]), (weights + activations) / chip[SRAM_RATE])
    memory += p[RAMP] / chip[CLOCK_HZ]
    return joined(compute, memory, p[NORM]) + (batch - 1.0) * p[EXPERTS] / chip[CLOCK_HZ]


@inline
def _systolic(d: Row, inside: Elements, p: Row, chip: Row) -> float:
    """Weights stand still in an array x array grid, rows stream through; a pass takes no less than `granule` rows."""
    m, n, k, batch = d[0], d[1], d[2], max(d[3], 1.0)
    side = chip[ARRAY]
    passes = math.ceil(k / side) * math.ceil(n / side) * batch
    per_row = 2.0 * side * side / (inside[2] / chip[UNITS] * p[EFFICIENCY])
    rows = max(passes * max(m, p[GRANULE]) / chip[UNITS], max(m / chip[UNITS], p[GRANULE]))
    compute = rows * per_row + p[FILL] / chip[CLOCK_HZ]
    held = p[CACHE_SHARE] * chip[SRAM_BYTES]
    rows_held = max(held / (inside[0] * k), side)  # weights pass again for each block of rows that fits on the chip,
    square = max(math.sqrt(held / 4.0), side)  # or both operands pass for each square of fp32 sums that fits
    weights, inputs, outputs = inside[1] * n * k, inside[0] * m * k, inside[3] * m * n
    fetched = missed((inputs + outputs) * batch, held)  # a compiled program leaves on the chip what fits there
    near_s = batch * (weights + inputs + outputs) / chip[SRAM_RATE]
    inputs *= fetched
    by_rows = weights * math.ceil(m / rows_held) + inputs
    by_squares = weights * math.ceil(m / square) + inputs * math.ceil(n / square)
    moved = batch * (min(by_rows, by_squares) + outputs * fetched)
    memory = max(moved / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]), near_s)
    return joined(compute, memory + p[RAMP] / chip[CLOCK_HZ], p[NORM])


@inline
def _pe_grid(d: Row, inside: Elements, p: Row, chip: Row) -> float:
    """Elements take granule x granule tiles of the output; operands come from SRAM while all of them fit there."""
    m, n, k, batch = d[0], d[1], d[2], max(d[3], 1.0)
    side = p[GRANULE]
    tiles = math.ceil(m / side) * math.ceil(n / side) * batch
    waves = tiles / chip[UNITS]
    waves = max(1.0, waves + p[QUANTUM] * (math.ceil(waves) - waves))
    compute = waves * 2.0 * side * side * k * chip[UNITS] / (inside[2] * p[EFFICIENCY]) + p[FILL] / chip[CLOCK_HZ]
    weights = batch * inside[1] * n * k
    others = batch * (inside[0] * m * k + inside[3] * m * n)
    room = p[CACHE_SHARE] * chip[SRAM_BYTES]
    near = weights + others <= room
    # a model has many matrices: one that takes more than its share of SRAM has left it before it is used again
    weights_rate = chip[SRAM_RATE] if near and weights <= p[RESIDENT] * room else chip[MEMORY_RATE]
    moved = weights / weights_rate + others / (chip[SRAM_RATE] if near else chip[MEMORY_RATE])
    return joined(compute, moved / p[MEMORY_EFFICIENCY] + p[RAMP] / chip[CLOCK_HZ], p[NORM])


@inline
def matmul_s(d: Row, inside: Elements, p: Row, chip: Row, mechanism: int) -> float:
    """Time of C[m,n] = A[m,k] B[k,n], `batch` times, alone and warm [s]. d: m, n, k, batch. inside: bytes of an element of
    A and of B, FLOP/s of a rank, bytes of an element of C. Source: docs/cost.md section 2."""
    if d[0] <= 0.0 or d[1] <= 0.0 or d[2] <= 0.0:
        return 0.0
    if mechanism == 0:
        work = _tiles(d, inside, p, chip)
    elif mechanism == 1:
        work = _systolic(d, inside, p, chip)
    else:
        work = _pe_grid(d, inside, p, chip)
    launch = p[LAUNCH] + (p[SINGLE] if d[0] <= 1.0 else 0.0)
    return launch / chip[CLOCK_HZ] + quantise_s(d[0], d[2], p, chip) + work
