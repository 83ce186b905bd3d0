"""`sweep`: many scenarios from one file, on this process, several, or a Ray cluster; stop and resume at any point."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .changes import change
from .command import command
from .options import parsed, plain
from .output import Call, Progress, emit, write_files

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.scenarios import Scenario
    from ..catalog.sweeps import Sweep, Value
    from ..studies.evaluate import Job
    from ..studies.sweep import Swept
    from ..studies.workers import Workers

SHOWN = 10


@command()
def sweep(
    call: Call,
    file: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file, or the id of one.", show_default=False)],
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Processes on this machine that evaluate.")
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Evaluate on this Ray cluster; local: start one here."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", metavar=" ", help="Go on with the journal in --out.")] = False,
) -> int:
    """Evaluate every point. 1 if no point is answered."""
    from ..catalog.sweeps import read_sweep
    from ..studies.sweep import need_polars
    from ..studies.sweep import sweep as study

    if call.out is None:
        raise InputError("sweep: --out is not given. Say in which folder the journal and the table are kept.")
    if ray is not None and workers > 1:
        raise InputError("sweep: --workers and --ray are both given. Use one.")
    need_polars()
    path = Path(file) if file.endswith((".yaml", ".yml")) else call.library().find("sweep", file).path
    asked = read_sweep(path)
    if call.seed is not None:
        asked = asked._replace(seed=call.seed, base=asked.base.with_(seed=call.seed))
    try:
        with Progress() as progress:
            found = study(asked, job_of(call, asked), _workers(workers, ray), call.out, resume, progress)
    except KeyboardInterrupt:
        print(f"gambrel: stopped; {call.out} keeps what is answered. Go on with --resume.", file=sys.stderr)
        raise
    table = call.out / "results.parquet"
    whole = io.BytesIO()
    found.table.write_parquet(whole)
    write_files(call.out, {table.name: whole.getvalue()})
    emit(call, document_of(asked, found, table), screen(asked, found, table))
    return 0 if found.counts["ok"] else 1


def job_of(call: Call, asked: Sweep) -> Job:
    """What the workers must know."""
    from .. import api
    from ..studies.evaluate import Job
    from ..studies.points import points

    training = asked.base.groups[0].role == "train"
    catalog = None if call.catalog is None else call.catalog.resolve()
    return Job(asked.base, points(asked).keys, built, api.train if training else api.serve, catalog)


def _workers(count: int, ray: str | None) -> Workers:
    from ..studies.ray_workers import RayWorkers
    from ..studies.workers import Here, Processes

    if ray is not None:
        return RayWorkers(ray)
    return Here() if count == 1 else Processes(count)


def built(base: Scenario, keys: Sequence[str], values: Sequence[Value]) -> Scenario:
    """The scenario with these values at these keys. Raises InputError as --set does."""
    if not keys:
        return base
    data = plain(base.model_dump(exclude_unset=True))
    for key, value in zip(keys, values, strict=True):
        if key == "seed":
            data["seed"] = value
            continue
        operator = "" if key.endswith("=") else "="
        change(data, f"{key}{operator}{_text(value)}")
    return parsed(data, {})


def _text(value: Value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value if isinstance(value, str) else repr(value)


def document_of(asked: Sweep, found: Swept, table: Path) -> dict[str, Any]:
    """Plain JSON values of a sweep."""
    return {
        "schema": "gambrel.sweep/1",
        "sweep": asked.name,
        "points": found.table.height,
        **found.counts,
        "answered_before": found.before,
        "evaluated": found.evaluated,
        "seed": asked.seed,
        "table": str(table),
        "columns": {name: str(kind) for name, kind in found.table.schema.items()},
        "errors": found.table["error"].drop_nulls().value_counts(sort=True).head(SHOWN).to_dicts(),
        "scenario": asked.base.model_dump(mode="json"),
    }


def screen(asked: Sweep, found: Swept, table: Path) -> RenderableType:
    """Counts, the first points by their main figure, the commonest errors, and where the table is."""
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns
    from ..studies.whatif import MAIN

    counts = found.counts
    verdict = (
        f"{asked.name}: {found.table.height:,} points; {counts['ok']:,} answered, {counts['infeasible']:,} do not fit or keep "
        f"their limits, {counts['error']:,} errors; {found.before:,} stood in the journal."
    )
    parts: list[RenderableType] = [Text(verdict, style="bold")]
    shown = next((name for name in found.table.columns for main in MAIN if name.startswith(main)), None)
    if shown is not None and counts["ok"]:
        rising = not shown.endswith("per_s")
        best = found.table.filter(found.table["status"] == "ok").sort(shown, descending=not rising, maintain_order=True)
        keys = found.table.columns[1 : found.table.columns.index("status")]
        grid = columns(*keys, f">{shown}")
        for row in best.select([*keys, shown]).head(SHOWN).iter_rows():
            grid.add_row(*(f"{each:,.6g}" if isinstance(each, float) else str(each) for each in row))
        parts.append(grid)
    for each in found.table["error"].drop_nulls().value_counts(sort=True).head(3).iter_rows():
        parts.append(Text(f"{each[1]:,} x {each[0]}", style="dim"))
    parts.append(Text(f"table: {table}"))
    return Group(*parts)
