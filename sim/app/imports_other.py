"""`import` of what is neither a training run nor a benchmark: launches, client pools, profiles, power, failures, networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..catalog import astra_network, engine_flags, kineto, power_logs, servegen
from ..catalog.imported import Note
from ..catalog.imports import text_of
from ..errors import InputError
from .imports import SCENARIOS, TABLES, listed
from .output import Call, emit, write_files
from .runs import scenario_yaml

if TYPE_CHECKING:
    from rich.console import RenderableType

Said = Mapping[str, Any]


class Told(NamedTuple):
    """What a file said. values: plain JSON ones; files: contents by name of what -o writes (a folder's, where there are several);
    follows: what to type next, {} standing for the file that was written."""

    kind: str
    verdict: str
    values: dict[str, Any]
    understood: tuple[Note, ...]
    assumed: tuple[Note, ...]
    ignored: tuple[Note, ...]
    files: Callable[[Path], dict[str, str | bytes]]
    follows: str


def kind_of(file: Path, text: str) -> str | None:
    """Name of the kind of a file, None if it is none of these. text: of the file; "" of a folder."""
    if file.is_dir():
        return "servegen" if servegen.chunks_of(file) else None
    if text.lstrip("\ufeff").startswith(("JobID|", "JobIDRaw|")):
        return "sacct"
    if kineto.looks_like(text):
        return "kineto"
    if power_logs.kind_of(text) is not None:
        return "power"
    if astra_network.looks_like(text):
        return "astra-sim"
    return engine_flags.kind_of(text)


def told(call: Call, file: Path, kind: str, said: Said, output: Path | None) -> None:
    """Read a file of one of KINDS, print what became of it, write what -o asks for."""
    found = KINDS[kind](call, file, said)
    written: list[str] = []
    if output is not None:
        files = found.files(output)
        folder = output.parent if set(files) == {output.name} else output
        write_files(folder, files)
        written = [str(folder / name) for name in files]
    document = {
        "schema": "gambrel.import-other/1",
        "kind": found.kind,
        "file": str(file),
        **found.values,
        **{name: [note._asdict() for note in getattr(found, name)] for name in ("understood", "assumed", "ignored")},
        "written": written,
    }
    emit(call, document, _screen(found, written))


def _screen(found: Told, written: list[str]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(found.verdict, style="bold")]
    for title, heading in (("understood", "becomes"), ("assumed", "because"), ("ignored", "")):
        parts += listed(title, getattr(found, title), heading)
    parts += [Text(f"\nwritten: {', '.join(written)}")] if written else []
    parts.append(Text(f"\nnext: {found.follows.format(written[0] if written else 'FILE')}"))
    return Group(*parts)


def _ending(endings: tuple[str, ...], text: Callable[[], str]) -> Callable[[Path], dict[str, str | bytes]]:
    """The one file of a kind. Raises InputError for another ending."""

    def files(output: Path) -> dict[str, str | bytes]:
        if output.suffix not in endings:
            raise InputError(f"-o {output}: end the name in {endings[0]}.")
        return {output.name: text()}

    return files


def _place(call: Call, said: Said, file: Path, what: str) -> str:
    """The chip of --cluster. Raises InputError without it."""
    if said.get("cluster") is None:
        raise InputError(f"{file}: {what}, and the file names no chip. Add --cluster NAME.")
    return call.library().chip(call.library().cluster(said["cluster"]).chip).id


def _launch(call: Call, file: Path, said: Said) -> Told:
    library = call.library()
    found = engine_flags.imported_from(text_of(file), str(file), library, said.get("model"))

    def scenario() -> str:
        if said.get("cluster") is None:
            raise InputError(f"{file}: a scenario needs hardware, and a launch names none. Add --cluster NAME.")
        family = library.family(library.chip(library.cluster(said["cluster"]).chip).family)
        stacks = {entry.id for entry in library.entries("stack")}
        own = family.default_stack
        stack = own if own.split("-")[0] == found.kind else found.kind if found.kind in stacks else None
        return scenario_yaml({**found.scenario(said["cluster"]), "stack": stack})

    degrees = " ".join(f"{name}{found.plan[name]}" for name in ("tp", "pp", "attention_dp", "ep") if name in found.plan)
    copies = f"{found.replicas} replicas of " if found.replicas > 1 else ""
    values = {"model": found.model.id, "plan": found.plan, "engine": found.engine, "replicas": found.replicas}
    load = "--concurrency 16 --input-tokens 1000 --output-tokens 200"
    return Told(
        found.kind,
        f"{file}: {found.kind} serves {copies}{found.model.name}, {degrees or 'one rank'}.",
        values,
        found.understood,
        found.assumed,
        found.ignored,
        _ending(SCENARIOS, scenario),
        f"gambrel serve {{}} {load}",
    )


def _pool(call: Call, file: Path, said: Said) -> Told:
    found = servegen.read_pool(file)
    made = found.generator
    values = {"clients": found.clients, "generator": made.model_dump(mode="json")}
    return Told(
        "servegen",
        f"{file}: {found.clients} clients, {made.rate_requests_per_s:.3g} requests/s over {made.period_s:,.0f} s, gaps vary by "
        f"{made.gap_variation:.3g} of their mean.",
        values,
        (Note("clients", str(found.clients), "rates summed, lengths weighted by rate"),),
        found.assumed,
        (),
        _ending(SCENARIOS, lambda: scenario_yaml(made.model_dump(mode="json"))),
        "gambrel serve --model ... --cluster ... --generator {}",
    )


def _profile(call: Call, file: Path, said: Said) -> Told:
    chip = _place(call, said, file, "measured kernels belong to a chip")
    stack = said.get("engine") or "vllm"
    found = kineto.read_kernels(text_of(file), str(file), chip, stack)
    tables = {"gemm": (kineto.GEMM, found.gemm), "collective": (kineto.COLLECTIVE, found.collective)}

    def files(output: Path) -> dict[str, str | bytes]:
        filled = {f"{name}.csv": _csv(*table) for name, table in tables.items() if table[1]}
        if output.suffix in TABLES and len(filled) == 1:
            return {output.name: next(iter(filled.values()))}
        if output.suffix:
            raise InputError(f"-o {output}: there are rows of {' and '.join(filled)}. Name a folder.")
        return dict(filled)

    assumed = found.assumed if said.get("engine") else (*found.assumed, Note("stack", stack, "say another: --engine"))
    return Told(
        "kineto",
        f"{file}: {len(found.gemm)} shapes of products and {len(found.collective)} of collectives on {chip}.",
        {"device": chip, "gemm": found.gemm, "collective": found.collective},
        found.understood,
        assumed,
        found.ignored,
        files,
        f"gambrel calibrate {{}} --chip {chip} --stack {stack}",
    )


def _power(call: Call, file: Path, said: Said) -> Told:
    found = power_logs.read_draw(text_of(file), str(file))
    notes = found.assumed
    if said.get("devices") is not None and said["devices"] != found.chips:
        raise InputError(f"--devices = {said['devices']}: {file} logs {found.chips} chips. Leave --devices out.")

    def table() -> str:
        if not said.get("model"):
            raise InputError(f"{file}: a row of power belongs to a model, and the log names none. Add --model NAME.")
        chip = _place(call, said, file, "a row of power belongs to a chip")
        engine = said.get("engine")
        row = {
            "device": chip,
            "model": call.library().model(said["model"]).id,
            "phase": "inference steady state (prefill + decode)" if engine else "training",
            "precision": said.get("precision") or "",
            "engine": engine or "",
        }
        return _csv(power_logs.COLUMNS, [power_logs.row_of(found, file.name, row)])

    idle = "" if found.idle_w is None else f", {found.idle_w:,.0f} W idle"
    values = {"chips": found.chips, "mean_chip_w": found.chip_w, "samples": found.used, "idle_w": found.idle_w}
    return Told(
        found.kind,
        f"{file}: {found.chips} chips drew {found.chip_w:,.1f} W each while they worked{idle}.",
        values,
        (Note("power", f"{found.chip_w:,.1f} W", "measured_power_w, of all chips together"),),
        notes,
        found.ignored,
        _ending(TABLES, table),
        "gambrel validate power {}",
    )


def _failures(call: Call, file: Path, said: Said) -> Told:
    from ..training.sacct import read_sacct
    from ..units import text

    found = read_sacct(file)
    mtbf_s = found.mtbf_s()
    shown = [f"{name} every {text(seconds, 's')} of a chip" for name, seconds in mtbf_s.items()]
    campaign = {"campaign": {"faults": True, "sacct": str(file)}}
    return Told(
        "sacct",
        f"{file}: {found.device_hours:,.0f} chip-hours; {', '.join(shown) or 'nothing failed'}.",
        {
            "device_hours": found.device_hours,
            "counts": {"node_fail": found.node_fail, "failed": found.failed},
            "mtbf_s": mtbf_s,
        },
        (
            Note("NODE_FAIL", str(found.node_fail), "failures of nodes"),
            Note("FAILED", str(found.failed), "failures of jobs"),
        ),
        (Note("steps, jobs without chips", "", "left out"),),
        (Note("other states and columns", "", "not used"),),
        _ending(SCENARIOS, lambda: scenario_yaml(campaign)),
        f"gambrel train SCENARIO --faults --sacct {file}",
    )


def _network(call: Call, file: Path, said: Said) -> Told:
    from ..catalog.clusters import Cluster
    from ..catalog.files import Document
    from ..catalog.records import parse

    chip = call.library().chip(_place(call, said, file, "a cluster is made of chips"))
    stem = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in file.stem.lower())
    found = astra_network.read_network(text_of(file), str(file), chip, f"{stem.strip('-') or 'network'}")
    parse(Cluster, Document(found.cluster, {}, str(file)))
    return Told(
        "astra-sim",
        f"{file}: {found.npus:,} x {chip.name} in {len(found.cluster['tiers'])} tiers.",
        {"cluster": found.cluster, "npus": found.npus},
        found.understood,
        found.assumed,
        found.ignored,
        _ending(SCENARIOS, lambda: scenario_yaml(found.cluster)),
        f"gambrel train --cluster {{}} --devices {found.npus} --model ...",
    )


def _csv(columns: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    import csv
    import io

    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


KINDS: dict[str, Callable[[Call, Path, Said], Told]] = {
    "vllm": _launch,
    "sglang": _launch,
    "servegen": _pool,
    "kineto": _profile,
    "power": _power,
    "sacct": _failures,
    "astra-sim": _network,
}
