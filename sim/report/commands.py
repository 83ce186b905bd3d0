"""The next command to type: a scenario as flags of the command line, with a few of them changed."""

from __future__ import annotations

import shlex
from typing import Any

from ..catalog.plans import Plan
from ..catalog.records import Record
from ..catalog.scenarios import Scenario
from ..units import split_unit

MOST_CHUNKS = 8  # of a pipeline rank, in the plan that is suggested next
_ELSEWHERE = {"plan", "engine", "role", "dtypes", "kind", "campaign"}


def command(verb: str, scenario: Scenario, **changes: Any) -> str:
    """`gambrel VERB` with every flag that the scenario sets. changes: by field, such as tp=16; None leaves a flag out."""
    group = scenario.groups[0]
    values: dict[str, Any] = {}
    records: list[Record] = [group, group.plan, group.plan.dtypes, group.engine, scenario.demand, scenario.slo]
    for record in records + (
        [scenario.campaign] if verb == "train" else [scenario.operations] if verb == "serve" else []
    ):
        values.update(_set(record))
    if verb == "serve" and scenario.router != Scenario.model_fields["router"].default:
        values["router"] = scenario.router
    values.update(changes)
    words = [word for name, value in values.items() if value is not None for word in _words(name, value)]
    return shlex.join(["gambrel", verb, *words])


def _set(record: Record) -> dict[str, Any]:
    """Fields that differ from what they are when nothing is said."""
    fields = type(record).model_fields
    chosen = [name for name in fields if name in record.model_fields_set and name not in _ELSEWHERE]
    return {name: getattr(record, name) for name in chosen if getattr(record, name) != fields[name].default}


def _words(name: str, value: Any) -> list[str]:
    if name.endswith("_changes"):
        head = name.removesuffix("_changes")
        return [word for change in value for word in ("--set", f"{head}.{change}")]
    split = split_unit(name)
    flag = (split[0] if split else name).replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, tuple):
        return [f"--{flag}", ",".join(map(str, value))]
    return [f"--{flag}", f"{value:g}" if isinstance(value, float) else str(value)]


def next_fit(verb: str, asked: Scenario, plan: Plan, fits: bool) -> tuple[str, ...]:
    """What to type after `fit`."""
    return (command(verb, asked),) if fits else (command("fit", asked, tp=plan.tp * 2),)


def next_train(asked: Scenario, plan: Plan, layers: int, fits: bool) -> tuple[str, ...]:
    """What to type after `train`: the timeline, and a plan that may be faster. layers: of the model."""
    if not fits:
        return (command("fit", asked, recompute="full", tokens=None), command("train", asked, sharding="zero3"))
    passes = (plan.global_batch or 1) // (plan.micro_batch * (plan.dp or 1))
    chunks = min(layers // plan.pp, MOST_CHUNKS)
    interleaves = plan.pp > 1 and plan.virtual_stages == 1 and passes % plan.pp == 0 and chunks > 1
    other = {"virtual_stages": chunks} if interleaves else {"recompute": "full" if plan.recompute == "none" else "none"}
    return (
        command("trace", asked, tokens=None) + " -o trace.pftrace",
        command("train", asked, **other),
        "gambrel validate training",
    )


def next_serve(asked: Scenario, replicas: int) -> tuple[str, ...]:
    """What to type after `serve`: twice as many replicas, and the timeline."""
    if asked.operations.autoscale != "off":
        return ("gambrel validate serving",)
    return (
        command("serve", asked, replicas=replicas * 2, devices=None),
        command("trace", asked, role="serve") + " -o serve.pftrace",
        "gambrel validate serving",
    )
