"""`search serve`: the best way to serve a model on several chips, what binds it, and how to launch it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .command import command
from .options import scenario_from
from .output import Call, Progress, emit
from .runs import Changes, File, Flags, _path

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.library import Library
    from ..studies.search_serve import Found, Question, Refined
    from ..studies.serve_space import Point

SHOWN = 10
ALL = "all"
_MODES = {"both": (False, True), "together": (False,), "apart": (True,)}


@command("serve")
def serve(
    call: Call,
    scenario: File = None,
    changes: Changes = None,
    clusters: Annotated[
        str | None,
        typer.Option("--clusters", metavar="NAMES", help="Chips or clusters to try, with commas; all: every chip."),
    ] = None,
    modes: Annotated[
        str,
        typer.Option("--prefill", metavar="MODE", help="Prompts beside tokens, on replicas of their own, or both."),
    ] = "both",
    refine: Annotated[int, typer.Option("--refine", metavar="N", min=1, help="How many settings to simulate.")] = 12,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many lines a table shows.")] = SHOWN,
    emitted: Annotated[
        str | None,
        typer.Option(
            "--emit", metavar="NAME", help="Launch the winner: vllm | sglang | trtllm | k8s | dynamo | slurm | neuron."
        ),
    ] = None,
    *,
    flags: Flags,
) -> int:
    """Rank ways to serve."""
    from .. import api
    from ..report.launch_cluster import ENDINGS, ENGINES
    from ..studies.search_serve import search

    if emitted is not None and emitted not in ENGINES:
        raise InputError(f"--emit = {emitted!r} is no serving engine. Use {', '.join(ENGINES)}.")
    library = call.library()
    question = question_of(call, library, (scenario, changes, flags), clusters, modes)
    with Progress() as progress:
        found = search(question, library, lambda asked: api.serve(asked, library), refine, progress)
    text = None if emitted is None else launched(found, emitted)
    files = {} if text is None else {f"launch.{emitted}{ENDINGS.get(emitted or '', '.txt')}": text + "\n"}
    emit(call, document_of(found, text), screen(found, top, text), files)
    return 0 if found.best.meets else 1


def question_of(
    call: Call, library: Library, asks: tuple[str | None, list[str] | None, Flags], clusters: str | None, modes: str
) -> Question:
    """The search that file and flags ask for: what they say of plan and engine stays, the rest is searched."""
    from ..studies.search_serve import Question
    from ..studies.serve_space import LAYOUT

    file, changes, flags = asks
    if modes not in _MODES:
        raise InputError(f"--prefill = {modes!r} is no way to serve. Use {', '.join(_MODES)}.")
    names = _names(library, clusters)
    if names:
        flags = {**flags, "cluster": names[0]}
    scenario = scenario_from("serve", _path(call, file), flags, call.seed, changes or ())
    if len(scenario.groups) != 1:
        raise InputError("search serve: the scenario has several groups. Keep one; prefill and decode are searched.")
    group = scenario.groups[0]
    for name in names or (group.cluster,):
        library.cluster(name)
    fixed = tuple(name for name in LAYOUT if name in group.plan.model_fields_set)
    return Question(scenario, names or (group.cluster,), fixed, group.devices, _MODES[modes])


def _names(library: Library, clusters: str | None) -> tuple[str, ...]:
    if clusters is None:
        return ()
    if clusters == ALL:
        return tuple(entry.id for entry in library.entries("chip"))
    return tuple(dict.fromkeys(name.strip() for name in clusters.split(",") if name.strip()))


def launched(found: Found, engine: str) -> str:
    """Launch text of the winner."""
    from ..report.launch_cluster import launch_serving
    from ..report.launch_serving import Serving
    from ..serving.settings import resolved

    best = found.best
    group, setting = best.scenario.groups[0], best.point.setting
    counts = _replicas(best)
    kind = Serving(
        model=found.model,
        plan=group.plan,
        engine=resolved(group.engine, setting.target),
        chips=best.point.chips // sum(best.point.replicas),
        replicas=counts[0],
        longest=found.load.longest,
        family=setting.target.chip.family,
        node_chips=setting.target.cluster.chips_per_node,
    )
    if not setting.apart:
        return launch_serving(engine, [kind])
    return launch_serving(
        engine, [kind._replace(role=role, replicas=n) for role, n in zip(("prefill", "decode"), counts, strict=True)]
    )


def _replicas(each: Refined) -> tuple[int, int]:
    group = each.scenario.groups[0]
    if each.point.setting.apart:
        return group.prefill_replicas or 1, group.decode_replicas or 1
    return group.replicas or 1, 0


def document_of(found: Found, text: str | None) -> dict[str, Any]:
    """Plain JSON values of a search."""
    from ..studies.search_serve import binds, break_even_usd, relaxations

    def refined(each: Refined) -> dict[str, Any]:
        return {
            **point_of(found, each.point),
            "replicas": list(_replicas(each)),
            "meets_slo": each.meets,
            "break_even_usd_per_device_hour": break_even_usd(found, each),
            "figures": {name: figure.to_dict() for name, figure in each.result.figures.items()},
            "scenario": each.scenario.model_dump(mode="json"),
        }

    return {
        "schema": "gambrel.search-serve/1",
        "load": found.load._asdict(),
        "settings": found.settings,
        "points": len(found.points),
        "keep_limits": len(found.good),
        "skipped": [{"cluster": name, "reason": reason} for name, reason in found.skipped],
        "ranking": [refined(each) for each in found.refined],
        "front": [point_of(found, found.points[place]) for place in found.front],
        "binds": binds(found),
        "relaxations": [each._asdict() for each in relaxations(found)],
        "launch": text,
        "provenance": found.best.result.provenance,
    }


def point_of(found: Found, point: Point) -> dict[str, Any]:
    """An operating point by arithmetic."""
    from ..studies.serve_space import LAYOUT

    setting = point.setting
    return {
        "cluster": setting.cluster,
        "plan": {name: getattr(setting.plan, name) for name in LAYOUT},
        "max_batched_tokens": setting.engine.max_batched_tokens,
        "apart": setting.apart,
        "sequences": point.sequences,
        "chips": point.chips,
        "arithmetic": {
            "ttft_s": point.ttft_s,
            "tpot_s": point.tpot_s,
            "latency_s": point.latency_s,
            "output_tokens_per_s_per_chip": point.tokens_per_s_per_chip,
            "usd_per_million_tokens": found.usd(point),
            "kv_full": point.kv_full,
        },
    }


def screen(found: Found, top: int, text: str | None) -> RenderableType:
    """Verdict, the simulated ways, what binds, the front, and what to type next."""
    from rich.console import Group
    from rich.text import Text

    from ..report.commands import command as typed
    from ..studies.search_serve import binds

    best = found.best
    parts: list[RenderableType] = [
        Text(_verdict(found), style="bold"),
        Text(
            f"{found.settings:,} settings that fit, {len(found.points):,} operating points by arithmetic, {len(found.good):,} keep the "
            f"limits; the best {len(found.refined)} simulated.\n"
        ),
        _ways(found, top),
        Text(f"\nwhy      {best.result.why}"),
        Text(f"binds    {binds(found)}"),
        *(Text(f"relax    {line}") for line in _relaxed(found)),
        Text("\nSpeed a user against throughput a chip (by arithmetic; no point beats these in both)"),
        _front(found, top),
    ]
    parts += [Text(f"left out {name}: {reason}", style="yellow") for name, reason in found.skipped]
    parts.append(Text(f"\nnext: {typed('serve', best.scenario)}"))
    if text is not None:
        parts.append(Text(f"\n{text}"))
    return Group(*parts)


def _verdict(found: Found) -> str:
    from ..studies.search_serve import words

    best = found.best
    price = "price unknown" if best.usd is None else f"${best.usd:.2f} a million tokens"
    state = "is the best that keeps the limits" if best.meets else "comes nearest, but misses the limits"
    named = f"{found.question.model}: {words(best.point)}, {_counted(best)} {state}: {price}, "
    second = next(
        (each for each in found.refined[1:] if each.point.setting.cluster != best.point.setting.cluster), None
    )
    out = named + f"{best.tokens_per_s_per_chip:,.0f} tokens/s a chip."
    if second is not None and best.usd and second.usd and second.meets:
        out += f" {second.usd / best.usd:.2f} times cheaper than {second.point.setting.cluster}."
    return out


def _counted(each: Refined) -> str:
    first, second = _replicas(each)
    return f"{first}+{second} replicas" if second else f"{first} replica{'s' * (first > 1)}"


def _relaxed(found: Found) -> list[str]:
    from ..studies.search_serve import relaxations

    return [
        f"without the limit on {each.limit.upper()} a token costs {1.0 - each.ratio:.0%} less"
        for each in relaxations(found)
        if each.ratio < 0.995
    ]


def _ways(found: Found, top: int) -> RenderableType:
    from ..report.tables import columns
    from ..studies.search_serve import break_even_usd, words
    from ..units import text as shown

    table = columns(
        "",
        "simulated",
        "replicas",
        ">chips",
        ">TTFT p95",
        ">TPOT p95",
        ">tokens/s a chip",
        ">$/M",
        ">even at $/h",
        "limits",
    )
    for place, each in enumerate(found.refined[:top]):
        ttft, tpot = each.value("ttft_p95"), each.value("tpot_p95")
        even = break_even_usd(found, each)
        table.add_row(
            f"{place + 1}",
            words(each.point),
            _counted(each).removesuffix(" replicas").removesuffix(" replica"),
            f"{each.value('devices') or 0:,.0f}",
            "" if ttft is None else shown(ttft, "s"),
            "" if tpot is None else shown(tpot, "s"),
            f"{each.tokens_per_s_per_chip:,.0f}",
            "?" if each.usd is None else f"{each.usd:.2f}",
            "" if even is None else f"{even:.2f}",
            "kept" if each.meets else "missed",
        )
    return table


def _front(found: Found, top: int) -> RenderableType:
    from ..report.tables import bar, columns
    from ..studies.search_serve import words

    places = found.front[:: max(1, -(-len(found.front) // top))]
    most = max(found.points[place].tokens_per_s_per_chip for place in places)
    table = columns(">tokens/s a user", ">tokens/s a chip", "", "setting")
    for place in sorted(places, key=lambda each: -found.points[each].speed):
        point = found.points[place]
        rate = point.tokens_per_s_per_chip
        table.add_row(f"{point.speed:.0f}", f"{rate:,.0f}", bar(rate / most, 16), words(point))
    return table
