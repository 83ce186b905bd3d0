"""The numbers that published inference results decide, and what fits of them say of rows that they have not seen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sim.catalog.library import Library
from sim.evidence.context import Context
from sim.evidence.inference_files import write_inference_numbers
from sim.evidence.inference_fit import InferenceFit, Trial, left_out_errors, numbers_of, value_of
from sim.evidence.inference_numbers import INFERENCE_NUMBERS
from sim.evidence.splits import OF_INFERENCE
from sim.evidence.validate import shipped_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tpu():
    """The rows of the shipped table that ran on TPUs."""
    library = Library()
    table = shipped_tables(library, "inference")[0]
    rows = [i for i, family in enumerate(table.column("device_family")) if family == "tpu"]
    return InferenceFit(table.select(rows), Context(library))


def test_every_number_has_a_place_in_the_catalogue_and_one_value_in_all_of_them():
    library = Library()
    for number in INFERENCE_NUMBERS:
        values = {value_of(number._replace(places=(place,)), library) for place in number.places}
        assert len(values) == 1 and values.pop() > 0.0, number.name


def test_a_trial_changes_its_numbers_and_nothing_else():
    library = Library()
    trial = Trial(library, dict.fromkeys(INFERENCE_NUMBERS[0].places, 7.0))
    assert value_of(INFERENCE_NUMBERS[0], trial) == 7.0
    for number in INFERENCE_NUMBERS[1:]:
        assert value_of(number, trial) == value_of(number, library)


def test_what_is_written_is_what_was_found(tmp_path):
    for number in INFERENCE_NUMBERS:
        for place in number.places:
            path = tmp_path / "devices" / f"{place.file}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((ROOT / "devices" / f"{place.file}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "workloads").mkdir()
    values = {number.name: 0.01 * (1 + place) for place, number in enumerate(INFERENCE_NUMBERS)}
    assert write_inference_numbers(tmp_path, values)
    written = Library(tmp_path)
    for number in INFERENCE_NUMBERS:
        assert value_of(number, written) == pytest.approx(values[number.name], rel=1e-3), number.name


def test_a_fit_that_sees_nothing_keeps_what_was_known_before(tpu):
    found = tpu.fit("tpu", np.zeros(len(tpu.slopes["tpu"].rows), bool))
    for number in numbers_of("tpu"):
        assert found[number.name] == pytest.approx(number.prior, rel=1e-3)


def test_rows_that_no_number_touches_are_priced_as_shipped_and_others_by_fits_that_have_not_seen_them(tpu):
    touched = set(tpu.slopes["tpu"].rows.tolist())
    assert touched and touched < set(range(len(tpu.table)))
    for split in OF_INFERENCE:
        values = tpu.left_out(split)["output_tokens_per_s"]
        shipped = tpu.shipped.values["output_tokens_per_s"]
        for row in range(len(tpu.table)):
            if row not in touched and math.isfinite(shipped[row]):
                assert values[row] == shipped[row]
        errors = left_out_errors(tpu, split)["tpu"]
        assert np.nanmedian(errors) < 0.2
