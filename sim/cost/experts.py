"""The expert FFN of one rank as grouped matrix products. docs/cost.md section 4."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..jit import inline
from .machine import ARRAY, CLOCK_HZ, MEMORY_RATE, SRAM_BYTES, SRAM_RATE, UNITS, FloatArray, Row
from .matmul import joined, missed
from .powers import exp_less_one, log, power

(
    LAUNCH,
    EFFICIENCY,
    MEMORY_EFFICIENCY,
    NORM,
    FILL,
    QUANTUM,
    UNIT_BYTES,
    EXPERT,
    ABSENT,
    ROW_PASSES,
    UP_PASSES,
    SORT,
    GRANULE,
    FALLBACK_ABOVE,
    FALLBACK_RATE,
    FALLBACK_LAUNCH,
    FALLBACK_BYTES,
    STEP,
    CACHE_SHARE,
) = range(19)

Elements = tuple[float, float, float, float]  # bytes of an element of A and of B, FLOP/s of a rank, bytes of one of C
QUANTILES = 12
MIDDLES = (np.arange(QUANTILES) + 0.5) / QUANTILES
HEIGHTS = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
TILE_WIDTH = 128.0
FEW_PAIRS = 256.0  # pairs that one block sorts beside the first product
SPREAD = 0.7  # of the exponent that makes a random group of experts the busiest, from draws of 1 to 256 groups
UNSEEN = 0.2  # experts that would lie above the most popular one that a draw of all experts is likely to hold
NARROW = 4.0  # pairs an expert at which the range of popularities has become that of many pairs
SETTLED = 48.0  # pairs an expert from which the busiest rank has more of all than at one and than at fewer (tests)
CAPPED_ROUNDS = 4  # rounds in which rows beyond one a token go to the other experts
LN2, LN_3_2 = math.log(2.0), math.log(1.5)
FLAT_RANGE = 200.0  # largest over smallest popularity when there are fewer pairs than experts


class Loads(NamedTuple):
    """What the experts of a rank get: `heavy` of them the loads (equal shares of `heavy` each), `single` more one row each;
    in all `rows` rows."""

    heavy: float
    single: float
    rows: float


@inline
def popularity_range(pairs: float, experts: float, tokens: float) -> float:
    """Logarithm of largest over smallest popularity of an expert: 0.8 of the tokens; where there are fewer pairs than experts,
    FLAT_RANGE, and between one and four pairs an expert, from that to this."""
    wide = max(0.8 * tokens, 1.001)
    part = min(max(0.5 / LN2 * log(pairs / experts), 0.0), 1.0)  # 1 at NARROW
    return (1.0 - part) * log(max(FLAT_RANGE, wide)) + part * log(wide)


@inline
def power_law(pairs: float, d: Row, loads: FloatArray) -> tuple[float, float, float]:
    """`power_law_at`, but nothing falls as pairs grow. From as many pairs as experts to NARROW times as many the range of
    popularities gets narrower, which alone would make the busiest rank quicker: there everything goes straight from its
    first to its last value; so do the experts that get any, in the logarithm of pairs, from there to SETTLED times as many."""
    everywhere = max(d[3], 1.0) / (d[7] if d[7] > 0.0 else 1.0)
    if not (everywhere < pairs < SETTLED * everywhere and 0.8 * everywhere / max(abs(d[6]), 1.0) < FLAT_RANGE):
        return power_law_at(pairs, d, loads)
    before, other = np.empty(QUANTILES), np.empty(QUANTILES)
    least = power_law_at(everywhere, d, before)
    narrow = pairs < NARROW * everywhere
    most = power_law_at(max(pairs, NARROW * everywhere), d, loads)
    fewest, ends = (least[0], least[0] + least[1]), (most[0], most[0] + most[1])
    if not narrow:
        knot = power_law_at(NARROW * everywhere, d, other)
        fewest = (max(fewest[0], knot[0]), max(fewest[1], knot[0] + knot[1]))
        last = power_law_at(SETTLED * everywhere, d, other)
        ends = (last[0], last[0] + last[1])
    way = min((pairs / everywhere - 1.0) / (NARROW - 1.0), 1.0)  # of rows, which go with pairs
    reached = pairs / everywhere if narrow else pairs / (NARROW * everywhere)
    slow = log(reached) / log(NARROW if narrow else SETTLED / NARROW)  # of experts that get any
    heavy = fewest[0] + slow * max(ends[0] - fewest[0], 0.0)
    touched = fewest[1] + slow * max(ends[1] - fewest[1], 0.0)
    for i in range(QUANTILES):
        loads[i] = before[i] + way * max(loads[i] - before[i], 0.0)
    return heavy, max(touched - heavy, 0.0), least[2] + way * max(most[2] - least[2], 0.0)


@inline
def _fill_loads(curve: tuple[float, float, float, float, float, float, float], loads: FloatArray) -> None:
    """Loads at the middles of equal quantiles. Nothing but this stands in the loop: so it is compiled for several at a time."""
    first, untilt, top, per_e, span, scale, tokens = curve
    rest = 1.0 - first
    for i in range(QUANTILES):
        u = power(first + rest * MIDDLES[i], untilt)
        popularity = 1.0 + exp_less_one(min(log(max(top * u + 1.0, 1e-300)) * per_e, span))
        loads[i] = min(popularity * scale, tokens)


@inline
def power_law_at(pairs: float, d: Row, loads: FloatArray) -> tuple[float, float, float]:
    """heavy, single, rows of the busiest rank. Popularity x of density x^-skew in 1..span; the load of an expert is its
    share of all pairs, rounded: what lies below half a row goes row by row to experts without any. A group of experts is
    the busiest of 1/share if its experts come from high quantiles u^(1/g), g = (1/share)^(1/(1 + SPREAD sqrt(n - 1)))."""
    experts, skew, ranks = max(d[3], 1.0), d[4], 1.0 / d[7] if d[7] > 0.0 else 1.0
    everywhere = experts * ranks
    tokens = pairs / max(abs(d[6]), 1.0)
    span = popularity_range(pairs, everywhere, tokens)  # of popularities: logarithms, from here on
    e = 1.0 - skew if abs(1.0 - skew) > 1e-6 else 1e-6
    f = e + 1.0 if abs(e + 1.0) > 1e-6 else 1e-6
    top = exp_less_one(e * span)
    seen = 1.0 - UNSEEN / everywhere if everywhere > 1.0 else 1.0
    largest = log(top * seen + 1.0) / e
    part = e / (f * top)  # mean popularity of those below x, times their share: part (x^f - 1)
    scale = pairs / (everywhere * part * exp_less_one(f * largest))  # rows for each unit of popularity
    for _ in range(CAPPED_ROUNDS):
        full = log(max(tokens / scale, 1.0))  # popularity from which an expert gets a row of every token
        if full >= largest:
            break
        rest = pairs - everywhere * tokens * (seen - exp_less_one(e * full) / top)
        scale = max(scale, rest / (everywhere * part * max(exp_less_one(f * full), 1e-9)))
    one = -log(scale)
    half, most = min(max(one - LN2, 0.0), span), min(max(one + LN_3_2, 0.0), span)
    below, upto = exp_less_one(e * half) / top, exp_less_one(e * most) / top
    tilt = power(ranks, 1.0 / (1.0 + SPREAD * math.sqrt(experts - 1.0)))
    first = power(below, tilt) if below > 0.0 else 0.0
    heavy = experts * (1.0 - first)
    # rows of those below half a row, less what rounding adds to those between a half and one and a half
    loose = everywhere * (scale * part * exp_less_one(f * most) - (upto - below))
    single = max(min(max(loose, 0.0) / ranks, experts - heavy), 1.0 - heavy, 0.0)
    _fill_loads((first, 1.0 / tilt, top, 1.0 / e, span, scale, tokens), loads)
    rows = 0.0
    for i in range(QUANTILES):
        rows += loads[i]
    rows = rows * heavy / QUANTILES
    # the middles of quantiles miss some of the tail: the busiest rank has no fewer rows than the mean
    short = min(max((pairs / ranks - single) / rows, 1.0), max(pairs - single, heavy) / rows) if rows > 0.0 else 1.0
    for i in range(QUANTILES):
        loads[i] = max(loads[i] * short, 1.0)
    return heavy, single, min(rows * short + single, max(pairs, 1.0))


@inline
def loads_of(d: Row, loads: FloatArray) -> Loads:
    """Fill `loads` with QUANTILES loads of the experts of a rank that get rows. skew > 0: a power law, and the rank is the
    busiest; 0: rows choose at random among equal experts; below: dealt out one by one, so that all get the same."""
    rows, experts, skew = max(d[0], 1.0), max(d[3], 1.0), d[4]  # the rank that waits for nobody has a row
    if skew > 0.0:
        share = d[7] if d[7] > 0.0 else 1.0
        heavy, single, rows = power_law(rows / share, d, loads)
        return Loads(heavy, single, rows)
    if skew < 0.0:
        touched = min(rows, experts)
    else:
        touched = max(experts * (1.0 - math.exp(-rows / experts)), 1.0)
    loads[:] = rows / touched
    return Loads(touched, 0.0, rows)


@inline
def row_tiles(height: float, skew: float, loads: FloatArray, found: Loads) -> float:
    """Tiles of `height` rows over all experts of the rank. An expert that gets rows has at least one; loads that vary leave
    half a tile empty."""
    if skew < 0.0:
        return float(found.heavy * math.ceil(loads[0] / height - 1e-9))
    total, count = 0.0, QUANTILES if skew > 0.0 else 1
    per_row = 1.0 / height  # a power of two: exact
    for i in range(count):
        total += max(1.0, loads[i] * per_row + 0.5)
    return found.heavy * total / count + found.single


@inline
def _waves(tiles: float, p: Row, chip: Row) -> float:
    waves = tiles / chip[UNITS]
    return max(1.0, waves + p[QUANTUM] * (math.ceil(waves) - waves))


@inline
def _tiles_s(d: Row, rate: float, inside: Elements, p: Row, chip: Row, loads: FloatArray, found: Loads) -> float:
    """Least time over tile heights, of each product, of the waves of all experts' output tiles; joined with that of a lone
    tile, whose steps along k wait for memory one after the other. rate: FLOP/s of a rank."""
    hidden, width, up = d[1], d[2], (d[5] - 1.0) * d[2]
    fill = p[FILL] / chip[CLOCK_HZ]
    by_row = 2.0 * TILE_WIDTH * chip[UNITS] / rate  # arithmetic of one step along k of a tile on one unit
    byte = 1.0 / (p[UNIT_BYTES] * chip[CLOCK_HZ])  # of its operands: whichever binds
    across, down = math.ceil(up / TILE_WIDTH), math.ceil(hidden / TILE_WIDTH)
    first, second = math.inf, math.inf
    for i in range(HEIGHTS.size):
        tiles = row_tiles(HEIGHTS[i], d[4], loads, found)
        arithmetic, operands = by_row * HEIGHTS[i], byte * (HEIGHTS[i] * inside[0] + TILE_WIDTH * inside[1])
        step = math.sqrt(arithmetic * arithmetic + operands * operands)
        first = min(first, _waves(tiles * across, p, chip) * (hidden * step + fill))
        second = min(second, _waves(tiles * down, p, chip) * (width * step + fill))
    alone = p[STEP] * (hidden + width) / chip[CLOCK_HZ]
    return math.sqrt((first + second) * (first + second) + alone * alone)


@inline
def _systolic_s(d: Row, rate: float, p: Row, chip: Row, loads: FloatArray, found: Loads) -> float:
    """Rows of all experts, no fewer than a granule each, through the passes of both products."""
    hidden, width, up = d[1], d[2], (d[5] - 1.0) * d[2]
    side = chip[ARRAY]
    rows = 0.0
    for i in range(QUANTILES):
        rows += max(p[GRANULE], loads[i])
    rows = rows * found.heavy / QUANTILES + p[GRANULE] * found.single
    passes = math.ceil(hidden / side) * math.ceil(up / side) + math.ceil(width / side) * math.ceil(hidden / side)
    return rows * passes * 2.0 * side * side / rate + 2.0 * p[FILL] / chip[CLOCK_HZ]


@inline
def experts_s(d: Row, inside: Elements, p: Row, chip: Row, mechanism: int) -> float:
    """Time of the expert FFN of a rank [s]. d: rows, hidden, width, experts, skew, matrices, topk (negative: every
    rank holds all pairs), share. Two grouped products (up with the gate, down); weights of the experts touched are read, rows
    are gathered and scattered."""
    hidden, width = d[1], d[2]
    if d[0] <= 0.0 or hidden <= 0.0 or width <= 0.0:
        return 0.0
    clock = chip[CLOCK_HZ]
    loads = np.empty(QUANTILES)
    found = loads_of(d, loads)
    rate, launch = inside[2] * p[EFFICIENCY], p[LAUNCH]
    share = d[7] if d[7] > 0.0 else 1.0
    plain = 0.0 < p[FALLBACK_ABOVE] < d[3] / share
    if plain:
        rate, launch = rate * p[FALLBACK_RATE], launch + p[FALLBACK_LAUNCH]
    pairs = d[0] / share if d[6] < 0.0 else d[0]  # that lie on the rank
    if mechanism == 1:
        compute = _systolic_s(d, rate, p, chip, loads, found)
    else:
        compute = _tiles_s(d, rate, inside, p, chip, loads, found)
    touched = found.heavy + found.single
    weights = inside[1] * touched * hidden * width * d[5]
    rows = found.rows + p[ABSENT] * max(pairs - found.rows, 0.0)
    activations = inside[3] * rows * (p[ROW_PASSES] * hidden + p[UP_PASSES] * (d[5] - 1.0) * width)
    rate_s, near = chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY], chip[SRAM_RATE]
    passes = 0.0  # on tiles, kernels of their own before, between and after the products
    moved = weights
    if mechanism == 0:
        fetched = activations * missed(activations, p[CACHE_SHARE] * chip[SRAM_BYTES])
        passes = max(fetched / rate_s, activations / near)
    else:
        moved += activations
    memory = max(moved / rate_s, moved / near)
    if plain:
        memory = max(memory, moved / (p[FALLBACK_BYTES] * chip[UNITS] * clock))
    sort = p[SORT] * (1.0 - math.exp(-pairs / FEW_PAIRS))
    work = joined(compute, memory, p[NORM])
    return float((launch + sort + p[EXPERT] * touched) / clock + work + passes)
