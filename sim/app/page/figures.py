"""Charts of an answer, as Plotly figures by name: those of the report, of what a comparison shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...report.charts import memory, waterfall
from ...report.charts_rows import Change, Swing, changes, errors, tornado
from ...report.charts_time import Limit, campaigns, distribution, series
from ...result import Result
from ...studies.whatif import Effect
from ...studies.whatif import Swing as Swung
from .messages import ErrorLine

Charts = dict[str, dict[str, Any]]
_LATENCIES = {"ttft_s": "time to first token", "tpot_s": "time per output token"}


def charts_of(result: Result) -> Charts:
    """Time by part and phase, memory by part; of serving latencies and the fleet over time, of a campaign its draws."""
    found: Charts = {}
    if result.breakdown:
        found["time"] = waterfall(result.breakdown)
    if result.memory:
        capacity = result.figures.get("memory_capacity")
        found["memory"] = memory({"a device": result.memory}, None if capacity is None else capacity.value)
    if result.requests is not None:
        found.update(_latencies(result))
    tables = result.tables or {}
    if "series" in tables:
        found.update({f"series {name}": chart for name, chart in series(tables["series"]).items()})
    if "campaigns" in tables:
        days = result.figures.get("days")
        found["campaigns"] = campaigns(tables["campaigns"], None if days is None else days.value)
    return found


def _latencies(result: Result) -> Charts:
    """Cumulative distributions of what users wait for, with the limit that they should keep."""
    slo = result.scenario.get("slo") or {}
    found: Charts = {}
    for name, title in _LATENCIES.items():
        if name in result.requests:
            limit = slo.get(name)
            line = None if limit is None else Limit("limit", float(limit))
            found[name.removesuffix("_s")] = distribution(np.asarray(result.requests[name], dtype=np.float64), title, line)
    return found


def moved_chart(effects: Iterable[Effect], key: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the figures of the first screen moved; None if none did."""
    rows = [
        Change(each.name, each.ratio, f"{each.ratio - 1.0:+.2%}")
        for each in effects
        if each.name in key and each.ratio is not None and abs(each.ratio - 1.0) >= 5e-5
    ]
    return changes(rows) if rows else None


def tornado_chart(swings: Iterable[Swung], by: float, figure: str) -> dict[str, Any] | None:
    """The bars of a tornado; None if nothing moves."""
    rows = [Swing(each.key, each.lowered, each.raised) for each in swings]
    return tornado(rows, by, figure) if rows else None


def error_chart(lines: Iterable[ErrorLine]) -> dict[str, Any]:
    """Median and 90th percentile of the errors, by table and metric; an error beyond all bounds has no mark."""
    shown = {f"{each.table}: {each.metric}": (each.median, each.p90 if each.p90 <= 1.0 else math.nan) for each in lines}
    return errors(shown)
