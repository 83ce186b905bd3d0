"""Forms are derived: every flag of a verb is a field, with the bounds of its record."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.app.options import options
from sim.app.page.browse import accuracy, card, listing
from sim.app.page.forms import form
from sim.app.page.hardware import hardware
from sim.app.page.questions import sides
from sim.catalog.library import default_library
from sim.errors import GambrelError, InputError

from .asking import SERVING, TRAINING

LIBRARY = default_library()


@pytest.mark.parametrize("verb", ["train", "serve"])
def test_every_flag_is_a_field_but_those_that_read_files(verb):
    fields = {field.name for field in form(verb).fields}
    left = {option.name for option in options(verb)} - fields
    assert left <= {"grid", "start", "start-economy", "sacct"}


def test_a_field_has_bounds_choices_default_unit_and_help():
    fields = {field.name: field for field in form("serve").fields}
    assert (fields["tp"].minimum, fields["tp"].default, fields["tp"].kind) == (1, 1, "integer")
    assert (fields["percentile"].above, fields["percentile"].maximum) == (0, 100)
    assert (fields["ttft"].unit, fields["ttft"].above) == ("s", 0)
    assert "fp8" in fields["weights"].choices and fields["weights"].kind == "choice"
    assert fields["model"].required and fields["model"].suggestions == "model"
    assert all(field.help for field in fields.values())


def test_a_number_may_also_be_a_word_where_the_record_says_so():
    (interval,) = [field for field in form("train").fields if field.name == "checkpoint-interval"]
    assert interval.kind == "number" and interval.choices == ["auto"] and interval.default == "auto"


@pytest.mark.parametrize("entry", LIBRARY.entries("chip"), ids=lambda entry: entry.id)
def test_every_chip_has_hardware_values_to_move(entry):
    values = hardware(LIBRARY, entry.id, None, "serve").values
    assert "chip.memory.bandwidth" in {value.key for value in values}
    assert all(value.value > 0 and value.text for value in values)


@pytest.mark.parametrize("kind", ["chip", "model", "cluster", "stack", "scenario"])
def test_every_entry_is_listed_and_has_a_card(kind):
    found = listing(LIBRARY, kind)
    assert [entry.id for entry in found.entries] == [entry.id for entry in LIBRARY.entries(kind)]
    assert all(set(entry.cells) == set(found.columns) for entry in found.entries)
    first = card(LIBRARY, kind, found.entries[0].id)
    assert first.values and first.yaml


def test_a_chips_card_shows_every_source():
    shown = card(LIBRARY, "chip", "h100")
    assert any(leaf.key == "memory.source" for leaf in shown.sources)
    assert not any("source" in leaf.key for leaf in shown.values)


def test_the_accuracy_page_shows_the_errors_that_ship():
    lines = accuracy().lines
    assert len(lines) > 20 and all(line.n > 0 and line.median >= 0 for line in lines)


def test_an_unknown_cluster_is_told():
    with pytest.raises(InputError, match="not in the catalogue"):
        hardware(LIBRARY, "no-such", None, "train")


VALUES = (
    None,
    True,
    0,
    -1,
    1e308,
    10**30,
    "",
    "x",
    "../x",
    "\ud800",
    [],
    [[]],
    {},
    {"kind": []},
    {"a": 1},
    [1, "x", None],
)
CHANGES = (
    "plan.tp=4",
    "plan.tp.x=1",
    "plan..=1",
    "plan=1",
    "groups.0=1",
    "groups.0.plan=1",
    "groups.9.plan.tp=1",
    "demand.kind=traffic",
    "demand=null",
    "chip.memory.bandwidth*=nan",
    "chip.x.y.z=1",
    "model.blocks=3",
    "cluster.tiers.0.bandwidth*=-1",
    "plan.tp*=1e400",
    "demand.models.0=x",
)


@given(st.data())
@settings(max_examples=150)
def test_whatever_a_scenario_holds_it_is_understood_or_refused_in_one_line(data):
    scenario = deepcopy(data.draw(st.sampled_from([TRAINING, SERVING])))
    for _ in range(data.draw(st.integers(0, 2))):
        holder = scenario
        while isinstance(holder, dict) and holder:
            key = data.draw(st.sampled_from(sorted(holder)))
            if not isinstance(holder[key], dict) or data.draw(st.booleans()):
                holder[key] = deepcopy(data.draw(st.sampled_from(VALUES)))
                break
            holder = holder[key]
    try:
        sides(scenario, data.draw(st.lists(st.sampled_from(CHANGES), max_size=2)), LIBRARY)
    except GambrelError as error:
        assert "\n" not in str(error)
