"""Collectives over the network levels that a group crosses: ring, tree, torus, mesh, hierarchical, in-switch, direct; each by
the protocols of its library.

docs/cost.md section 6. Sizes as nccl-tests counts them. A group is `ranks` ranks that stand `stride` apart in rank order.
"""

from __future__ import annotations

import math

from ..jit import inline, within
from .machine import BYTES_PER_S, LATENCY_S, MESH, NETWORK, OVERSUBSCRIPTION, REDUCES, FloatArray, Row
from .network import crossed, is_axis, is_outer, level_rate, off_rail, reach

LAUNCH, STEP, BULK, EFFICIENCY, RAMP, OWN, FLAG_STEP, FLAG, LINE_CLOCKS, LINE = range(10)
REDUCE, REDUCE_CLOCKS, PEER, NETWORK_STEP, NETWORK_EFFICIENCY, HIERARCHICAL, HOST_SHARE = range(10, 17)
DIRECT, DIRECT_CLOCKS, DIRECT_EFFICIENCY, SHOT_EFFICIENCY, SHOT_CLOCKS = range(17, 22)
READY = 22  # columns that the formulas read
Group = tuple[float, float, float]  # bytes, ranks, stride
# seconds over the wires inside and outside the scale-up network, and latencies of the steps there, each at rate 1 and 1 hop
Path = tuple[float, float, float, float]
Ramps = tuple[float, float]  # time over that at full rate, inside and outside
# ring, tree, hierarchical [s], in-switch (seconds over the wire, members), rate of a direct kernel, bytes of an outer part
Shape = tuple[Path, Path, float, tuple[float, float], float, float]
NONE: Path = (math.inf, 0.0, 0.0, 0.0)
REDUCED_AMONG = 4.0  # NCCL reduces in the switch among more than these
REDUCED_BYTES = 2.0  # narrowest element that switches add
TREE_SHARE = (
    0.92  # of a ring's rate that a tree reaches inside a node (the same factor as in NCCL's own choice of algorithm)
)
_FAR = 1e-3  # a protocol so many times slower counts for nothing
_FIRST, _SECOND, _THIRD = 1.0 / 16.0, 17.0 / 512.0, 561.0 / 24576.0  # of (1 + x)^(-1/16)
FLAG_BYTES, LINE_BYTES = 2.0, 128.0 / 120.0  # bytes over the wire for each byte: 4 of 8, and 120 of 128


@within
def _both(a: float, b: float) -> float:
    """Two stages of a pipeline: the slower, more where they are alike (order 4)."""
    if a <= 0.0 or b <= 0.0:
        return max(a, b)
    share = (min(a, b) / max(a, b)) ** 2
    return max(a, b) * math.sqrt(math.sqrt(1.0 + share * share))


@within
def _sixteenth(share: float) -> float:
    """Sixteenth power."""
    share = max(share, _FAR)
    share *= share
    share *= share
    share *= share
    return share * share


@within
def _root(others: float) -> float:
    """(1 + others)^(-1/16), by a series where that does."""
    if others < 1e-3:
        return 1.0 - others * (_FIRST - others * (_SECOND - others * _THIRD))
    return 1.0 / math.sqrt(math.sqrt(math.sqrt(math.sqrt(1.0 + others))))


@within
def _either(a: float, b: float) -> float:
    """The faster of two protocols, a little less where they are alike (order 16), so that no step shows in between."""
    fast = min(a, b)
    return fast * _root(_sixteenth(fast / max(a, b)))


@within
def _any(a: float, b: float, c: float) -> float:
    """`_either` of three."""
    fast = min(a, b, c)
    middle, slow = max(min(a, b), min(max(a, b), c)), max(a, b, c)
    return fast * _root(_sixteenth(fast / middle) + _sixteenth(fast / slow))


@within
def _ramp(size: float, ramp_bytes: float) -> float:
    """Time over that at full rate: half-filled pipelines cost as if there were sqrt(ramp_bytes * size) more."""
    return 1.0 + math.sqrt(ramp_bytes / size)


