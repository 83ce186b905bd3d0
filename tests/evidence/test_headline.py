"""The headline errors of the shipped tables do not grow unnoticed."""

from __future__ import annotations

import pytest

from sim.catalog.library import package_root
from sim.errors import InputError
from sim.evidence.context import Context
from sim.evidence.headline import REGENERATE, grown, headline, read_headline, write_headline

FILE = package_root() / "docs" / "accuracy.json"


def test_no_headline_error_of_the_shipped_tables_has_grown_by_more_than_a_tenth():
    """Figures that were stored when the calibrations were made: they hold what users are told in docs/accuracy.md."""
    worse = grown(read_headline(FILE), headline(Context()))
    assert not worse, "\n".join([*worse, f"If that is meant: {REGENERATE}, and say why where you commit it."])


def test_an_error_that_grows_and_a_row_that_is_no_more_answered_are_named():
    before = {
        "gemm: time_us": {"n": 100, "median": 0.05, "p90": 0.2},
        "moe: time_us": {"n": 50, "median": 0.1, "p90": 0.3},
    }
    assert grown(before, before) == []
    now = {
        "gemm: time_us": {"n": 100, "median": 0.051, "p90": 0.25},
        "moe: time_us": {"n": 49, "median": 0.1, "p90": 0.3},
    }
    assert grown(before, now) == [
        "gemm: time_us: the p90 error is 25.0%, it was 20.0%.",
        "moe: time_us: 49 rows are answered, 50 were.",
    ]
    assert grown(before, {"gemm: time_us": before["gemm: time_us"]}) == ["moe: time_us: 0 rows are answered, 50 were."]


def test_the_figures_come_back_as_they_were_written_and_another_file_is_refused(tmp_path):
    figures = {"gemm: time_us": {"n": 3, "median": 0.1, "p90": 0.2}}
    write_headline(tmp_path / "a.json", figures)
    assert read_headline(tmp_path / "a.json") == figures
    (tmp_path / "b.json").write_text('{"schema": "other/1"}')
    with pytest.raises(InputError, match=REGENERATE):
        read_headline(tmp_path / "b.json")
