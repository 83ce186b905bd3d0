"""Draw, the clock under a power cap, and energy: closed forms and invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cost import clock, held_j, joules, seconds, seconds_of
from sim.errors import InputError

from .machines import MEMORY_RATE, PEAK, build, chip, kernels

DRAW = {"wait_share": 0.2, "matrix_pj": 0.7, "byte_pj": 50.0, "link_byte_pj": 20.0}
LIMITS = {"tdp_w": 1000.0, "idle_w": 100.0, "source": "made up"}
LARGE = (8192.0, 8192.0, 8192.0, 1.0)
sizes = st.integers(1, 16384)


def capped(cap_w: float, **parameters: dict[str, float]):
    return build(parameters={"power": DRAW, **parameters}, power={**LIMITS, "cap_w": cap_w})


def test_a_product_draws_the_waiting_chip_its_units_and_its_bytes() -> None:
    machine = build(parameters={"power": DRAW})
    rows = kernels("gemm", [[512, 512, 512, 1]])
    time = seconds(rows, machine)[0]
    used = 2 * 512**3 / time / PEAK
    expected = 200.0 + 0.7e-12 * PEAK * math.sqrt(used) + 50e-12 * 3 * 2 * 512**2 / time
    assert joules(rows, machine)[0] / time == pytest.approx(expected, rel=1e-9)


def test_a_memory_pass_draws_the_waiting_chip_and_its_bytes() -> None:
    machine = build(parameters={"memory": {"memory_efficiency": 1.0}, "power": DRAW})
    rows = kernels("memory", [[1e12, 0, 1]])
    drawn = (joules(rows, machine) / seconds(rows, machine))[0]
    assert drawn == pytest.approx(200.0 + 50e-12 * MEMORY_RATE, rel=1e-3)


def test_a_collective_draws_the_bytes_that_it_sends() -> None:
    machine = build(parameters={"power": DRAW})
    rows = kernels("all_reduce", [[1e9, 8, 1, 0, 1]])
    time = seconds(rows, machine)[0]
    assert joules(rows, machine)[0] >= 200.0 * time + 20e-12 * 1e9 - 1e-9


def test_the_limit_holds_the_mean_draw() -> None:
    machine = build(parameters={"power": {**DRAW, "matrix_pj": 5.0}})
    rows = kernels("gemm", [LARGE])
    time = seconds(rows, machine)
    assert joules(rows, machine)[0] > 1000.0 * time[0]
    assert held_j(joules(rows, machine), time, machine)[0] == pytest.approx(1000.0 * time[0])


@settings(max_examples=40, deadline=None)
@given(m=sizes, n=sizes, k=sizes, cap_w=st.floats(150.0, 1000.0))
def test_energy_lies_between_idle_and_the_cap_times_the_time(m: int, n: int, k: int, cap_w: float) -> None:
    machine = capped(cap_w)
    rows = kernels("gemm", [[m, n, k, 1]])
    time = seconds(rows, machine)
    assert 100.0 * time[0] <= held_j(joules(rows, machine), time, machine)[0] <= cap_w * time[0] * (1 + 1e-12)


def test_energy_is_not_a_number_where_the_limit_is_unknown() -> None:
    machine = build(power={"source": "not published"})
    assert machine.clock == 1.0
    assert np.isnan(joules(kernels("gemm", [[512, 512, 512, 1]]), machine)).all()


def test_what_is_drawn_above_idle_goes_with_the_square_of_the_clock() -> None:
    machine = capped(500.0, gemm={"launch_clocks": 0.0})
    rows = kernels("gemm", [LARGE])
    free = build(parameters={"power": DRAW, "gemm": {"launch_clocks": 0.0}})
    drawn = joules(rows, free)[0] / seconds(rows, free)[0]
    share = clock(rows, machine)[0]
    assert share == pytest.approx(math.sqrt((500.0 - 100.0) / (drawn - 100.0)))
    assert joules(rows, machine)[0] / seconds(rows, machine)[0] == pytest.approx(500.0)


def test_a_cap_slows_a_product_by_its_clock_and_spares_a_memory_pass() -> None:
    free, tight = build(parameters={"power": DRAW}), capped(350.0, memory={"launch_clocks": 0.0})
    slower = seconds_of("gemm", *LARGE, machine=tight) / seconds_of("gemm", *LARGE, machine=free)
    share = clock(kernels("gemm", [LARGE]), tight)[0]
    assert 0.9 / share < slower < 1.05 / share  # long products throttle a little more
    passes = [seconds_of("memory", 1e11, 0, 1, machine=machine) for machine in (tight, free)]
    assert passes[0] == pytest.approx(passes[1], rel=1e-3)


def test_a_cap_that_a_kernel_does_not_reach_leaves_its_time() -> None:
    small = (8.0, 1024.0, 1024.0, 1.0)
    free, tight = build(parameters={"power": DRAW}), capped(700.0)
    assert clock(kernels("gemm", [small]), tight)[0] == 1.0
    assert seconds_of("gemm", *small, machine=tight) == seconds_of("gemm", *small, machine=free)


@settings(max_examples=60, deadline=None)
@given(m=sizes, n=sizes, k=sizes, low=st.floats(110.0, 1000.0), high=st.floats(110.0, 1000.0))
def test_time_never_falls_when_the_cap_falls(m: int, n: int, k: int, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    shape = (float(m), float(n), float(k), 1.0)
    times = [seconds_of("gemm", *shape, machine=capped(cap_w)) for cap_w in (low, high, 1000.0)]
    assert times[0] >= times[1] * (1 - 1e-12) >= times[2] * (1 - 1e-9)


@pytest.mark.parametrize("cap_w", [50.0, 100.0, 1000.5])
def test_a_cap_below_idle_or_above_the_limit_is_an_input_error(cap_w: float) -> None:
    with pytest.raises(InputError, match="round-chip draws 100 W idle and at most 1000 W"):
        capped(cap_w)


def test_a_cap_on_a_chip_of_unknown_limit_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"chip\.power\.tdp_w of round-chip is unknown"):
        build(power={"cap_w": 300.0, "source": "not published"})


def test_the_limit_of_the_chip_itself_holds_its_clock_below_the_printed_one() -> None:
    def held(tdp_w: float):
        return build(parameters={"power": {"flop_pj": 0.6}}, power={**LIMITS, "tdp_w": tdp_w})

    free, tight = held(700.0), held(500.0)
    slow = math.sqrt((500 - 100) / (700 - 100))
    assert tight.rates == pytest.approx(free.rates * slow, nan_ok=True)
    ratio = seconds_of("gemm", *LARGE, machine=tight) / seconds_of("gemm", *LARGE, machine=free)
    assert 1.1 < ratio < 1.05 / slow
    assert tight.rates[2] == pytest.approx(PEAK * slow)


def test_a_faster_clock_moves_products_and_no_memory_pass() -> None:
    slow, fast = build(), build(**chip().clocked(1.1).model_dump(include={"matrix", "vector", "sram"}))
    ratio = seconds_of("gemm", *LARGE, machine=slow) / seconds_of("gemm", *LARGE, machine=fast)
    assert ratio == pytest.approx(1.1, rel=0.01)
    times = [seconds_of("memory", 1e11, 0, 1, machine=machine) for machine in (slow, fast)]
    assert times[0] == pytest.approx(times[1], rel=1e-3)
