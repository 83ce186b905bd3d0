"""Sections of charts as the report makes them, as plain values: of an answer at once, of what is inside it when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ... import api
from ...catalog.library import Library
from ...catalog.scenarios import Scenario
from ...errors import UnknownFigure
from ...report import sections_result as report
from ...report.behind import Behind, behind
from ...report.charts_rows import Change, Swing, changes, tornado
from ...report.page import Section
from ...result import Result
from ...studies.whatif import Effect
from ...studies.whatif import Swing as Swung

Plain = dict[str, Any]


def sections_of(result: Result) -> list[Plain]:
    """Time by part and phase, memory by part; of serving its latencies and the fleet over time, of a campaign its draws."""
    found = [
        report.time(result.breakdown),
        report.memory(result, Behind()),
        *report.serving(result),
        *report.campaign(result),
    ]
    return [_plain(section) for section in found if section is not None]


def inside(scenario: Scenario, library: Library, result: Result) -> list[Plain]:
    """Kernels under the roofs of the chip, memory of every stage, the timeline of a step or of the first requests."""
    try:
        found = behind(scenario, library, result)
    except UnknownFigure:  # a rate that nobody published: the roof cannot be drawn
        found = Behind()
    stages = report.memory(result, found) if len(found.stages) > 1 else None
    made = api.trace(scenario, library) if len(scenario.groups) == 1 else None
    shown = (report.kernels(found), stages, report.pipeline(made))
    return [_plain(section) for section in shown if section is not None]


def _plain(section: Section) -> Plain:
    """A section as the API gives it."""
    return {
        "id": section.id,
        "title": section.title,
        "lede": section.lede,
        "panels": [{"title": panel.title, "chart": panel.chart} for panel in section.panels],
        "notes": list(section.notes),
    }


def moved_chart(effects: Iterable[Effect], key: Mapping[str, Any]) -> Plain | None:
    """How the figures of the first screen moved; None if none did."""
    rows = [
        Change(each.name, each.ratio, f"{each.ratio - 1.0:+.2%}")
        for each in effects
        if each.name in key and each.ratio is not None and abs(each.ratio - 1.0) >= 5e-5
    ]
    if not rows:
        return None
    chart = changes(rows)
    chart["data"][0]["cliponaxis"] = False  # a short bar's number stands beside it, also at the edge
    chart["layout"]["margin"] = {**chart["layout"]["margin"], "r": 56}
    return chart


def tornado_chart(swings: Iterable[Swung], by: float, figure: str) -> Plain | None:
    """The bars of a tornado; None if nothing moves."""
    rows = [Swing(each.key, each.lowered, each.raised) for each in swings]
    return tornado(rows, figure, by) if rows else None
