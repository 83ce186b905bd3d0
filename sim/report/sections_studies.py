"""Pages of studies, from what their --json says: what-if and tornado, searches and their fronts, sizing, sweeps, lifetimes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..result import Figure, Result
from ..units import text
from . import charts, charts_rows, sections_result
from .charts_rows import Axes, Change, Mark, Swing
from .page import Page, Panel, Section, Table
from .tables import interval_text, key_figures, value_text

Plain = Mapping[str, Any]
PLAN_WORDS = {"tp": "TP", "pp": "PP", "dp": "DP", "cp": "CP", "ep": "EP", "attention_dp": "attention DP"}
MOST_ROWS = 20
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


def search(plain: Plain) -> Page:
    """Training plans ranked, the front of time and memory, and why the first wins."""
    ranking, best = plain["ranking"], plain["ranking"][0]
    where = f"{plain['model']} on {plain['devices']:,} x {plain['cluster']}" if "model" in plain else "training plans"
    points = [Mark(r["memory_bytes"], r["step_time_s"], plan_words(r["plan"])) for r in ranking]
    front = [Mark(r["memory_bytes"], r["step_time_s"], plan_words(r["plan"])) for r in plain["front"]]
    rows = [
        (f"{r['place'] + 1}", plan_words(r["plan"]), text(r["step_time_s"], "s"), text(r["memory_bytes"], "bytes"))
        for r in ranking[:MOST_ROWS]
    ]
    why = [
        (charts.words(a["field"]), str(a["value"]), f"{a['slower']:+.1%}", charts.words(a["part"]))
        for a in plain["alternatives"]
    ]
    slower = {
        f"{charts.words(a['field'])} = {a['value']}": a["slower"] for a in plain["alternatives"] if a["slower"] > 0
    }
    axes = Axes(("memory of a device", "bytes"), ("time of a step", "s"))
    why_panels = (Panel("How much slower with one thing changed", charts.bars(slower, "fraction")),) if slower else ()
    front_section = Section(
        "front",
        "Time against memory",
        "Plans that no other beats in both, and the first of the ranking. Less memory costs time.",
        panels=(Panel("Step time against memory", charts_rows.front(points, front or points[:1], axes)),),
    )
    return Page(
        kind="search train",
        title=where,
        verdict=f"{where}: {plan_words(best['plan'])} is the fastest, {text(best['step_time_s'], 's')} a step.",
        why=f"{plain['legal']:,} legal plans, {plain['pruned_by_memory']:,} do not fit, {plain['priced']:,} priced in full.",
        sections=(
            front_section,
            Section("ranking", "Ranking", tables=(Table(("", "plan", ">step", ">memory"), rows, first=1),)),
            Section(
                "why",
                "Why it wins",
                "The best plan with one thing changed.",
                panels=why_panels,
                tables=(Table(("changed", "to", ">slower", "because of"), why),),
            ),
        ),
        commands=() if plain.get("launch") is None else (str(plain["launch"]),),
    )


def plan_words(plan: Plain) -> str:
    """A plan in a line: degrees above one, then what is not plain."""
    said = [f"{word}{plan[name]}" for name, word in PLAN_WORDS.items() if (plan.get(name) or 1) > 1] or ["one device"]
    if (plan.get("virtual_stages") or 1) > 1:
        said.append(f"{plan['virtual_stages']} chunks")
    if plan.get("schedule", "1f1b") != "1f1b":
        said.append(str(plan["schedule"]))
    for name in ("micro_batch",):
        if name in plan:
            said.append(f"micro-batch {plan[name]}")
    if plan.get("sharding", "none") != "none":
        said.append(str(plan["sharding"]))
    if plan.get("recompute", "none") != "none":
        said.append(f"recompute {plan['recompute']}")
    return " ".join(said)


def search_serve(plain: Plain) -> Page:
    """Ways to serve: the front by arithmetic, the best ones simulated, what binds."""
    ranking, best = plain["ranking"], plain["ranking"][0]
    front = [_operating_point(each) for each in plain["front"]]
    chosen = _operating_point(best)
    rows = [_way(place, each) for place, each in enumerate(ranking[:MOST_ROWS])]
    model = best["scenario"]["groups"][0]["model"]
    cost = Figure.of(best["figures"]["usd_per_million_tokens"]) if "usd_per_million_tokens" in best["figures"] else None
    price = "price unknown" if cost is None or cost.value is None else f"{value_text(cost)} a million tokens"
    state = "is the best that keeps the limits" if best["meets_slo"] else "comes nearest, but misses the limits"
    axes = Axes(("tokens/s of one user", "tokens_per_s"), ("tokens/s of a chip", "tokens_per_s"))
    figures = {name: Figure.of(each) for name, each in best["figures"].items()}
    return Page(
        kind="search serve",
        title=f"{model}, {len({each['cluster'] for each in ranking})} clusters",
        verdict=f"{model}: {setting_words(best)} {state}, {price}.",
        good=bool(best["meets_slo"]),
        why=str(plain["binds"]),
        tiles=sections_result.tiles("serve", figures),
        sections=(
            Section(
                "front",
                "Speed against throughput",
                "By arithmetic: what a user sees against what a chip gives. Nothing beats these in both; the ring is the choice.",
                panels=(
                    Panel(
                        "Tokens/s of a user against tokens/s of a chip", charts_rows.front([], [chosen, *front], axes)
                    ),
                ),
            ),
            Section(
                "ranking",
                "Simulated",
                f"{plain['settings']:,} settings, {plain['points']:,} operating points; the best {len(ranking)} simulated.",
                tables=(
                    Table(("", "setting", ">chips", ">TTFT p95", ">TPOT p95", ">$/M tokens", "limits"), rows, first=1),
                ),
            ),
            Section("figures", "Figures of the first", figures={**key_figures(figures), **figures}),
        ),
        warnings=tuple(f"{each['cluster']} is left out: {each['reason']}" for each in plain["skipped"]),
        commands=() if plain.get("launch") is None else (str(plain["launch"]),),
        facts=sections_result.facts(plain.get("provenance", {})),
    )


def _operating_point(each: Plain) -> Mark:
    sums = each["arithmetic"]
    speed = 1.0 / sums["tpot_s"] if sums["tpot_s"] else 0.0
    return Mark(speed, sums["output_tokens_per_s_per_chip"], setting_words(each), str(each["cluster"]))


def setting_words(each: Plain) -> str:
    """A way to serve in a line."""
    said = [each["cluster"], plan_words(each["plan"]), f"{each['sequences']:,} sequences"]
    return ", ".join(map(str, [*said, *(["prefill apart"] if each["apart"] else [])]))


def _way(place: int, each: Plain) -> tuple[str, ...]:
    figures = {name: Figure.of(figure) for name, figure in each["figures"].items()}

    def said(name: str) -> str:
        return value_text(figures[name]) if name in figures else ""

    limits = "kept" if each["meets_slo"] else "missed"
    numbers = (said(name) for name in ("ttft_p95", "tpot_p95", "usd_per_million_tokens"))
    return (f"{place + 1}", setting_words(each), f"{figures['devices'].value or 0:,.0f}", *numbers, limits)


def capacity(plain: Plain, answered: Page) -> Page:
    """How many, how much: the answer, then the page of the run that it was checked by."""
    value = plain["value"]
    said = text(value, "s") if plain["unit"] == "s" else f"{value:,.4g} {plain['unit']}"
    size = f"{plain['replicas']:,} replicas, {plain['devices']:,} chips"
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
