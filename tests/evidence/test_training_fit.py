"""The numbers of training: few, named, found again by a fit, and errors on what a fit has not seen."""

from pathlib import Path

import numpy as np
import pytest

from sim.evidence.context import Context
from sim.evidence.tables import find_tables
from sim.evidence.training_files import write_numbers
from sim.evidence.training_fit import Steps, residuals_of, value_now
from sim.evidence.training_numbers import BESIDE, MOST, NUMBERS, page
from sim.seeds import generator

pytest.importorskip("scipy")
ROOT = Path(__file__).parents[2]
CONTEXT = Context()


@pytest.fixture(scope="module")
def steps():
    table = find_tables(ROOT / "workloads" / "measured" / "training.csv", "training")[0]
    some = [i for i, stack in enumerate(table.column("source")) if stack == "llm-foundry"]
    return Steps([table.select(some)], CONTEXT)


def test_at_most_sixty_numbers_have_seen_a_training_row():
    assert len(NUMBERS) + len(BESIDE) <= MOST
    names = [number.name for number in NUMBERS]
    assert len(set(names)) == len(names)


def test_every_number_stands_in_devices_with_one_value_wherever_it_is_shared():
    for number in NUMBERS:
        known = value_now(number, CONTEXT)
        assert 0.0 < known <= number.most
        for stack in number.stacks:
            record = CONTEXT.library.stack(stack)
            held = record.factors.get(number.factor) or getattr(record, number.factor, None)
            assert held == pytest.approx(known, rel=1e-3), (number.name, stack)


def test_the_page_lists_every_number_as_devices_hold_it():
    values = {number.name: value_now(number, CONTEXT) for number in NUMBERS}
    assert (ROOT / "docs" / "training-numbers.md").read_text(encoding="utf-8") == page(values)


def test_steps_priced_once_move_with_the_numbers_as_plans_priced_anew(steps):
    from sim.training import price

    predicted = steps.predicted(steps.now)
    for index in (0, len(steps.cases) // 2, len(steps.cases) - 1):
        case = steps.cases[index]
        alone = price(case.model, [case.plan], case.target, float(case.seq_len)).step_s[0]
        assert predicted[index] == pytest.approx(alone, rel=1e-3)


def test_a_fit_finds_the_numbers_that_made_the_steps(steps):
    name = "passes of elementwise kernels, eager FSDP"
    true = {**steps.now, name: 1.3}
    measured = steps.measured_s
    try:
        steps.measured_s = steps.predicted(true)
        found = steps.fit()
    finally:
        steps.measured_s = measured
    assert found.values[name] == pytest.approx(1.3, rel=0.1)
    assert np.median(found.error) < 0.02


def test_a_fit_keeps_the_prior_of_a_number_without_rows(steps):
    found = steps.fit(steps=3)
    for number, touched in zip(NUMBERS, steps.touched, strict=True):
        if not any(touched):
            assert found.values[number.name] == pytest.approx(number.prior)


def test_without_any_row_the_numbers_are_their_priors(steps):
    values = steps.fit(np.zeros(len(steps.cases), bool)).values
    assert values == pytest.approx({number.name: number.prior for number in NUMBERS})


def test_rows_left_out_do_not_move_the_fit_that_predicts_them(steps):
    keep = steps.labels["device"] != steps.labels["device"][0]
    before = steps.fit(keep, steps=3).values
    measured = steps.measured_s
    try:
        steps.measured_s = np.where(keep, measured, 10.0 * measured)
        assert steps.fit(keep, steps=3).values == before
    finally:
        steps.measured_s = measured


def test_intervals_hold_four_fifths_of_rows_that_no_fit_has_seen():
    """Quantiles of one half of what fits left out, coverage of the other half."""
    table = find_tables(ROOT / "workloads" / "measured" / "training.csv", "training")[0]
    dense = ("llm-foundry", "bigscience-a100", "megatron-sc21")
    steps = Steps([table.select([i for i, s in enumerate(table.column("source")) if s in dense])], CONTEXT)
    residual = np.log(steps.measured_s / steps.left_out("random", steps.fit(steps=3)))
    shuffled = generator(1, "halves").permutation(len(residual))
    halves = residual[shuffled[::2]], residual[shuffled[1::2]]
    inside = []
    for known, new in (halves, halves[::-1]):
        low, high = np.quantile(known, [0.1, 0.9])
        inside += ((new >= low) & (new <= high)).tolist()
    assert 0.7 <= np.mean(inside) <= 0.9


def test_quantiles_are_of_a_stack_s_own_rows_where_they_are_enough(steps):
    residual = np.linspace(-1.0, 1.0, len(steps.cases))
    said = residuals_of(steps, [residual, residual])["llm-foundry"]
    assert said == pytest.approx({"p10": -0.8, "p90": 0.8})


def test_written_numbers_are_read_back(tmp_path):
    for folder in ("stacks", "calibrations"):
        place = tmp_path / "devices" / folder
        place.mkdir(parents=True)
        for file in (ROOT / "devices" / folder).glob("*.yaml"):
            (place / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    values = {number.name: 0.9 * value_now(number, CONTEXT) for number in NUMBERS}
    write_numbers(tmp_path, values, {"llm-foundry": {"p10": -0.1, "p90": 0.1}})
    text = (tmp_path / "devices" / "stacks" / "llm-foundry.yaml").read_text(encoding="utf-8")
    assert "residuals: {p10: -0.1, p90: 0.1}" in text and text.count("residuals:") == 1
    expected = values["passes of elementwise kernels, eager FSDP"]
    assert f"vector_passes: {expected:.4g}" in text