@within
def _along(path: Path, ramps: Ramps, p: Row, inverse: float, setup_s: float) -> float:
    """Bulk protocol and those with flags on one path, the better [s], without the launch. inverse: of the share of the rate
    inside that the algorithm reaches; setup_s: of the bulk protocol."""
    wire_in, wire_out = path[0] * inverse, path[1] * ramps[1] * p[NETWORK_EFFICIENCY]
    steps_in, out = path[2], path[3] * p[NETWORK_STEP]
    bulk = setup_s + steps_in * p[STEP] + out + _both(wire_in * ramps[0] * p[EFFICIENCY], wire_out)
    flags = steps_in * p[FLAG_STEP] + out
    line, flag = math.inf, math.inf
    if p[LINE] > 0.0:
        line = p[LINE_CLOCKS] + flags + max(wire_in * p[LINE], LINE_BYTES * wire_out)
    if p[FLAG] > 0.0:
        flag = flags + max(wire_in * p[FLAG], FLAG_BYTES * wire_out)
    return _any(bulk, line, flag)


@within
def _shape(group: Group, p: Row, levels: FloatArray, both: bool) -> Shape:
    """What rings and trees over a group cost on the wires. both: all-reduce. A tree moves every byte up and down; between two
    nodes one half of the bytes goes each way."""
    size, ranks, stride = group
    times = 2.0 if both else 1.0
    per_rank = 1.0 / ranks
    in_s, out_s, in_steps, out_steps = 0.0, 0.0, 0.0, 0.0
    chain_s, tree_s, chain_steps, tree_steps = 0.0, 0.0, 0.0, 0.0
    tiered, reduced, heads, single, part = 0.0, 0.0, 0.0, 0.0, size
    start = 0
    while start < levels.shape[0]:
        inner, outer, rate, steps, latency, stop = crossed(levels, start, (ranks, stride), p[HOST_SHARE])
        if outer > inner:
            members = math.ceil(outer / inner)
            own = p[OWN] if inner == 1.0 else 0.0
            share = size / inner
            unit = share / rate  # once over the wires of the tier
            wire = times * (ranks - 1.0 + own) * per_rank * unit
            trips = times * steps * math.ceil(ranks / outer) * latency
            if p[HIERARCHICAL] > 0.0:
                outside = is_outer(levels[start])
                step, efficiency = (p[NETWORK_STEP], p[NETWORK_EFFICIENCY]) if outside else (p[STEP], p[EFFICIENCY])
                moved = times * (members - 1.0) / members * unit
                tiered += times * steps * latency * step + moved * _ramp(share, p[RAMP]) * efficiency
            if is_outer(levels[start]):
                part = share if out_s == 0.0 else part
                out_s, out_steps = max(out_s, wire), out_steps + trips
                tree_s = max(tree_s, (1.0 if members == 2.0 else 2.0) * unit)
                tree_steps += 2.0 * math.ceil(math.log2(members)) * latency
            else:
                in_s, in_steps = max(in_s, wire), in_steps + trips
                chain_s, chain_steps = max(chain_s, 2.0 * unit), chain_steps + 2.0 * steps * latency
                if inner == 1.0 and levels[start, NETWORK] <= MESH:
                    single = rate if outer == ranks else 0.0
                    if levels[start, REDUCES] > 0.0 and members > REDUCED_AMONG:
                        reduced, heads = unit, members
        start = stop
    ring = (in_s, out_s, in_steps, out_steps)
    tree = (chain_s, tree_s, chain_steps, tree_steps) if both and tree_s > 0.0 else NONE
    return (ring, tree, tiered, (reduced, heads), single, part)


@within
def _direct_s(size: float, ranks: float, rate: float, p: Row) -> float:
    """All-reduce by one kernel: each rank reads all buffers at once, or reduces its part and sends it on (two shots)."""
    fixed = p[DIRECT_CLOCKS] + p[PEER] * (ranks - 1.0)
    moved = (ranks - 1.0) * size / rate
    twice = p[SHOT_CLOCKS] + 2.0 * moved / ranks * p[SHOT_EFFICIENCY]
    return fixed + _either(moved * p[DIRECT_EFFICIENCY], twice)


