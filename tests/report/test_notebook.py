"""A result in a notebook: the same figures as a table, as a plot and as a data frame."""

import numpy as np
import pytest

from sim.errors import InputError
from sim.report.tables import interval_text, key_figures, value_text
from sim.result import Figure, Result

HOSTILE = '<script>alert("x")</script>'
REQUESTS = {
    "arrival_s": np.array([0.0, 1.0, 2.0]),
    "first_token_s": np.array([0.1, 1.2, np.nan]),
    "finish_s": np.array([1.1, 2.2, np.nan]),
    "output_tokens": np.array([11, 11, 0]),
    "input_tokens": np.array([5, 6, 7]),
    "replica": np.array([0, 0, -1]),
}
CAMPAIGNS = {"days": np.array([3.0, 4.0]), "interruptions": np.array([1, 2]), "productive_share": np.array([0.9, 0.8])}


def result(**more) -> Result:
    given = {
        "schema": "gambrel.serve/1",
        "verdict": f"it serves {HOSTILE}",
        "scenario": {"slo": {"ttft_s": 0.5}},
        "figures": {
            "ttft_p95": Figure(0.2, "s", 0.15, 0.3, "calibrated"),
            "cost": Figure.unknown("usd", f"no price {HOSTILE}"),
            "odd_one": Figure(3.0, "tokens"),
        },
        "breakdown": {("ffn", "decode"): 2.0, ("host", "decode"): 1.0},
        "memory": {"weights": 1e9, "kv_cache": 2e9},
        "why": "ffn",
        "warnings": ("mind the step",),
    }
    return Result(**{**given, **more})


def test_the_table_says_verdict_value_interval_and_basis_of_each_key_figure():
    made = result()
    shown = made._repr_html_()
    for figure in key_figures(made.figures).values():
        assert value_text(figure) in shown and figure.basis in shown
    assert interval_text(made["ttft_p95"]) in shown and "mind the step" in shown and "ffn" in shown
    assert "<script" not in shown and "http" not in shown


def test_a_result_survives_its_own_json():
    made = result()
    assert Result.of(made.to_dict()).to_dict() == made.to_dict()


@pytest.mark.parametrize("broken", [{}, {"schema": 1}, {**result().to_dict(), "figures": 3}])
def test_what_is_no_result_is_refused(broken):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Result.of(broken)


def test_every_kind_of_plot_is_a_figure_that_plotly_accepts():
    pytest.importorskip("plotly")
    from sim.report.notebook import kinds

    made = result(
        requests=REQUESTS, tables={"campaigns": CAMPAIGNS, "power": {"time_s": [0.0, 1.0], "power_w": [7.0, 7.0]}}
    )
    known = kinds(made)
    assert {"waterfall", "memory", "figures", "ttft", "tpot", "latency", "campaigns", "power"} <= set(known)
    for name in known:
        figure = made.plot(name)
        assert len(figure.data) and "<script" not in figure.to_json()
    assert made.plot().data[-1].x[0] == 3.0  # the waterfall, whose total is the whole of the time


def test_an_unknown_plot_or_table_names_those_that_there_are():
    pytest.importorskip("plotly")
    with pytest.raises(InputError, match="waterfall"):
        result().plot("pie")
    with pytest.raises(InputError, match="figures"):
        result().to_polars("requests")


def test_tables_of_a_result_are_data_frames():
    pytest.importorskip("polars")
    made = result(requests=REQUESTS, tables={"campaigns": CAMPAIGNS})
    assert made.to_polars()["arrival_s"].to_list() == [0.0, 1.0, 2.0]
    assert made.to_polars("campaigns")["days"].to_list() == [3.0, 4.0]
    figures = made.to_polars("figures")
    assert figures["figure"].to_list() == list(made.figures)
    assert figures["value"].to_list() == [0.2, None, 3.0]
    assert result().to_polars().columns[:2] == ["figure", "value"]
