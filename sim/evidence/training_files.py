"""Writes fitted numbers of training into devices/stacks and devices/calibrations: only the numbers change, line by line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .number_files import Rewrite
from .training_numbers import NUMBERS, Number

_HOST = {"host_launch_s": ("host_launch_us", 1e6), "step_host_s": ("step_host_ms", 1e3)}


def write_numbers(root: Path, values: Mapping[str, float], residuals: Mapping[str, Mapping[str, float]]) -> list[Path]:
    """Write values of NUMBERS, and residuals of steps by stack, under a catalogue's root. Returns the files that changed.

    Raises InputError if a file does not hold its number."""
    files = Rewrite(root)
    for number in NUMBERS:
        for file, pattern, line in _lines(number, values[number.name]):
            files.put(file, pattern, line)
    files.put_residuals(residuals)
    return files.write()


def _lines(number: Number, value: float) -> list[tuple[str, str, str]]:
    """(file, pattern of the line, the line) of each place of a number."""
    if number.factor in _HOST:
        field, scale = _HOST[number.factor]
        name, value = field, value * scale
    else:
        name = rf"  {number.factor}"
    stacks = [(f"stacks/{stack}", rf"^{name}: .*$", f"{name}: {value:.4g}") for stack in number.stacks]
    return stacks + [
        (
            f"calibrations/{file}",
            rf"^(  {re.escape(kind)}: {{.*?\b{number.parameter}: )[^,}}]+",
            rf"\g<1>{value / divisor:.4g}",
        )
        for file, kind, divisor in number.places
    ]
