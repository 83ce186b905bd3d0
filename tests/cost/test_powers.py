"""Short forms of powers, logarithms and roots give what the library's give, to a part in 10^12."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.cost import seconds_of_rows
from sim.cost.collectives import _any, _either
from sim.cost.machine import CLOCK_HZ, MEMORY_RATE, SRAM_BYTES, SRAM_RATE, UNITS
from sim.cost.memory import CACHE_SHARE, GRANULE, LAUNCH, MEMORY_EFFICIENCY, ROW, cached_share
from sim.cost.powers import exp_less_one, log, power
from sim.lowering.kernels import DTYPE_IDS
from sim.lowering.kinds import KIND_IDS

from .test_collectives import machine_of

NEAR = 1e-12


@given(st.floats(1e-3, 1e300))
def test_the_logarithm_is_that_of_the_library(x: float) -> None:
    assert log(x) == pytest.approx(math.log(x), rel=NEAR, abs=4e-15)


@given(st.floats(-800.0, 700.0))
def test_the_exponential_is_that_of_the_library(x: float) -> None:
    assert exp_less_one(x) == pytest.approx(math.expm1(x), rel=NEAR, abs=1e-300)


@given(st.floats(1e-3, 1e6), st.floats(-3.0, 3.0))
def test_a_power_is_that_of_the_library(x: float, y: float) -> None:
    assert power(x, y) == pytest.approx(x**y, rel=NEAR, abs=1e-15)


@given(st.floats(1e-7, 1e-1), st.floats(1e-7, 1e-1), st.floats(1e-7, 1e-1))
def test_protocols_meet_as_the_sum_of_their_sixteenth_powers(a: float, b: float, c: float) -> None:
    def power_mean(*times: float) -> float:
        fast = min(times)
        return fast * float(sum((fast / each) ** 16 for each in times) ** (-1.0 / 16.0))

    assert _either(a, b) == pytest.approx(power_mean(a, b), rel=NEAR)
    assert _any(a, b, c) == pytest.approx(power_mean(a, b, c), rel=NEAR)
    assert _any(a, math.inf, math.inf) == a


@given(st.floats(2.0, 1e9), st.floats(1.0, 1e6), st.floats(0.0, 3.0))
def test_the_share_of_hits_is_the_ratio_of_integrals(held: float, more: float, skew: float) -> None:
    exponent = 1.0 - skew
    if abs(exponent) < 1e-9 or more < 1.0 + 1e-9:
        return
    expected = math.expm1(exponent * math.log(held)) / math.expm1(exponent * math.log(held * more))
    assert cached_share(held, held * more, skew) == pytest.approx(expected, rel=NEAR)
    assert cached_share(held, held * more, 1.0) == pytest.approx(math.log(held) / math.log(held * more), rel=NEAR)


def test_a_thousand_gathers_take_what_the_plain_formula_says() -> None:
    packed = machine_of()
    parameters = packed.parameters.copy()
    p = parameters[KIND_IDS["gather"], DTYPE_IDS["bf16"], DTYPE_IDS["bf16"]]
    p[[CACHE_SHARE, ROW]] = 0.5, 40.0
    stream, n = np.random.default_rng(0), 1000
    dims = np.zeros((n, 8))
    dims[:, 0] = np.round(np.exp(stream.uniform(0.0, 14.0, n)))
    dims[:, 1] = np.round(np.exp(stream.uniform(0.0, 9.0, n)))
    dims[:, 2] = np.exp(stream.uniform(0.0, 28.0, n))
    dims[:, 3] = stream.choice([0.0, 0.5, 0.9, 1.0, 1.2, 2.5], n)
    kind, formats = np.full(n, KIND_IDS["gather"], np.int16), np.full(n, DTYPE_IDS["bf16"], np.int16)
    found = seconds_of_rows(kind, formats, formats, dims, packed._replace(parameters=parameters))
    chip = packed.chip_values
    for took, (rows, row_bytes, table_bytes, skew) in zip(found, dims[:, :4], strict=True):
        held, table = p[CACHE_SHARE] * chip[SRAM_BYTES] / row_bytes, max(table_bytes / row_bytes, 1.0)
        if held >= table or held <= 1.0:
            hits = float(held >= table)
        elif skew == 1.0:
            hits = math.log(held) / math.log(table)
        else:
            hits = math.expm1((1.0 - skew) * math.log(held)) / math.expm1((1.0 - skew) * math.log(table))
        each = (1.0 - hits) / (chip[MEMORY_RATE] * p[MEMORY_EFFICIENCY]) + hits / chip[SRAM_RATE]
        moving = rows * math.ceil(row_bytes / p[GRANULE]) * p[GRANULE] * each
        expected = p[LAUNCH] / chip[CLOCK_HZ] + max(moving, math.ceil(rows / chip[UNITS]) * p[ROW] / chip[CLOCK_HZ])
        assert took == pytest.approx(expected, rel=NEAR)
