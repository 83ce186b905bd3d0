"""What a group of ranks finds of the network: members by level, rates, hops, flows that share an uplink.

docs/cost.md section 6. A group is `ranks` ranks that stand `stride` apart in rank order.
"""

from __future__ import annotations

import math

from ..jit import within
from .machine import (
    BYTES_PER_S,
    DOMAIN,
    HOST,
    LATENCY_S,
    MESH,
    NETWORK,
    OVERSUBSCRIPTION,
    RAILS,
    RANKS,
    RING,
    SWITCH,
    TIER,
    TORUS,
    UPLINKS,
    WRAP,
    FloatArray,
    Row,
)

# members inside and outside a tier, bytes a second, steps of a ring, latency of a step, first level of the next tier
Tier = tuple[float, float, float, float, float, int]


@within
def reach(levels: FloatArray, level: int, ranks: float, stride: float) -> float:
    """Members of a group inside one domain of a level; the outermost level holds them all."""
    if level < 0:
        return 1.0
    if level == levels.shape[0] - 1:
        return ranks
    return float(min(ranks, max(1.0, math.floor(levels[level, RANKS] / stride))))


@within
def is_axis(row: Row) -> bool:
    """An axis of a torus, or a ring."""
    return TORUS <= row[NETWORK] <= RING


@within
def is_outer(row: Row) -> bool:
    """A switch outside the scale-up network: NICs and host proxies stand between."""
    return row[NETWORK] == SWITCH and row[TIER] > 0.0


@within
def busiest(flows: float, links: float) -> float:
    """Expected flows on the busiest of equal links when each flow is hashed onto one: balls in bins, loads as independent
    Poisson. Between flows/links and flows."""
    mean = flows / links
    if flows <= 1.0 or links <= 1.0:
        return max(mean, 1.0)
    if mean > 200.0:  # Gaussian loads
        return min(flows, mean + math.sqrt(2.0 * mean * math.log(links)))
    term = math.exp(-mean)
    below, expected, load = term, 0.0, 0.0
    while load < flows and (below < 1.0 - 1e-9 or load < mean):
        expected += 1.0 - below**links
        load += 1.0
        term *= mean / load
        below += term
    return float(min(max(expected, mean, 1.0), flows))


@within
def collisions(flows: float, uplinks: float) -> float:
    """Time over that of evenly spread flows. uplinks: equal-cost links of a leaf that flows are hashed onto; 0 = sprayed."""
    if uplinks <= 0.0:
        return 1.0
    return float(busiest(flows, uplinks) / max(flows / uplinks, 1.0))


@within
def level_rate(row: Row, sizes: tuple[float, float], p_host: float) -> float:
    """Bytes a second that a rank can send into a level. sizes: members of the group inside it, and one level deeper; links
    to those that do not take part are idle."""
    rate = row[BYTES_PER_S] / row[OVERSUBSCRIPTION]
    members = math.ceil(sizes[0] / sizes[1])
    network = row[NETWORK]
    if network == MESH:
        return rate * min(1.0, (members - 1.0) / max(row[DOMAIN] - 1.0, 1.0))
    if is_axis(row):
        return rate if row[WRAP] > 0.0 and members % row[WRAP] == 0.0 else rate / 2.0
    if network == HOST:
        return rate * p_host
    return rate / collisions(sizes[1], row[UPLINKS]) if is_outer(row) else rate


@within
def off_rail(row: Row, stride: float, inner: float) -> float:
    """Share of the bytes sent into a level whose receiver sits on another rail, so that they first cross the network inside:
    all where one rank of a node meets one of another place, all but 1/inner where every place talks to every place."""
    if row[RAILS] <= 1.0:
        return 0.0
    if inner > 1.0:
        return 1.0 - 1.0 / inner
    return 0.0 if stride % row[RAILS] == 0.0 else 1.0


@within
def crossed(levels: FloatArray, start: int, group: tuple[float, float], p_host: float) -> Tier:
    """What a group (ranks, stride) finds in the tier whose first level is `start`; axes of a torus work side by side."""
    ranks, stride = group
    inner = reach(levels, start - 1, ranks, stride)
    outer = inner
    rate, steps, latency = 0.0, 0.0, 0.0
    stop = start
    while stop < levels.shape[0] and levels[stop, TIER] == levels[start, TIER]:
        now = max(reach(levels, stop, ranks, stride), outer)
        if now > outer:
            rate += level_rate(levels[stop], (now, outer), p_host)
            latency = levels[stop, LATENCY_S]
            steps += (now if outer == 1.0 else math.ceil(now / outer)) - 1.0
        outer = now
        stop += 1
    return (inner, outer, rate, steps, latency, stop)
