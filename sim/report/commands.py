"""The next command to type: a scenario as flags of the command line, with a few of them changed."""

from __future__ import annotations

import shlex
from typing import Any

from ..catalog.records import Record
from ..catalog.scenarios import Scenario
from ..units import split_unit

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
