"""`calibrate`: fit named parameters to measured kernels, print how far off before and after, write the calibration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .calibrate_site import site
from .command import command
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..evidence.calibrate import Calibrated
    from ..evidence.fit import GroupFit


Measured = Annotated[
    list[Path],
    typer.Argument(
        metavar="MEASURED...",
        help="CSV files of measured kernels, folders of them, output of nccl-tests; or serving benchmarks.",
    ),
]
ChipId = Annotated[
    str | None, typer.Option("--chip", metavar="ID", help="The chip that was measured: only its own values.")
]
FamilyId = Annotated[
    str | None, typer.Option("--family", metavar="ID", help="Its shared values too, from all of its chips.")
]
StackName = Annotated[
    str | None,
    typer.Option("--stack", metavar="NAME", help="Only this one; rows that name none are its.", show_default="each"),
]
Kinds = Annotated[
    str | None,
    typer.Option("--kind", metavar="NAMES", help="Only these, by comma: gemm, moe.fp8, ...", show_default="each"),
]
Into = Annotated[
    str | None,
    typer.Option("--into", metavar="NAME", help="Write under this stack; any: for all without rows."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="TEXT", help="What was measured, for the file.", show_default="the file names"),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start from the declared defaults, not from the family's values.")]


@command()
def calibrate(
    call: Call,
    measured: Measured,
    chip: ChipId = None,
    family: FamilyId = None,
    stack: StackName = None,
    kind: Kinds = None,
    into: Into = None,
    data: Data = None,
    fresh: Fresh = False,
) -> None:
    """Fit a chip's kernels, or, from serving benchmarks, four factors of a site."""
    from ..evidence.calibrate import Asked
    from ..evidence.calibrate import calibrate as fit
    from ..evidence.fit_files import Made
    from ..evidence.site_files import is_serving

    names = [path.name for path in measured]
    given = {"--chip": chip, "--family": family, "--stack": stack, "--kind": kind, "--into": into}
    typed = [part for flag, value in given.items() if value for part in (flag, value)]
    line = shlex.join(["gambrel", "calibrate", *names, *typed, *(["--fresh"] if fresh else [])])
    made = Made(data or ", ".join(names), date.today().isoformat(), line)
    if not family and any(is_serving(path, call.library()) for path in measured):
        site(call, measured, chip, stack, made)
        return
    asked = Asked(family, chip, stack, tuple(kind.split(",")) if kind else (), into, call.catalog, fresh)
    with Progress() as progress:
        found = fit(
            measured,
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
    if not fit.left_out:
        return [head, Text(f"{fit.rows:,} rows, {_said(fit.old)} off now; kept as it was: {fit.refused}")]
    splits = [name for name in fit.left_out if name != "random"]
    grid = columns("", ">rows", ">now", ">prior", ">fitted", ">left out", *(f">{name}" for name in splits))
    for chip in fit.chips if len(fit.chips) > 1 else ():
        grid.add_row(chip.chip, f"{chip.rows:,}", _said(chip.old), "", _said(chip.fitted), _said(chip.left_out))
    whole = [fit.old, fit.prior, fit.fitted, fit.left_out["random"], *(fit.left_out[name] for name in splits)]
    grid.add_row("all", f"{fit.rows:,}", *(_said(each) for each in whole))
    return [head, grid, *(Text(line) for line in _remarks(fit))]


def _remarks(fit: GroupFit) -> Iterator[str]:
    """What may differ how far, what the rows leave open, why nothing is written."""
    local = ", ".join(fit.local)
    if fit.family:
        width = fit.priors
        spread = f"; by generation within {width.generation:g}, by chip within {width.chip:g}: {local}"
        yield f"{len(fit.family)} values of the family{spread if local else ''}"
    else:
        values = ", ".join(f"{name} {value:.4g}" for name, value in fit.chips[0].values.items())
        yield f"around the family's values within {fit.priors.family:g}: {values or 'none differs'}"
    if fit.open:
        yield f"these rows do not tell, and leave as they were: {', '.join(fit.open)}"
    if fit.refused:
        yield f"kept as it was: {fit.refused}"


def _said(errors: tuple[float, ...]) -> str:
    return f"{errors[0]:.1%} / {errors[1]:.0%}"
