"""`calibrate`: fit named parameters to measured kernels, print how far off before and after, write the calibration."""

from __future__ import annotations

import shlex
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .command import command
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..evidence.fit_files import Calibrated


@command()
def calibrate(
    call: Call,
    measured: Annotated[
        list[Path], typer.Argument(metavar="MEASURED...", help="CSV files of measured kernels, or folders of them.")
    ],
    chip: Annotated[str, typer.Option("--chip", metavar="ID", help="The chip that they were measured on.")],
    stack: Annotated[
        str | None,
        typer.Option(
            "--stack", metavar="NAME", help="Only this one; rows that name none are its.", show_default="each"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="TEXT", help="What was measured, for the file.", show_default="the file names"),
    ] = None,
) -> None:
    """Fit a chip's kernels."""
    from ..catalog.calibrations import Fit
    from ..evidence.fit_files import calibrate as fit

    names = ", ".join(path.name for path in measured)
    typed = shlex.join(["gambrel", *sys.argv[1:]]) if len(sys.argv) > 1 else f"gambrel calibrate {names} --chip {chip}"
    with Progress() as progress:
        found = fit(
            measured,
            chip,
            stack=stack,
            catalog=call.catalog,
            made=Fit(data=data or names, date=date.today().isoformat(), command=typed),
            progress=lambda done, total: progress(done / max(total, 1), "groups of kernels"),
        )
    document = {"schema": "gambrel.calibrate/1", "calibrations": [each.to_dict() for each in found]}
    emit(call, document, screen(found))


def screen(found: tuple[Calibrated, ...]) -> RenderableType:
    """Median and 90th percentile of each group: by the family's values, fitted, and on fifths that the fit did not see."""
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns

    parts: list[RenderableType] = []
    for each in found:
        parts.append(Text(f"{each.chip} under {each.stack}", style="bold"))
        grid = columns("group", ">rows", ">family", ">fitted", ">left out", "")
        for fit in each.fits:
            errors = (fit.family, fit.fitted, fit.left_out_errors)
            cells = [f"{error.median:.1%} / {error.p90:.0%}" for error in errors]
            if fit.refused:
                cells[1:] = ["", ""]
            grid.add_row(fit.key, f"{fit.rows:,}", *cells, f"kept: {fit.refused}" if fit.refused else "")
        parts.append(grid)
        parts.append(Text(f"written: {each.path}" if each.path else "nothing is written: the family's values stay"))
    return Group(*parts)
