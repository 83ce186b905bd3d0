"""Memory passes, gathers, optimizer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cost import seconds_of
from sim.cost.memory import cached_share

from .machines import CLOCK, MEMORY_RATE, build


def test_a_large_pass_takes_its_bytes_over_the_memory_rate() -> None:
    machine = build(parameters={"memory": {"memory_efficiency": 0.9, "launch_clocks": 1000.0}})
    assert seconds_of("memory", 4e10, 0, 1, machine=machine) == pytest.approx(1e-6 + 4e10 / (MEMORY_RATE * 0.9))


def test_an_empty_pass_takes_its_launches() -> None:
    machine = build(parameters={"memory": {"launch_clocks": 1000.0}})
    assert seconds_of("memory", 0, 0, 3, machine=machine) == pytest.approx(3000 / CLOCK)


def test_a_pass_of_much_arithmetic_takes_its_vector_operations() -> None:
    machine = build(parameters={"memory": {"launch_clocks": 0.0, "vector_efficiency": 0.5}})
    assert seconds_of("memory", 1e6, 1e12, 1, machine=machine) == pytest.approx(1e12 / (5e13 * 0.5))


@given(held=st.floats(1.0, 1e9), table=st.floats(2.0, 1e10), skew=st.floats(0.0, 2.0), more=st.floats(1.0, 100.0))
def test_a_larger_cache_hits_more_and_a_larger_table_less(held: float, table: float, skew: float, more: float) -> None:
    share = cached_share(held, table, skew)
    assert 0.0 <= share <= 1.0
    assert cached_share(held * more, table, skew) >= share - 1e-9
    assert cached_share(held, table * more, skew) <= share + 1e-9


def test_even_access_hits_as_often_as_the_cache_is_part_of_the_table() -> None:
    assert cached_share(1e6, 1e8, 0.0) == pytest.approx(0.01, rel=1e-3)


def test_a_skewed_gather_is_faster_because_popular_rows_stay_in_sram() -> None:
    machine = build(parameters={"gather": {"launch_clocks": 0.0, "cache_share": 0.5, "memory_efficiency": 0.5}})
    even = seconds_of("gather", 1e6, 128, 1e11, 0.0, machine=machine)
    assert even == pytest.approx(1e6 * 128 / (MEMORY_RATE * 0.5), rel=0.01)
    assert seconds_of("gather", 1e6, 128, 1e11, 1.05, machine=machine) < 0.6 * even


def test_an_offloaded_optimizer_takes_the_host_port() -> None:
    machine = build(parameters={"optimizer": {"launch_clocks": 0.0, "memory_efficiency": 1.0, "host_efficiency": 0.8}})
    assert seconds_of("optimizer", 1e9, 16, 0, machine=machine) == pytest.approx(16e9 / MEMORY_RATE)
    assert seconds_of("optimizer", 1e9, 16, 1, machine=machine) == pytest.approx(16e9 / 4e10, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(size=st.floats(1.0, 1e11), more=st.floats(1.0, 1e10), share=st.sampled_from([0.0, 0.5]))
def test_time_never_falls_when_bytes_grow(size: float, more: float, share: float) -> None:
    machine = build(parameters={"memory": {"cache_share": share}})
    assert seconds_of("memory", size + more, 0, 1, machine=machine) >= seconds_of("memory", size, 0, 1, machine=machine)
