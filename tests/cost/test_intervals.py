"""Intervals widen outside what was fitted, and stay as the residuals say inside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.cost import BASES, Machine, basis, beyond, interval, machine, seconds
from sim.cost.intervals import PER_FOLD_OF

from .machines import calibration, chip, cluster, family, kernels

PER_FOLD = PER_FOLD_OF["gemm"]
SPREAD = {"gemm": {"p10": -0.2, "p90": 0.1}, "all_reduce": {"p10": -0.2, "p90": 0.1}}


def fitted(**ranges: tuple[float, float]) -> Machine:
    return machine(chip(), family(), calibration(residuals=SPREAD, ranges={"gemm": ranges}), cluster())


def halves(packed: Machine, m: float) -> tuple[float, float]:
    """Logarithms of low and high over the time of a product of m rows."""
    rows = kernels("gemm", [[m, 512, 512, 1]])
    times, (low, high) = seconds(rows, packed), interval(rows, packed)
    return float(np.log(low / times)[0]), float(np.log(high / times)[0])


@given(st.floats(1.0, 1e7))
def test_each_e_fold_outside_the_ranges_adds_the_same_to_either_end(m: float) -> None:
    low, high = halves(fitted(m=(64.0, 4096.0)), m)
    outside = max(np.log(m / 4096.0), np.log(64.0 / m), 0.0)
    assert low == pytest.approx(-0.2 - PER_FOLD * outside, abs=1e-9)
    assert high == pytest.approx(0.1 + PER_FOLD * outside, abs=1e-9)


def test_work_beyond_the_largest_is_outside_though_each_dim_is_inside() -> None:
    packed = fitted(m=(1.0, 4096.0), work=(1.0, 2.0 * 512**3))
    rows = kernels("gemm", [[512, 512, 512, 1], [4096, 512, 512, 1]])
    assert beyond(rows, packed) == pytest.approx([0.0, np.log(8.0)], abs=1e-9)
    assert [BASES[index] for index in basis(rows, packed)][1] == "extrapolated"
    assert halves(packed, 4096.0)[1] == pytest.approx(0.1 + PER_FOLD * np.log(8.0))


def test_the_dim_that_is_farthest_out_counts_and_unknown_ranges_do_not() -> None:
    rows = kernels("gemm", [[4096, 64, 8, 1]])
    assert beyond(rows, fitted(m=(1.0, 1024.0), n=(128.0, 4096.0), k=(64.0, 4096.0))) == pytest.approx([np.log(8.0)])
    assert beyond(rows, fitted()) == pytest.approx([0.0])


def test_of_a_collective_the_work_is_its_bytes() -> None:
    ranges = {"all_reduce": {"work": (1e3, 1e6), "ranks": (2.0, 8.0)}}
    packed = machine(chip(), family(), calibration(residuals=SPREAD, ranges=ranges), cluster())
    rows = kernels("all_reduce", [[1e6, 8, 1, 1], [1e9, 8, 1, 1], [1e6, 64, 1, 1]])
    assert beyond(rows, packed) == pytest.approx([0.0, np.log(1e3), np.log(8.0)])
