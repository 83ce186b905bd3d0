"""What if the chip were another: `matrix.clock*=1.1`, `memory.bandwidth_gb_per_s=4000`, `power.tdp*=0.7`.

Clock, units and peaks are one fact: a change of the clock or of the number of units moves every peak with it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..errors import InputError, did_you_mean
from .chips import Chip
from .records import Record, field_of

FORM = re.compile(r"^(?P<key>[a-z0-9_.\-]+?)\s*(?P<operator>\*=|\+=|=)\s*(?P<value>.+)$")
_BLOCKS = ("matrix", "vector", "sram", "memory", "host", "power")  # ports are those of the cluster
_SHORT = {"clock": "matrix.clock", "units": "matrix.units"}


class Change(NamedTuple):
    """One change of a chip: block, field, operator, and the number in the field's own unit."""

    block: str
    field: str
    operator: str
    value: float

    def applied(self, old: float) -> float:
        """The new value of the field."""
        return {"=": self.value, "*=": old * self.value, "+=": old + self.value}[self.operator]


def changed(chip: Chip, texts: tuple[str, ...]) -> Chip:
    """The chip after these changes, one after the other. Raises InputError naming the key, its value and a remedy."""
    for text in texts:
        chip = _apply(chip, read_change(text), text)
    return chip


def read_change(text: str) -> Change:
    """Read `block.field*=factor`; `=` and `+=` take the field's unit at the end of the key where it has one."""
    match = FORM.match(text.strip())
    if match is None:
        raise InputError(
            f"chip.{text} is not a change. Write chip.key*=factor, chip.key_unit=value or chip.key_unit+=amount."
        )
    key, operator = match["key"], match["operator"]
    block, _, name = _SHORT.get(key.replace("-", "_"), key.replace("-", "_")).partition(".")
    if block not in _BLOCKS or not name or "." in name:
        raise InputError(f"chip.{key}: no such value of a chip. {did_you_mean(block, (*_BLOCKS, *_SHORT))}".rstrip())
    field, factor = _field(block, name, operator, key)
    try:
        value = float(match["value"])
    except ValueError:
        raise InputError(f"chip.{text}: {match['value']!r} is not a number. Write one.") from None
    return Change(block, field, operator, value if operator == "*=" else value * factor)


def _field(block: str, name: str, operator: str, key: str) -> tuple[str, float]:
    """The field that a name means, and what one of its unit is in SI."""
    known = [field for field in _record(block).model_fields if _numeric(_record(block), field)]
    found = field_of(known, name, operator == "*=", f"chip.{key}")
    if found is None:
        raise InputError(f"chip.{key}: a chip has no such value in {block}. {did_you_mean(name, known)}".rstrip())
    return found


def _record(block: str) -> type[Record]:
    annotation = Chip.model_fields[block].annotation
    options: tuple[Any, ...] = getattr(annotation, "__args__", (annotation,))
    return next(option for option in options if isinstance(option, type) and issubclass(option, Record))


def _numeric(record: type[Record], field: str) -> bool:
    text = str(record.model_fields[field].annotation)
    return "float" in text or "int" in text


def _apply(chip: Chip, change: Change, text: str) -> Chip:
    block = getattr(chip, change.block)
    old = None if block is None else getattr(block, change.field)
    if change.field == "clock_hz" and change.operator == "*=" and change.value > 0.0:
        return chip.clocked(change.value)
    tied = change.field in ("clock_hz", "units")  # what peaks go with
    if old is None and (block is None or tied or change.operator != "="):
        raise InputError(
            f"chip.{text}: {change.block}.{change.field} of {chip.id} is unknown. Give it in the chip's file."
        )
    new = change.applied(old or 0.0)
    if change.field == "clock_hz" and old and new > 0.0:
        return chip.clocked(new / old)
    if change.field == "units" and round(new) > 0:
        return chip.resized(round(new))
    whole = round(new) if isinstance(old, int) else new
    fields = {**block.model_dump(), change.field: whole}
    try:
        return chip.with_(**{change.block: fields})
    except ValueError:
        raise InputError(
            f"chip.{text}: {change.block}.{change.field} = {new:g} is no possible value. Use another."
        ) from None
