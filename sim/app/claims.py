"""`claims`: what was said in public, computed again: verdicts of all, or one with its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .command import command
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.library import Library
    from ..catalog.scenarios import Scenario
    from ..result import Result
    from ..studies.claims import Judged, Line

STYLES = {"holds": "green", "holds under": "green", "does not hold": "red", "outside the model": "dim"}
SCHEMA = "gambrel.claims/1"


@command()
def claims(
    call: Call,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A claim, or the file of one; none: all.", show_default=False),
    ] = None,
) -> None:
    """Derive public claims again."""
    with Progress() as progress:
        judged = judge_all(name, call.library(), progress)
    screen = one(judged[0]) if name is not None else overview(judged)
    emit(call, {"schema": SCHEMA, "claims": [document(each) for each in judged]}, screen)


def judge_all(name: str | None, library: Library, progress: Callable[[float, str], None] | None = None) -> list[Judged]:
    """The claim of a name or file, or all of the catalogue, answered by the verbs."""
    from .. import api
    from ..studies.claims import judge_all as judged

    def evaluate(asked: Scenario) -> Result:
        return (api.train if asked.groups[0].role == "train" else api.serve)(asked, library)

    return judged(name, library, evaluate, progress)


def document(judged: Judged) -> dict[str, Any]:
    """A judged claim as plain values."""
    return {
        "id": judged.claim.id,
        "statement": judged.claim.statement,
        "source": judged.claim.source,
        "verdict": judged.verdict,
        "whole_interval_agrees": judged.sure,
        "why": judged.why,
        "figure": None if judged.figure is None else judged.figure.to_dict(),
        "note": judged.note,
        "steps": [{"name": s.name, "how": s.how, "figure": s.figure.to_dict()} for s in judged.steps],
        "tables": {name: [_line(line) for line in lines] for name, lines in judged.tables.items()},
    }


def _line(line: Line) -> dict[str, Any]:
    figures = {name: figure.to_dict() for name, figure in line.figures.items()}
    return {"row": line.label, "figures": figures, "reason": line.reason}


def overview(judged: list[Judged]) -> RenderableType:
    """One line for each claim."""
    from rich.text import Text

    from ..report.tables import columns
    from ..studies.claims import basis_of

    grid = columns("claim", "verdict", "because", "basis")
    for each in judged:
        basis = "" if each.figure is None else basis_of(each.figure)
        grid.add_row(each.claim.id, Text(verdict(each), style=STYLES[each.verdict]), each.why, basis)
    return grid


def verdict(judged: Judged) -> str:
    """The verdict in words; that the interval reaches over the bound is said."""
    return judged.verdict + ("" if judged.sure else " (not with the whole interval)")


def one(judged: Judged) -> RenderableType:
    """A claim with its arithmetic and tables."""
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns
    from ..studies.claims import basis_of, shown

    parts: list[RenderableType] = [
        Text(judged.claim.statement, style="bold"),
        Text(judged.claim.source, style="dim"),
        Text(f"{verdict(judged)}: {judged.why}", style=STYLES[judged.verdict]),
    ]
    if judged.note:
        parts.append(Text(judged.note))
    grid = columns("step", ">value", "basis", "from")
    for step in judged.steps:
        value = shown(step.figure)
        grid.add_row(step.name.replace("_", " "), value, basis_of(step.figure), step.how)
    parts.append(grid)
    parts += [part for name, lines in judged.tables.items() for part in (Text(name, style="dim"), table(lines))]
    return Group(*parts)


def table(lines: tuple[Line, ...]) -> RenderableType:
    """A table of a claim; a row without an answer says why."""
    from rich.text import Text

    from ..report.tables import columns
    from ..studies.claims import shown

    names = list(dict.fromkeys(name for line in lines for name in line.figures))
    grid = columns("", *(f">{name.replace('_', ' ')}" for name in names), "basis")
    for line in lines:
        if line.figures:
            basis = next((figure.basis for figure in line.figures.values() if figure.basis != "measured"), "measured")
            grid.add_row(
                line.label, *(shown(line.figures[name]) if name in line.figures else "" for name in names), basis
            )
        else:
            grid.add_row(line.label, *[""] * len(names), Text(line.reason[:90], style="dim"))
    return grid
