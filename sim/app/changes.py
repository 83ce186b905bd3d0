"""`--set key=value`: change one value of a scenario, or of its chip, cluster or model, by its key path; `*=` multiplies, `+=` adds."""

from __future__ import annotations

from typing import Any

from ..catalog.chip_changes import FORM, read_change
from ..errors import InputError, did_you_mean
from ..units import split_unit
from .options import number

_SECTIONS = {
    "plan": ("groups", 0, "plan"),
    "engine": ("groups", 0, "engine"),
    "demand": ("demand",),
    "slo": ("slo",),
    "economy": ("economy",),
    "groups": ("groups",),
}
_CATALOGUE = ("chip", "cluster", "model")  # records of the catalogue, of every group


def change(data: dict[str, Any], text: str) -> None:
    """Apply one change to the plain values of a scenario. Raises InputError naming the key and a remedy."""
    match = FORM.match(text.strip())
    if match is None:
        raise InputError(f"--set {text!r} is not a change. Write key=value, key*=factor or key+=amount.")
    steps = match["key"].split(".")
    head, rest = steps[0], steps[1:]
    if head in _CATALOGUE and rest:
        wanted = text.strip().removeprefix(f"{head}.")
        if head == "chip":
            read_change(wanted)
        for group in data["groups"]:
            group[f"{head}_changes"] = [*group.get(f"{head}_changes", ()), wanted]
        return
    if head not in _SECTIONS or not rest:
        heads = (*_SECTIONS, *_CATALOGUE)
        known = ", ".join(f"{name}." for name in heads)
        raise InputError(f"--set {match['key']}: a change begins with one of {known} {did_you_mean(head, heads)}")
    holder: Any = data
    for step in _SECTIONS[head]:
        holder = holder[step] if isinstance(step, int) else holder.setdefault(step, {})
    for step in rest[:-1]:
        holder = _inner(holder, step, match["key"])
    key = rest[-1].replace("-", "_")
    if not isinstance(holder, dict):
        raise InputError(
            f"--set {match['key']}: nothing lies below {holder!r:.40} that has that name. Shorten the key."
        )
    holder[key] = _changed(holder.get(key), match["operator"], number(match["value"].strip()), match["key"])


def _inner(holder: Any, step: str, key: str) -> Any:
    if isinstance(holder, list):
        if not step.isdigit() or int(step) >= len(holder):
            raise InputError(f"--set {key}: {step!r} is not one of 0 to {len(holder) - 1}. Use a number of the list.")
        return holder[int(step)]
    if not isinstance(holder, dict):
        raise InputError(f"--set {key}: nothing lies below the value {holder!r:.40}. Shorten the key.")
    return holder.setdefault(step.replace("-", "_"), {})


def _changed(old: Any, operator: str, value: Any, key: str) -> Any:
    if operator == "=":
        return {"true": True, "false": False, "null": None}.get(value, value) if isinstance(value, str) else value
    unit = split_unit(key.rsplit(".", 1)[-1])
    if not isinstance(old, int | float) or isinstance(value, str):
        named = f" [{unit[1]}]" if unit else ""
        raise InputError(
            f"--set {key}{operator}{value}: the scenario gives no number{named} to change. Use {key}=value."
        )
    return old * value if operator == "*=" else old + value
