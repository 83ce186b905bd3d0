"""Writes fitted numbers of serving into devices/stacks: only the numbers change, line by line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..catalog.calibrations import Stack
from ..catalog.files import write_whole
from ..errors import InputError
from .serving_numbers import NUMBERS

_SCALES = {"us": 1e6, "ns": 1e9}


def write_numbers(root: Path, values: Mapping[str, float], residuals: Mapping[str, Mapping[str, float]]) -> list[Path]:
    """Write values of NUMBERS, and residuals of runs by stack, under a catalogue's root. Returns the files that changed.

    Raises InputError if a file does not hold its number."""
    texts: dict[Path, str] = {}

    def put(stack: str, pattern: str, line: str) -> None:
        path = root / "devices" / "stacks" / f"{stack}.yaml"
        text = texts.get(path) or path.read_text(encoding="utf-8")
        texts[path], found = re.subn(pattern, line, text, count=1, flags=re.MULTILINE)
        if not found:
            raise InputError(f"{path}: nothing there looks like {pattern!r}. Add the number by hand first.")

    for number in NUMBERS:
        name, value = _line(number.field, values[number.name])
        for stack in number.stacks:
            put(stack, rf"^{name}: .*$", f"{name}: {value:.4g}")
    for stack, quantiles in residuals.items():
        said = ", ".join(f"{name}: {value:.4g}" for name, value in quantiles.items())
        put(stack, r"^(residuals: .*\n)?factors:$", f"residuals: {{{said}}}\nfactors:")
    changed = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        write_whole(path, texts[path])
    return changed


def _line(field: str, value: float) -> tuple[str, float]:
    """How a file spells a field, and the value in its unit."""
    if field not in Stack.model_fields:
        return f"  {field}", value
    if not field.endswith("_s"):
        return field, value
    unit = "ns" if field.startswith("launch") else "us"
    return f"{field[:-2]}_{unit}", value * _SCALES[unit]
