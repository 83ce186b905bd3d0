"""Sweeps: a scenario, and what of it is varied how. Grids, cases that move together, samples, conditions."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ..errors import InputError
from .files import Document, read_yaml
from .records import Count, CountOrZero, Flag, Record, Text, parse
from .scenarios import Scenario, nested, read_scenario

Value = float | int | str | bool | None
MOST_VALUES = 1_000_000


class Range(Record):
    """Values of an axis by their ends: one of step (added), times (multiplied) or count (evenly spread) says how many."""

    start: float = Field(description="first value")
    stop: float = Field(description="last value, included where it is met")
    step: float | None = Field(None, gt=0)
    times: float | None = Field(None, gt=1)
    count: Count | None = None


class Draw(Record):
    """How the values of a sampled key are spread: one of these."""

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    choice: tuple[Value, ...] = ()
    whole: Flag = Field(False, description="round to whole numbers")


class Sample(Record):
    """Points drawn beside the grid, once for each of its points."""

    count: Count
    method: Literal["random", "sobol", "lhs"] = "sobol"
    over: dict[str, Draw]


class SweepFile(Record):
    """A sweep file. Keys of axes, cases and over are those of --set; `key*=` and `key+=` change what the scenario says."""

    scenario: dict[str, Any] | Text = Field(description="a scenario, as in its own file; or its file or id")
    axes: dict[str, tuple[Value, ...] | Range] = Field({}, description="every combination of these values")
    cases: tuple[dict[str, Value], ...] = Field((), description="values that move together")
    sample: Sample | None = None
    where: tuple[Text, ...] = Field((), description="conditions that a point must keep, such as tp * pp <= devices")
    seed: CountOrZero = 0


class Sweep(NamedTuple):
    """A sweep as read. base: the scenario; axes: (key, values); names: what conditions may name of the scenario."""

    name: str
    base: Scenario
    axes: tuple[tuple[str, tuple[Value, ...]], ...]
    cases: tuple[dict[str, Value], ...]
    sample: Sample | None
    where: tuple[str, ...]
    seed: int


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file. Raises InputError with file, line, key, value and remedy."""
    document = read_yaml(path)
    read = parse(SweepFile, document)
    axes = tuple(
        (key, _values(given, f"{document.place(('axes', key))}: axes.{key}")) for key, given in read.axes.items()
    )
    keys = (
        [key for key, _ in axes]
        + list(read.cases[0] if read.cases else ())
        + list(read.sample.over if read.sample else ())
    )
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: {twice} is varied twice. Keep one of axes, cases and sample.")
    for number, case in enumerate(read.cases):
        if list(case) != list(read.cases[0]):
            raise InputError(
                f"{document.place(('cases', number))}: cases.{number} has other keys than the first. Give all of them."
            )
    for key, draw in (read.sample.over if read.sample else {}).items():
        _check_draw(draw, f"{document.place(('sample', 'over', key))}: sample.over.{key}")
    return Sweep(path.stem, _scenario(document, path), axes, read.cases, read.sample, read.where, read.seed)


def _scenario(document: Document, path: Path) -> Scenario:
    given = document.data["scenario"]
    if isinstance(given, str):
        file = path.parent / given
        if os.path.isfile(file):
            return read_scenario(file)
        from .library import default_library

        return read_scenario(default_library().find("scenario", given).path)
    lines = {key[1:]: line for key, line in document.lines.items() if key[:1] == ("scenario",)}
    return parse(Scenario, nested(Document(given, lines, document.name)))


def _values(given: tuple[Value, ...] | Range, place: str) -> tuple[Value, ...]:
    if not isinstance(given, Range):
        if not given:
            raise InputError(f"{place} = [] has no values. Write some.")
        return given
    ways = [way for way in (given.step, given.times, given.count) if way is not None]
    if len(ways) != 1 or given.stop < given.start or (given.times and given.start <= 0.0):
        raise InputError(f"{place}: a range takes start, stop and one of step, times or count. Mend it.")
    if given.count is not None:
        count = given.count
        found = [
            given.start + (given.stop - given.start) * i / max(count - 1, 1) for i in range(min(count, MOST_VALUES + 1))
        ]
    else:
        exact = (
            (given.stop - given.start) / given.step
            if given.step
            else math.log(given.stop / given.start, given.times or 2.0)
        )
        count = int(exact + 1e-9) + 1
        at = range(min(count, MOST_VALUES + 1))
        found = [given.start + i * given.step if given.step else given.start * (given.times or 2.0) ** i for i in at]
    if count > MOST_VALUES:
        raise InputError(f"{place} has {count:,} values; {MOST_VALUES:,} at most. Use larger steps.")
    return tuple(int(value) if float(value).is_integer() else value for value in found)


def _check_draw(draw: Draw, place: str) -> None:
    given = [each for each in (draw.uniform, draw.log_uniform, draw.choice or None) if each is not None]
    if len(given) != 1:
        raise InputError(f"{place}: give one of uniform: [low, high], log_uniform: [low, high], choice: [...].")
    for ends in (draw.uniform, draw.log_uniform):
        if ends is not None and (ends[0] >= ends[1] or (draw.log_uniform and ends[0] <= 0.0)):
            raise InputError(
                f"{place} = {list(ends)}: low must be under high, and above 0 for log_uniform. Swap or raise them."
            )
