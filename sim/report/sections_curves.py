"""Pages of many points: a sweep with its front and axes, and the cost of a model's life over what it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..units import split_unit, text
from . import charts, charts_rows
from .charts_rows import Axes, Mark
from .page import Page, Panel, Section, Table

Plain = Mapping[str, Any]
MOST_ROWS = 20
MOST_BARS = 16
# figures that a sweep is looked at by, the first that it has; and what stands against them
MAIN = ("step_time", "tpot_p50", "latency_p50", "ttft_p50", "output_tokens_per_s")
AGAINST = ("cost", "usd_per_million_tokens", "memory_per_device", "energy")


def lifetime(plain: Plain) -> Page:
    """Size and training tokens for the least cost at equal loss, over how much is served."""
    own, best, demands = plain["as_it_is"], plain["best"], plain["by_demand"]
    unit = str(plain["unit"])
    saved = 1.0 - best["total"] / own["total"]
    rows = [
        (label, text(e["served_tokens"], "tokens"), text(e["parameters"], ""), text(e["tokens"], "tokens"),
         *(text(e[part], unit) for part in ("training", "serving", "total")))
        for label, e in [("as it is", own), ("cheapest", best), *(("", each) for each in demands)]
    ]  # fmt: skip
    marks = [each for each in demands if each["served_tokens"] > 0]
    lines = [charts.Line("size", [e["served_tokens"] for e in marks], [e["parameters"] for e in marks])]
    costs = {
        f"{label}, {part}": each[part]
        for label, each in (("as it is", own), ("cheapest", best))
        for part in ("training", "serving", "total")
    }
    return Page(
        kind="lifetime",
        title=str(plain["model"]),
        verdict=f"At the loss of {plain['model']} ({plain['loss']:.4g}), {text(best['served_tokens'], 'tokens')} served cost "
        f"least with {text(best['parameters'], 'parameters')} on {text(best['tokens'], 'tokens')}: {saved:.0%} less than as it is.",
        sections=(
            Section(
                "costs",
                "Cost of a life",
                panels=(
                    Panel("Cost of training and serving", charts.bars(costs, unit)),
                    Panel(
                        "Cheapest size by tokens served",
                        charts.lines(lines, ("tokens served", "tokens"), ("parameters", ""), log=True),
                    ),
                ),
                tables=(
                    Table(("", ">served", ">parameters", ">training tokens", ">training", ">serving", ">total"), rows),
                ),
            ),
        ),
        facts=(("law", f"{plain['law']['id']}: {plain['law']['source']}"),),
    )


def sweep(plain: Plain, columns: Mapping[str, Sequence[Any]]) -> Page:
    """Many points: the best ones, what each axis does to them, and the front. columns: its table by name."""
    counts = {name: plain.get(name, 0) for name in ("ok", "infeasible", "error")}
    verdict = (
        f"{plain['sweep']}: {plain['points']:,} points; {counts['ok']:,} answered, {counts['infeasible']:,} do not fit or keep "
        f"their limits, {counts['error']:,} errors."
    )
    sections = _sweep_sections(columns) if columns and counts["ok"] else []
    errors = [(f"{each['count']:,}", str(each["error"])) for each in plain.get("errors", ())]
    if errors:
        sections.append(Section("errors", "Errors", tables=(Table((">points", "what"), errors),)))
    return Page(
        kind="sweep",
        title=str(plain["sweep"]),
        verdict=verdict,
        good=counts["ok"] > 0,
        sections=tuple(sections),
        warnings=() if columns else ("The table of the sweep is not beside its result, so there is nothing to plot.",),
        facts=(("seed", str(plain["seed"])), ("table", str(plain["table"]))),
    )


def _sweep_sections(columns: Mapping[str, Sequence[Any]]) -> list[Section]:
    names = list(columns)
    keys = names[1 : names.index("status")]
    main = next((name for stem in MAIN for name in names if name.startswith(stem)), None)
    if main is None:
        return []
    sign = -1.0 if main.endswith("per_s") else 1.0
    rows = [i for i, status in enumerate(columns["status"]) if status == "ok" and columns[main][i] is not None]
    rows.sort(key=lambda i: sign * columns[main][i])
    stem, unit, _ = split_unit(main) or (main, "", 1.0)
    title = charts.words(stem)
    best = Table(
        (*keys, f">{title}"),
        [(*(_cell(columns[key][i]) for key in keys), text(columns[main][i], unit)) for i in rows[:MOST_ROWS]],
        first=1,
    )
    panels = []
    for key in keys:
        found: dict[str, float] = {}
        for i in rows:
            found.setdefault(_cell(columns[key][i]), columns[main][i])
        if 1 < len(found) <= MOST_BARS:
            panels.append(Panel(f"Best {title} by {key}", charts.bars({k: found[k] for k in _ordered(found)}, unit)))
    out = (
        [Section("axes", "What each axis does", f"The best {title} with each value.", panels=tuple(panels))]
        if panels
        else []
    )
    against = next((name for stem in AGAINST for name in names if name.startswith(stem)), None)
    if against is not None and len(rows) > 2:
        out.insert(0, _sweep_front(columns, rows, keys, (against, main)))
    return [*out, Section("best", "The best points", tables=(best,))]


def _sweep_front(
    columns: Mapping[str, Sequence[Any]], rows: Sequence[int], keys: Sequence[str], pair: tuple[str, str]
) -> Section:
    """Main figure against another; the front is where neither can get better without the other."""
    against, main = pair
    sign = -1.0 if main.endswith("per_s") else 1.0
    marks = [
        Mark(columns[against][i], columns[main][i], ", ".join(f"{key} {_cell(columns[key][i])}" for key in keys))
        for i in rows
        if columns[against][i] is not None
    ]
    front: list[Mark] = []
    for mark in sorted(marks, key=lambda each: (each.x, sign * each.y)):
        if not front or sign * mark.y < sign * front[-1].y:
            front.append(mark)
    titles = [split_unit(name) or (name, "", 1.0) for name in pair]
    axes = Axes(*((charts.words(stem), unit) for stem, unit, _ in titles))
    chosen = sorted(front, key=lambda each: sign * each.y)
    return Section(
        "front",
        f"{axes.y[0].capitalize()} against {axes.x[0]}",
        "Every point that was answered; nothing beats those on the line in both.",
        panels=(Panel(f"{axes.y[0]} against {axes.x[0]}", charts_rows.front(marks, chosen, axes)),),
    )


def _cell(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _ordered(found: Mapping[str, float]) -> list[str]:
    """Values of an axis as numbers rise, or as they are."""
    try:
        return sorted(found, key=lambda said: float(said.replace(",", "")))
    except ValueError:
        return sorted(found)
