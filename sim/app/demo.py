"""`demo`: how far off, train, serve, why; every figure computed here and now from the shipped scenarios."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import __version__
from ..catalog.library import Library
from ..catalog.scenarios import Scenario, read_scenario
from ..result import Figure, Result
from .command import command
from .output import Call, Progress, console, write_files
from .runs import scenario_yaml

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..evidence.score import Line

TRAINING = "llama-3.1-405b-pretraining"
SERVING = "azure-chat-"
REPLICAS = (1, 2, 4, 8)
SCORED = ("kernels", "training", "inference")
FEWEST_ROWS = 10  # below this many rows a median says little
# what the published run took in all: model card of Llama 3.1 405B, Meta, July 2024
PUBLISHED_DEVICE_HOURS = 30.84e6
Say = Callable[["RenderableType"], None]


class Served(NamedTuple):
    """One serving scenario and its answer."""

    name: str
    result: Result


@command()
def demo(call: Call) -> None:
    """The whole tour."""
    begin_s = time.monotonic()
    library = call.library()
    out = call.out or Path("out")
    say: Say = (lambda text: None) if call.json else console().print
    chips, models = len(library.entries("chip")), len(library.entries("model"))
    say(f"[bold]Gambrel {__version__}[/] · {chips} chips, {models} models · no GPU, no network")
    errors = accuracy(library)
    say(accuracy_screen(errors))
    asked, trained = train(library)
    say(training_screen(trained))
    served = serve(library, call.seed)
    say(serving_screen(served))
    files = write(out, library, asked, trained, served)
    took_s = time.monotonic() - begin_s
    say(closing(files, took_s))
    if call.json:
        document = {
            "schema": "gambrel.demo/1",
            "accuracy": [
                {key: None if value != value else value for key, value in line._asdict().items()} for line in errors
            ],
            "train": trained.to_dict(),
            "serve": {each.name: each.result.to_dict() for each in served},
            "files": [str(path) for path in files],
        }
        print(json.dumps(document, indent=2, allow_nan=False))


def accuracy(library: Library) -> list[Line]:
    """Errors against the shipped measured rows, computed now: each kernel, training, inference by family."""
    from ..evidence.context import Context
    from ..evidence.validate import validate

    context, lines = Context(library), []
    with Progress() as progress:
        for index, kind in enumerate(SCORED):
            progress(index / len(SCORED), f"predicting measured {kind}")
            for table in validate(kind, None, context=context).tables:
                whole = [line for line in table.lines if line.grouping == "all" and line.n >= FEWEST_ROWS]
                lines += whole if kind == "inference" else whole[:1]
    return lines


def accuracy_screen(lines: list[Line]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns

    table = columns("  measured", ">rows", ">median error", ">90% within", ">one constant")
    for line in lines:
        name = line.table.replace("_", " ") + ("" if line.metric == "time_us" else f", {line.metric}")
        floor = "" if line.floor_median != line.floor_median else f"{line.floor_median:.0%}"
        table.add_row(f"  {name}", f"{line.n:,}", f"{line.median:.0%}", f"{line.p90:.0%}", floor)
    note = "  predicted just now; one constant: the best single factor of a family      → gambrel validate"
    return Group(Text("\n[1/4] how far off is it?", style="bold"), table, Text(note, style="dim"))


def train(library: Library) -> tuple[Scenario, Result]:
    """The published training run."""
    from .. import api

    asked = read_scenario(library.find("scenario", TRAINING).path)
    return asked, api.train(asked, library)


def training_screen(result: Result) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import by_part, share_table

    hours = result["device_hours"]
    published = (
        f"published: {PUBLISHED_DEVICE_HOURS / 1e6:.2f} million chip-hours in all, with restarts and long context"
    )
    ratio = "" if hours.value is None else f" ({hours.value / PUBLISHED_DEVICE_HOURS - 1:+.0%})"
    lines = [
        f"  {result.verdict}",
        f"  {_said(hours)} of one chip; {published}{ratio}",
        f"  {_said(result['cost'])}   {_said(result['energy'])}   {_said(result['power'])}   [{hours.basis}]",
        "  why",
    ]
    screen = [Text(line) for line in lines]
    return Group(Text("\n[2/4] train", style="bold"), *screen, share_table(by_part(result.breakdown), "s", least=0.02))


def serve(library: Library, seed: int | None) -> list[Served]:
    """Every serving scenario of the tour, each with the fewest replicas that keep its limits."""
    names = [entry.id for entry in library.entries("scenario") if entry.id.startswith(SERVING)]
    served = []
    with Progress() as progress:
        for index, name in enumerate(names):
            asked = read_scenario(library.find("scenario", name).path)
            asked = asked if seed is None else asked.with_(seed=seed)
            served.append(Served(name, _fewest(asked, library, lambda: progress(index / len(names), name))))  # noqa: B023
    return served


def _fewest(asked: Scenario, library: Library, tried: Callable[[], None]) -> Result:
    """The answer with the fewest replicas that keep the limits, or with the most that were tried."""
    from .. import api

    for replicas in REPLICAS:
        tried()
        group = asked.groups[0].with_(replicas=replicas)
        result = api.serve(asked.with_(groups=(group,)), library)
        if result.fits:
            break
    return result


def serving_screen(served: list[Served]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ..report.tables import columns, value_text

    first = served[0].result
    model, slo = first.scenario["groups"][0]["model"], first.scenario["slo"]
    heading = (
        f"\n[3/4] serve: {model}, an hour of chat ({value_text(first['requests'])}), "
        f"{slo['percentile']:g}% within TTFT {slo['ttft_s']:g} s and TPOT {slo['tpot_s'] * 1e3:g} ms"
    )
    names = ("ttft_p95", "tpot_p95", "usd_per_million_tokens", "joules_per_token", "power")
    table = columns(
        "  replicas", ">chips", ">TTFT p95", ">TPOT p95", ">$/M tokens", ">J/token", ">power", "in time", "basis"
    )
    for name, result in served:
        cells = [value_text(result[each]) for each in names]
        label = f"  {result.scenario['groups'][0]['replicas']} x {name.removeprefix(SERVING)}"
        table.add_row(
            label, f"{result['devices_paid'].value:g}", *cells, "yes" if result.fits else "no", result["tpot_p95"].basis
        )
    note = f"  the fewest of {', '.join(map(str, REPLICAS))} replicas that keep the limits"
    lines = [Text(line, style="dim") for line in (note, *break_even(served))]
    return Group(Text(heading, style="bold"), table, *lines, why_table(served))


def why_table(served: list[Served]) -> RenderableType:
    """Shares of the replicas' busy time: the five largest parts over all answers, and decode."""
    from ..report.tables import by_part, columns

    shares = []
    for _, result in served:
        busy = sum(result.breakdown.values())
        shares.append({part: seconds / busy for part, seconds in by_part(result.breakdown).items()} if busy else {})
    parts = sorted({part for row in shares for part in row}, key=lambda part: -sum(row.get(part, 0) for row in shares))[
        :5
    ]
    table = columns(
        "  why: share of busy time", *(f">{part.replace('_', ' ')}" for part in parts), ">others", ">in decode"
    )
    for (name, result), row in zip(served, shares, strict=True):
        decode = sum(seconds for (_, phase), seconds in result.breakdown.items() if phase == "decode")
        shown = [row.get(part, 0.0) for part in parts]
        cells = [*shown, sum(row.values()) - sum(shown), decode / max(sum(result.breakdown.values()), 1e-30)]
        table.add_row(f"  {name.removeprefix(SERVING)}", *(f"{cell:.0%}" for cell in cells))
    return table


