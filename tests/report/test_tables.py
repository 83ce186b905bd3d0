"""The first screen says the verdict, every figure with interval and basis, and where time and memory go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.report.tables import bar, by_part, interval_text, plain, value_text
from sim.result import Figure, Result

RESULT = Result(
    schema="gambrel.train/1",
    verdict="llama-3.1-8b trains on 64 x h100-sxm in 2.1 days",
    scenario={},
    figures={
        "step_s": Figure(3.2, "s", 2.9, 3.5, "calibrated"),
        "mfu": Figure(0.41, "fraction", None, None, "extrapolated"),
        "cost_usd": Figure.unknown("usd", "price.h100-sxm.on_demand is unknown. Give --usd-per-device-hour."),
    },
    breakdown={
        ("ffn", "forward"): 1.0,
        ("ffn", "backward"): 2.0,
        ("dp_traffic", "backward"): 0.2,
        ("norm", "forward"): 1e-6,
    },
    memory={"weights": 16e9, "optimizer": 12e9},
    why="matrix units bind: 71% of the step is matmul",
    next_commands=("gambrel trace scenario.yaml",),
    warnings=("the sequence is longer than the model's 8,192 positions",),
)


def test_the_screen_says_everything_at_any_width():
    for width in (60, 100, 200):
        text = plain(RESULT, width)
        words = " ".join(text.split())
        assert RESULT.verdict in words
        assert "±9%" in text
        for word in (
            "calibrated",
            "extrapolated",
            "41.0%",
            "unknown",
            "weights",
            "dp traffic",
            "gambrel trace scenario.yaml",
        ):
            assert word in text
        assert max(map(len, text.splitlines())) <= width


def test_plain_text_has_no_colour():
    assert "\x1b" not in plain(RESULT)


def test_an_unknown_figure_says_how_to_supply_it():
    assert "--usd-per-device-hour" in plain(RESULT, 200)
    assert value_text(RESULT["cost_usd"]) == "unknown"
    assert interval_text(RESULT["cost_usd"]) == ""


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(10.0, "s", 9.0, 11.0), "±10%"),
        (Figure(10.0, "s", 8.0, 15.0), "8 s to 15 s"),
        (Figure(10.0, "s", None, None), ""),
        (Figure(0.0, "s", 0.0, 0.0), "0 s to 0 s"),
    ],
)
def test_an_interval_is_short_when_it_is_even(figure, text):
    assert interval_text(figure) == text


def test_parts_are_added_over_phases_and_sorted():
    assert list(by_part(RESULT.breakdown).items())[:2] == [("ffn", 3.0), ("dp_traffic", 0.2)]


@given(st.floats(-1, 2), st.integers(1, 60))
def test_a_bar_never_leaves_its_width(share, width):
    assert len(bar(share, width)) <= width


def test_a_full_bar_is_full_and_an_empty_one_empty():
    assert bar(1.0, 10) == "█" * 10
    assert bar(0.0, 10) == ""
    assert bar(0.5, 1) == "▌"
