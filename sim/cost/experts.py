"""The expert FFN of one rank as grouped matrix products. docs/cost.md section 4."""

from __future__ import annotations

import math

import numpy as np

from ..jit import inline
from .machine import ARRAY, CLOCK_HZ, MEMORY_RATE, SRAM_BYTES, SRAM_RATE, UNITS, FloatArray, Row
from .matmul import (
    CACHE_SHARE,
    EFFICIENCY,
    EXPERTS,
    FILL,
    GRANULE,
    LAUNCH,
    MEMORY_EFFICIENCY,
    NORM,
    PAIR_PASSES,
    PAIR_WIDTH_PASSES,
    QUANTUM,
    RAMP,
    ROW_PASSES,
    TILE_SIDES,
    Elements,
    joined,
    missed,
    quantise_s,
    tile_step_s,
)

Shape = tuple[float, float, float]  # columns of the product, its inner dimension, experts
QUANTILES = 16
BUSIEST = 0.85  # the largest of n normal deviations over sqrt(2 log n), n from 8 to 256


@inline
def loads(d: Row, out: FloatArray) -> float:
    """Fill `out` with the loads of QUANTILES equal groups of a rank's experts; return how many experts get a row.

    skew 0: rows choose at random among equal experts. Else the loads of all experts follow a power law of density x^-skew
    between 1 and a tenth of the pairs (by its inverse distribution function), and the rank is the
    busiest of the 1/share ranks: mean plus the expected largest of so many normal deviations.
    """
    rows, experts, skew = max(d[0], 1.0), max(d[3], 1.0), d[4]  # the rank that waits for nobody has a row
    mean = rows / experts
    if skew <= 0.0:
        for i in range(QUANTILES):
            out[i] = mean
        return max(experts * (1.0 - math.exp(-mean)), 1.0)
    share = d[7] if d[7] > 0.0 else 1.0
    span = max(0.1 * max(d[6], rows), 1.0 + 1e-9)
    exponent = 1.0 - skew if abs(1.0 - skew) > 1e-6 else 1e-6
    total, squares = 0.0, 0.0
    for i in range(QUANTILES):
        out[i] = ((span**exponent - 1.0) * (i + 0.5) / QUANTILES + 1.0) ** (1.0 / exponent)
        total += out[i]
        squares += out[i] * out[i]
    variation = math.sqrt(max(squares * QUANTILES / (total * total) - 1.0, 0.0))
    deviations = math.sqrt(2.0 * math.log(max(1.0 / share, 1.0))) * BUSIEST
    busiest = min(1.0 + variation * deviations / math.sqrt(experts), 1.0 / share)
    touched = 0.0
    for i in range(QUANTILES):
        out[i] = min(out[i] * busiest * rows * QUANTILES / (experts * total), rows)
        touched += 1.0 - math.exp(-out[i])
    return max(touched * experts / QUANTILES, 1.0)


@inline
def _grouped_tiles_s(shape: Shape, load: FloatArray, inside: Elements, p: Row, chip: Row) -> float:
    """Least time over tile heights of the waves of all experts' output tiles."""
    width, k, experts = shape
    best = math.inf
    units = chip[UNITS]
    for i in range(TILE_SIDES.size):
        a = TILE_SIDES[i]
        row_tiles = 0.0
        for q in range(QUANTILES):
            # an expert that gets a row at all pays at least one tile
            row_tiles += max(1.0 - math.exp(-load[q]), load[q] / a + 0.5 * (1.0 - math.exp(-load[q] / a)))
        row_tiles *= experts / QUANTILES
        for j in range(3, TILE_SIDES.size):
            b = TILE_SIDES[j]
            waves = row_tiles * math.ceil(width / b) / units
            waves = max(1.0, waves + p[QUANTUM] * (math.ceil(waves) - waves))
            best = min(best, waves * (k * tile_step_s(a, b, inside, p, chip) + p[FILL] / chip[CLOCK_HZ]))
    return best


@inline
def _grouped_systolic_s(shape: Shape, load: FloatArray, inside: Elements, p: Row, chip: Row) -> float:
    width, k, experts = shape
    side = chip[ARRAY]
    rows = 0.0
    for q in range(QUANTILES):
        rows += max((1.0 - math.exp(-load[q])) * p[GRANULE], load[q])
    rows *= experts / QUANTILES
    passes = math.ceil(k / side) * math.ceil(width / side)
    per_row = 2.0 * side * side / (inside[2] / chip[UNITS] * p[EFFICIENCY])
    return rows * passes * per_row / chip[UNITS] + p[FILL] / chip[CLOCK_HZ]


@inline
def experts_s(d: Row, inside: Elements, p: Row, chip: Row, mechanism: int) -> float:
    """Time of the expert FFN of a rank [s]. d: rows, hidden, width, experts, skew, matrices, pairs, share. Two grouped
    products (up with the gate, down); weights of the experts touched are read, rows are gathered and scattered."""
    rows, hidden, width, experts = d[0], d[1], d[2], max(d[3], 1.0)
    if rows <= 0.0 or hidden <= 0.0 or width <= 0.0:
        return 0.0
    clock = chip[CLOCK_HZ]
    load = np.empty(QUANTILES)
    touched = loads(d, load)
    if d[4] > 0.0:  # what this rank, the busiest, computes
        rows = load.sum() * experts / QUANTILES
    up = (d[5] - 1.0) * width
    if mechanism == 1:
        compute = _grouped_systolic_s((up, hidden, experts), load, inside, p, chip)
        compute += _grouped_systolic_s((hidden, width, experts), load, inside, p, chip)
    else:
        compute = _grouped_tiles_s((up, hidden, experts), load, inside, p, chip)
        compute += _grouped_tiles_s((hidden, width, experts), load, inside, p, chip)
    weights = inside[1] * touched * hidden * width * d[5]
    passed = d[6] * (p[PAIR_PASSES] * hidden + p[PAIR_WIDTH_PASSES] * width) + rows * (
        p[ROW_PASSES] * hidden + 2.0 * up + width
    )
    activations = inside[3] * passed
    share = missed(activations, p[CACHE_SHARE] * chip[SRAM_BYTES])
    moved = (weights + activations * share) / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY])
    memory = max(moved, (weights + activations) / chip[SRAM_RATE]) + p[RAMP] / clock
    fixed = (p[LAUNCH] + p[EXPERTS] * experts) / clock
    return fixed + quantise_s(rows, hidden, p, chip) + joined(compute, memory, p[NORM])
