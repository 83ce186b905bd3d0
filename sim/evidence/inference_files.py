"""Writes the numbers of published inference results into devices/: only the numbers change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..catalog.calibrations import Stack
from .inference_numbers import INFERENCE_NUMBERS, Place
from .number_files import Rewrite


def write_inference_numbers(root: Path, values: Mapping[str, float]) -> list[Path]:
    """Write values, by name, under a catalogue's root; a number that is not among them stays. Returns the files that changed.

    Raises InputError if a file does not hold its number."""
    files = Rewrite(root)
    for number in INFERENCE_NUMBERS:
        if number.name in values:
            for place in number.places:
                files.put(place.file, *_line(place, values[number.name]))
    return files.write()


def _line(place: Place, value: float) -> tuple[str, str]:
    """Pattern of the line that holds a number, and what stands there then."""
    if place.file.startswith("calibrations/"):
        kind, name = place.path
        return rf"^(  {kind}: {{(?:.*, )?{name}: )[^,}}]+", rf"\g<1>{value:.4g}"
    field = place.path[-1]
    if field not in Stack.model_fields:
        return rf"^  {field}: .*$", f"  {field}: {value:.4g}"
    if field == "warm_up_s":
        return rf"^{field}: .*$", f"{field}: {value:.4g}"
    return rf"^{field[:-2]}_[um]s: .*$", f"{field[:-2]}_us: {value * 1e6:.4g}"
