"""What networks do to collectives: hash collisions, rails, and bounds that hold on every cluster of the catalogue."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.library import default_library
from sim.cost import Machine, machine, seconds_of_rows
from sim.cost.machine import (
    BYTES_PER_S,
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
)
from sim.lowering.kernels import DTYPE_IDS
from sim.lowering.kinds import KIND_IDS

from .test_collectives import ALL, HUGE, OUT, machine_of, one, time

CASES = 10_000
KINDS = (*ALL, "send_recv")


@lru_cache(maxsize=1)
def clusters() -> dict[str, Machine]:
    """Every cluster of the catalogue, as its chip's usual stack prices it."""
    library = default_library()
    found = {}
    for entry in library.entries("cluster"):
        cluster = library.cluster(entry.id)
        chip = library.chip(cluster.chip)
        family = library.family(chip.family)
        stack = library.stack(family.default_training_stack)
        found[entry.id] = machine(chip, family, library.calibration(chip, stack), cluster)
    return found


def price(packed: Machine, kinds: Any, dims: Any, dtype: str = "bf16") -> Any:
    """Seconds of rows [n]: kinds by name, dims [n, 5]."""
    n = len(kinds)
    table = np.zeros((n, 8))
    table[:, : dims.shape[1]] = dims
    ids = np.array([KIND_IDS[kind] for kind in kinds], np.int16)
    formats = np.full(n, DTYPE_IDS[dtype], np.int16)
    return seconds_of_rows(ids, formats, formats, table, packed)


def drawn(name: str, n: int) -> tuple[Any, Any]:
    """Random kinds and dims of groups, sizes and ranks drawn evenly in their logarithm."""
    stream = np.random.default_rng(list(name.encode()))
    kinds = stream.choice(KINDS, n)
    size = np.exp(stream.uniform(np.log(64.0), np.log(1e11), n))
    ranks = np.round(np.exp(stream.uniform(np.log(2.0), np.log(600.0), n)))
    stride = stream.choice([1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0], n)
    return kinds, np.stack((size, ranks, stride, np.ones(n), np.zeros(n)), 1)


