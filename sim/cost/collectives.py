"""Collectives over the network levels that a group crosses: ring, tree, torus, mesh, hierarchical, in-switch, one-shot.

docs/cost.md section 6. Sizes as nccl-tests counts them. A group is `ranks` ranks that stand `stride` apart in rank order.
"""

from __future__ import annotations

import math

from ..jit import inline
from .machine import (
    BYTES_PER_S,
    CLOCK_HZ,
    DOMAIN,
    HOST,
    LATENCY_S,
    MESH,
    NETWORK,
    OVERSUBSCRIPTION,
    RANKS,
    REDUCES,
    RING,
    TIER,
    TORUS,
    WRAP,
    FloatArray,
    Row,
)

LAUNCH, STEP, EFFICIENCY, RAMP, REDUCE, ONE_SHOT, ONE_SHOT_CLOCKS, ONE_SHOT_EFFICIENCY, TREE, SPREAD = range(10)
HOST_SHARE, PEER, REDUCE_CLOCKS = range(10, 13)
Group = tuple[float, float, float]  # bytes, ranks, stride
# members inside and outside a tier, rate, steps of a ring, depth of a tree (0: none), latency of a step, next level
Tier = tuple[float, float, float, float, float, float, float]


@inline
def reach(levels: FloatArray, level: int, ranks: float, stride: float) -> float:
    """Members of a group inside one domain of a level; the outermost level holds them all."""
    if level < 0:
        return 1.0
    if level == levels.shape[0] - 1:
        return ranks
    return float(min(ranks, max(1.0, math.floor(levels[level, RANKS] / stride))))


@inline
def level_rate(row: Row, members: float, level: int, p: Row) -> float:
    """Bytes a second that a rank can send into a level when `members` take part: links to those that do not are idle."""
    rate = row[BYTES_PER_S] / row[OVERSUBSCRIPTION]
    network = row[NETWORK]
    if network == MESH:
        return rate * min(1.0, (members - 1.0) / max(row[DOMAIN] - 1.0, 1.0))
    if TORUS <= network <= RING:
        return rate if row[WRAP] > 0.0 and members % row[WRAP] == 0.0 else rate / 2.0
    if network == HOST:
        return rate * p[HOST_SHARE]
    return rate / p[SPREAD] if level > 0 else rate


@inline
def moved_s(size: float, rate: float, efficiency: float, p: Row) -> float:
    """Time to move `size` bytes; half-filled pipelines cost as if there were sqrt(ramp_bytes * size) more."""
    return (size + math.sqrt(p[RAMP] * size)) / (rate * efficiency)


@inline
def _crossed(levels: FloatArray, start: int, ranks: float, stride: float, p: Row) -> Tier:
    """What a group finds in the tier whose first level is `start`; axes of a torus work side by side."""
    inner = reach(levels, start - 1, ranks, stride)
    outer = inner
    rate, steps, depth, latency = 0.0, 0.0, 0.0, 0.0
    stop = start
    while stop < levels.shape[0] and levels[stop, TIER] == levels[start, TIER]:
        now = max(reach(levels, stop, ranks, stride), outer)
        members = math.ceil(now / outer)
        if members > 1.0:
            row = levels[stop]
            rate += level_rate(row, members, stop, p)
            latency = row[LATENCY_S] * p[STEP]
            steps += members - 1.0
            depth += 0.0 if TORUS <= row[NETWORK] <= RING or start == 0 else math.ceil(math.log2(members))
        outer = now
        stop += 1
    return (inner, outer, rate, steps, depth, latency, float(stop))


@inline
def _tier_s(size: float, found: Tier, setup_s: float, p: Row, both: bool) -> float:
    """Best of ring, tree (where one is built: over outer tiers) and in-switch reduction (setup_s: inf without) in a tier."""
    inner, outer, rate, steps, depth, latency = found[0], found[1], found[2], found[3], found[4], found[5]
    members = math.ceil(outer / inner)
    part = size / inner
    times = 2.0 if both else 1.0
    best = times * steps * latency + moved_s(times * (members - 1.0) / members * part, rate, p[EFFICIENCY], p)
    if both and 0.0 < depth < steps:
        best = min(best, 2.0 * depth * latency + moved_s(2.0 * part, rate, p[TREE], p))
    if both and p[REDUCE] > 0.0 and members > 2.0:
        best = min(best, setup_s + 2.0 * latency + moved_s(part, rate, p[REDUCE], p))
    return best


@inline
def _one_shot_s(size: float, ranks: float, rate: float, p: Row, clock: float) -> float:
    """All-reduce by one kernel: each rank reads all buffers at once, or reduces its part and sends it on (two shots)."""
    fixed = (p[ONE_SHOT_CLOCKS] + p[PEER] * (ranks - 1.0)) / clock
    once = fixed + (ranks - 1.0) * size / (rate * p[ONE_SHOT_EFFICIENCY])
    twice = fixed + 0.5 * p[ONE_SHOT_CLOCKS] / clock
    return min(once, twice + 2.0 * (ranks - 1.0) / ranks * size / (rate * p[ONE_SHOT_EFFICIENCY]))


