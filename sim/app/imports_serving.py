"""`import` of a serving benchmark's result: runs as rows of a table, or one run as a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.imports import csv_of
from ..catalog.served import COLUMN_OF, Served
from ..catalog.serving_results import runs_of
from ..errors import InputError
from .imports import TABLES, listed
from .output import Call, emit, write_files
from .runs import scenario_yaml

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 20


def served(
    call: Call,
    source: tuple[Path, str],
    said: Mapping[str, Any],
    degrees: Mapping[str, int | None],
    output: Path | None,
) -> None:
    """Read a file's text, complete it with what the user says (cluster, engine, precision, model; degrees), print, write."""
    file, text = source
    place = None if said["cluster"] is None else call.library().cluster(said["cluster"])
    runs = []
    for run in runs_of(text, str(file), said["model"], said["input_tokens"]):
        run = run.at(call.library().chip(place.chip).id) if place is not None else run
        runs.append(run.under(said["engine"]).in_format(said["precision"]).spread(**degrees))
    where = runs[0].device if place is None else place.id
    files: dict[str, str | bytes] = {}
    if output is not None:
        files = {output.name: csv_of(runs) if output.suffix in TABLES else scenario_of(runs, where)}
        write_files(output.parent, files)
    written = [str(output)] if output is not None else []
    emit(
        call,
        document_of(runs, written),
        screen(runs, written, str(file)),
        {"runs.csv": csv_of(runs)} if call.out else {},
    )


def scenario_of(runs: list[Served], cluster: str) -> str:
    """The one run of a file as a scenario. Raises InputError for several, for workers apart, or without hardware."""
    run = runs[0]
    if len(runs) > 1 or run.mode != "agg":
        what = f"{len(runs)} runs" if len(runs) > 1 else "prefill and decode workers"
        raise InputError(f"{run.name}: {what} make no single scenario. Write rows: -o FILE.csv.")
    if not cluster:
        raise InputError(f"{run.name}: a scenario needs hardware, and the file names none. Add --cluster NAME.")
    held = dict(run.layout)
    degrees = {name: held[column] for name, column in COLUMN_OF.items() if held.get(column, 1) > 1}
    plan: dict[str, Any] = dict(degrees)
    if run.precision:
        plan["dtypes"] = {"weights": run.precision}
    return scenario_yaml(
        {
            "role": "serve",
            "model": run.model,
            "cluster": cluster,
            "stack": run.engine or None,
            "plan": plan,
            "demand": {
                "kind": "traffic",
                "concurrency": run.concurrency,
                "requests": 10 * run.concurrency,
                "input_tokens": run.input_tokens,
                "output_tokens": run.output_tokens,
            },
        }
    )


def document_of(runs: list[Served], written: list[str]) -> dict[str, Any]:
    """Plain JSON values; every field of each record is in one of the three lists."""
    return {
        "schema": "gambrel.import-serving/1",
        "runs": [
            {
                "kind": run.kind,
                "place": run.name,
                **{name: value or None for name, value in run.cells().items()},
                **{
                    name: [note._asdict() for note in getattr(run, name)]
                    for name in ("understood", "assumed", "ignored")
                },
            }
            for run in runs
        ],
        "written": written,
    }


def screen(runs: list[Served], written: list[str], file: str) -> RenderableType:
    """A line a run; what was assumed and ignored of the first; what to type next."""
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns

    grid = columns("model", "on", "layout", ">in", ">out", ">clients", ">TTFT, ms", ">TPOT, ms")
    for run in runs[:SHOWN]:
        grid.add_row(*_cells(run))
    more = [Text(f"and {len(runs) - SHOWN} more", style="dim")] if len(runs) > SHOWN else []
    first = runs[0]
    parts: list[RenderableType] = [
        Text(f"{file}: {len(runs)} serving run{'s' * (len(runs) > 1)} of {first.kind}", style="bold"),
        grid,
        *more,
        *listed("assumed", first.assumed, "because"),
    ]
    if first.ignored:
        parts.append(Text(f"\nnot used: {', '.join(note.name for note in first.ignored)}", style="dim"))
    parts += [Text(f"\nwritten: {', '.join(written)}")] if written else []
    table = next((name for name in written if name.endswith(".csv")), None)
    flags = "" if first.device else " --cluster NAME"
    parts.append(Text(f"\nnext: gambrel validate serving {table or file}{flags}"))
    return Group(*parts)


def _cells(run: Served) -> tuple[str, ...]:
    layout = ", ".join(f"{name.removesuffix('_size')} {degree}" for name, degree in run.layout if degree > 1)
    place = " ".join(each for each in (run.device, run.engine, run.precision) if each)
    times = ("" if value is None else f"{value:,.1f}" for value in (run.ttft_ms, run.tpot_ms))
    return (run.model, place, layout, f"{run.input_tokens:,}", f"{run.output_tokens:,}", f"{run.concurrency:,}", *times)
