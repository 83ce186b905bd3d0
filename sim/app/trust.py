"""`rerun`, `diff`, `explain`: what a stored result was made from, whether it still holds, and what moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .command import command
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.library import Library
    from ..studies.provenance import Attribution, Difference, Moved, Stored, Verb
    from ..studies.terms import Term

Stored_ = Annotated[str, typer.Argument(metavar="RESULT", help="A result that --json or --out wrote, or its folder.")]
SHOWN = 12
FEW_LEAVES = 5
SOURCE_WIDTH = 60
MOST_COLUMNS = 4
# figures that a reader looks for, the first ones first
FIRST = (
    "step_time",
    "tpot_p50",
    "ttft_p50",
    "latency_p50",
    "output_tokens_per_s",
    "days",
    "cost",
    "energy",
    "memory_per_device",
)


@command()
def rerun(call: Call, result: Stored_) -> int:
    """Answer again."""
    from rich.console import Group
    from rich.text import Text

    from ..studies import provenance as study

    stored = study.read_stored(Path(result))
    again = study.answered(_verb(stored), stored, call.library(), call.seed).to_dict()
    facts = study.changed_facts(stored.plain["provenance"], again["provenance"])
    figures = study.moved(stored.ends(), study.ends_of(again))
    document = {
        "schema": "gambrel.rerun/1",
        "same": not figures,
        "figures": len(stored.ends()),
        "moved": [each._asdict() for each in figures],
        "changed": [each._asdict() for each in facts],
        "result": again,
    }
    said = (
        f"the same: all {len(stored.ends())} values to 1e-12"
        if not figures
        else f"{len(figures)} of {len(stored.ends())} values moved"
    )
    parts: list[Any] = [Text(f"{stored.path}: {said}.", style="bold")]
    if figures:
        parts.append(_moved(figures))
    parts += _facts(facts, figures)
    if not facts:
        parts.append(Text("Version, code, catalogue, calibration, price and seed are those of the result."))
    emit(call, document, Group(*parts))
    return 1 if figures else 0


def _facts(facts: Sequence[Any], figures: Sequence[Moved]) -> list[Any]:
    from rich.text import Text

    from ..report.tables import columns

    if not facts:
        return []
    grid = columns("changed since", "then", "now")
    for each in facts:
        grid.add_row(each.fact, each.before, each.after)
    return [grid] if figures else [grid, Text("None of these moved a figure.")]


def _moved(figures: Sequence[Moved]) -> Any:
    from ..report.tables import columns

    grid = columns("figure", ">before", ">after", ">ratio")
    for each in figures[:SHOWN]:
        ratio = "" if each.ratio is None else f"{each.ratio:.6g}"
        grid.add_row(each.figure.replace("_", " "), _number(each.before), _number(each.after), ratio)
    return grid


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.8g}"


def _verb(stored: Stored) -> Verb:
    from .. import api

    found: Verb = getattr(api, stored.verb)
    return found


@command()
def diff(
    call: Call,
    before: Annotated[str, typer.Argument(metavar="A", help="A result that --json or --out wrote, or its folder.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
) -> None:
    """What moved which figure."""
    from ..catalog.facts import contents
    from ..studies import provenance as study

    one, two = study.read_stored(Path(before)), study.read_stored(Path(after))
    if one.verb != two.verb:
        raise InputError(f"diff: {one.path} answers {one.verb}, {two.path} {two.verb}. Give two of the same.")
    library = call.library()
    now = [{} if each.contents else contents(library, each.scenario) for each in (one, two)]
    found = study.differences(one, two, now)
    sides = study.Sides(
        (one.plain["scenario"], two.plain["scenario"]),
        (one.contents or now[0], two.contents or now[1]),
        library,
    )
    with Progress():
        base, parts = study.attributed(_verb(one), sides, found)
    facts = study.changed_facts(one.plain["provenance"], two.plain["provenance"])
    document, shown = _told((one, two), base, parts, facts)
    emit(call, document, shown)


def _told(
    pair: tuple[Stored, Stored], base: dict[str, float | None], parts: Sequence[Attribution], facts: Sequence[Any]
) -> tuple[dict[str, Any], RenderableType]:
    """(JSON, screen) of two results and what each difference does; base: figures of the first as answered now."""
    from rich.console import Group
    from rich.text import Text

    from ..studies import provenance as study

    one, two = pair
    total, drift = study.moved(one.figures(), two.figures()), study.moved(one.figures(), base)
    left = study.remainder(total, parts)
    document = {
        "schema": "gambrel.diff/1",
        "figures": [each._asdict() for each in total],
        "facts": [each._asdict() for each in facts],
        "differences": [_plain(each) for each in parts],
        "remainder": left,
        "answered_now": [each._asdict() for each in drift],
    }
    said = f"{one.path} against {two.path}: {len(total)} figures moved, {len(parts)} differences"
    shown: list[Any] = [Text(said, style="bold"), _moved(total)]
    if parts:
        shown.append(Text("\nOne difference at a time, from the first result: what each alone does"))
        shown.append(_attributed([each for each in parts if each.ratios or each.error], left, _columns(total)))
    still = [each.difference.name for each in parts if not each.ratios and not each.error]
    if still:
        shown.append(Text(f"moves nothing alone: {', '.join(still)}", style="dim"))
    shown += _facts(facts, total)
    shown += [Text(f"note  {text}", style="yellow") for text in _notes(one, two, drift)]
    return document, Group(*shown)


def _plain(part: Attribution) -> dict[str, Any]:
    difference: Difference = part.difference
    out = {"name": difference.name, "before": difference.before, "after": difference.after, "ratios": part.ratios}
    return {**out, "error": part.error} if part.error else out


def _columns(total: Sequence[Moved]) -> list[str]:
    known = [each.figure for each in total if each.ratio is not None]
    return [*(name for name in FIRST if name in known), *(name for name in known if name not in FIRST)][:MOST_COLUMNS]


def _attributed(parts: Sequence[Attribution], left: dict[str, float], names: Sequence[str]) -> Any:
    from ..report.tables import columns
    from ..studies.provenance import plain_text

    grid = columns("difference", "from", "to", *(f">{name.replace('_', ' ')}" for name in names))
    for part in parts:
        each = part.difference
        ratios = [f"{part.ratios[name]:.4g}x" if name in part.ratios else "" for name in names]
        note = "not legal alone" if part.error else plain_text(each.after)
        grid.add_row(each.name, plain_text(each.before), note, *ratios)
    grid.add_row(
        "together, beyond the product", "", "", *(f"{left.get(name, 1.0):.4g}x" for name in names), style="dim"
    )
    return grid


def _notes(one: Stored, two: Stored, drift: Sequence[Moved]) -> list[str]:
    out = [
        f"{each.path} has no facts.json beside it: its catalogue entries are today's. Use --out."
        for each in (one, two)
        if not each.contents
    ]
    if drift:
        out.append(
            f"{one.path} is answered otherwise now ({len(drift)} figures): see `gambrel rerun`. What the code moved is in the last row."
        )
    return out


@command()
def explain(
    call: Call,
    result: Stored_,
    figure: Annotated[str, typer.Argument(metavar="FIGURE", help="Its name, such as step_time, cost or energy.")],
    depth: Annotated[int, typer.Option("--depth", metavar="N", min=1, help="Levels of terms to show.")] = 4,
) -> None:
    """Show the tree of a figure's terms."""
    from rich.console import Group
    from rich.text import Text

    from ..catalog.facts import contents
    from ..studies.provenance import read_stored

    stored = read_stored(Path(result))
    library = call.library()
    entries = stored.contents or contents(library, stored.scenario)
    name = figure.replace("-", "_")
    term = _term(stored, library, entries, name)
    kept = stored.figures().get(name)
    recomputed = term.recomputed()
    document = {
        "schema": "gambrel.explain/1",
        "figure": name,
        "stored": kept,
        "recomputed": recomputed,
        "tree": term.to_dict(),
    }
    parts: list[Any] = [Text(f"{name} = {recomputed:.12g} {term.unit}", style="bold"), _tree(term, depth)]
    if kept is None or abs(recomputed - kept) > 1e-12 * abs(kept):
        parts.append(
            Text(f"note  the result says {_number(kept)}: `gambrel rerun` names what has changed.", style="yellow")
        )
    emit(call, document, Group(*parts))


