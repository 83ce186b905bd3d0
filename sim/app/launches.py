"""`export vllm|sglang|...|megatron|...`: a scenario as what its framework is launched with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.scenarios import Scenario, TokenBudget, Traffic, serving_groups
from ..errors import InputError
from .command import command
from .options import Verb, scenario_from
from .output import Call, emit, write_files
from .runs import Changes, File, Flags, _path

if TYPE_CHECKING:
    from ..catalog.scenarios import Group
    from ..report.launch_serving import Serving

Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write; if not given: on the screen.")
]
_LONGEST = 4096  # tokens of a request where neither engine nor traffic says


def serving_launch(kind: str, scenario: Scenario, call: Call) -> str:
    """The launch of a serving scenario by one engine. Raises InputError for demand that is not served, or several models."""
    from ..report.launch_cluster import launch_serving

    if not isinstance(scenario.demand, Traffic):
        raise InputError(f"export {kind}: the scenario trains. Use megatron, torchtitan, maxtext or slurm.")
    groups = serving_groups(scenario)
    roles = tuple(group.role for group in groups)
    if roles not in (("serve",), ("prefill", "decode"), ("decode", "prefill")):
        raise InputError(
            f"export {kind}: groups of roles {', '.join(roles)} make no one launch. Keep one group, or prefill and decode."
        )
    longest = _longest(scenario)
    return launch_serving(kind, [_replica(group, call, longest) for group in sorted(groups, key=_prefill_first)])


def _prefill_first(group: Group) -> bool:
    return group.role == "decode"


def _replica(group: Group, call: Call, longest: int) -> Serving:
    from ..catalog.targets import adjusted, modified, target
    from ..lowering.check import check
    from ..report.launch_serving import Serving
    from ..serving.settings import resolved

    library = call.library()
    model = modified(library.model(group.model), group)
    found = adjusted(target(library, group.cluster, group.stack, "serve"), group)
    check(model, group.plan, False)
    plan, ranks = group.plan, found.chip.ranks
    chips = -(-plan.tp * plan.pp * plan.cp * plan.attention_dp // ranks)
    return Serving(
        model=model,
        plan=plan,
        engine=resolved(group.engine, found),
        chips=chips,
        replicas=group.replicas or max(1, (group.devices or chips) // chips),
        role="" if group.role == "serve" else group.role,
        longest=group.engine.max_model_len or longest,
        family=found.chip.family,
        node_chips=found.cluster.chips_per_node,
    )


def _longest(scenario: Scenario) -> int:
    """Tokens of the longest request that is asked for."""
    from ..catalog.library import package_root
    from ..catalog.traffic import requests

    demand = scenario.demand
    assert isinstance(demand, Traffic)
    if not any((demand.trace, demand.generator, demand.rate_requests_per_s, demand.concurrency)):
        return (demand.input_tokens or 0) + (demand.output_tokens or 0) or _LONGEST
    found = requests(demand, scenario.seed, [package_root() / "workloads" / "traffic"])
    return max(int(given) + int(made) for given, made in zip(found.input_tokens, found.output_tokens, strict=True))


def training_launch(kind: str, scenario: Scenario, call: Call) -> str:
    """The launch of a training scenario by one framework; `recompute: auto` is settled as `train` settles it."""
    from ..report.launch import launch
    from ..report.launch_cluster import slurm_training
    from ..studies.priced import question
    from ..studies.provenance import resolved_plan
    from ..training.memory import settled

    if not isinstance(scenario.demand, TokenBudget):
        raise InputError(f"export {kind}: the scenario serves. Use vllm, sglang, trtllm, k8s, dynamo, slurm or neuron.")
    if len(scenario.groups) != 1:
        raise InputError(f"export {kind}: {len(scenario.groups)} groups train. Keep one.")
    library = call.library()
    plan, devices = resolved_plan(library, scenario)
    q = question(library, scenario.with_(groups=(scenario.groups[0].with_(devices=devices),)))
    plan = settled(q.model, plan, q.target, scenario.demand.seq_len)
    if kind != "slurm":
        return launch(kind, q.model, plan, scenario.demand.seq_len)
    text = launch("megatron", q.model, plan, scenario.demand.seq_len)
    each = min(devices, q.target.cluster.chips_per_node)
    return slurm_training(q.model.id, -(-devices // each), each, text)


def _exporter(kind: str, verb: Verb) -> Callable[..., Any]:
    """The command of one kind; the flags are those of the verb that answers the scenario."""

    @command(verb)
    def export(
        call: Call, scenario: File = None, changes: Changes = None, output: Output = None, *, flags: Flags
    ) -> None:
        asked = scenario_from(verb, _path(call, scenario), flags, call.seed, changes or ())
        trains = isinstance(asked.demand, TokenBudget)
        launch = training_launch if (verb == "train" or (kind == "slurm" and trains)) else serving_launch
        _written(call, kind, launch(kind, asked, call) + "\n", output)

    return export


def _written(call: Call, kind: str, text: str, output: Path | None) -> None:
    """Write and say so, or print the text itself."""
    said = [line.removeprefix("# not said here: ") for line in text.splitlines() if line.startswith("# not said here")]
    screen = text.rstrip("\n")
    if output is not None:
        write_files(output.parent, {output.name: text})
        screen = f"{output}: {len(text.splitlines())} lines for {kind}." + (
            f" Not said there: {said[0]}." if said else ""
        )
    document = {
        "schema": "gambrel.launch/1",
        "kind": kind,
        "file": None if output is None else str(output),
        "not_said": said,
        "text": text,
    }
    emit(call, document, screen, {f"launch.{kind}.txt": text})


vllm = _exporter("vllm", "serve")
sglang = _exporter("sglang", "serve")
trtllm = _exporter("trtllm", "serve")
k8s = _exporter("k8s", "serve")
dynamo = _exporter("dynamo", "serve")
neuron = _exporter("neuron", "serve")
slurm = _exporter("slurm", "whatif")
megatron = _exporter("megatron", "train")
torchtitan = _exporter("torchtitan", "train")
maxtext = _exporter("maxtext", "train")
