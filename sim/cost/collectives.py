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
    SWITCH,
    TIER,
    TORUS,
    WRAP,
)

LAUNCH, STEP, EFFICIENCY, RAMP, REDUCE, ONE_SHOT, ONE_SHOT_CLOCKS, ONE_SHOT_EFFICIENCY, TREE, SPREAD = range(10)
HOST_SHARE, PEER, REDUCE_CLOCKS = range(10, 13)


@inline
def reach(levels, level, ranks, stride):
    """Members of a group inside one domain of a level; the outermost level holds them all."""
    if level < 0:
        return 1.0
    if level == levels.shape[0] - 1:
        return ranks
    return min(ranks, max(1.0, math.floor(levels[level, RANKS] / stride)))


@inline
def level_rate(row, members, level, p):
    """Bytes a second that a rank can send into a level when `members` take part: links to those that do not are idle."""
    rate = row[BYTES_PER_S] / row[OVERSUBSCRIPTION]
    network = row[NETWORK]
    if network == MESH:
        return rate * min(1.0, (members - 1.0) / max(row[DOMAIN] - 1.0, 1.0))
    if network == TORUS or network == RING:
        return rate if row[WRAP] > 0.0 and members >= row[DOMAIN] else rate / 2.0
    if network == HOST:
        return rate * p[HOST_SHARE]
    return rate / p[SPREAD] if level > 0 else rate


@inline
def moved_s(size, rate, efficiency, p):
    """Time to move `size` bytes; half-filled pipelines cost as if there were sqrt(ramp_bytes * size) more."""
    return (size + math.sqrt(p[RAMP] * size)) / (rate * efficiency)


@inline
def _tier_s(size, inner, found, p, both):
    """Best of ring, tree and in-switch reduction inside one tier. found: members, rate, latency, hops,
    depth of a tree (0: none is built, as inside a node), set-up time of an in-switch reduction (inf: none)."""
    members, rate, latency = found[0], found[1], found[2]
    part = size / inner
    times = 2.0 if both else 1.0
    ring = times * found[3] * latency + moved_s(times * (members - 1.0) / members * part, rate, p[EFFICIENCY], p)
    best = ring
    if both and 0.0 < found[4] < found[3]:
        best = min(best, 2.0 * found[4] * latency + moved_s(2.0 * part, rate, p[TREE], p))
    if both and p[REDUCE] > 0.0 and members > 2.0:
        best = min(best, found[5] + 2.0 * latency + moved_s(part, rate, p[REDUCE], p))
    return best


@inline
def ring_like_s(size, ranks, stride, p, levels, clock, both):
    """all_reduce (both), all_gather or reduce_scatter [s]: tier after tier, or one ring through all tiers, the better."""
    tiered, ring_latency, ring_moving, edges = 0.0, 0.0, 0.0, ranks
    times = 2.0 if both else 1.0
    start = 0
    single = 0.0
    while start < levels.shape[0]:
        stop = start
        inner = reach(levels, start - 1, ranks, stride)
        rate, hops, depth, latency = 0.0, 0.0, 0.0, 0.0
        outer = inner
        while stop < levels.shape[0] and levels[stop, TIER] == levels[start, TIER]:
            now = max(reach(levels, stop, ranks, stride), outer)
            members = math.ceil(now / outer)
            if members > 1.0:
                row = levels[stop]
                rate += level_rate(row, members, stop, p)
                latency = row[LATENCY_S] * p[STEP]
                hops += members - 1.0
                torus = row[NETWORK] == TORUS or row[NETWORK] == RING
                depth += members - 1.0 if torus else math.ceil(math.log2(members))
            outer = now
            stop += 1
        if outer > inner:
            members = math.ceil(outer / inner)
            setup = p[REDUCE_CLOCKS] / clock if levels[start, REDUCES] > 0.0 else math.inf
            found = (members, rate, latency, hops, depth if start > 0 else 0.0, setup)
            tiered += _tier_s(size, inner, found, p, both)
            crossed = (members - 1.0) * math.ceil(ranks / outer) if members - 1.0 == hops else hops * math.ceil(ranks / outer)
            ring_latency += times * crossed * latency
            edges = (ranks - 1.0) / ranks * size * times / inner
            ring_moving = max(ring_moving, moved_s(edges, rate, p[EFFICIENCY], p))
            single = rate if outer == ranks and inner == 1.0 and levels[start, NETWORK] <= MESH else 0.0
        start = stop
    best = p[LAUNCH] / clock + min(tiered, ring_latency + ring_moving)
    if both and p[ONE_SHOT] > 0.0 and single > 0.0:
        fixed = (p[ONE_SHOT_CLOCKS] + p[PEER] * (ranks - 1.0)) / clock
        best = min(best, fixed + (ranks - 1.0) * size / (single * p[ONE_SHOT_EFFICIENCY]))
        two_shot = 2.0 * (ranks - 1.0) / ranks * size / (single * p[ONE_SHOT_EFFICIENCY])
        best = min(best, fixed + p[ONE_SHOT_CLOCKS] / clock * 0.5 + two_shot)
    return best


@inline
def all_to_all_s(size, ranks, stride, p, levels, clock):
    """Every rank sends size/ranks bytes to every rank, its own share included [s]; levels work side by side. On an axis of
    s a byte travels s/4 links on average (s/2 load on the middle link without wrap)."""
    slowest, latency, inner = 0.0, 0.0, 1.0
    for level in range(levels.shape[0]):
        outer = max(reach(levels, level, ranks, stride), inner)
        members = math.ceil(outer / inner)
        if members > 1.0:
            row = levels[level]
            rate = level_rate(row, members, level, p)
            if row[NETWORK] == TORUS or row[NETWORK] == RING:
                sent = size * members / 4.0
                latency = max(latency, row[LATENCY_S] * members / 2.0)
            else:
                sent = size * (outer - inner) / ranks
                latency = max(latency, row[LATENCY_S])
            slowest = max(slowest, moved_s(sent, rate, p[EFFICIENCY], p))
        inner = outer
    return (p[LAUNCH] + p[PEER] * (ranks - 1.0)) / clock + latency * p[STEP] + slowest


@inline
def send_recv_s(size, ranks, stride, p, levels, clock):
    """One message to the next member of the group [s], over the innermost level that holds both."""
    for level in range(levels.shape[0]):
        if reach(levels, level, ranks, stride) > 1.0:
            row = levels[level]
            rate = level_rate(row, 2.0, level, p)
            if row[NETWORK] == TORUS or row[NETWORK] == RING:
                rate = row[BYTES_PER_S] / row[OVERSUBSCRIPTION] / 2.0  # one of the two links of the axis
            latency = row[LATENCY_S] * p[STEP] + p[LAUNCH] / clock
            return latency + moved_s(size, rate, p[EFFICIENCY], p)
    return 0.0


@inline
def collective_s(which, d, p, levels, chip):
    """Time of a collective [s]. which: 0 all_reduce, 1 all_gather, 2 reduce_scatter, 3 all_to_all, 4 send_recv.
    d: bytes, ranks, stride, skew (busiest rank over the mean)."""
    ranks = d[1]
    size = d[0] * max(d[3], 1.0)
    stride = max(d[2], 1.0)
    if ranks <= 1.0 or size <= 0.0:
        return 0.0
    if which == 3:
        return all_to_all_s(size, ranks, stride, p, levels, chip[CLOCK_HZ])
    if which == 4:
        return send_recv_s(size, ranks, stride, p, levels, chip[CLOCK_HZ])
    return ring_like_s(size, ranks, stride, p, levels, chip[CLOCK_HZ], which == 0)