@inline
def ring_like_s(group: Group, p: Row, levels: FloatArray, clock: float, both: bool) -> float:
    """all_reduce (both), all_gather or reduce_scatter [s]: tier after tier, or one ring through all tiers, the better."""
    size, ranks, stride = group
    times = 2.0 if both else 1.0
    tiered, ring_latency, ring_moving, single = 0.0, 0.0, 0.0, 0.0
    start = 0
    while start < levels.shape[0]:
        found = _crossed(levels, start, ranks, stride, p)
        inner, outer, rate = found[0], found[1], found[2]
        if outer > inner:
            setup = p[REDUCE_CLOCKS] / clock if levels[start, REDUCES] > 0.0 else math.inf
            tiered += _tier_s(size, found, setup, p, both)
            ring_latency += times * found[3] * math.ceil(ranks / outer) * found[5]
            through = times * (ranks - 1.0) / ranks * size / inner
            ring_moving = max(ring_moving, moved_s(through, rate, p[EFFICIENCY], p))
            if inner == 1.0 and outer == ranks and levels[start, NETWORK] <= MESH:
                single = rate
        start = int(found[6])
    best = p[LAUNCH] / clock + min(tiered, ring_latency + ring_moving)
    if both and p[ONE_SHOT] > 0.0 and single > 0.0:
        best = min(best, _one_shot_s(size, ranks, single, p, clock))
    return best


@inline
def once_a_domain(copies: float, domains: float, inner: float) -> float:
    """Share of what a token's copies would send between domains that is left when each domain gets it once and hands it on:
    expected distinct domains of `copies` random ones, over copies. 1 on the innermost level, where there is nobody to hand on."""
    if copies <= 1.0 or inner <= 1.0 or domains <= 1.0:
        return 1.0
    return float(domains * (1.0 - (1.0 - 1.0 / domains) ** copies) / copies)


@inline
def all_to_all_s(group: Group, copies: float, p: Row, levels: FloatArray, clock: float) -> float:
    """Every rank sends size/ranks bytes to every rank, its own share included [s]; levels work side by side. On an axis of
    s a byte travels s/4 links on average (s/2 load on the middle link without wrap)."""
    size, ranks, stride = group
    slowest, latency, inner = 0.0, 0.0, 1.0
    for level in range(levels.shape[0]):
        outer = max(reach(levels, level, ranks, stride), inner)
        members = math.ceil(outer / inner)
        if members > 1.0:
            row = levels[level]
            rate = level_rate(row, members, level, p)
            if TORUS <= row[NETWORK] <= RING:
                sent = size * members / 4.0
                latency = max(latency, row[LATENCY_S] * members / 2.0)
            else:
                sent = size * (outer - inner) / ranks * once_a_domain(copies, ranks / inner, inner)
                latency = max(latency, row[LATENCY_S])
            slowest = max(slowest, moved_s(sent, rate, p[EFFICIENCY], p))
        inner = outer
    return (p[LAUNCH] + p[PEER] * (ranks - 1.0)) / clock + latency * p[STEP] + slowest


@inline
def send_recv_s(group: Group, p: Row, levels: FloatArray, clock: float) -> float:
    """One message to the next member of the group [s], over the innermost level that holds both."""
    size, ranks, stride = group
    for level in range(levels.shape[0]):
        if reach(levels, level, ranks, stride) > 1.0:
            row = levels[level]
            rate = level_rate(row, 2.0, level, p)
            if TORUS <= row[NETWORK] <= RING:
                rate = row[BYTES_PER_S] / row[OVERSUBSCRIPTION] / 2.0  # one of the two links of the axis
            return float(row[LATENCY_S] * p[STEP] + p[LAUNCH] / clock + moved_s(size, rate, p[EFFICIENCY], p))
    return 0.0


@inline
def collective_s(which: int, d: Row, p: Row, levels: FloatArray, chip: Row) -> float:
    """Time of a collective [s]. which: 0 all_reduce, 1 all_gather, 2 reduce_scatter, 3 all_to_all, 4 send_recv.
    d: bytes, ranks, stride, skew (busiest rank over the mean), copies (all_to_all: destinations of a token; 0 = unrelated bytes)."""
    group = (d[0] * max(d[3], 1.0), d[1], max(d[2], 1.0))
    if d[1] <= 1.0 or d[0] <= 0.0:
        return 0.0
    if which == 3:
        return all_to_all_s(group, d[4], p, levels, chip[CLOCK_HZ])
    if which == 4:
        return send_recv_s(group, p, levels, chip[CLOCK_HZ])
    return ring_like_s(group, p, levels, chip[CLOCK_HZ], which == 0)
