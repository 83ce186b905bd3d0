"""`export vllm-bench`, `export aiperf`: a stored result of `serve` as the file that a benchmark client writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .command import command
from .output import Call, emit, write_files

if TYPE_CHECKING:
    from ..report.bench_results import Finished, FloatArray

Result_ = Annotated[
    Path, typer.Argument(metavar="RESULT", help="A folder that `serve --out` wrote, or its result.json.")
]
JsonOutput = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="FILE.json.")]
EitherOutput = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="FILE.json: the summary; FILE.jsonl: single requests.")
]
_NEEDED = ("arrival_s", "first_token_s", "finish_s", "input_tokens", "output_tokens", "status")


@command()
def vllm_bench(call: Call, result: Result_, output: JsonOutput = Path("vllm_bench.json")) -> None:
    """Write what `vllm bench serve` saves."""
    from ..report.bench_results import vllm_bench as shaped

    if output.suffix != ".json":
        raise InputError(f"-o {output}: end the name in .json.")
    run = answered(result)
    _write(call, "vllm-bench", output, json.dumps(shaped(run), allow_nan=False) + "\n", run)


@command()
def aiperf(call: Call, result: Result_, output: EitherOutput = Path("profile_export_aiperf.json")) -> None:
    """Write what AIPerf exports."""
    from ..report.bench_results import aiperf_requests, aiperf_summary

    if output.suffix not in (".json", ".jsonl"):
        raise InputError(f"-o {output}: end the name in .json (the summary) or .jsonl (single requests).")
    run = answered(result)
    whole = output.suffix == ".json"
    text = json.dumps(aiperf_summary(run), indent=2, allow_nan=False) + "\n" if whole else aiperf_requests(run)
    _write(call, "aiperf", output, text, run)


def answered(result: Path) -> Finished:
    """The answered requests of a stored result. Raises InputError for a result of another verb, or without its requests.csv."""
    from ..report.bench_results import finished
    from ..serving.state import FINISHED
    from ..studies.provenance import read_stored

    stored = read_stored(result)
    if stored.verb != "serve":
        raise InputError(f"{stored.path}: a result of {stored.verb} holds no requests. Give one of serve.")
    beside = stored.path.parent / "requests.csv"
    if not beside.is_file():
        raise InputError(f"{beside}: no such file. Answer with `gambrel serve ... --out DIR`, and give DIR.")
    columns = _columns(beside)
    if not (columns["status"] == FINISHED).any():
        raise InputError(f"{beside}: no request was answered. Give a run in which some were.")
    return finished(columns, stored.plain, FINISHED)


def _columns(path: Path) -> dict[str, FloatArray]:
    """The needed columns as float64[n]. Raises InputError with line and value."""
    import numpy as np

    from ..catalog.imports import csv_rows, text_of

    rows = csv_rows(text_of(path), str(path))
    names = next(rows, ("", []))[1]
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise InputError(f"{path}:1: no column {missing[0]}. Give the folder as `serve --out` wrote it.")
    found: dict[str, list[float]] = {name: [] for name in _NEEDED}
    for place, cells in rows:
        row = dict(zip(names, cells, strict=False))
        for name in _NEEDED:
            try:
                found[name].append(float(row.get(name, "")))
            except ValueError:
                shown = f"{place}: {name} = {row.get(name, '')[:60]!r}"
                raise InputError(f"{shown} is no number. Give the folder as `serve --out` wrote it.") from None
    return {name: np.array(values) for name, values in found.items()}


def _write(call: Call, kind: str, output: Path, text: str, run: Finished) -> None:
    write_files(output.parent, {output.name: text})
    left = "gaps between single tokens (`itls`), texts" if kind == "vllm-bench" else "raw responses, telemetry"
    document = {
        "schema": "gambrel.bench/1",
        "kind": kind,
        "file": str(output),
        "requests": len(run.arrival_s),
        "failed": run.failed,
        "left_out": left,
    }
    emit(
        call._replace(out=None),
        document,
        f"{output}: {len(run.arrival_s):,} requests as {kind} writes them, {run.failed:,} not answered. Left out: {left}.\n"
        f"next: gambrel import {output}",
    )
