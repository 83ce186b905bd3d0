"""Charts show what they are given: bars sum to the total, marks lie at their values, and nothing in them is HTML."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine import Schedule, run
from sim.report import charts, charts_rows, charts_time
from sim.report.charts_rows import Axes, Kernel, Mark, Roof, Swing

PARTS = st.sampled_from(["ffn", "attention", "tp_traffic", "bubble", "norm", "host"])
PHASES = st.sampled_from(["forward", "backward", "decode"])
BREAKDOWNS = st.dictionaries(st.tuples(PARTS, PHASES), st.floats(1e-6, 1e6), min_size=1)
HOSTILE = '<img src=x onerror=alert(1)>"&'


def all_text(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [each for item in value.values() for each in all_text(item)]
    return [each for item in value for each in all_text(item)] if isinstance(value, list) else []


@given(BREAKDOWNS)
def test_the_bars_of_a_waterfall_follow_one_another_and_sum_to_the_total(breakdown):
    chart = charts.waterfall(breakdown)
    *steps, total = chart["data"]
    bars = sorted((begin, length) for trace in steps for begin, length in zip(trace["base"], trace["x"], strict=True))
    end = 0.0
    for begin, length in bars:
        assert begin == pytest.approx(end, rel=1e-9, abs=1e-9 * total["x"][0])
        end = begin + length
    assert end == pytest.approx(total["x"][0])
    scale = charts.scale_of(math.fsum(breakdown.values()), "s")
    assert total["x"][0] * scale.factor == pytest.approx(math.fsum(breakdown.values()))


@given(st.dictionaries(st.sampled_from(["weights", "kv_cache", "free", "optimizer"]), st.floats(0, 1e12), min_size=1))
def test_stacked_memory_sums_to_what_is_held(parts):
    chart = charts.memory({"stage 0": parts, "stage 1": parts}, 8e10)
    factor = charts.scale_of(max(math.fsum(parts.values()), 8e10), "bytes").factor
    for stage in range(2):
        held = math.fsum(trace["x"][stage] for trace in chart["data"]) * factor
        assert held == pytest.approx(math.fsum(parts.values()))
    assert chart["layout"]["shapes"][0]["x0"] * factor == pytest.approx(8e10)


@given(BREAKDOWNS)
def test_kinds_of_work_share_out_all_of_the_time(breakdown):
    chart = charts.shares(breakdown)
    assert math.fsum(x for trace in chart["data"] for x in trace["x"]) == pytest.approx(1.0)


def test_a_timeline_has_a_bar_for_each_stretch_of_work_of_a_stage():
    table = Schedule.of(
        ["stage 0", "stage 1", "stage 0", "activations from stage 0"],
        [1.0, 2.0, 3.0, 0.5],
        part=["forward", "forward", "backward", "forward"],
        phase=["forward", "forward", "backward", "forward"],
    )
    made = run(table)
    chart = charts_time.timeline(made)
    bars = [(y, b, x) for t in chart["data"] for y, b, x in zip(t["y"], t["base"], t["x"], strict=True)]
    assert sorted(bars) == [("stage 0", 0.0, 1.0), ("stage 0", 1.0, 3.0), ("stage 1", 0.0, 2.0)]
    assert charts_time.slices_left_out(made) == 0


def test_a_long_timeline_is_cut_and_says_by_how_much():
    n = charts_time.MOST_SLICES + 7
    made = run(Schedule.of(["stage 0"] * n, [1.0] * n))
    assert sum(len(t["x"]) for t in charts_time.timeline(made)["data"]) == charts_time.MOST_SLICES
    assert charts_time.slices_left_out(made) == 7


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=1500))
def test_a_distribution_rises_to_all_requests_and_marks_its_percentiles(values):
    chart = charts_time.distribution(np.array([*values, np.nan]), "latency")
    curve, marks = chart["data"]
    assert curve["y"] == sorted(curve["y"]) and curve["x"] == sorted(curve["x"])
    assert curve["y"][-1] == pytest.approx(1.0)
    assert len(curve["x"]) <= charts_time.MOST_POINTS + 1
    factor = charts.scale_of(max(values), "s").factor
    assert np.array(marks["x"]) * factor == pytest.approx(np.percentile(values, (50, 95, 99)))


def test_a_limit_far_away_is_named_and_does_not_squeeze_the_curve():
    values = np.linspace(0.05, 0.1, 50)
    near = charts_time.distribution(values, "t", charts_time.Limit("limit 150 ms", 0.15))
    far = charts_time.distribution(values, "t", charts_time.Limit("limit 10 s", 10.0))
    assert near["layout"]["shapes"] and near["layout"]["xaxis"]["range"][1] > 150.0
    assert not far["layout"]["shapes"] and far["layout"]["xaxis"]["range"][1] < 150.0
    assert "limit 10 s" in far["layout"]["annotations"][0]["text"]


def test_no_kernel_lies_where_it_has_no_place_and_each_lies_at_its_speed():
    rows = [Kernel("gemm", "ffn", 1e12, 1e9, 2e-3, 0.7), Kernel("gather", "embedding", 0.0, 1e6, 1e-6, 0.3)]
    chart = charts_rows.roofline(rows, Roof({"bf16": 1e15}, 3e12))
    marks = [trace for trace in chart["data"] if trace["mode"] == "markers"]
    assert [(t["x"], t["y"]) for t in marks] == [([1e3], [1e12 / 2e-3])]
    roof = chart["data"][0]
    assert max(roof["y"]) == 1e15 and roof["y"][0] == pytest.approx(roof["x"][0] * 3e12)


def test_a_tornado_ranks_by_swing_and_leaves_out_what_moves_nothing():
    rows = [Swing("a", 0.01, -0.01), Swing("b", math.inf, -0.02), Swing("c", 0.0, 0.0), Swing("d", 0.2, -0.1)]
    chart = charts_rows.tornado(rows, "step_time", 0.1)
    assert chart["data"][0]["y"] == ["b", "d", "a"]
    assert chart["data"][0]["x"] == [0.0, 0.2, 0.01]
    assert "does not fit" in chart["data"][0]["hovertext"][0]


def test_a_front_rings_the_choice_and_joins_its_points_in_order():
    best = [Mark(3.0, 1.0, "chosen"), Mark(1.0, 9.0, "small"), Mark(2.0, 4.0, "between")]
    chart = charts_rows.front([], best, Axes(("x", ""), ("y", "")))
    line = next(trace for trace in chart["data"] if trace["mode"] == "lines")
    ring = next(trace for trace in chart["data"] if trace["name"] == "the choice")
    assert line["x"] == [1.0, 2.0, 3.0] and (ring["x"], ring["y"]) == ([3.0], [1.0])


def test_predictions_lie_on_the_diagonal_where_they_are_right():
    rows = [Mark(x, x, "", f"device {int(x) % 9}") for x in np.geomspace(1e-3, 1e3, 60)]
    chart = charts_rows.predicted(rows, "step time", "s")
    marks = [(x, y) for t in chart["data"] if t["mode"] == "markers" for x, y in zip(t["x"], t["y"], strict=True)]
    assert len(marks) == 60 and all(x == y for x, y in marks)
    assert len(chart["data"]) == 3 + len(charts.SERIES)


def test_panels_that_nothing_moves_in_are_left_out():
    flat = {"start_s": np.arange(3.0), "arrivals": np.array([1, 1, 1]), "replicas": np.array([1, 2, 2])}
    assert list(charts_time.series(flat)) == ["replicas"]


def test_power_falls_where_the_job_is_down():
    chart = charts_time.power({"time_s": [0.0, 5.0, 6.0, 9.0], "power_w": [600.0, 70.0, 600.0, 600.0]})
    assert chart["data"][0]["y"] == [600.0, 70.0, 600.0, 600.0]
    assert chart["data"][0]["line"]["shape"] == "hv"


def test_names_of_users_are_text_in_every_chart():
    hostile = [
        charts.waterfall({(HOSTILE, HOSTILE): 1.0}),
        charts.memory({HOSTILE: {HOSTILE: 1e9}}),
        charts.bars({HOSTILE: 1.0}, "s"),
        charts_time.timeline(run(Schedule.of([HOSTILE], [1.0], part=[HOSTILE], phase=[HOSTILE]))),
        charts_time.distribution(np.ones(3), "t", charts_time.Limit(HOSTILE, 1.0)),
        charts_rows.roofline([Kernel(HOSTILE, "ffn", 1e9, 1e6, 1e-3, 1.0)], Roof({HOSTILE: 1e15}, 1e12)),
        charts_rows.tornado([Swing(HOSTILE, 1.0, 2.0)], HOSTILE),
        charts_rows.front([Mark(1, 1, HOSTILE, HOSTILE)], [Mark(1, 1, HOSTILE, HOSTILE)], Axes(("x", ""), ("y", ""))),
        charts_rows.predicted([Mark(1.0, 1.0, HOSTILE, HOSTILE)], "t", "s"),
        charts_rows.changes([charts_rows.Change(HOSTILE, 2.0, HOSTILE)]),
        charts_rows.errors({HOSTILE: (0.1, 0.2)}),
        charts.lines([charts.Line(HOSTILE, [1], [1]), charts.Line("b", [1], [1])], ("x", ""), ("y", "")),
    ]
    for chart in hostile:
        json.dumps(chart, allow_nan=False)
        assert not any("<img" in text for text in all_text(chart)), chart


@pytest.mark.parametrize(
    ("largest", "unit", "shown"),
    [
        (0.3, "s", "ms"),
        (90.0, "s", "s"),
        (86400.0 * 3, "s", "days"),
        (8e10, "bytes", "GB"),
        (3e6, "w", "MW"),
        (5.0, "tokens_per_s", "tokens/s"),
    ],
)
def test_an_axis_has_the_unit_that_needs_few_digits(largest, unit, shown):
    assert charts.scale_of(largest, unit).label == shown
