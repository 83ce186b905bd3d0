"""`validate`: predict measured rows, print how far off, write the rows with what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .checks_choices import CHOICES, choices_command
from .checks_whatif import WHATIF, whatif
from .command import command
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..evidence.context import Context
    from ..evidence.score import Line
    from ..evidence.validate import Report, TableReport
    from ..evidence.verdicts import Verdict

LEVELS = ("fitted", "family", "datasheet")
Place = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        "--chip",
        metavar="NAME",
        help="What rows ran on that name no device, such as logs; the network of rows on its chip.",
    ),
]
FEW = 20  # rows of a table whose exclusions are named on the screen
SPLITS = ("random", "shapes", "device", "generation", "stack")
Measured = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A CSV file, a folder, or a run that import knows.",
        show_default="the tables that are shipped",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--leave-out",
        metavar="SPLIT",
        help=f"Kernels: predict each row by a refit that has not seen it: {' | '.join(SPLITS)}.",
    ),
]


@command()
def validate(
    call: Call,
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="kernels, training, serving, inference, power, whatif, choices, ...")
    ],
    path: Measured = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", metavar="OUT", help="Write each row with its prediction there.")
    ] = None,
    calibration: Annotated[str, typer.Option("--calibration", metavar="NAME", help=" | ".join(LEVELS))] = LEVELS[0],
    cluster: Place = None,
    leave_out: Split = None,
    brief: Annotated[
        bool, typer.Option("--brief", metavar=" ", help="Leave out the lines of devices and sources.")
    ] = False,
    by: Annotated[
        bool, typer.Option("--by", metavar=" ", help="Show every group: models, precisions and the like too.")
    ] = False,
) -> int:
    """Predict measured rows and score the predictions."""
    from ..evidence.validate import validate as predict_and_score

    context = _context(call, calibration, cluster, leave_out)
    if kind == WHATIF:
        return whatif(call, path, rows, context, (leave_out, brief, by))
    if kind == CHOICES:
        return choices_command(call, path, context)
    unit = f"{kind} groups refitted" if leave_out else f"{kind} rows"
    with Progress() as progress:
        report = predict_and_score(
            kind,
            path,
            rows=rows,
            context=context,
            leave_out=leave_out,
            progress=lambda done, total: progress(done / max(total, 1), unit),
        )
    shown = ("all", "over sources") if brief else ("all", "over sources", "device", "source")
    emit(call, report.to_dict(), screen(report, () if by else shown))
    return 0


def _context(call: Call, calibration: str, cluster: str | None, leave_out: str | None) -> Context:
    """The catalogue at the level asked for. Raises InputError for an unknown level, and for one beside --leave-out."""
    from ..evidence.context import Context

    if calibration not in LEVELS:
        raise InputError(f"--calibration = {calibration!r}: use one of {', '.join(LEVELS)}.")
    if leave_out and calibration != LEVELS[0]:
        raise InputError(
            "--leave-out refits the calibrations: leave --calibration out. The report shows both beside it."
        )
    library = call.library()
    return Context(library, calibration, cluster=library.cluster(cluster) if cluster else None)  # type: ignore[arg-type]


def screen(report: Report, groupings: tuple[str, ...]) -> RenderableType:
    """Statistics of each table by groupings (none named: every one); the floor is one constant a family."""
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns

    parts: list[Any] = []
    for table in report.tables:
        counts = f"{table.predicted:,} of {table.rows:,} rows predicted, {sum(table.excluded.values()):,} do not count"
        without = f", {report.left_out} left out" if report.left_out else ""
        parts.append(Text(f"{table.name}{without}: {counts}", style="bold"))
        grid = columns("metric", "group", ">rows", ">median", ">mean", ">90% within", ">floor median", ">floor mean")
        for line in table.lines:
            if line.n and (not groupings or line.grouping in groupings):
                grid.add_row(*_cells(line))
        parts += [grid, *_one_by_one(table.verdicts)]
        if table.beside:
            parts.append(_beside(table, groupings))
        parts += [Text(line) for line in notes(table)]
        reasons = [f"{count:,} skipped: {reason}" for reason, count in list(table.skipped.items())[:5]]
        if table.rows <= FEW:
            reasons += [f"{count:,} not scored: {rule}" for rule, count in table.excluded.items()]
        parts += [Text(reason, style="dim") for reason in reasons]
    parts += [Text(f"rows written to {path}") for path in report.written]
    return Group(*parts)


def notes(table: TableReport) -> list[str]:
    """Coverage of the intervals, what is assumed, and the groups that are behind, a line each."""
    from ..evidence.collective_rows import LAUNCHED

    lines = []
    shares = [each for each in table.coverage if each.grouping in ("all", "size")]
    if shares:
        listed = ", ".join(f"{each.group} {each.share:.0%} of {each.n:,}" for each in shares)
        lines.append(f"inside the interval that is to hold 80%: {listed}")
    if table.least_time is not None:
        under = ", ".join(f"{name} by {share - 1.0:.0%}" for name, share in table.least_time.under)
        counted = f"{len(table.least_time.under)} of {table.least_time.rows:,} rows"
        lines.append(
            f"faster than their FLOPs at the best measured product of the chip: {counted}{under and ': ' + under}"
        )
    if table.kind == "collectives":
        lines.append(LAUNCHED)
    lines += table.assumed
    lines += [f"{each.name}: {each.value:.3f} (of {each.groups:,})" for each in table.contrasts]
    for group in table.behind:
        lines.append(f"behind: {group.group}, median {group.median:.1%} of {group.n:,} rows, over {group.limit:.1%}")
    return lines


def _beside(table: TableReport, groupings: tuple[str, ...]) -> RenderableType:
    """Median / 90th percentile of the model and of plainer answers on the rows that were left out."""
    from ..report.tables import columns

    names = list(table.beside[0].median)
    grid = columns("left out", ">rows", *(f">{name}" for name in names))
    for line in table.beside:
        if not groupings or line.grouping in groupings:
            pairs = [(line.median[name], line.p90[name]) for name in names]
            cells = ["" if m is None or p is None else f"{m:.1%} / {p:.0%}" for m, p in pairs]
            grid.add_row("all" if line.grouping == "all" else f"{line.grouping}: {line.group}", f"{line.n:,}", *cells)
    return grid


def _one_by_one(verdicts: Sequence[Verdict]) -> list[RenderableType]:
    """Operator figures: measured, predicted, and met, missed or not answerable."""
    from ..report.tables import columns

    if not verdicts:
        return []
    grid = columns("device", "operator", "metric", ">measured", ">predicted", "")
    for each in verdicts:
        predicted = "" if each.predicted != each.predicted else f"{each.predicted:.4g}"
        grid.add_row(each.device, each.what, each.metric, each.measured, predicted, each.verdict)
    return [grid]


def _cells(line: Line) -> tuple[str, ...]:
    group = line.group if line.grouping == "all" else f"{line.grouping}: {line.group}"
    rows = f"{line.n:,}" if line.n == line.counted else f"{line.n:,} of {line.counted:,}"
    shares = (line.median, line.mean, line.p90, line.floor_median, line.floor_mean)
    return (line.metric, group, rows, *("" if share != share else f"{share:.1%}" for share in shares))
