"""Pages of searches, from what their --json says: the front, the ranking, and why the first wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..result import Figure
from ..units import text
from . import charts, charts_rows, sections_result
from .charts_rows import Axes, Mark
from .page import Page, Panel, Section, Table
from .tables import key_figures, value_text

Plain = Mapping[str, Any]
PLAN_WORDS = {"tp": "TP", "pp": "PP", "dp": "DP", "cp": "CP", "ep": "EP", "attention_dp": "attention DP"}
MOST_ROWS = 20


def search(plain: Plain) -> Page:
    """Training plans ranked, the front of time and memory, and why the first wins."""
    ranking, best = plain["ranking"], plain["ranking"][0]
    where = f"{plain['model']} on {plain['devices']:,} x {plain['cluster']}" if "model" in plain else "Training plans"
    return Page(
        kind="search train",
        title=where,
        verdict=f"{where}: {plan_words(best['plan'])} is the fastest, {text(best['step_time_s'], 's')} a step.",
        why=f"{plain['legal']:,} legal plans, {plain['pruned_by_memory']:,} do not fit, {plain['priced']:,} priced in full.",
        sections=(_plan_front(plain), _plan_ranking(ranking), _why_it_wins(plain["alternatives"])),
        commands=() if plain.get("launch") is None else (str(plain["launch"]),),
    )


def _plan_front(plain: Plain) -> Section:
    points, front = (
        [Mark(r["memory_bytes"], r["step_time_s"], plan_words(r["plan"])) for r in plain[name]]
        for name in ("ranking", "front")
    )
    axes = Axes(("memory of a device", "bytes"), ("time of a step", "s"))
    return Section(
        "front",
        "Time against memory",
        "Plans that no other beats in both, and the first of the ranking. Less memory costs time.",
        panels=(Panel("Step time against memory", charts_rows.front(points, front or points[:1], axes)),),
    )


def _plan_ranking(ranking: Sequence[Plain]) -> Section:
    rows = [
        (f"{r['place'] + 1}", plan_words(r["plan"]), text(r["step_time_s"], "s"), text(r["memory_bytes"], "bytes"))
        for r in ranking[:MOST_ROWS]
    ]
    return Section("ranking", "Ranking", tables=(Table((">", "plan", ">step", ">memory"), rows, first=1),))


def _why_it_wins(alternatives: Sequence[Plain]) -> Section:
    rows = [
        (charts.words(a["field"]), str(a["value"]), f"{a['slower']:+.1%}", charts.words(a["part"]))
        for a in alternatives
    ]
    slower = {f"{charts.words(a['field'])} = {a['value']}": a["slower"] for a in alternatives if a["slower"] > 0}
    panels = (Panel("How much slower with one thing changed", charts.bars(slower, "fraction")),) if slower else ()
    return Section(
        "why",
        "Why it wins",
        "The best plan with one thing changed.",
        panels=panels,
        tables=(Table(("changed", "to", ">slower", "because of"), rows),),
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
    figures = {name: Figure.of(each) for name, each in best["figures"].items()}
    cost, model = figures.get("usd_per_million_tokens"), best["scenario"]["groups"][0]["model"]
    price = "price unknown" if cost is None or cost.value is None else f"{value_text(cost)} a million tokens"
    state = "is the best that keeps the limits" if best["meets_slo"] else "comes nearest, but misses the limits"
    return Page(
        kind="search serve",
        title=f"{model}, {len({each['cluster'] for each in ranking})} clusters",
        verdict=f"{model}: {setting_words(best)} {state}, {price}.",
        good=bool(best["meets_slo"]),
        why=str(plain["binds"]),
        tiles=sections_result.tiles("serve", figures),
        sections=(
            _serving_front(plain),
            _ways(plain),
            Section("figures", "Figures of the first", figures=key_figures(figures), more=_rest(figures)),
        ),
        warnings=tuple(f"{each['cluster']} is left out: {each['reason']}" for each in plain["skipped"]),
        commands=() if plain.get("launch") is None else (str(plain["launch"]),),
        facts=sections_result.facts(plain.get("provenance", {})),
    )


def _serving_front(plain: Plain) -> Section:
    points = [_operating_point(each) for each in (plain["ranking"][0], *plain["front"])]
    axes = Axes(("tokens/s of one user", "tokens_per_s"), ("tokens/s of a chip", "tokens_per_s"))
    return Section(
        "front",
        "Speed against throughput",
        "By arithmetic: what a user sees against what a chip gives. Nothing beats these in both; the ring is the choice.",
        panels=(Panel("Tokens/s of a user against tokens/s of a chip", charts_rows.front([], points, axes)),),
    )


def _ways(plain: Plain) -> Section:
    ranking = plain["ranking"]
    head = (">", "setting", ">chips", ">TTFT p95", ">TPOT p95", ">$/M tokens", "limits")
    return Section(
        "ranking",
        "Simulated",
        f"{plain['settings']:,} settings, {plain['points']:,} operating points; the best {len(ranking)} simulated.",
        tables=(Table(head, [_way(place, each) for place, each in enumerate(ranking[:MOST_ROWS])], first=1),),
    )


def _rest(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    return {name: each for name, each in figures.items() if name not in key_figures(figures)}


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
