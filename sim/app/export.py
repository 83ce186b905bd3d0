"""`export traffic`: a demand as a file that others read: Mooncake's JSONL for a load test, or a generator fitted to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.scenarios import Traffic
from ..errors import InputError
from .command import command
from .options import scenario_from
from .output import Call, emit, write_files
from .runs import File, Flags, _path, scenario_yaml

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.traffic import Requests

Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="OUT", help="FILE.jsonl: Mooncake's trace; FILE.yaml: a fitted generator."),
]
JSONL, YAML = (".jsonl",), (".yaml", ".yml")


@command("traffic")
def traffic(call: Call, scenario: File = None, output: Output = Path("traffic.jsonl"), *, flags: Flags) -> None:
    """Write the traffic of a scenario."""
    from ..catalog.library import package_root
    from ..catalog.traffic import requests

    if output.suffix not in (*JSONL, *YAML):
        raise InputError(f"-o {output}: end the name in .jsonl (a trace) or .yaml (a generator).")
    asked = scenario_from("traffic", _path(call, scenario), flags, call.seed)
    if not isinstance(asked.demand, Traffic):
        raise InputError(
            f"{scenario}: demand is of kind {asked.demand.kind}. Give a scenario with traffic, or a trace."
        )
    found = requests(asked.demand, asked.seed, [package_root() / "workloads" / "traffic"])
    if output.suffix in JSONL:
        from ..catalog.mooncake import jsonl

        text, kind = jsonl(found), "mooncake"
    else:
        text, kind = _generator(found), "generator"
    write_files(output.parent, {output.name: text})
    emit(call._replace(out=None), _document(found, kind, output), _screen(found, kind, output))


def _generator(found: Requests) -> str:
    from ..catalog.generators import fitted

    if found.concurrency is not None or found.follows is not None:
        raise InputError(f"{found.name}: its arrivals follow from answers. Fit a generator to a trace or an open loop.")
    kind = fitted(found.name, found.arrival_s, found.input_tokens, found.output_tokens)
    return scenario_yaml(kind.model_dump(mode="json"))


def _document(found: Requests, kind: str, output: Path) -> dict[str, Any]:
    return {
        "schema": "gambrel.traffic/1",
        "kind": kind,
        "file": str(output),
        "name": found.name,
        "requests": len(found),
        "dropped": found.dropped,
        "span_s": float(found.arrival_s[-1] - found.arrival_s[0]),
        "input_tokens": int(found.input_tokens.sum()),
        "output_tokens": int(found.output_tokens.sum()),
    }


def _screen(found: Requests, kind: str, output: Path) -> RenderableType:
    from ..report.tables import columns

    span_s = float(found.arrival_s[-1] - found.arrival_s[0])
    what = "as a trace to replay" if kind == "mooncake" else "as a generator"
    grid = columns(f"{found.name} {what}", "value", "")
    grid.add_row("requests", f"{len(found):,}", f"{found.dropped:,} without tokens left out" if found.dropped else "")
    grid.add_row("span", f"{span_s:,.1f} s", f"{len(found) / span_s:.3g} requests/s" if span_s else "")
    grid.add_row("input", f"{found.input_tokens.mean():,.0f} tokens", "mean")
    grid.add_row("output", f"{found.output_tokens.mean():,.0f} tokens", "mean")
    flag = "--trace" if kind == "mooncake" else "--generator"
    grid.add_row("written", str(output), f"next: gambrel serve --model ... --cluster ... {flag} {output}")
    return grid
