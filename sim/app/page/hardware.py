"""The hardware values of a cluster and its chip, each by the key path that `whatif --set` takes: what the sliders move."""

from __future__ import annotations

from typing import Any

from ...catalog.library import Library
from ...catalog.records import field_of
from ...catalog.targets import target
from ...studies.whatif import hardware_keys
from ...units import split_unit, text
from .messages import Hardware, HardwareValue

_USUAL = ("chip.matrix.clock", "chip.memory.bandwidth", "chip.memory.capacity", "cluster.tiers.0.bandwidth")
_WORDS = {
    "chip.matrix.clock": "chip clock (all peaks with it)",
    "chip.matrix.units": "matrix units (all peaks with them)",
}


def hardware(library: Library, cluster: str, stack: str | None, role: str) -> Hardware:
    """Values that chip and cluster know. Raises InputError for a name that is not of the catalogue."""
    found = target(library, cluster, stack, role)
    last = f"cluster.tiers.{len(found.cluster.tiers) - 1}.bandwidth"
    values = []
    for key in hardware_keys(found.chip, found.cluster):
        value, unit = _value({"chip": found.chip, "cluster": found.cluster}, key)
        values.append(
            HardwareValue(
                key=key,
                label=_WORDS.get(key, _label(key, found.cluster.tiers)),
                value=value,
                unit=unit,
                text=text(value, unit),
                usual=key in (*_USUAL, last),
            )
        )
    return Hardware(cluster=found.cluster.id, chip=found.chip.id, stack=found.software, values=values)


def _value(records: dict[str, Any], key: str) -> tuple[float, str]:
    """Value and unit at a key path without units."""
    holder: Any = records
    unit = ""
    for step in key.split("."):
        if isinstance(holder, dict):
            holder = holder[step]
        elif isinstance(holder, tuple):
            holder = holder[int(step)]
        else:
            name, _ = field_of(type(holder).model_fields, step, True, key) or (step, 1.0)
            split = split_unit(name)
            unit = split[1] if split else ""
            holder = getattr(holder, name)
    return float(holder), unit


def _label(key: str, tiers: tuple[Any, ...]) -> str:
    """`memory bandwidth`; of a tier, its name first."""
    steps = key.split(".")
    if steps[1] == "tiers":
        tier = tiers[int(steps[2])]
        name = tier.name or tier.kind
        return f"network {name}: {steps[3]}"
    return " ".join(steps[1:]).replace("_", " ")