@within
def ring_like_s(group: Group, p: Row, levels: FloatArray, mode: tuple[bool, float]) -> float:
    """all_reduce, all_gather or reduce_scatter [s]: the best algorithm and protocol. mode: whether it is all_reduce, and the
    bytes of an element."""
    both, element = mode
    size, ranks, _ = group
    ring, tree, tiered, in_switch, single, part = _shape(group, p, levels, both)
    setup = p[BULK]
    inside = _ramp(size, p[RAMP])
    ramps = (inside, inside if part == size else _ramp(part, p[RAMP]))
    best = _along(ring, ramps, p, 1.0, setup)
    bound = max(ring[0], ring[1])
    if tree[0] < math.inf:
        best = min(best, _along(tree, ramps, p, 1.0 / TREE_SHARE, setup))
        bound = min(bound, max(tree[0], tree[1]))
    if p[HIERARCHICAL] > 0.0 and ring[1] > 0.0 and ring[0] > 0.0:
        best = min(best, setup + tiered)
        bound = min(bound, best)
    reduced, heads = in_switch
    if both and reduced > 0.0 and p[REDUCE] > 0.0 and element >= REDUCED_BYTES:
        outside = tree[1] * ramps[1] * p[NETWORK_EFFICIENCY]
        steps = 2.0 * levels[0, LATENCY_S] + tree[3] * p[NETWORK_STEP]
        filled = steps + heads * p[REDUCE_CLOCKS]
        best = min(best, filled + _both(reduced * p[REDUCE], outside))
        bound = min(bound, max(reduced, tree[1]))
    best = p[LAUNCH] + max(best, bound)
    if both and p[DIRECT] > 0.0 and single > 0.0:
        wire = 2.0 * (ranks - 1.0) / ranks * size / single
        best = max(_either(best, _direct_s(size, ranks, single, p)), min(bound, wire))
    return best


@within
def once_a_domain(copies: float, domains: float, inner: float) -> float:
    """Share of what a token's copies would send between domains that is left when each domain gets it once and hands it on:
    expected distinct domains of `copies` random ones, over copies. 1 on the innermost level, where there is nobody to hand on."""
    if copies <= 1.0 or inner <= 1.0 or domains <= 1.0:
        return 1.0
    return float(domains * (1.0 - (1.0 - 1.0 / domains) ** copies) / copies)


@within
def _messages_s(size: float, wires: tuple[float, float], p: Row) -> float:
    """Messages that fill the wires inside and outside for so long, by flags or in bulk [s]."""
    outside = wires[1] * p[NETWORK_EFFICIENCY]
    moving = max(wires[0] * p[EFFICIENCY], outside) * _ramp(size, p[RAMP])
    setup = p[BULK]
    best = math.sqrt(setup * setup + moving * moving)
    if p[FLAG] > 0.0:
        best = _either(best, max(wires[0] * p[FLAG], FLAG_BYTES * outside))
    return max(best, wires[0], wires[1])