def reach(levels: Any, level: int, ranks: float, stride: float) -> float:
    if level < 0:
        return 1.0
    last = level == len(levels) - 1
    return ranks if last else float(min(ranks, max(1.0, levels[level, RANKS] // stride)))


def wire_bound(packed: Machine, kind: str, size: float, ranks: float, stride: float) -> float:
    """Seconds that no algorithm can beat: what the members of each domain must send out of it, over their ports."""
    levels, bound, level, inner = packed.levels, 0.0, 0, 1.0
    while level < len(levels):
        start, rate, domain = level, 0.0, inner
        outer = inner
        while level < len(levels) and levels[level, TIER] == levels[start, TIER]:
            now = max(reach(levels, level, ranks, stride), outer)
            members = math.ceil(now / outer)
            if members > 1:
                row = levels[level]
                here = row[BYTES_PER_S] / row[OVERSUBSCRIPTION]
                if row[NETWORK] == MESH:
                    here *= min(1.0, (members - 1) / max(row[DOMAIN] - 1, 1))
                if TORUS <= row[NETWORK] <= RING and not (row[WRAP] > 0 and members % row[WRAP] == 0):
                    here /= 2.0
                if row[NETWORK] == HOST:
                    here /= 2.0
                if kind == "all_to_all":
                    sent = size * (now - outer) / ranks
                    bound = max(bound, (size * members / 4 if TORUS <= row[NETWORK] <= RING else sent) / here)
                rate += here
            outer, level = now, level + 1
        if outer > domain and kind in ("all_reduce", "all_gather", "reduce_scatter"):
            members = math.ceil(outer / domain)
            passes = 2.0 if kind == "all_reduce" else 1.0
            share = passes * (members - 1) / members
            if kind == "all_reduce" and levels[start, REDUCES] > 0:
                share = min(share, 1.0)
            bound = max(bound, share * size / domain / rate)
        inner = outer
    return bound


def test_ten_thousand_random_collectives_keep_to_the_wires_of_every_cluster() -> None:
    machines = clusters()
    each = CASES // len(machines) + 1
    for name, packed in machines.items():
        kinds, dims = drawn(name, each)
        times = price(packed, kinds, dims)
        bounds = np.array([wire_bound(packed, kind, *row[:3]) for kind, row in zip(kinds, dims, strict=True)])
        worst = int(np.argmin(times - bounds * (1 - 1e-9)))
        assert np.all(times >= bounds * (1 - 1e-9)), (name, kinds[worst], dims[worst], times[worst], bounds[worst])


def test_ten_thousand_random_collectives_never_get_faster_by_more_bytes_latency_or_crossing() -> None:
    machines = clusters()
    each = CASES // len(machines) + 1
    for name, packed in machines.items():
        kinds, dims = drawn(name, each)
        base = price(packed, kinds, dims) * (1 - 1e-9)
        more = dims.copy()
        more[:, 0] *= 1.37
        assert np.all(price(packed, kinds, more) >= base), name
        for column, factor in ((LATENCY_S, 2.0), (OVERSUBSCRIPTION, 3.0), (BYTES_PER_S, 0.5)):
            levels = packed.levels.copy()
            levels[-1, column] *= factor
            assert np.all(price(packed._replace(levels=levels), kinds, dims) >= base), (name, column)


def test_oversubscription_of_the_outermost_tier_leaves_groups_inside_alone() -> None:
    for name, packed in clusters().items():
        kinds, dims = drawn(name, 300)
        inside = np.array([reach(packed.levels, len(packed.levels) - 2, r, s) >= r for r, s in dims[:, 1:3]])
        levels = packed.levels.copy()
        levels[-1, OVERSUBSCRIPTION] *= 7.0
        before, after = (price(m, kinds[inside], dims[inside]) for m in (packed, packed._replace(levels=levels)))
        assert np.array_equal(before, after), name


def test_small_messages_are_continuous_across_protocols() -> None:
    """A thousandth more bytes never costs more than a thousandth more time and a little: no step where protocols change."""
    for name, packed in clusters().items():
        kinds, dims = drawn(name, 300)
        more = dims.copy()
        more[:, 0] *= 1.001
        assert np.all(price(packed, kinds, more) <= price(packed, kinds, dims) * 1.0011), name


def uplinked(uplinks: int | None, rails: bool = False) -> Machine:
    out = {"name": "out", "kind": "switch", "bandwidth_bytes_per_s": OUT, "uplinks": uplinks, "rails": rails}
    return machine_of({**one("switch", rate=100 * OUT), "name": "up"}, out)


@pytest.mark.parametrize("uplinks", [2, 4, 8, 32])
def test_hashed_flows_wait_for_the_busiest_uplink_and_sprayed_ones_do_not(uplinks: int) -> None:
    stream = np.random.default_rng(0)
    draws = stream.integers(0, uplinks, (20_000, 8))
    loads = np.stack([(draws == link).sum(1) for link in range(uplinks)]).max(0)
    expected = loads.mean() / max(8 / uplinks, 1.0)
    slower = time(uplinked(uplinks), "all_gather", ranks=64) / time(uplinked(None), "all_gather", ranks=64)
    assert slower == pytest.approx(expected, rel=0.07)
    assert time(uplinked(uplinks), "all_gather", ranks=8) == time(uplinked(None), "all_gather", ranks=8)
    assert time(uplinked(1), "all_gather", ranks=64) == time(uplinked(None), "all_gather", ranks=64)


def test_equal_places_share_a_rail_and_others_cross_the_node_first() -> None:
    plain, railed = uplinked(None), uplinked(None, rails=True)
    same, other = (time(railed, "send_recv", 1e9, 2, stride) for stride in (16, 12))
    assert same == time(plain, "send_recv", 1e9, 2, 16)
    assert other > time(plain, "send_recv", 1e9, 2, 12)
    everyone = [time(each, "all_to_all", HUGE, 64) for each in (plain, railed)]
    assert everyone[1] == everyone[0]  # the network is slower than what changes rails inside
    slow_inside = {"kind": "switch", "size": 8, "name": "up", "bandwidth_bytes_per_s": OUT}
    out = {"name": "out", "kind": "switch", "bandwidth_bytes_per_s": OUT}
    both = [time(machine_of(slow_inside, {**out, "rails": rails}), "all_to_all", HUGE, 64) for rails in (False, True)]
    assert both[0] == pytest.approx(56 / 64 * HUGE / OUT, rel=1e-3)
    assert both[1] == pytest.approx((7 / 64 + 56 / 64 * 7 / 8) * HUGE / OUT, rel=1e-3)


def test_a_hierarchical_exchange_is_chosen_where_peers_are_many() -> None:
    flat = time(machine_of(hierarchical=0.0, peer_clocks=1000.0), "all_to_all", 1e5, 512)
    both = time(machine_of(hierarchical=1.0, peer_clocks=1000.0), "all_to_all", 1e5, 512)
    assert flat > 511e-6
    assert both < 100e-6


def test_between_two_nodes_a_tree_sends_half_of_what_a_ring_does() -> None:
    out = {"name": "out", "kind": "switch", "bandwidth_bytes_per_s": OUT}
    machine = machine_of({**one("switch", rate=100 * OUT), "name": "up"}, out, hierarchical=0.0)
    two, four = (time(machine, "all_reduce", ranks=ranks) for ranks in (16, 32))
    assert two == pytest.approx(HUGE / (8 * OUT), rel=0.02)  # a tree
    assert four == pytest.approx(2 * 31 / 32 * HUGE / (8 * OUT), rel=0.02)  # a ring


def test_the_order_of_ranks_changes_the_time() -> None:
    near, far = (time(machine_of(), "all_reduce", 1e8, 8, stride) for stride in (1, 8))
    assert far > 5 * near


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(ALL), size=st.floats(1e3, 1e11), ranks=st.sampled_from([2, 3, 4, 5, 6, 7]))
def test_more_ranks_on_the_same_link_are_never_faster(kind: str, size: float, ranks: int) -> None:
    machine = machine_of(one("switch"))
    assert time(machine, kind, size, ranks + 1) >= time(machine, kind, size, ranks) * (1 - 1e-9)


def test_one_byte_integers_are_not_added_in_the_switch() -> None:
    machine = machine_of(one("switch", reduces=True), reduce_efficiency=0.7, reduce_clocks=0.0)
    dims = np.array([[HUGE, 8.0, 1.0, 1.0, 0.0]])
    assert price(machine, ["all_reduce"], dims, "int8") == pytest.approx(2 * 7 / 8 * HUGE / 4e11, rel=1e-3)
    assert price(machine, ["all_reduce"], dims)[0] == pytest.approx(HUGE / (0.7 * 4e11), rel=1e-3)
