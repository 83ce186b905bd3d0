"""Pages of studies, from what their --json says: what-if and tornado, and how many chips it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..result import Figure, Result
from ..units import text
from . import charts, charts_rows, sections_result
from .charts_rows import Change, Swing
from .page import Page, Panel, Section, Table
from .tables import interval_text, key_figures, value_text

Plain = Mapping[str, Any]
SHOWN_CHANGES = 16


def whatif(plain: Plain) -> Page:
    """Baseline and changed question side by side; the hardware values ranked."""
    baseline = Result.of(plain["baseline"])
    name, sections = str(plain["figure"]), []
    changed = Result.of(plain["changed"]) if "changed" in plain else None
    if changed is not None:
        sections += _sides(baseline, changed, plain)
    if "tornado" in plain:
        sections.append(_tornado(plain["tornado"], name, plain.get("tornado_by")))
    until = plain.get("until")
    notes = [f"{key} moves no figure: nothing here waits for it." for key in plain.get("moves_nothing", ())]
    verdict = baseline.verdict if changed is None else changed.verdict
    if until is not None and until["factor"] is not None:
        notes.append(
            f"{until['key']} binds up to {until['factor']:.2f} times its value; then {until['binds_then']} does."
        )
    return Page(
        kind="what if",
        title=", ".join(map(str, plain.get("changes", ()))) or f"what moves {charts.words(name)}",
        verdict=verdict,
        sections=(
            *sections,
            sections_result.figures(baseline)._replace(id="baseline", title="Figures of the baseline"),
        ),
        good=baseline.fits and (changed is None or changed.fits),
        why="" if changed is None else f"Before: {baseline.why}. After: {changed.why}.",
        tiles=sections_result.tiles(_kind(baseline), (changed or baseline).figures),
        warnings=tuple(notes),
        facts=sections_result.facts(baseline.provenance),
    )


def _kind(result: Result) -> str:
    return result.schema.removeprefix("gambrel.").partition("/")[0]


def _sides(baseline: Result, changed: Result, plain: Plain) -> list[Section]:
    wanted = {**key_figures(baseline.figures), **key_figures(changed.figures)}
    rows, moved = [], []
    for each in plain["effects"]:
        before, after = (None if each[side] is None else Figure.of(each[side]) for side in ("baseline", "changed"))
        ratio = each["ratio"]
        if each["figure"] not in wanted or after is None:
            continue
        said = "" if before is None else value_text(before)
        delta = "" if ratio is None else "same" if abs(ratio - 1.0) < 5e-5 else f"{ratio - 1.0:+.1%}"
        rows.append((charts.words(each["figure"]), said, value_text(after), delta, interval_text(after), after.basis))
        if ratio is not None:
            moved.append(Change(each["figure"], ratio, f"{said} to {value_text(after)}"))
    panels = (
        [Panel("Change of each figure", charts_rows.changes(moved[:SHOWN_CHANGES]))]
        if any(abs(each.ratio - 1.0) >= 5e-5 for each in moved)
        else []
    )
    out = [
        Section(
            "sides",
            "Before and after",
            f"Changed: {', '.join(map(str, plain.get('changes', ())))}.",
            panels=tuple(panels),
            tables=(Table(("figure", ">before", ">after", ">change", "range", "basis"), rows),),
        )
    ]
    times = [(name, each.breakdown) for name, each in (("Before", baseline), ("After", changed)) if each.breakdown]
    if times:
        panels = [Panel(f"{name}: device time by part and phase", charts.waterfall(parts)) for name, parts in times]
        out.append(Section("time", "Where the time goes", "Before and after the change.", panels=tuple(panels)))
    return out


def _tornado(rows: Sequence[Plain], name: str, by: float | None) -> Section:
    swings = [Swing(str(r["key"]), *(_finite(r[side]) for side in ("lowered", "raised"))) for r in rows]
    moving = [each for each in swings if not (abs(each.lowered) < 5e-5 and abs(each.raised) < 5e-5)]
    still = [each.key for each in swings if each not in moving]
    cells = [
        (
            r["key"],
            _change(r["lowered"]),
            _change(r["raised"]),
            "" if r["elasticity"] is None else f"{r['elasticity']:+.2f}",
        )
        for r in rows
        if any(each.key == r["key"] for each in moving)
    ]
    return Section(
        "tornado",
        "What matters most",
        f"Every hardware value moved down and up by the same share; how {charts.words(name)} follows, the largest swing first.",
        panels=(Panel(f"Change of {charts.words(name)} by hardware value", charts_rows.tornado(swings, name, by)),),
        values=(Table(("hardware value", ">lowered", ">raised", ">elasticity"), cells),),
        notes=(f"Moves nothing: {', '.join(still)}.",) if still else (),
    )


def _finite(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _change(value: float | None) -> str:
    return "does not fit" if value is None else f"{value:+.2%}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def capacity(plain: Plain, answered: Page) -> Page:
    """How many, how much: the answer, then the page of the run that it was checked by."""
    value = plain["value"]
    said = text(value, "s") if plain["unit"] == "s" else f"{value:,.4g} {plain['unit']}"
    size = f"{_counted(plain['replicas'], 'replica')}, {_counted(plain['devices'], 'chip')}"
    rows = [("replicas", f"{plain['replicas']:,}"), ("chips", f"{plain['devices']:,}")]
    if plain["provisioned_w"] is not None:
        rows.append(("provisioned power", text(plain["provisioned_w"], "w")))
    if plain["usd_per_h"] is not None:
        rows.append(("dollars an hour", text(plain["usd_per_h"], "usd")))
    if plain["misses_at"] is not None:
        rows.append(("misses its limits at", f"{plain['misses_at']:,.4g}"))
    rows.append(("simulations", f"{plain['simulations']:,}"))
    first = Section("size", "The size", f"Solved for {plain['free']}.", tables=(Table(("", ">"), rows),))
    return answered._replace(
        kind="capacity",
        verdict=f"{plain['free']}: {said} ({size}). {answered.verdict}",
        sections=(first, *answered.sections),
    )
