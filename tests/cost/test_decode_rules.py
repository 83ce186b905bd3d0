"""Decode: into how many parts a stack splits a KV range, when heads are worked on alone, and how waves add up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cost import Machine, seconds_of

from .machines import CLOCK, build

UNITS = 100  # of the machine of these tests
BARE = {
    "launch_clocks": 0.0,
    "efficiency": 1.0,
    "memory_efficiency": 1.0,
    "norm": 12.0,
    "item_clocks": 10_000.0,
    "item_size_clocks": 0.0,
    "head_clocks": 0.0,
    "sequence_clocks": 0.0,
    "split_clocks": 0.0,
    "part_clocks": 0.0,
    "unit_bytes_per_clock": 1e9,
    "reach": 1.0,
}
RULE = {"part_waves": 8.0, "part_tokens": 128.0, "part_root": 8.0}


def machine_of(**changes: float) -> Machine:
    return build("tiles", {"attention_decode": {**BARE, **changes}})


def clocks(found: Machine, batch: int, kv: int, heads: int = 4, kv_heads: int = 1) -> float:
    return seconds_of("attention_decode", batch, kv, heads, kv_heads, 64, 64, 128, machine=found) * CLOCK


@pytest.mark.parametrize(
    ("kv", "parts"),
    [(64, 1), (128, 1), (256, 2), (1024, 8), (2048, 128**0.5), (4096, 8)],
)
def test_parts_are_as_many_as_tokens_their_root_and_the_waves_allow(kv: int, parts: float) -> None:
    """Where an item costs all, a wave of parts costs an item: UNITS items in `parts` parts take so many waves."""
    found = clocks(machine_of(**RULE), UNITS, kv)
    assert found == pytest.approx(min(parts, 8.0) * BARE["item_clocks"], rel=0.25)


def test_a_kv_range_twice_as_long_takes_twice_the_waves_where_the_rule_splits_it_though_units_are_full() -> None:
    ruled, fastest = machine_of(**RULE), machine_of()
    assert clocks(ruled, UNITS, 256) == pytest.approx(2 * clocks(ruled, UNITS, 128), rel=0.1)
    assert clocks(fastest, UNITS, 256) == pytest.approx(clocks(fastest, UNITS, 128), rel=0.1)


def test_parts_that_are_not_worth_their_sum_are_not_made() -> None:
    dear = machine_of(**RULE, part_clocks=1e12)
    assert clocks(dear, UNITS, 256) == pytest.approx(clocks(machine_of(), UNITS, 256))


def test_few_parts_leave_heads_to_be_worked_on_alone() -> None:
    alone = {"alone_item_clocks": 500_000.0}
    rule, never = machine_of(alone_below=0.25, **alone), machine_of(**alone)
    few, many = UNITS // 4 - 1, UNITS // 4
    assert clocks(rule, few, 64) > 10 * clocks(never, few, 64)
    assert clocks(rule, few, 256) == clocks(never, few, 256)
    assert clocks(rule, many, 64) == clocks(never, many, 64)


def test_split_ranges_of_heads_alone_cost_their_sum() -> None:
    alone = {"fewest_heads": 2.0, "alone_item_clocks": 0.0, "alone_values_per_clock": 1.0}
    added = [
        clocks(machine_of(**alone, alone_split_clocks=value), 1, 65536, heads=1)
        - clocks(machine_of(**alone, alone_split_clocks=0.0), 1, 65536, heads=1)
        for value in (1000.0, 20_000.0)
    ]
    assert added == pytest.approx([1000.0, 20_000.0], rel=0.01)


def test_items_contend_before_they_fill_a_wave_and_add_up_beyond() -> None:
    ramp = machine_of(ramp=2.0, split_heads=1000.0)
    for share, waves in ((0.5, 1.25**0.5), (1.0, 2**0.5), (8.0, 65**0.5)):
        assert clocks(ramp, int(share * UNITS), 2) == pytest.approx(waves * BARE["item_clocks"], rel=0.02)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 600), st.integers(1, 9000), st.integers(1, 16)),
    more=st.integers(1, 300),
    waves=st.sampled_from([0.9, 1.0, 2.0, 8.0]),
)
def test_time_under_a_rule_never_falls_with_longer_kv(shape: tuple[int, int, int], more: int, waves: float) -> None:
    found = machine_of(part_waves=waves, part_clocks=200.0, split_clocks=2000.0, ramp=2.0, part_root=8.0)
    batch, kv, group = shape
    assert clocks(found, batch, kv + more, heads=group) >= clocks(found, batch, kv, heads=group) * (1 - 1e-12)
