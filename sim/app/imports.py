"""`import`: a run out of a user's file; what was understood, assumed and ignored; a scenario or a row of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, did_you_mean
from .command import command
from .output import Call, emit, write_files
from .runs import scenario_yaml

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.imported import Imported, Note

SCENARIOS, TABLES = (".yaml", ".yml"), (".csv",)
SERVING = "serving"
OTHER = ("vllm", "sglang", "servegen", "kineto", "power", "sacct", "astra-sim")


File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A result, script, log or configuration of yours; docs/how-to/import.md lists what is read.",
    ),
]
Kind = Annotated[
    str | None, typer.Option("--kind", metavar="NAME", help="What the file is (if not given: recognised).")
]
Named = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Of a file that does not name it, or not as the catalogue."),
]
Place = Annotated[
    str | None, typer.Option("--cluster", "--chip", metavar="NAME", help="What it ran on, or is to run on.")
]
Devices = Annotated[int | None, typer.Option("--devices", metavar="N", min=1, help="Chips, if the file says none.")]
Precision = Annotated[
    str | None, typer.Option("--precision", metavar="NAME", help="Format of products, if the file says none.")
]
EngineName = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="Of a serving benchmark that does not name it.")
]
Degree = Annotated[int | None, typer.Option(metavar="N", min=1, help="Of a serving benchmark that does not say it.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="OUT", help="FILE.yaml: a scenario; FILE.csv: a row for `validate`."),
]
Tokens = Annotated[
    int | None,
    typer.Option("--input-tokens", metavar="N", min=1, help="Mean prompt of a serving benchmark that does not say it."),
]


@command()
def import_(
    call: Call,
    file: File,
    kind: Kind = None,
    model: Named = None,
    cluster: Place = None,
    devices: Devices = None,
    precision: Precision = None,
    engine: EngineName = None,
    tp: Degree = None,
    pp: Degree = None,
    ep: Degree = None,
    attention_dp: Degree = None,
    input_tokens: Tokens = None,
    output: Output = None,
) -> None:
    """Read a user's file."""
    degrees = {"tp": tp, "pp": pp, "ep": ep, "attention_dp": attention_dp}
    said = {"model": model, "cluster": cluster, "engine": engine, "precision": precision, "devices": devices}
    found, text = _recognised(file, kind)
    if found in OTHER:
        from .imports_other import told

        _none_of({**degrees, "input_tokens": input_tokens}, file, found)
        told(call, file, found, said, output)
        return
    if output is not None and output.suffix not in (*SCENARIOS, *TABLES):
        raise InputError(f"-o {output}: end the name in .yaml (a scenario) or .csv (a row of a table).")
    if found == SERVING:
        from .imports_serving import served

        served(call, (file, text), {**said, "input_tokens": input_tokens}, degrees, output)
        return
    _none_of({"engine": engine, **degrees, "input_tokens": input_tokens}, file, "training run")
    _trained(call, file, found, said, output)


def _recognised(file: Path, kind: str | None) -> tuple[str, str]:
    """The kind of a file and its text ("" of a folder). Raises InputError for a kind that is not known, or a file of none."""
    from ..catalog import imports, serving_results
    from . import imports_other

    known = (*imports.KINDS, SERVING, *OTHER)
    if kind is not None and kind not in known:
        raise InputError(f"--kind = {kind!r} is not known. {did_you_mean(kind, known)} Use {', '.join(known)}.")
    text = "" if file.is_dir() else imports.text_of(file)
    if kind is not None:
        return kind, text
    serving = SERVING if text and serving_results.kind_of(text) is not None else None
    found = serving or imports_other.kind_of(file, text) or imports.kind_of(text)
    if found is None:
        raise InputError(f"{file}: of no known kind. Say which with --kind: {', '.join(known)}.")
    return found, text


def _trained(call: Call, file: Path, kind: str, said: dict[str, Any], output: Path | None) -> None:
    """Read a training run, complete it with what the user says, print, write."""
    from ..catalog.imports import read_run

    library, cluster = call.library(), said["cluster"]
    precision, devices = said["precision"], said["devices"]
    run = read_run(file, library, kind, said["model"], devices)
    place = None if cluster is None else library.cluster(cluster)
    if place is not None:
        run = run.at(library.chip(place.chip).id)
    run = run.in_format(precision).on(devices, library.chip(run.device).ranks if run.device else 1)
    where = run.device if place is None else place.id
    paths = []
    if output is not None:
        write_files(output.parent, written := files_of(run, output, where))
        paths = [str(output.parent / name) for name in written]
    emit(call, document_of(run, paths), screen(run, paths, where), _all_files(run, call.out, where) if call.out else {})


