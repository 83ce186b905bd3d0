"""Matrix products by mechanism: output tiles in waves, systolic passes, a grid of processing elements. docs/cost.md section 2."""

from __future__ import annotations

import math

import numpy as np

from ..jit import inline
from .machine import ARRAY, CLOCK_HZ, MEMORY_RATE, SRAM_BYTES, SRAM_RATE, UNITS, Row

LAUNCH, EFFICIENCY, MEMORY_EFFICIENCY, CACHE_SHARE, NORM, FILL, STEP, QUANTUM, SPLIT, UNIT_BYTES, RAMP = range(11)
QUANTISE, QUANTISE_ROW, QUANTISE_BYTES, GRANULE, EXPERTS, PAIR_PASSES, ROW_PASSES, RESIDENT = range(11, 19)
THROTTLE, PAIR_WIDTH_PASSES = range(19, 21)
LONG_S = 1e-3  # a product of this length runs half-way between the clock at rest and the one that power leaves

Elements = tuple[float, float, float, float]  # bytes of an element of A and of B, FLOP/s of a rank, bytes of one of C
TILE_SIDES = np.array([16.0, 32.0, 64.0, 128.0, 256.0])
SPLITS = np.array([2.0, 4.0, 8.0, 16.0])


@inline
def joined(first: float, second: float, norm: float) -> float:
    """(first^norm + second^norm)^(1/norm): two times that overlap the less the smaller the norm."""
    large = max(first, second)
    if large <= 0.0:
        return 0.0
    ratio = min(first, second) / large
    if ratio < 0.02:
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
def tile_step_s(a: float, b: float, inside: Elements, p: Row, chip: Row) -> float:
    """Time of one step along k of an a x b tile on one unit: arithmetic, operands or latency, whichever binds."""
    arithmetic = 2.0 * a * b * chip[UNITS] / (inside[2] * p[EFFICIENCY])
    operands = (a * inside[0] + b * inside[1]) / (p[UNIT_BYTES] * chip[CLOCK_HZ])
    latency = p[STEP] / chip[CLOCK_HZ]
    return math.sqrt(arithmetic * arithmetic + operands * operands + latency * latency)


@inline
def tile_waves_s(d: Row, inside: Elements, p: Row, chip: Row) -> float:
    """Least time over tile sizes and splits of k of the waves that `units` units need for the output tiles.

    d: m, n, k, batch. A unit that idles in the last wave costs `quantum` of a busy one.
    """
    best = math.inf
    m, n, k, batch = d[0], d[1], d[2], max(d[3], 1.0)
    units = chip[UNITS]
    fill = p[FILL] / chip[CLOCK_HZ]
    for i in range(TILE_SIDES.size):
        a = TILE_SIDES[i]
        if i > 0 and TILE_SIDES[i - 1] >= m:
            break  # a smaller side already covers all rows
        rows = math.ceil(m / a) * batch
        for j in range(1, TILE_SIDES.size):
            b = TILE_SIDES[j]
            tiles = rows * math.ceil(n / b)
            step = tile_step_s(a, b, inside, p, chip)
            waves = tiles / units
            waves = max(1.0, waves + p[QUANTUM] * (math.ceil(waves) - waves))
            best = min(best, waves * (k * step + fill))
            if tiles >= units:
                continue
            for s in range(SPLITS.size):
                split = SPLITS[s]
                waves = tiles * split / units
                waves = max(1.0, waves + p[QUANTUM] * (math.ceil(waves) - waves))
                adding = p[SPLIT] / chip[CLOCK_HZ] + 4.0 * split * m * n * batch / chip[SRAM_RATE]
                best = min(best, waves * (k / split * step + fill) + adding)
                if tiles * split >= units:
                    break
    return best


@inline
def quantise_s(m: float, k: float, p: Row, chip: Row) -> float:
    """The pass that turns activations into a narrow format before the product; one unit works on a row."""
    if p[QUANTISE] <= 0.0:
        return 0.0
    by_rows = math.ceil(m / chip[UNITS]) * p[QUANTISE_ROW] / chip[CLOCK_HZ]
    return p[QUANTISE] / chip[CLOCK_HZ] + max(by_rows, p[QUANTISE_BYTES] * m * k / chip[MEMORY_RATE])


@inline
def _tiles(d: Row, inside: Elements, p: Row, chip: Row) -> float:
    m, n, k, batch = d[0], d[1], d[2], max(d[3], 1.0)
    compute = tile_waves_s(d, inside, p, chip)
    compute *= 1.0 + p[THROTTLE] * compute / (compute + LONG_S)
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
    weights, inputs = inside[1] * n * k, inside[0] * m * k
    by_rows = weights * math.ceil(m / rows_held) + inputs
    by_squares = weights * math.ceil(m / square) + inputs * math.ceil(n / square)
    moved = batch * (min(by_rows, by_squares) + inside[3] * m * n)
    memory = moved / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY])
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
    return p[LAUNCH] / chip[CLOCK_HZ] + quantise_s(d[0], d[2], p, chip) + work