def break_even(served: list[Served]) -> list[str]:
    """For each answer without a price or power: the one at which it equals the first answer that has it."""
    lines = []
    for figure, key, unit in (("cost", "price", "a chip-hour"), ("energy", "power", "a chip with its host")):
        known = next((each for each in served if each.result[figure].value is not None), None)
        for name, result in served:
            if known is None or result[figure].value is not None:
                continue
            amount = known.result[figure].value or 0.0
            hours = (
                (result["device_hours"].value or 0.0)
                * (result["devices_paid"].value or 0.0)
                / (result["devices"].value or 1.0)
            )
            even = f"${amount / hours:.2f}" if figure == "cost" else f"{amount * 1e3 / hours:,.0f} W"
            short, base = name.removeprefix(SERVING), known.name.removeprefix(SERVING)
            lines.append(f"  {short}: no public {key}; {even} {unit} would make it equal to {base}")
    return lines


def write(out: Path, library: Library, asked: Scenario, trained: Result, served: list[Served]) -> list[Path]:
    """The files to go on from: the trace of a step, the scenarios, the results."""
    from .. import api
    from ..report.perfetto import trace_bytes

    documents = {"train": trained.to_dict(), **{each.name: each.result.to_dict() for each in served}}
    files: dict[str, str | bytes] = {
        "step.pftrace": trace_bytes(api.trace(asked, library), name=TRAINING),
        "train.yaml": scenario_yaml(trained.scenario),
        "serve.yaml": scenario_yaml(served[0].result.scenario),
        "results.json": json.dumps(documents, indent=2, allow_nan=False) + "\n",
    }
    write_files(out, files)
    return [out / name for name in files]


def closing(files: list[Path], took_s: float) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    trace, training, serving = files[:3]
    commands = (
        f"gambrel train {training} --recompute selective --virtual-stages 1",
        f"gambrel serve {serving} --set demand.scale_rate=2",
        "gambrel support llama-3.1-70b",
    )
    return Group(
        Text(f"\n[4/4] files in {trace.parent}: {' · '.join(path.name for path in files)}", style="bold"),
        Text(f"  {trace} opens at ui.perfetto.dev", style="dim"),
        Text(f"Next ({took_s:.0f} s so far):"),
        *(Text(f"  {line}", no_wrap=True, overflow="ignore") for line in commands),
    )


def _said(figure: Figure) -> str:
    """A figure with its range."""
    from ..report.tables import interval_text, value_text

    interval = interval_text(figure)
    return value_text(figure) + (f" ({interval})" if interval else "")
