"""Terms of a figure: sums, products and quotients down to functions of the model, and to leaves: values with key and source."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..catalog.calibrations import Calibration
from ..catalog.chip_changes import changed
from ..catalog.chips import Chip
from ..catalog.clusters import Cluster
from ..catalog.record_changes import rewritten
from ..catalog.recorded import of_plain
from ..catalog.targets import Target
from ..errors import InputError, did_you_mean
from .whatif import hardware_keys

Op = Literal["sum", "product", "quotient", "function", "leaf"]


@dataclass(frozen=True)
class Term:
    """One term. op: how its value follows from its terms (quotient: the first over the second; function: of the leaves below it, as
    `note` says; leaf: a value that was given). key: of a leaf in the catalogue or the scenario; source: where it was published."""

    name: str
    value: float
    unit: str
    op: Op
    terms: tuple[Term, ...] = ()
    note: str = ""
    key: str = ""
    source: str = ""

    def recomputed(self) -> float:
        """The value, worked out again from the terms below."""
        if self.op in ("leaf", "function"):
            return self.value
        values = [term.recomputed() for term in self.terms]
        if self.op == "sum":
            return math.fsum(values)
        return math.prod(values) if self.op == "product" else values[0] / values[1]

    def leaves(self) -> Iterator[Term]:
        """Every leaf below, or this one."""
        if self.op == "leaf":
            yield self
        for term in self.terms:
            yield from term.leaves()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is empty is left out."""
        out: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit, "op": self.op}
        out |= {name: text for name in ("note", "key", "source") if (text := getattr(self, name))}
        return {**out, "terms": [term.to_dict() for term in self.terms]} if self.terms else out


def total(name: str, unit: str, terms: list[Term], note: str = "") -> Term:
    """The sum of terms."""
    return Term(name, math.fsum(term.value for term in terms), unit, "sum", tuple(terms), note)


def product(name: str, unit: str, *terms: Term) -> Term:
    """The product of terms."""
    return Term(name, math.prod(term.value for term in terms), unit, "product", terms)


def quotient(name: str, unit: str, above: Term, below: Term) -> Term:
    """The first over the second."""
    return Term(name, above.value / below.value, unit, "quotient", (above, below))


def given(key: str, value: float, unit: str, source: str = "", note: str = "") -> Term:
    """A leaf: a value of the catalogue or the scenario, named by its key."""
    return Term(key, float(value), unit, "leaf", (), note, key, source)


def constant(name: str, value: float, unit: str = "") -> Term:
    """A leaf that nobody measures: a count that follows from the plan, or a unit's size."""
    return Term(name, float(value), unit, "leaf")


def candidates(target: Target, kinds: set[str]) -> tuple[str, ...]:
    """Keys of the catalogue's values that the time of kernels of these kinds may depend on."""
    keys = list(hardware_keys(target.chip, target.cluster))
    for group, values in target.calibration.parameters.items():
        if group.partition(".")[0] in kinds | {"chip"}:
            keys += [f"calibration.{group}.{name}" for name, value in values.items() if value]
    return tuple(keys)


def value_of(target: Target, key: str) -> tuple[float, str]:
    """(value, source) of a leaf of the catalogue. Raises InputError for a key that is none."""
    head, _, path = key.partition(".")
    if head == "calibration":
        group, _, name = path.rpartition(".")
        fit = target.calibration.fits.get(group)
        source = f"{target.calibration.id}: " + (
            f"fitted to {fit.data}, {fit.date}" if fit else target.calibration.source
        )
        return float(target.calibration.parameters[group][name]), source
    if head == "stack":
        stack, name = target.stack, path.removeprefix("factors.")
        known = stack.factors.get(name) if path.startswith("factors.") else getattr(stack, name, None)
        if known is None:
            raise InputError(f"{key}: {stack.id} has no such value. {did_you_mean(name, stack.factors)}".rstrip())
        return float(known), f"{stack.id} {stack.version}: {stack.source}"
    record: Any = target.chip if head == "chip" else target.cluster
    source = "; ".join(getattr(record, "sources", ()))
    for step in path.split("."):
        record = record[int(step)] if step.isdigit() else getattr(record, _field(record, step))
        source = getattr(record, "source", None) or source
    return float(record), source


def _field(record: Any, step: str) -> str:
    """The field that a key's step without unit means."""
    fields: list[str] = list(type(record).model_fields)
    found = next((name for name in fields if name == step or name.startswith(f"{step}_")), None)
    if found is None:
        raise InputError(f"{step}: there is no such value. {did_you_mean(step, fields)}".rstrip())
    return found


def scaled(target: Target, key: str, factor: float) -> Target:
    """The target with one leaf multiplied."""
    head, _, path = key.partition(".")
    if head == "chip":
        return target._replace(chip=changed(target.chip, (f"{path}*={factor!r}",)))
    if head == "cluster":
        return target._replace(cluster=rewritten(target.cluster, (f"{path}*={factor!r}",), "cluster"))
    if head == "calibration":
        group, _, name = path.rpartition(".")
        parameters = {**target.calibration.parameters}
        parameters[group] = {**parameters[group], name: parameters[group][name] * factor}
        return target._replace(calibration=target.calibration.model_copy(update={"parameters": parameters}))
    if path.startswith("factors."):
        name = path.removeprefix("factors.")
        return target._replace(
            stack=target.stack.with_(factors={**target.stack.factors, name: target.stack.factors[name] * factor})
        )
    return target._replace(stack=target.stack.with_(**{path: getattr(target.stack, path) * factor}))


def moved_contents(contents: dict[str, Any], key: str, factor: float) -> dict[str, Any]:
    """Recorded entries (`facts.contents`) with one leaf of the catalogue multiplied, as `scaled` does it."""
    out = copy.deepcopy(contents)
    head, _, path = key.partition(".")
    if head == "price":
        out["price"] *= factor
    elif head == "chip":
        out["chip"] = _plain(changed(of_plain(Chip, out["chip"], "chip"), (f"{path}*={factor!r}",)))
    elif head == "cluster":
        out["cluster"] = _plain(
            rewritten(of_plain(Cluster, out["cluster"], "cluster"), (f"{path}*={factor!r}",), "cluster")
        )
    elif head == "calibration":
        group, _, name = path.rpartition(".")
        out["calibration"]["parameters"][group][name] *= factor
        of_plain(Calibration, out["calibration"], "calibration")
    else:
        holder = out["stack"]["factors"] if path.startswith("factors.") else out["stack"]
        holder[path.removeprefix("factors.")] *= factor
    return out


def _plain(record: Any) -> Any:
    return json.loads(record.model_dump_json())
