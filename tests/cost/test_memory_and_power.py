"""Memory passes, gathers, optimizer, energy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cost import joules, seconds, seconds_of
from sim.cost.memory import cached_share

from .machines import CLOCK, MEMORY_RATE, PEAK, build, kernels


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


POWER = {"flop_share": 0.6, "byte_share": 0.3, "busy_share": 0.1}


def test_a_product_at_its_peak_draws_the_limit_and_an_idle_launch_little_more_than_idle() -> None:
    fast = {"efficiency": 1.0, "unit_bytes_per_clock": 1e4, "norm": 12.0}
    machine = build(parameters={"gemm": fast, "power": {**POWER, "flop_share": 0.9}})
    rows = kernels("gemm", [[32768, 32768, 32768, 1], [16, 16, 16, 1]])
    drawn = joules(rows, machine) / seconds(rows, machine)
    assert drawn[0] == pytest.approx(1000.0, rel=0.02)
    assert drawn[1] == pytest.approx(100.0 + 0.1 * 900.0, rel=0.02)


def test_a_memory_pass_draws_the_share_of_memory() -> None:
    machine = build(parameters={"memory": {"memory_efficiency": 1.0}, "power": POWER})
    rows = kernels("memory", [[1e11, 0, 1]])
    assert (joules(rows, machine) / seconds(rows, machine))[0] == pytest.approx(100 + 900 * (0.3 + 0.1), rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 8192), n=st.integers(1, 8192), k=st.integers(1, 8192))
def test_energy_lies_between_idle_and_the_limit_times_the_time(m: int, n: int, k: int) -> None:
    machine = build()
    rows = kernels("gemm", [[m, n, k, 1]])
    time = seconds(rows, machine)[0]
    assert 100.0 * time <= joules(rows, machine)[0] <= 1000.0 * time * (1 + 1e-12)


def test_energy_is_not_a_number_where_the_limit_is_unknown() -> None:
    machine = build(power={"source": "not published"})
    assert np.isnan(joules(kernels("gemm", [[512, 512, 512, 1]]), machine)).all()


def test_a_limit_below_the_full_draw_slows_products_and_spares_memory() -> None:
    free = build(parameters={"power": {"full_w": 700.0}}, power={"tdp_w": 700.0, "idle_w": 100.0, "source": "made up"})
    tight = build(parameters={"power": {"full_w": 700.0}}, power={"tdp_w": 500.0, "idle_w": 100.0, "source": "made up"})
    slow = math.sqrt((500 - 100) / (700 - 100))
    assert tight.rates == pytest.approx(free.rates * slow, nan_ok=True)
    large = (8192, 8192, 8192, 1)
    ratio = seconds_of("gemm", *large, machine=tight) / seconds_of("gemm", *large, machine=free)
    assert 1.1 < ratio < 1 / slow + 1e-9
    assert seconds_of("memory", 1e11, 0, 1, machine=tight) == pytest.approx(
        seconds_of("memory", 1e11, 0, 1, machine=free), rel=1e-3
    )
    assert PEAK * slow == pytest.approx(tight.rates[2])
