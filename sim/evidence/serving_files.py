"""Writes fitted numbers of serving into devices/stacks: only the numbers change, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..catalog.calibrations import Stack
from .number_files import Rewrite
from .serving_numbers import NUMBERS

_SCALES = {"us": 1e6, "ns": 1e9}


def write_numbers(root: Path, values: Mapping[str, float], residuals: Mapping[str, Mapping[str, float]]) -> list[Path]:
    """Write values of NUMBERS, and residuals of runs by stack, under a catalogue's root. Returns the files that changed.

    Raises InputError if a file does not hold its number."""
    files = Rewrite(root)
    for number in NUMBERS:
        name, value = _line(number.field, values[number.name])
        for stack in number.stacks:
            files.put(f"stacks/{stack}", rf"^{name}: .*$", f"{name}: {value:.4g}")
    files.put_residuals(residuals)
    return files.write()


def _line(field: str, value: float) -> tuple[str, float]:
    """How a file spells a field, and the value in its unit."""
    if field not in Stack.model_fields:
        return f"  {field}", value
    if not field.endswith("_s"):
        return field, value
    unit = "ns" if field.startswith("launch") else "us"
    return f"{field[:-2]}_{unit}", value * _SCALES[unit]
