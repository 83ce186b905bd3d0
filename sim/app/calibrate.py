"""`calibrate`: fit named parameters to measured kernels, print how far off before and after, write the calibration."""

from __future__ import annotations

import shlex
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .command import command
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..evidence.calibrate import Calibrated
    from ..evidence.fit import GroupFit


@command()
def calibrate(
    call: Call,
    measured: Annotated[
        list[Path], typer.Argument(metavar="MEASURED...", help="CSV files of measured kernels, or folders of them.")
    ],
    family: Annotated[str | None, typer.Option("--family", metavar="ID", help="All chips of it together.")] = None,
    stack: Annotated[
        str | None,
        typer.Option(
            "--stack", metavar="NAME", help="Only this one; rows that name none are its.", show_default="each"
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="NAMES", help="Only these kernels, by comma: gemm, moe.fp8, ...", show_default="each"
        ),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            metavar="NAME",
            help="Write under this stack; any: for all without rows.",
            show_default="that of the rows",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="TEXT", help="What was measured, for the file.", show_default="the file names"),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from the declared defaults, not from the family's values.")
    ] = False,
) -> None:
    """Fit a chip's kernels."""
    from ..evidence.calibrate import Asked, calibrate_family
    from ..evidence.fit_files import Made

    names = [path.name for path in measured]
    given = {"--family": family, "--stack": stack, "--kind": kind, "--into": into}
    typed = [part for flag, value in given.items() if value for part in (flag, value)]
    made = Made(
        data or ", ".join(names),
        date.today().isoformat(),
        shlex.join(["gambrel", "calibrate", *names, *typed, *(["--fresh"] if fresh else [])]),
    )
    asked = Asked(stack, tuple(kind.split(",")) if kind else (), into, call.catalog, fresh)
    with Progress() as progress:
        found = calibrate_family(
            measured,
            family or "",
            asked,
            made,
            progress=lambda done, total: progress(done / max(total, 1), "groups of kernels"),
        )
    emit(call, {"schema": "gambrel.calibrate/2", **found.to_dict()}, screen(found))


def screen(found: Calibrated) -> RenderableType:
    """Errors of each group: until now, fitted, and on rows that no fit saw, chip by chip."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for fit in found.fits:
        parts += _group(fit)
    written = [Text(f"written: {path}") for path in found.paths]
    return Group(*parts, *(written or [Text("nothing is written: the values stay")]))


def _group(fit: GroupFit) -> list[RenderableType]:
    from rich.text import Text

    from ..report.tables import columns

    head = Text(f"{fit.key} under {fit.stack}", style="bold")
    splits = [name for name in fit.left_out if name != "random"]
    grid = columns("", ">rows", ">until now", ">fitted", ">left out", *(f">{name}" for name in splits))
    for chip in fit.chips if len(fit.chips) > 1 else ():
        grid.add_row(chip.chip, f"{chip.rows:,}", *(_said(each) for each in (chip.old, chip.fitted, chip.left_out)))
    whole = [fit.old, fit.fitted, fit.left_out["random"], *(fit.left_out[name] for name in splits)]
    grid.add_row("all", f"{fit.rows:,}", *(_said(each) for each in whole))
    parts: list[RenderableType] = [head, grid]
    width, local = fit.priors, ", ".join(fit.local)
    spread = f"; by generation within {width.generation:g}, by chip within {width.chip:g}: {local}" if local else ""
    parts.append(Text(f"{len(fit.family)} values of the family{spread}"))
    if fit.open:
        parts.append(Text(f"these rows do not tell, and leave as they were: {', '.join(fit.open)}"))
    if fit.refused:
        parts.append(Text(f"kept as it was: {fit.refused}"))
    return parts


def _said(errors: tuple[float, ...]) -> str:
    return f"{errors[0]:.1%} / {errors[1]:.0%}"
