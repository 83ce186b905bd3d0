"""Numbers that measured rows have moved but that no fit of `make training-fit` or `make serving-fit` touches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Beside(NamedTuple):
    """What the number is, and the file under devices/ that holds it."""

    name: str
    file: str


def beside_lines(numbers: Sequence[Beside]) -> list[str]:
    """The end of a page of fitted numbers: those that were found beside the fit."""
    head = ["", "Found beside the fit:", "", "| number | file |", "|---|---|"]
    return head + [f"| {each.name} | devices/{each.file}.yaml |" for each in numbers]
