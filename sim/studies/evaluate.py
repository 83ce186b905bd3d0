"""Points of a sweep -> rows: the scenario of each, its key, and its figures; training plans that share all else in one batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..catalog.facts import code, facts
from ..catalog.library import Library
from ..catalog.plans import Plan
from ..catalog.scenarios import Scenario, TokenBudget
from ..catalog.sweeps import Value
from ..errors import GambrelError, Infeasible
from ..result import Result
from .priced import Row, column_name, train_rows

Verb = Callable[[Scenario, Library], Result]
Build = Callable[[Scenario, Sequence[str], Sequence[Value]], Scenario]
KEY = 16  # bytes of a key
_FAST = frozenset(f"plan.{name}" for name in Plan.model_fields if name != "dtypes")


class Job(NamedTuple):
    """What every worker of a sweep must know. build: the scenario with these values at these keys; verb: answers it."""

    base: Scenario
    keys: tuple[str, ...]
    build: Build
    verb: Verb
    catalog: Path | None


class Template(NamedTuple):
    """What points share that differ in their plan only. plan: fields of the scenario's own; digest: the key, but for the plan;
    batched: may these points be priced together?"""

    scenario: Scenario
    plan: dict[str, Any]
    digest: Any
    batched: bool


class Point(NamedTuple):
    """A point as it is asked: its key, and its scenario (a template with this plan), or the error that stands in its way."""

    key: bytes
    template: Template | None
    plan: Plan
    error: str = ""

    @property
    def scenario(self) -> Scenario:
        """The whole question."""
        assert self.template is not None
        scenario = self.template.scenario
        group = scenario.groups[0].model_copy(update={"plan": self.plan})
        return scenario.model_copy(update={"groups": (group, *scenario.groups[1:])})


class Evaluator:
    """Answers points of one job; keeps what points share."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.library = Library(job.catalog)
        self.plan_keys = [(i, key[5:]) for i, key in enumerate(job.keys) if key in _FAST]
        fast = {i for i, _ in self.plan_keys}
        self.other = [i for i in range(len(job.keys)) if i not in fast]
        self.templates: dict[tuple[Value, ...], Template | str] = {}

    def asked(self, values: Sequence[Sequence[Value]]) -> list[Point]:
        """Question and key of each point."""
        return [self._asked(each) for each in values]

    def blocks(self, values: Sequence[Sequence[Value]]) -> tuple[bytes, list[Block]]:
        """Keys of points one after another, and their rows, packed."""
        asked = self.asked(values)
        keys = [point.key for point in asked]
        return b"".join(keys), packed(keys, self.answered(asked))

    def answered(self, asked: Sequence[Point]) -> list[Row]:
        """Rows of points, in their order. Those that differ in their plan only are priced together."""
        out: list[Row | None] = [None] * len(asked)
        together: dict[int, list[int]] = {}
        for place, point in enumerate(asked):
            if point.template is None:
                out[place] = Row("error", point.error)
            elif point.template.batched:
                together.setdefault(id(point.template), []).append(place)
            else:
                out[place] = self._alone(point.scenario)
        for places in together.values():
            for place, row in zip(places, self._batch([asked[i] for i in places]), strict=True):
                out[place] = row
        return [row for row in out if row is not None]

    def _batch(self, some: list[Point]) -> list[Row]:
        template = some[0].template
        assert template is not None
        try:
            return train_rows(self.library, template.scenario, [point.plan for point in some])
        except Exception:  # what stops a batch may be one plan's: each is asked alone and says its own error
            return [self._alone(point.scenario) for point in some]

    def _alone(self, scenario: Scenario) -> Row:
        try:
            return row_of(self.job.verb(scenario, self.library))
        except Infeasible as error:
            return Row("infeasible", str(error))
        except GambrelError as error:
            return Row("error", str(error))
        except Exception as error:  # one point's failure is a row of the table, not the end of a sweep
            return Row("error", f"{type(error).__name__}: {error}")

    def _asked(self, values: Sequence[Value]) -> Point:
        rest = tuple([values[i] for i in self.other])
        template = self.templates.get(rest)
        if template is None:
            template = self.templates[rest] = self._template(rest)
        if isinstance(template, str):
            return self._refused(values, template)
        plan = template.scenario.groups[0].plan
        if self.plan_keys:
            fields = template.plan.copy()
            for i, name in self.plan_keys:
                fields[name] = values[i]
            try:
                plan = Plan.model_validate(fields)
            except ValueError:
                return self._refused(values, "")
        key = template.digest.copy()
        key.update(plan.model_dump_json().encode())
        return Point(key.digest(), template, plan)

    def _refused(self, values: Sequence[Value], error: str) -> Point:
        """A point without a scenario; its error in the words of the way that builds one value after the other."""
        text = f"{__version__}{self.job.base.model_dump_json()}{self.job.keys}{tuple(values)!r}"
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if error:
            return Point(key, None, Plan(), error)
        try:
            self.job.build(self.job.base, self.job.keys, values)
        except GambrelError as found:
            return Point(key, None, Plan(), str(found))
        raise AssertionError(f"{values} are refused one way only")

    def _template(self, rest: tuple[Value, ...]) -> Template | str:
        try:
            scenario = self.job.build(self.job.base, [self.job.keys[i] for i in self.other], rest)
            made_from = facts(self.library, scenario)
        except GambrelError as error:
            return str(error)
        bare = scenario.groups[0].model_copy(update={"plan": Plan()})
        shared = scenario.model_copy(update={"groups": (bare, *scenario.groups[1:])}).model_dump_json()
        text = json.dumps([__version__, code(), made_from], sort_keys=True) + shared
        plan = scenario.groups[0].plan
        digest = hashlib.blake2b(text.encode(), digest_size=16)
        return Template(scenario, {name: getattr(plan, name) for name in Plan.model_fields}, digest, batched(scenario))


