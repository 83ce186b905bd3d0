"""`export chakra`, `export astra-sim`: a training step as execution traces for network simulators, and the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ..catalog.scenarios import Scenario, TokenBudget
from ..errors import InputError
from .command import command
from .options import scenario_from
from .output import Call, Progress, emit, write_files
from .runs import Changes, File, Flags, _path

if TYPE_CHECKING:
    from ..catalog.targets import Target
    from ..training.nodes import StepGraph

Folder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the files go.")]
Ranks = Annotated[
    str, typer.Option("--ranks", metavar="WHICH", help="stages: a rank of each pipeline stage; all: every rank.")
]
Network = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="FILE.yml; if not given: shown.")]
_MOST_NODES = 30_000_000  # about 3 GB


class _Asked(NamedTuple):
    graph: StepGraph
    target: Target
    devices: int


@command("train")
def chakra(
    call: Call,
    scenario: File = None,
    changes: Changes = None,
    output: Folder = Path("chakra"),
    ranks: Ranks = "stages",
    *,
    flags: Flags,
) -> None:
    """Write execution traces."""
    from ..report.astra_sim import network_yaml
    from ..report.chakra import groups_json, groups_of, trace_of

    asked = _asked(call, scenario_from("train", _path(call, scenario), flags, call.seed, changes or ()))
    graph, target = asked.graph, asked.target
    chosen = _chosen(graph, ranks)
    groups = groups_of(graph)
    with Progress() as progress:
        for done, rank in enumerate(chosen):
            write_files(output, {f"step.{rank}.et": trace_of(graph, rank, groups)})
            progress((done + 1) / len(chosen), "writing traces")
    network = network_yaml(target.cluster, target.family, graph.world, target.chip.ranks)
    write_files(output, {"comm_group.json": groups_json(groups), "network.yml": network})
    nodes = sum(len(graph.stages[graph.stage_of(rank)]) for rank in chosen)
    document = {
        "schema": "gambrel.chakra/1",
        "folder": str(output),
        "ranks": list(chosen),
        "world": graph.world,
        "stages": len(graph.stages),
        "nodes": nodes,
        "groups": len(groups),
    }
    few = "" if len(chosen) == graph.world else " (--ranks all writes every one)"
    emit(
        call._replace(out=None),
        document,
        f"{output}: {len(chosen):,} of {graph.world:,} ranks{few}, {nodes:,} nodes, {len(groups):,} groups of ranks; "
        "step.RANK.et, comm_group.json, network.yml.",
    )


@command("train")
def astra_sim(
    call: Call, scenario: File = None, changes: Changes = None, output: Network = None, *, flags: Flags
) -> None:
    """Write a network."""
    from ..catalog.clusters import sliced
    from ..catalog.targets import adjusted, target
    from ..report.astra_sim import network_yaml

    group = scenario_from("train", _path(call, scenario), flags, call.seed, changes or ()).groups[0]
    library = call.library()
    found = adjusted(target(library, group.cluster, group.stack, group.role), group)
    devices = group.devices or next((tier.size for tier in reversed(found.cluster.tiers) if tier.size), 1)
    text = network_yaml(sliced(found.cluster, devices)[0], found.family, devices * found.chip.ranks, found.chip.ranks)
    if output is not None:
        write_files(output.parent, {output.name: text})
    document = {
        "schema": "gambrel.launch/1",
        "kind": "astra-sim",
        "file": None if output is None else str(output),
        "text": text,
    }
    shown = text.rstrip("\n") if output is None else f"{output}: the network of {devices:,} x {found.chip.name}."
    emit(call, document, shown, {"network.yml": text})


def _asked(call: Call, scenario: Scenario) -> _Asked:
    """The graph of a training scenario's step, and what it runs on."""
    from ..studies.priced import question
    from ..studies.provenance import resolved_plan
    from ..training.memory import settled
    from ..training.nodes import step_graph

    if not isinstance(scenario.demand, TokenBudget) or len(scenario.groups) != 1:
        raise InputError("export chakra: a step of one training group is written. Give a training scenario.")
    library = call.library()
    plan, devices = resolved_plan(library, scenario)
    q = question(library, scenario.with_(groups=(scenario.groups[0].with_(devices=devices),)))
    plan = settled(q.model, plan, q.target, scenario.demand.seq_len)
    return _Asked(step_graph(q.model, plan, q.target, scenario.demand.seq_len), q.target, devices)


def _chosen(graph: StepGraph, ranks: str) -> range:
    """The ranks whose files are written. Raises InputError for another word, or for more nodes than a disk should take."""
    if ranks not in ("stages", "all"):
        raise InputError(f"--ranks = {ranks!r} is not known. Use stages or all.")
    if ranks == "stages":
        return range(0, graph.world, graph.across)
    nodes = sum(len(each) for each in graph.stages) * graph.across
    if nodes > _MOST_NODES:
        raise InputError(
            f"--ranks all: {nodes:,} nodes are more than {_MOST_NODES:,}. Use --ranks stages or a smaller batch."
        )
    return range(graph.world)
