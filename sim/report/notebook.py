"""A result in a notebook: its first screen as a table, a Plotly figure, a Polars table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import numpy as np

from ..errors import InputError
from ..result import Figure, Result
from . import charts, charts_rows, charts_time, sections_result
from .html import MISSING
from .page import figure_cells
from .tables import key_figures
from .theme import SIZES, Chart

LATENCIES = {"Time to first token": "ttft", "Time per output token": "tpot", "Time to the last token": "latency"}
_CELL = "padding:2px 12px 2px 0;border:0;vertical-align:top;text-align:{0}"


def table_of(result: Result) -> str:
    """Verdict, figures with interval and basis, what binds and what to note, as HTML without scripts or colours of its own."""
    rows = "".join(_row(name, figure) for name, figure in key_figures(result.figures).items())
    head = "".join(
        f'<th style="{_CELL.format(side)}">{name}</th>'
        for name, side in (("figure", "left"), ("value", "right"), ("interval", "left"), ("basis", "left"))
    )
    left = len(result.figures) - len(key_figures(result.figures))
    parts = [
        f"<p><strong>{escape(result.verdict)}</strong></p>",
        f"<p>{escape(result.why)}</p>" if result.why else "",
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>",
        *(f"<p>Note: {escape(each)}</p>" for each in result.warnings),
        f"<p>{left} more in <code>result.figures</code>; <code>result.plot()</code> shows where the time goes.</p>"
        if left
        else "",
    ]
    return f'<div style="font-variant-numeric:tabular-nums">{"".join(parts)}</div>'


def _row(name: str, figure: Figure) -> str:
    cells = zip(figure_cells(name, figure), ("left", "right", "left", "left"), strict=True)
    said = "".join(f'<td style="{_CELL.format(side)}">{escape(cell)}</td>' for cell, side in cells)
    return f"<tr>{said}</tr>"


def plot(result: Result, kind: str | None = None) -> Any:
    """A Plotly figure. kind: a name of `kinds`, None: the first. Raises InputError for a kind that the result does not have, and
    where Plotly is not installed."""
    try:
        from plotly import graph_objects
    except ImportError:
        raise InputError(MISSING.format("Plotly")) from None
    known = kinds(result)
    wanted = kind or next(iter(known))
    if wanted not in known:
        raise InputError(f"plot({kind!r}): this result has no such plot. Use one of {', '.join(known)}.")
    chart = known[wanted]()
    top = chart["layout"]["margin"]["t"] + 44
    title = {"text": charts.label(result.verdict, 90), "x": 0, "font": {"size": SIZES["small"]}, "yref": "container"}
    layout = {**chart["layout"], "title": title, "margin": {**chart["layout"]["margin"], "t": top}}
    figure: Any = graph_objects
    return figure.Figure(data=chart["data"], layout={**layout, "height": layout["height"] + 44, "template": "none"})


def kinds(result: Result) -> Mapping[str, Callable[[], Chart]]:
    """What can be drawn of a result, by name."""
    tables, capacity = result.tables or {}, result.figures.get("memory_capacity")
    out: dict[str, Callable[[], Chart]] = {}
    if result.breakdown:
        out["waterfall"] = lambda: charts.waterfall(result.breakdown)
        out["shares"] = lambda: charts.shares(result.breakdown)
    if result.memory:
        full = None if capacity is None else capacity.value
        out["memory"] = lambda: charts.memory({"fullest stage": result.memory}, full)
    out["figures"] = lambda: intervals(result.figures)
    if result.requests is not None:
        for section in sections_result.latencies(result):
            for panel in section.panels:
                out[LATENCIES[panel.title]] = lambda panel=panel: panel.chart  # type: ignore[misc]
    if "series" in tables and len(tables["series"].get("start_s", ())) > 1:
        for name, chart in charts_time.series(tables["series"]).items():
            out[name] = lambda chart=chart: chart  # type: ignore[misc]
    if "campaigns" in tables:
        out["campaigns"] = lambda: charts_time.campaigns(tables["campaigns"])
    if "power" in tables:
        out["power"] = lambda: charts_time.power(tables["power"])
    return out


def intervals(figures: Mapping[str, Figure]) -> Chart:
    """Intervals of the figures that have one, as shares around their values."""
    rows = [
        charts_rows.Swing(charts.words(name), figure.low / figure.value - 1.0, figure.high / figure.value - 1.0)
        for name, figure in key_figures(figures).items()
        if figure.value and figure.low is not None and figure.high is not None
    ]
    chart = charts_rows.tornado(rows, "the value, inside its interval")
    for trace, name in zip(chart["data"], ("lowest", "highest"), strict=True):
        trace["name"] = name
    return chart


def to_polars(result: Result, name: str | None = None) -> Any:
    """A Polars DataFrame: `figures` (name, value, unit, low, high, basis, note), `requests`, or one of the tables."""
    try:
        import polars
    except ImportError:
        raise InputError("to_polars: Polars is not installed. Type: pip install 'gambrel[sweep]'") from None
    tables: dict[str, Any] = {} if result.requests is None else {"requests": result.requests}
    tables |= result.tables or {}
    wanted = name or next(iter(tables), "figures")
    if wanted == "figures":
        rows = [{"figure": n, **each.to_dict(), "note": each.note} for n, each in result.figures.items()]
        kinds_of = {**dict.fromkeys(("value", "low", "high"), polars.Float64), "note": polars.String}
        return polars.DataFrame(rows, schema_overrides=kinds_of, infer_schema_length=None)
    if wanted not in tables:
        raise InputError(f"to_polars({name!r}): no such table here. Use one of {', '.join([*tables, 'figures'])}.")
    return polars.DataFrame({column: np.asarray(values) for column, values in tables[wanted].items()})