def _term(stored: Stored, library: Library, entries: dict[str, Any], name: str) -> Term:
    """The tree of a figure of a stored answer."""
    from .. import api
    from ..catalog.recorded import Recorded
    from ..studies.explain import explained
    from ..studies.explain_serving import explained_serving

    if stored.verb != "serve":
        return explained(stored.verb, stored.scenario, entries, name)
    of = Recorded(entries) if entries else library
    return explained_serving(of, stored.scenario, api.deployment(stored.scenario, of), name)


def _tree(term: Term, depth: int) -> Any:
    from rich.tree import Tree

    root = Tree(_line(term, ""), guide_style="dim")
    _grow(root, term, depth)
    return root


def _grow(branch: Any, term: Term, depth: int) -> None:
    if depth == 0 or not term.terms:
        return
    summed = term.op == "sum"
    most = FEW_LEAVES if term.op == "function" else SHOWN
    shown = sorted(term.terms, key=lambda each: -abs(each.value)) if summed else list(term.terms)
    for each in shown[:most]:
        share = f" ({each.value / term.value:.1%})" if summed and term.value and len(shown) > 1 else ""
        _grow(branch.add(_line(each, share)), each, depth - 1)
    if len(shown) > most:
        rest = f": {math.fsum(each.value for each in shown[most:]):.4g} {term.unit}" if summed else ""
        branch.add(f"and {len(shown) - most} smaller ones{rest}")


def _line(term: Term, share: str) -> Any:
    from rich.text import Text

    unit = "" if term.unit in ("", "fraction") else f" {term.unit}"
    how = {
        "sum": "  = sum of",
        "product": "  = product of",
        "quotient": "  = first / second",
        "function": f"  = f, {term.note}",
    }
    text = f"{term.name}: {term.value:.6g}{unit}{share}{how.get(term.op, '')}"
    source = f"  [{_short(term.source)}]" if term.source else ""
    return Text(text + (f"  {term.note}" if term.note and term.op not in ("function", "sum") else "") + source)


def _short(source: str) -> str:
    """As much of a source as a line holds; --json has all of it."""
    return source if len(source) <= SOURCE_WIDTH else source[: SOURCE_WIDTH - 3] + "..."
