"""What if: both sides by figure, the swing of each hardware value, and until when one binds; against closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.api import train
from sim.catalog.library import default_library
from sim.catalog.record_changes import rewritten
from sim.catalog.scenarios import Group, Scenario, TokenBudget
from sim.catalog.targets import target
from sim.errors import Infeasible, InputError
from sim.result import Figure, Result
from sim.studies.whatif import break_even, compare, hardware_keys, main_figure, moved, multiplied, tornado

ASKED = Scenario(
    groups=(
        Group.model_validate(
            {"role": "train", "model": "llama-3.1-8b", "cluster": "dgx-h100", "devices": 16, "plan": {"tp": 2}}
        ),
    ),
    demand=TokenBudget(seq_len=4096),
)
BANDWIDTH, CLOCK = "chip.memory.bandwidth", "chip.matrix.clock"


def factors(scenario: Scenario) -> dict[str, float]:
    """Product of all factors of each changed value."""
    out = {BANDWIDTH: 1.0, CLOCK: 1.0}
    for change in scenario.groups[0].chip_changes:
        key, _, factor = change.partition("*=")
        out[f"chip.{key}"] *= float(factor)
    return out


def two_terms(memory_s: float, compute_s: float):
    """A step that is the sum of a memory and a compute term; nothing fits under 0.8 of the bandwidth."""

    def evaluate(scenario: Scenario) -> Result:
        by = factors(scenario)
        if by[BANDWIDTH] < 0.8:
            raise Infeasible("too slow")
        step_s = memory_s / by[BANDWIDTH] + compute_s / by[CLOCK]
        return Result("toy/1", "", {}, {"step_time": Figure(step_s, "s"), "cost": Figure.unknown("usd", "no price")})

    return evaluate


@settings(max_examples=50, deadline=None)
@given(memory_s=st.floats(0.1, 50.0), compute_s=st.floats(0.1, 50.0))
def test_a_value_binds_until_its_term_is_as_large_as_the_other(memory_s: float, compute_s: float) -> None:
    found = break_even(two_terms(memory_s, compute_s), ASKED, BANDWIDTH, [CLOCK], "step_time", tolerance=1e-4)
    assert found.elasticity == pytest.approx(-memory_s / (memory_s + compute_s), abs=0.01)
    assert found.factor == pytest.approx(max(1.0, memory_s / compute_s), rel=0.02)
    assert found.binds_then == CLOCK


def test_a_value_without_rivals_binds_for_ever() -> None:
    assert break_even(two_terms(1.0, 0.0), ASKED, BANDWIDTH, [CLOCK], "step_time").factor is None


def test_swings_of_a_tornado_are_those_of_the_closed_form_and_ranked() -> None:
    swings = tornado(two_terms(3.0, 1.0), ASKED, [CLOCK, BANDWIDTH], "step_time", by=0.1)
    assert [swing.key for swing in swings] == [BANDWIDTH, CLOCK]
    assert swings[0].raised == pytest.approx((3.0 / 1.1 + 1.0) / 4.0 - 1.0)
    assert swings[0].lowered == pytest.approx((3.0 / 0.9 + 1.0) / 4.0 - 1.0)


def test_what_no_longer_fits_swings_to_infinity() -> None:
    (swing,) = tornado(two_terms(3.0, 1.0), ASKED, [BANDWIDTH], "step_time", by=0.3)
    assert swing.lowered == math.inf and math.isfinite(swing.raised)


def test_a_step_that_memory_no_longer_holds_swings_to_infinity() -> None:
    group = ASKED.groups[0]
    fixed = ASKED.with_(groups=(group.with_(plan=group.plan.with_(recompute="none")),))  # nothing left to give up
    capacity, used = (train(fixed)[name].value for name in ("memory_capacity", "memory_per_device"))
    (swing,) = tornado(train, fixed, ["chip.memory.capacity"], "step_time", by=1.0 - 0.9 * used / capacity)
    assert swing.lowered == math.inf and swing.raised == 0.0


def test_both_sides_are_compared_figure_by_figure() -> None:
    evaluate = two_terms(3.0, 1.0)
    before, after = evaluate(ASKED), evaluate(multiplied(ASKED, BANDWIDTH, 2.0))
    by_name = {effect.name: effect for effect in compare(before, after)}
    assert by_name["step_time"].ratio == pytest.approx(2.5 / 4.0)
    assert by_name["cost"].ratio is None
    assert moved(compare(before, after)) and not moved(compare(before, before))


def test_every_hardware_value_that_a_chip_knows_can_be_moved() -> None:
    found = target(default_library(), "dgx-h100", None, "train")
    keys = hardware_keys(found.chip, found.cluster)
    assert {BANDWIDTH, CLOCK, "chip.memory.capacity", "cluster.tiers.0.bandwidth", "cluster.tiers.1.bandwidth"} <= set(
        keys
    )
    seen = [train(multiplied(ASKED, key, 1.25))["step_time"].value for key in keys]
    assert all(value is not None and value > 0.0 for value in seen)


def test_the_real_step_gets_shorter_with_bandwidth_and_clock_and_links() -> None:
    swings = {s.key: s for s in tornado(train, ASKED, [BANDWIDTH, CLOCK, "cluster.tiers.0.bandwidth"], "step_time")}
    assert all(swing.raised < 0.0 < swing.lowered for swing in swings.values())
    assert abs(swings[CLOCK].elasticity) > abs(swings[BANDWIDTH].elasticity), "a dense step is bound by products"


def test_a_larger_model_takes_longer_and_a_dearer_site_draws_more() -> None:
    base = train(ASKED)
    group = ASKED.groups[0]
    deeper = train(ASKED.with_(groups=(group.with_(model_changes=("blocks.0.layers*=2",)),)))
    assert deeper["step_time"].value / base["step_time"].value == pytest.approx(1.9, abs=0.15)
    hotter = train(ASKED.with_(groups=(group.with_(cluster_changes=("pue*=2",)),)))
    assert hotter["power"].value == pytest.approx(2.0 * base["power"].value)
    assert hotter["step_time"].value == base["step_time"].value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tiers.9.bandwidth*=2", r"'9' is not one of 0 to 1"),
        ("tiers.0.bandwith*=2", r"there is no 'bandwith'. Did you mean"),
        ("tiers.0.bandwidth=3", r"say in which unit. Use one of"),
        ("pue=warm", r"'warm' is not a number"),
        ("pue=-1", r"cluster.pue = -1.0: "),
        ("pue", r"cluster.pue is not a change"),
        ("pue.deep*=2", r"nothing lies below the value"),
    ],
)
def test_a_change_of_a_cluster_that_makes_no_sense_says_why(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rewritten(default_library().cluster("dgx-h100"), (text,), "cluster")


def test_units_of_a_cluster_s_values_count() -> None:
    cluster = rewritten(default_library().cluster("dgx-h100"), ("tiers.0.bandwidth_gb_per_s=100",), "cluster")
    assert cluster.tiers[0].bandwidth_bytes_per_s == 1e11


def test_a_figure_that_is_not_there_is_refused() -> None:
    result = two_terms(1.0, 1.0)(ASKED)
    assert main_figure(result) == "step_time"
    with pytest.raises(InputError, match="no such figure"):
        main_figure(result, "cost")
