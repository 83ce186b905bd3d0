"""`search train`: the best plans of a model on a cluster, why the first wins, and how to launch it."""

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

    from ..catalog.scenarios import Scenario
    from ..studies.search import Found

ALL_SCHEDULES = "all"


@command("train")
def train(
    call: Call,
    scenario: File = None,
    changes: Changes = None,
    schedules: Annotated[
        str,
        typer.Option("--schedules", metavar="NAMES", help="Pipeline schedules to try, with commas; all: every one."),
    ] = "1f1b",
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many plans to list.")] = 10,
    emitted: Annotated[
        str | None,
        typer.Option("--emit", metavar="NAME", help="Launch arguments of the winner: megatron | torchtitan | maxtext."),
    ] = None,
    *,
    flags: Flags,
) -> None:
    """Rank training plans."""
    from ..report.launch import launch
    from ..studies.search import SHOWN, search

    asked = scenario_from("train", _path(call, scenario), flags, call.seed, changes or ())
    question = question_of(call, asked, schedules)
    if emitted is not None:
        launch(emitted, question.model, question.base, question.seq_len)  # refuse a wrong name before the work
    with Progress() as progress:
        found = search(question, progress, keep=max(top, SHOWN))
    text = None if emitted is None else launch(emitted, question.model, found.best, question.seq_len)
    document = document_of(found, top, text)
    files = {} if text is None else {f"launch.{emitted}.txt": text + "\n"}
    emit(call, document, screen(found, asked, top, text), files)


def question_of(call: Call, asked: Scenario, schedules: str) -> Any:
    """The search that a scenario asks for: what its plan says stays, what it does not say is searched."""
    from ..catalog.clusters import sliced
    from ..catalog.scenarios import TokenBudget
    from ..catalog.targets import adjusted, check_size, modified, target
    from ..lowering.sharding import SCHEDULES
    from ..studies.search import Question
    from ..studies.space import FREE

    group, library = asked.groups[0], call.library()
    if group.devices is None:
        raise InputError("search train: --devices is not given. Say how many chips the plan may use.")
    names = tuple(SCHEDULES) if schedules == ALL_SCHEDULES else tuple(n.strip() for n in schedules.split(","))
    unknown = [name for name in names if name not in SCHEDULES]
    if unknown:
        raise InputError(f"--schedules = {unknown[0]!r} is no schedule. Use {', '.join(SCHEDULES)} or all.")
    fixed = tuple(name for name in FREE if name in group.plan.model_fields_set)
    found = adjusted(target(library, group.cluster, group.stack, "train"), group)
    check_size(found.cluster, group.devices)
    cluster, _ = sliced(found.cluster, group.devices)
    seq_len = asked.demand.seq_len if isinstance(asked.demand, TokenBudget) else 2048
    if "schedule" in fixed:
        names = (group.plan.schedule,)
    return Question(
        modified(library.model(group.model), group),
        found._replace(cluster=cluster),
        group.devices,
        group.plan,
        seq_len,
        fixed,
        names,
    )


def document_of(found: Found, top: int, text: str | None) -> dict[str, Any]:
    """Plain JSON values of a search."""
    from ..studies.search import alternatives, ranking

    def row(place: int, plan: Any, seconds: float, size: float) -> dict[str, Any]:
        return {"place": place, "step_time_s": seconds, "memory_bytes": size, "plan": plan.model_dump(mode="json")}

    places = range(min(top, len(found.rows)))
    return {
        "schema": "gambrel.search/1",
        "model": found.question.model.id,
        "cluster": found.question.target.cluster.id,
        "devices": found.question.devices,
        "legal": found.legal,
        "pruned_by_memory": found.pruned,
        "beaten_by_bound": found.beaten,
        "priced": len(found.rows),
        "ranking": [row(*each) for each in ranking(found, places)],
        "front": [row(*each) for each in ranking(found, found.front.tolist())],
        "alternatives": [each._asdict() for each in alternatives(found)],
        "launch": text,
    }


def screen(found: Found, asked: Scenario, top: int, text: str | None) -> RenderableType:
    """Verdict, the first plans, the front of time and memory, what the winner beats by how much, and what to type next."""
    from rich.console import Group
    from rich.text import Text

    from ..report.commands import command as typed
    from ..report.tables import columns
    from ..studies.search import alternatives, binds
    from ..training import price
    from ..units import text as shown

    question, best = found.question, found.best
    priced = price(question.model, [best], question.target, question.seq_len)
    name = f"{question.model.name} on {question.devices:,} x {question.target.chip.name}"
    fit = found.legal - found.pruned
    verdict = f"{name}: {words(best)} is the fastest of {fit:,} plans that fit, {shown(found.step_s[0], 's')} a step."
    parts: list[RenderableType] = [
        Text(verdict, style="bold"),
        Text(
            f"{found.legal:,} legal plans, {found.pruned:,} left out because they do not fit, {found.beaten:,} because even without "
            f"a bubble they would not matter. {binds(found, priced)}.\n"
        ),
    ]
    parts.append(_plans(found, list(range(min(top, len(found.rows))))))
    if len(found.front) > 1:
        parts += [
            Text("\nLess memory for more time (no plan beats these in both)"),
            _plans(found, found.front.tolist()[:top]),
        ]
    parts.append(Text("\nWhy it wins: the best plan with one thing changed"))
    why = columns("changed", "to", ">slower", "because of")
    for each in alternatives(found):
        why.add_row(each.field, each.value, f"{each.slower:+.1%}", each.part)
    parts.append(why)
    chosen = {name: value for name, value in best.model_dump(exclude_defaults=True).items() if name != "dtypes"}
    parts.append(Text(f"\nnext: {typed('train', asked, **{**chosen, 'dp': None})}"))
    if text is not None:
        parts.append(Text(f"\n{text}"))
    return Group(*parts)


def _plans(found: Found, places: list[int]) -> RenderableType:
    """A table of plans at these places of the ranking."""
    from ..report.tables import columns
    from ..studies.search import ranking
    from ..units import text as shown

    table = columns("", "plan", ">step", ">memory")
    for place, plan, seconds, size in ranking(found, places):
        table.add_row(f"{place + 1:,}", words(plan), shown(seconds, "s"), shown(size, "bytes"))
    return table


def words(plan: Any) -> str:
    """A plan in one line: degrees above 1, and what is not the default."""
    degrees = [
        f"{name}{getattr(plan, name)}" for name in ("tp", "pp", "dp", "cp", "ep") if (getattr(plan, name) or 1) > 1
    ]
    said = [f"micro {plan.micro_batch}", plan.sharding, f"recompute {plan.recompute}"]
    said += [f"{plan.virtual_stages} chunks"] if plan.virtual_stages > 1 else []
    said += [plan.schedule] if plan.schedule != "1f1b" else []
    said += ["sp"] if plan.sequence_parallel and plan.tp > 1 else []
    said += ["offload"] if plan.offload == "optimizer" else []
    return " ".join(degrees or ["one rank"]) + ", " + ", ".join(said)
