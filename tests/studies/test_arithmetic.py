"""Arithmetic of figures: values, intervals at their worst, basis, unknowns; and the scaling law's closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.claims import scaling_law
from sim.catalog.library import default_library
from sim.errors import InputError
from sim.result import Figure
from sim.studies.arithmetic import evaluated, names_in
from sim.studies.scaling import (
    flops_at_loss,
    least_parameters,
    loss,
    optimal_parameters,
    optimal_tokens,
    tokens_at_loss,
)

NAMES = {
    "a": Figure(6.0, "usd", 4.0, 8.0, "calibrated"),
    "b": Figure(2.0, "", 1.0, 4.0, "extrapolated"),
    "c": Figure(3.0, "", basis="measured"),
    "gone": Figure.unknown("usd", "price.x is unknown"),
    "table.cost": {"x": Figure(5.0, "usd", basis="measured"), "y": Figure(1.0, "usd", basis="datasheet-only"),
                   "z": Figure.unknown("usd", "no price")},
}  # fmt: skip
LAW = scaling_law(default_library(), "chinchilla")


def of(formula: str) -> Figure:
    return evaluated(formula, NAMES.__getitem__)


def test_a_formula_is_arithmetic_with_the_usual_precedence():
    assert of("a + b * c ** 2 / 9 - 1").value == pytest.approx(7.0)
    assert of("-c + log2(8) + sqrt(4) + ceil(1.2)").value == pytest.approx(4.0)


def test_intervals_are_combined_at_their_worst():
    quotient = of("a / b")
    assert (quotient.low, quotient.value, quotient.high) == (1.0, 3.0, 8.0)
    difference = of("a - b")
    assert (difference.low, difference.high) == (0.0, 7.0)
    assert of("c * 2").low is None


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_result_s_interval_holds_every_combination(x, y, at_x, at_y):
    names = {"x": Figure(x, "", x / 2, x * 2), "y": Figure(y, "", y / 3, y * 3)}
    found = evaluated("(x + y) * x / y", names.__getitem__)
    inner_x, inner_y = x / 2 + at_x * 1.5 * x, y / 3 + at_y * (3 - 1 / 3) * y
    assert found.low <= (inner_x + inner_y) * inner_x / inner_y * (1 + 1e-9)
    assert found.high >= (inner_x + inner_y) * inner_x / inner_y * (1 - 1e-9)


def test_a_result_is_as_weak_as_its_weakest_part_and_unknown_if_a_part_is():
    assert of("a * c").basis == "calibrated"
    assert of("a * b").basis == "extrapolated"
    assert of("a * gone").value is None
    assert of("a * gone").note == "price.x is unknown"
    assert of("a / (c - 3)").value is None


def test_columns_have_a_least_a_most_and_rows():
    assert of("least(table.cost)").value == 1.0
    assert of("most(table.cost)").basis == "measured"
    assert of('at(table.cost, "x") * 2').value == 10.0
    assert of('at(table.cost, "z")').value is None
    for wrong in ("table.cost", "table.cost * 2", 'at(table.cost, "w")'):
        with pytest.raises(InputError):
            of(wrong)


def test_what_is_not_arithmetic_is_refused():
    for wrong in ("__import__('os')", "a if b else c", "a.b.c", "[a]", "a +", "open(a)", "a == b", "lambda: 1"):
        with pytest.raises(InputError):
            of(wrong)
    assert names_in("a * log(b) + table.cost") == ("a", "b", "table.cost")


def test_the_optimum_of_the_law_has_the_least_loss_of_its_budget():
    for budget in (1e21, 5.76e23):
        size = optimal_parameters(LAW, budget)
        best = loss(LAW, size, optimal_tokens(LAW, budget))
        assert size * optimal_tokens(LAW, budget) * 6 == pytest.approx(budget)
        for factor in (0.8, 0.99, 1.01, 1.25):
            assert loss(LAW, size * factor, budget / 6 / (size * factor)) > best
        assert flops_at_loss(LAW, best) == pytest.approx(budget)


def test_tokens_at_a_loss_undo_the_loss():
    assert tokens_at_loss(LAW, 70e9, loss(LAW, 70e9, 1.4e12)) == pytest.approx(1.4e12)
    assert loss(LAW, 70e9, 1.4e12) == pytest.approx(1.69 + 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28)
    target = loss(LAW, 70e9, 1.4e12)
    with pytest.raises(InputError):
        tokens_at_loss(LAW, least_parameters(LAW, target) * 0.999, target)
    with pytest.raises(InputError):
        least_parameters(LAW, 1.6)
    assert math.isclose(least_parameters(LAW, target), (406.4 / (target - 1.69)) ** (1 / 0.34))
