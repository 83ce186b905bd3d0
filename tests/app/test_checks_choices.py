"""`validate choices`: what `search serve` chooses among measured configurations, through its own arithmetic."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sim.app.checks_choices import predicted, validate_choices
from sim.app.cli import run
from sim.evidence.choices import BARS, rate_per_chip
from sim.evidence.context import Context
from sim.evidence.ratios import tables_of_runs

CONTEXT = Context()


def test_the_search_chooses_well_among_the_configurations_that_are_shipped():
    (found,) = validate_choices(None, CONTEXT, lambda done, total: None)
    assert found.score.n >= 40 and found.answered == found.rows
    assert found.score.near >= BARS[0] and found.score.regret <= BARS[1], found
    assert found.arithmetic.near >= BARS[0] and found.arithmetic.regret <= BARS[1], found
    assert found.score.regret < found.score.regret_blind / 5.0
    assert found.holds


def test_measured_cells_are_not_read():
    (table,) = tables_of_runs(None, CONTEXT)
    some = table.select(range(5))
    one, other = (predicted(each, CONTEXT, lambda done, total: None) for each in (some, some.configuration()))
    for name in ("ttft_ms", "tpot_ms"):
        assert one.values[name] == pytest.approx(other.values[name], rel=0.0)
    rate = rate_per_chip(some, one.values["ttft_ms"], one.values["tpot_ms"])
    assert np.all(rate > 0.0)


def test_a_table_without_serving_runs_is_refused(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert run(["validate", "choices", str(tmp_path)]) == 2
    assert "serving" in capsys.readouterr().err


def test_the_command_says_both_bars(capsys):
    assert run(["validate", "choices", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert table["holds"] and table["near"] >= BARS[0]
