"""`fit`, `train`, `serve`, `trace`: build the scenario, call the verb, print its result."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.facts import contents
from ..catalog.files import read_yaml, write_whole
from ..catalog.library import normal
from ..catalog.recorded import scenario_of
from ..errors import InputError
from .command import command
from .options import Verb, scenario_from
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from ..catalog.scenarios import Scenario
    from ..result import Result

File = Annotated[
    str | None,
    typer.Argument(metavar="SCENARIO", help="A scenario file; flags override what it says.", show_default=False),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the scenario; also *= and +=. Repeatable."),
]
Everything = Annotated[bool, typer.Option("--all", metavar=" ", help="Show every figure.", rich_help_panel="Output")]
Streamed = Annotated[
    Path | None,
    typer.Option(
        "--stream",
        metavar="FILE",
        help="Write requests as they end, into .csv or .parquet, and keep none: memory does not grow with them.",
        rich_help_panel="Output",
    ),
]
Flags = dict[str, str | bool]


@command("fit")
def fit(
    call: Call,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A model, or a scenario file.", show_default=False)
    ] = None,
    changes: Changes = None,
    everything: Everything = False,
    *,
    flags: Flags,
) -> int:
    """Memory by part, in under a second."""
    from .. import api

    file = model if model is not None and _is_scenario(call, model) else None
    if model is not None and file is None:
        flags = {"model": model, **flags}
    scenario = scenario_from("fit", _path(call, file), flags, call.seed, changes or ())
    return _show(call, api.fit(scenario, call.library()), everything)


@command("train")
def train(
    call: Call, scenario: File = None, changes: Changes = None, everything: Everything = False, *, flags: Flags
) -> int:
    """Train a model."""
    asked = scenario_from("train", _path(call, scenario), flags, call.seed, changes or ())
    return _run(call, "train", asked, everything)


@command("serve")
def serve(
    call: Call,
    scenario: File = None,
    changes: Changes = None,
    everything: Everything = False,
    stream: Streamed = None,
    *,
    flags: Flags,
) -> int:
    """Serve a model."""
    asked = scenario_from("serve", _path(call, scenario), flags, call.seed, changes or ())
    if stream is None:
        return _run(call, "serve", asked, everything)
    from .. import api
    from .streamed import Requests

    with Progress() as progress, Requests(stream) as written:
        result = api.serve(asked, call.library(), progress, written)
    return _show(call, result, everything)


@command("trace")
def trace(
    call: Call,
    scenario: File = None,
    changes: Changes = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="A .json ending writes a Chrome trace.")
    ] = Path("trace.pftrace"),
    *,
    flags: Flags,
) -> None:
    """Write a timeline."""
    from .. import api
    from ..report.perfetto import trace_bytes

    asked = scenario_from("trace", _path(call, scenario), flags, call.seed, changes or ())
    timeline = api.trace(asked, call.library())
    content = trace_bytes(timeline, chrome=output.suffix == ".json")
    path = output if call.out is None else call.out / output
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Choose another place.") from None
    document = {
        "schema": "gambrel.trace/1",
        "file": str(path),
        "slices": len(timeline.schedule),
        "makespan_s": timeline.makespan_s,
    }
    emit(
        call._replace(out=None),
        document,
        f"{path}: {len(timeline.schedule):,} slices on {len(timeline.schedule.queue_names)} queues, "
        f"{timeline.makespan_s:.4g} s. Open it at ui.perfetto.dev.",
    )


def _run(call: Call, verb: Verb, asked: Scenario, everything: bool) -> int:
    from .. import api

    with Progress() as progress:
        result = getattr(api, verb)(asked, call.library(), progress=progress)
    return _show(call, result, everything)


def _show(call: Call, result: Result, everything: bool) -> int:
    from ..report.tables import first_screen, plain

    files: dict[str, str | bytes] = {}
    if call.out is not None:
        files = {"report.txt": plain(result), "scenario.yaml": scenario_yaml(result.scenario)}
        files["facts.json"] = json.dumps(contents(call.library(), scenario_of(result.scenario))) + "\n"
        if result.requests is not None:
            files["requests.csv"] = _csv(result.requests)
        files.update({f"{name}.csv": _csv(columns) for name, columns in (result.tables or {}).items()})
    emit(call, result.to_dict(), first_screen(result, everything), files)
    return 0 if result.fits else 1


def scenario_yaml(scenario: dict[str, Any]) -> str:
    """A scenario as a file to go on from."""
    import yaml

    return yaml.safe_dump(_compact(scenario), sort_keys=False, allow_unicode=True)


def _compact(value: Any) -> Any:
    """Without what is unset, so that the file stays short."""
    if isinstance(value, dict):
        kept = {key: _compact(each) for key, each in value.items() if each is not None}
        return {key: each for key, each in kept.items() if each not in ({}, [])}
    return [_compact(each) for each in value] if isinstance(value, list | tuple) else value


def _csv(columns: Any) -> str:
    names = list(columns)
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    return "\n".join([",".join(names), *(",".join(map(repr, row)) for row in rows)]) + "\n"


def _path(call: Call, scenario: str | None) -> Path | None:
    """The file of a scenario: a path, or an id of the catalogue."""
    if scenario is None or scenario.endswith((".yaml", ".yml")):
        return None if scenario is None else Path(scenario)
    return call.library().find("scenario", scenario).path


def _is_scenario(call: Call, name: str) -> bool:
    """A scenario rather than a model: an id of one, or a YAML file without `blocks`."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        return any(normal(name) == normal(known) for each in call.library().entries("scenario") for known in each.names)
    if not os.path.isfile(path):
        return False
    data = read_yaml(path).data
    return isinstance(data, dict) and "blocks" not in data