@within
def all_to_all_s(group: Group, copies: float, p: Row, levels: FloatArray) -> float:
    """Every rank sends size/ranks bytes to every rank, its own share included [s]; levels work side by side. On an axis of
    s a byte travels s/4 links on average (s/2 load on the middle link without wrap). Hierarchical: bytes for one node go there
    together, after an exchange inside the node of the sender."""
    size, ranks, stride = group
    wire_in, wire_out, latency, inner = 0.0, 0.0, 0.0, 1.0
    nearest, regroup, below_s = 1.0, 0.0, 0.0
    for level in range(levels.shape[0]):
        outer = max(reach(levels, level, ranks, stride), inner)
        if math.ceil(outer / inner) > 1.0:
            row = levels[level]
            rate = level_rate(row, (outer, inner), p[HOST_SHARE])
            sent = size * (outer - inner) / ranks * once_a_domain(copies, ranks / inner, inner)
            sent += size / ranks * p[OWN] if inner == 1.0 else 0.0
            if is_axis(row):
                sent = size * math.ceil(outer / inner) / 4.0
            if is_outer(row):
                wire_out = max(wire_out, sent / rate)
                latency = max(latency, row[LATENCY_S] * p[NETWORK_STEP])
                if level > 0:  # what changes rails crosses the network inside too
                    below_s += sent * off_rail(row, stride, inner) / levels[level - 1, BYTES_PER_S]
                    wire_in = max(wire_in, below_s)
            else:
                hops = math.ceil(outer / inner) / 2.0 if is_axis(row) else 1.0
                latency = max(latency, row[LATENCY_S] * hops * p[STEP])
                below_s = sent / rate
                wire_in = max(wire_in, below_s)
                nearest = outer
                regroup = max(regroup, (sent if is_axis(row) else size * (outer - inner) / outer) / rate)
        inner = outer
    flat = p[PEER] * (ranks - 1.0) + latency + _messages_s(size, (wire_in, wire_out), p)
    if p[HIERARCHICAL] > 0.0 and 1.0 < nearest < ranks and copies <= 1.0:
        peers = p[PEER] * (nearest + ranks / nearest - 2.0)
        first = _messages_s(size, (regroup, 0.0), p)
        flat = min(flat, peers + latency + first + _messages_s(size, (0.0, wire_out), p))
    return p[LAUNCH] + flat


@within
def send_recv_s(group: Group, p: Row, levels: FloatArray) -> float:
    """One message to the next member of the group [s], over the innermost level that holds both; between rails it crosses the
    network inside first."""
    size, ranks, stride = group
    for level in range(levels.shape[0]):
        if reach(levels, level, ranks, stride) > 1.0:
            row = levels[level]
            rate = level_rate(row, (2.0, 1.0), p[HOST_SHARE])
            if is_axis(row):
                rate = row[BYTES_PER_S] / row[OVERSUBSCRIPTION] / 2.0  # one of the two links of the axis
            wire, latency, inside = size / rate, row[LATENCY_S] * p[STEP], 0.0
            if is_outer(row):
                latency = row[LATENCY_S] * p[NETWORK_STEP]
                if level > 0 and off_rail(row, stride, 1.0) > 0.0:
                    inside = size / levels[level - 1, BYTES_PER_S]
                    latency += levels[level - 1, LATENCY_S] * p[STEP]
                return float(p[LAUNCH] + latency + _messages_s(size, (inside, wire), p))
            return float(p[LAUNCH] + latency + _messages_s(size, (wire, 0.0), p))
    return 0.0


@within
def ready(p: Row, clock_hz: float, out: FloatArray) -> None:
    """Parameters as the formulas want them, which all launches of a kind have in common: clocks as seconds and efficiencies
    as their inverses (0: no such protocol)."""
    for column in range(len(out)):
        out[column] = p[column]
    for column in (LAUNCH, BULK, LINE_CLOCKS, REDUCE_CLOCKS, PEER, DIRECT_CLOCKS, SHOT_CLOCKS):
        out[column] = p[column] / clock_hz
    for column in (EFFICIENCY, NETWORK_EFFICIENCY, FLAG, LINE, REDUCE, DIRECT_EFFICIENCY, SHOT_EFFICIENCY):
        out[column] = 1.0 / p[column] if p[column] > 0.0 else 0.0


@inline
def collective_s(which: tuple[int, float], d: Row, p: Row, levels: FloatArray) -> float:
    """Time of a collective [s]. which: 0 all_reduce, 1 all_gather, 2 reduce_scatter, 3 all_to_all, 4 send_recv; bytes of an
    element. p: parameters, `ready`. d: bytes, ranks, stride, skew (busiest rank over the mean), copies (all_to_all:
    destinations of a token; 0 = unrelated bytes)."""
    group = (d[0] * max(d[3], 1.0), d[1], max(d[2], 1.0))
    if d[1] <= 1.0 or d[0] <= 0.0:
        return 0.0
    if which[0] == 3:
        return all_to_all_s(group, d[4], p, levels)
    if which[0] == 4:
        return send_recv_s(group, p, levels)
    return ring_like_s(group, p, levels, (which[0] == 0, which[1]))
