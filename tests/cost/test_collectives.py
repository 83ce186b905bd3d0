"""Collectives: closed forms at large sizes, what each network does to them, monotony."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cost import Machine, seconds_of

from .machines import CLOCK, build

UP, OUT = 4e11, 5e10
RINGS = ("all_reduce", "all_gather", "reduce_scatter")
ALL = (*RINGS, "all_to_all")
PLAIN = {
    "efficiency": 1.0,
    "network_efficiency": 1.0,
    "network_hops": 1.0,
    "ramp_bytes": 1e-9,
    "launch_clocks": 1000.0,
    "reduce_efficiency": 0.0,
    "host_share": 0.5,
}
HUGE = 1e12


def machine_of(*tiers: dict[str, Any], ranks: int = 1, **changes: float) -> Machine:
    parameters = {kind: {**PLAIN, **changes} for kind in (*ALL, "send_recv")}
    return build("tiles", parameters, tiers, ranks=ranks)


def one(kind: str, size: int = 8, rate: float = UP, **more: Any) -> dict[str, Any]:
    return {"name": "only", "kind": kind, "size": size, "bandwidth_bytes_per_s": rate, **more}


def time(machine: Machine, kind: str, size: float = HUGE, ranks: int = 8, stride: int = 1) -> float:
    return seconds_of(kind, size, ranks, stride, 1, machine=machine)


@pytest.mark.parametrize(("kind", "passes"), [("all_reduce", 2), ("all_gather", 1), ("reduce_scatter", 1)])
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_a_ring_moves_its_share_of_the_bytes_over_the_link(kind: str, passes: int, ranks: int) -> None:
    expected = passes * (ranks - 1) / ranks * HUGE / UP
    assert time(machine_of(), kind, ranks=ranks) == pytest.approx(expected, rel=1e-4)


def test_all_to_all_sends_all_but_its_own_share() -> None:
    assert time(machine_of(), "all_to_all") == pytest.approx(7 / 8 * HUGE / UP, rel=1e-4)


def test_a_token_for_several_experts_of_one_node_crosses_the_network_once() -> None:
    machine = machine_of()
    apart = seconds_of("all_to_all", HUGE, 32.0, 1.0, 1.0, 0.0, machine=machine)
    together = seconds_of("all_to_all", HUGE, 32.0, 1.0, 1.0, 8.0, machine=machine)
    assert together / apart == pytest.approx(
        4 * (1 - (3 / 4) ** 8) / 8, rel=1e-3
    )  # distinct ones of four nodes, eight draws
    within = [seconds_of("all_to_all", HUGE, 8.0, 1.0, 1.0, copies, machine=machine) for copies in (0.0, 8.0)]
    assert within[0] == within[1]  # inside a node every copy goes by itself


def test_a_small_ring_takes_its_steps() -> None:
    machine = machine_of(one("switch"))
    assert time(machine, "all_gather", 8.0) == pytest.approx(1e-6 + 7 * 1e-6, rel=1e-3)
    assert time(machine, "all_reduce", 8.0) == pytest.approx(1e-6 + 14 * 1e-6, rel=1e-3)


def test_one_rank_alone_takes_no_time() -> None:
    assert time(machine_of(), "all_reduce", ranks=1) == 0.0


@settings(max_examples=60, deadline=None)
@given(size=st.floats(1.0, 1e12), ranks=st.sampled_from([2, 4, 8, 16, 64, 512]), stride=st.sampled_from([1, 2, 8]))
@pytest.mark.parametrize("kind", ALL)
def test_bus_bandwidth_never_exceeds_the_links_that_a_node_has(kind: str, size: float, ranks: int, stride: int) -> None:
    factor = (2.0 if kind == "all_reduce" else 1.0) * (ranks - 1) / ranks
    assert factor * size / time(machine_of(direct=1.0), kind, size, ranks, stride) <= UP * (1 + 1e-9)


def test_a_switch_that_reduces_exceeds_the_link_rate_as_bus_bandwidth() -> None:
    machine = machine_of(one("switch", reduces=True), reduce_efficiency=0.62, reduce_clocks=0.0)
    busbw = 2 * 7 / 8 * HUGE / time(machine, "all_reduce")
    assert busbw == pytest.approx(2 * 7 / 8 * 0.62 * UP, rel=1e-3)
    assert busbw > UP


def test_a_direct_kernel_beats_the_ring_on_small_messages_only() -> None:
    ring, shot = (
        machine_of(one("switch")),
        machine_of(one("switch"), direct=1.0, direct_clocks=1500.0, shot_clocks=750.0),
    )
    assert time(shot, "all_reduce", 1e4) < 0.3 * time(ring, "all_reduce", 1e4)
    assert time(shot, "all_reduce") == pytest.approx(time(ring, "all_reduce"), rel=1e-4)


def test_a_tree_over_nodes_beats_the_ring_on_small_messages() -> None:
    nodes = ({**one("switch"), "name": "up"}, {"name": "out", "kind": "switch", "bandwidth_bytes_per_s": OUT})
    assert time(machine_of(*nodes), "all_reduce", 1e3, ranks=4096) < 200e-6  # a ring of 512 nodes alone: 4 ms


def test_over_nodes_every_rank_brings_its_own_port() -> None:
    out = {"name": "out", "kind": "switch", "bandwidth_bytes_per_s": OUT}
    machine = machine_of({**one("switch", rate=100 * OUT), "name": "up"}, out, hierarchical=0.0)
    across = time(machine, "all_gather", ranks=16)
    assert across == pytest.approx(15 / 16 * HUGE / (8 * OUT), rel=0.02)
    strided = time(machine, "all_reduce", ranks=16, stride=8)  # one rank of each node
    assert strided == pytest.approx(2 * 15 / 16 * HUGE / OUT, rel=0.02)


def test_oversubscription_slows_only_what_crosses_that_tier() -> None:
    def tiers(ratio: float) -> tuple[dict[str, Any], ...]:
        pod = {"name": "pod", "kind": "switch", "size": 64, "bandwidth_bytes_per_s": OUT}
        spine = {"name": "spine", "kind": "switch", "bandwidth_bytes_per_s": OUT, "oversubscription": ratio}
        return {**one("switch"), "name": "up"}, pod, spine

    plain, narrow = machine_of(*tiers(1.0)), machine_of(*tiers(7.0))
    for kind in ALL:
        assert time(narrow, kind, ranks=64) == time(plain, kind, ranks=64)
        crossing = time(plain, kind, ranks=8, stride=64)
        assert time(narrow, kind, ranks=8, stride=64) == pytest.approx(7 * crossing, rel=1e-3)


def test_on_a_mesh_a_pair_has_one_link_and_all_have_all() -> None:
    machine = machine_of(one("mesh"))
    assert time(machine, "all_reduce", ranks=2) == pytest.approx(HUGE / (UP / 7), rel=1e-4)
    assert time(machine, "all_reduce", ranks=8) == pytest.approx(2 * 7 / 8 * HUGE / UP, rel=1e-4)
    assert time(machine, "send_recv", ranks=2) == pytest.approx(HUGE / (UP / 7), rel=1e-4)


def test_a_torus_uses_all_its_axes_and_an_axis_without_wrap_has_half() -> None:
    square = one("torus", 16, dims=({"size": 4}, {"size": 4}))
    machine = machine_of(square)
    assert time(machine, "all_gather", ranks=16) == pytest.approx(15 / 16 * HUGE / UP, rel=1e-4)
    assert time(machine, "all_gather", ranks=4) == pytest.approx(3 / 4 * HUGE / (UP / 2), rel=1e-4)
    open_ = one("torus", 16, dims=({"size": 4, "wrap": False}, {"size": 4, "wrap": False}))
    assert time(machine_of(open_), "all_gather", ranks=16) == pytest.approx(2 * 15 / 16 * HUGE / UP, rel=1e-4)
    assert time(machine, "all_gather", ranks=2) == pytest.approx(1 / 2 * HUGE / (UP / 4), rel=1e-4)  # a line of two


def test_all_to_all_on_a_torus_is_bound_by_the_longest_axis() -> None:
    wide = machine_of(one("torus", 64, dims=({"size": 16}, {"size": 4})))
    assert time(wide, "all_to_all", ranks=64) == pytest.approx(HUGE * 16 / 4 / (UP / 2), rel=1e-3)


def test_bytes_between_two_host_ports_cross_both() -> None:
    assert time(machine_of(one("host")), "all_gather") == pytest.approx(2 * 7 / 8 * HUGE / UP, rel=1e-4)


def test_ranks_of_one_chip_share_its_ports() -> None:
    split = machine_of(one("switch"), ranks=2)
    assert time(split, "all_reduce", ranks=16) == pytest.approx(2 * 15 / 16 * HUGE / UP, rel=0.1)
    assert time(split, "all_reduce", ranks=8, stride=2) == pytest.approx(2 * 7 / 8 * HUGE / (UP / 2), rel=1e-3)


def test_a_busier_rank_holds_the_others_up() -> None:
    machine = machine_of()
    even = seconds_of("all_to_all", HUGE, 8, 1, 1.0, machine=machine)
    assert seconds_of("all_to_all", HUGE, 8, 1, 1.5, machine=machine) == pytest.approx(1.5 * even, rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(
    size=st.floats(1.0, 1e11),
    more=st.floats(1.0, 1e10),
    ranks=st.sampled_from([2, 3, 8, 12, 64, 1000]),
    stride=st.sampled_from([1, 2, 8, 16]),
    latency=st.floats(1e-7, 1e-4),
)
@pytest.mark.parametrize("kind", (*ALL, "send_recv"))
def test_time_never_falls_when_bytes_or_latency_grow(
    kind: str, size: float, more: float, ranks: int, stride: int, latency: float
) -> None:
    def tiers(latency_s: float) -> tuple[dict[str, Any], ...]:
        out = {"name": "out", "kind": "switch", "bandwidth_bytes_per_s": OUT, "latency_s": 2 * latency_s}
        return {**one("switch", reduces=True), "name": "up", "latency_s": latency_s}, out

    machine = machine_of(*tiers(latency), direct=1.0, ramp_bytes=1e6, reduce_efficiency=0.6)
    slower = machine_of(*tiers(2 * latency), direct=1.0, ramp_bytes=1e6, reduce_efficiency=0.6)
    base = time(machine, kind, size, ranks, stride)
    assert time(machine, kind, size + more, ranks, stride) >= base
    assert time(slower, kind, size, ranks, stride) >= base
    assert base >= 1000 / CLOCK