def batched(scenario: Scenario) -> bool:
    """May this point be priced together with others? One group that trains, its size given, without faults or a power cap."""
    group = scenario.groups[0]
    plain = group.role == "train" and group.devices is not None and group.power_cap_w is None
    return (
        plain
        and len(scenario.groups) == 1
        and isinstance(scenario.demand, TokenBudget)
        and not scenario.campaign.faults
    )


class Block(NamedTuple):
    """Rows with the same columns, packed to travel and to be kept. keys: 16 bytes a row; said: (status, error, basis), and which of
    them a row has; figures[rows, names]."""

    names: tuple[str, ...]
    keys: bytes
    said: list[tuple[str, str, str]]
    which: list[int]
    figures: NDArray[np.float64]

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """Key and row of each."""
        for i, said in enumerate(self.which):
            yield self.keys[KEY * i : KEY * (i + 1)], Row(*self.said[said], self.names, self.figures[i])


def packed(keys: Sequence[bytes], rows: Sequence[Row]) -> list[Block]:
    """Rows as blocks, one for each set of columns."""
    layouts: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        layouts.setdefault(row.names, []).append(place)
    out = []
    for names, places in layouts.items():
        said: dict[tuple[str, str, str], int] = {}
        which = [said.setdefault(rows[i][:3], len(said)) for i in places]
        figures = np.stack([rows[i].values for i in places])
        out.append(Block(names, b"".join([keys[i] for i in places]), list(said), which, figures))
    return out


def row_of(result: Result) -> Row:
    """Figures of a result as columns: value, and low and high where it has an interval; NaN is unknown."""
    names: list[str] = []
    values: list[float] = []
    for name, figure in result.figures.items():
        column = column_name(name, figure.unit)
        for end, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high)):
            if value is not None or not end:
                names.append(column + end)
                values.append(np.nan if value is None else float(value))
    basis = next((f.basis for f in result.figures.values() if f.low is not None), "")
    text = "" if result.fits else result.verdict
    found: NDArray[np.float64] = np.array(values)
    return Row("ok" if result.fits else "infeasible", text, basis, tuple(names), found)