def _none_of(flags: dict[str, Any], file: Path, what: str) -> None:
    """Raises InputError for a flag of serving benchmarks beside another file."""
    for name, value in flags.items():
        if value is not None:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag}: {file} is a {what}, which takes no such flag. Leave --{flag} out.")


def files_of(run: Imported, output: Path, cluster: str) -> dict[str, str | bytes]:
    """Contents by name: the scenario, with the model beside it where the catalogue has none; or the row of a table.

    Raises InputError for a scenario of a run that is not known to run anywhere.
    """
    from ..catalog.imports import csv_of

    if output.suffix in TABLES:
        return {output.name: csv_of([run])}
    if not cluster:
        raise InputError(f"-o {output}: a scenario needs hardware, and {run.name} names none. Add --cluster NAME.")
    model = output.with_name(f"{output.stem}.model.yaml")
    named = run.model.id if run.known else str(model)
    text = scenario_yaml(run.scenario(named, cluster))
    if run.known:
        return {output.name: text}
    return {output.name: text, model.name: scenario_yaml(run.model.model_dump(mode="json", exclude_none=True))}


def _all_files(run: Imported, folder: Path, cluster: str) -> dict[str, str | bytes]:
    scenario = files_of(run, folder / "scenario.yaml", cluster) if cluster else {}
    return {**scenario, **files_of(run, folder / "run.csv", cluster)}


def document_of(run: Imported, written: list[str]) -> dict[str, Any]:
    """Plain JSON values of an import; every field of the file is in one of the three lists."""
    return {
        "schema": "gambrel.import/1",
        "kind": run.kind,
        "file": run.name,
        "model": run.model.id,
        "model_definition": None if run.known else run.model.model_dump(mode="json", exclude_none=True),
        "plan": run.plan.model_dump(mode="json"),
        "seq_len": run.seq_len,
        "devices": run.devices,
        "device": run.device or None,
        "precision": run.precision,
        "step_time_s": run.step_time_s,
        "tflops_per_device": run.tflops_per_device,
        "measured_as": run.measured_as or None,
        **{name: [note._asdict() for note in getattr(run, name)] for name in ("understood", "assumed", "ignored")},
        "written": written,
    }


def screen(run: Imported, written: list[str], cluster: str) -> RenderableType:
    """Verdict, what was understood, assumed and ignored, the files, and what to type next."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(_verdict(run), style="bold")]
    if run.measured_as:
        parts.append(Text(f"measured: {run.measured_as}"))
    parts += listed("understood", run.understood, "becomes") + listed("assumed", run.assumed, "because")
    slow = tuple(note for note in run.ignored if "not used" not in note.meaning)
    parts += listed("ignored", slow, "")
    rest = [note.name for note in run.ignored if note not in slow]
    parts += [Text(f"\nnot used: {', '.join(rest)}", style="dim")] if rest else []
    parts += [Text(f"\nwritten: {', '.join(written)}")] if written else []
    parts.append(Text(f"\nnext: {_next(run, written, cluster)}"))
    return Group(*parts)


def _verdict(run: Imported) -> str:
    from ..units import text
    from .search import words

    on = f" on {run.devices:,} {f'x {run.device}' if run.device else 'devices'}" if run.devices else ""
    step = f", {text(run.step_time_s, 's')} a step" if run.step_time_s else ", no step time"
    return f"{run.name}: {run.model.name}{on}, {words(run.plan)}, {run.seq_len:,} tokens a sequence{step}."


def listed(title: str, notes: tuple[Note, ...], heading: str) -> list[RenderableType]:
    from rich.text import Text

    from ..report.tables import columns

    if not notes:
        return []
    grid = columns(title, "value", heading)
    for note in notes:
        grid.add_row(note.name, note.value, note.meaning)
    return [Text(""), grid]


def _next(run: Imported, written: list[str], cluster: str) -> str:
    """The command that goes on from here."""
    file = next((name for name in written if not name.endswith(".model.yaml")), None)
    if run.step_time_s:
        where = "" if cluster else " --cluster NAME"
        return f"gambrel validate training {file if file and file.endswith('.csv') else run.name}{where}"
    if file is not None and file.endswith(SCENARIOS):
        return f"gambrel fit {file}"
    return f"gambrel import {run.name} --cluster {cluster or 'NAME'} -o scenario.yaml"
