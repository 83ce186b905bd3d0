"""Writes fitted numbers of training into devices/stacks and devices/calibrations: only the numbers change, line by line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..catalog.files import write_whole
from ..errors import InputError
from .training_numbers import NUMBERS, Number

_HOST = {"host_launch_s": ("host_launch_us", 1e6), "step_host_s": ("step_host_ms", 1e3)}


def write_numbers(root: Path, values: Mapping[str, float], residuals: Mapping[str, Mapping[str, float]]) -> list[Path]:
    """Write values of NUMBERS, and residuals of steps by stack, under a catalogue's root. Returns the files that changed.

    Raises InputError if a file does not hold its number."""
    texts: dict[Path, str] = {}

    def put(path: Path, pattern: str, line: str) -> None:
        text = texts.get(path) or path.read_text(encoding="utf-8")
        texts[path], found = re.subn(pattern, line, text, count=1, flags=re.MULTILINE)
        if not found:
            raise InputError(f"{path}: nothing there looks like {pattern!r}. Add the number by hand first.")

    for number in NUMBERS:
        for path, pattern, line in _lines(root, number, values[number.name]):
            put(path, pattern, line)
    for stack, quantiles in residuals.items():
        said = ", ".join(f"{name}: {value:.4g}" for name, value in quantiles.items())
        path = root / "devices" / "stacks" / f"{stack}.yaml"
        put(path, r"^(residuals: .*\n)?factors:$", f"residuals: {{{said}}}\nfactors:")
    changed = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        write_whole(path, texts[path])
    return changed


def _lines(root: Path, number: Number, value: float) -> list[tuple[Path, str, str]]:
    """(file, pattern of the line, the line) of each place of a number."""
    if number.factor in _HOST:
        field, scale = _HOST[number.factor]
        name, value = field, value * scale
    else:
        name = rf"  {number.factor}"
    stacks = [
        (root / "devices" / "stacks" / f"{stack}.yaml", rf"^{name}: .*$", f"{name}: {value:.4g}")
        for stack in number.stacks
    ]
    return stacks + [
        (
            root / "devices" / "calibrations" / f"{file}.yaml",
            rf"^(  {re.escape(kind)}: {{.*?\b{number.parameter}: )[^,}}]+",
            rf"\g<1>{value / divisor:.4g}",
        )
        for file, kind, divisor in number.places
    ]
