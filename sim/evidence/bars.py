"""The groups that a good average hides: those whose median error is more than twice what their table may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .score import GROUP, Line

BARS = {"gemm": 0.055, "attention_prefill": 0.055, "attention_decode": 0.075, "moe": 0.09, "collective": 0.055}
FACTOR = 2.0
FEWEST = 50  # rows of a group that tell


class Behind(NamedTuple):
    """A group of kernels (device, format, stack) whose median error is over `limit`."""

    group: str
    n: int
    median: float
    limit: float


def behind(kind: str, lines: Sequence[Line]) -> tuple[Behind, ...]:
    """The groups of the headline metric that are behind, the worst first; kind: of the table (none for most)."""
    if kind not in BARS:
        return ()
    limit = FACTOR * BARS[kind]
    groups = [line for line in lines if line.grouping == GROUP and line.n >= FEWEST and line.median > limit]
    groups.sort(key=lambda line: -line.median)
    return tuple(Behind(line.group, line.n, line.median, limit) for line in groups)
