"""Points of a sweep -> rows: the scenario of each, its key, and its figures; training plans that share all else in one batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..catalog.facts import facts
from ..catalog.library import Library
from ..catalog.plans import Plan
from ..catalog.scenarios import Scenario, TokenBudget
from ..catalog.sweeps import Value
from ..errors import GambrelError, Infeasible
from ..result import Result
from .priced import Row, column_name, train_rows

Verb = Callable[[Scenario, Library], Result]
Build = Callable[[Scenario, Sequence[str], Sequence[Value]], Scenario]
_FAST = frozenset(f"plan.{name}" for name in Plan.model_fields if name != "dtypes")


class Job(NamedTuple):
    """What every worker of a sweep must know. build: the scenario with these values at these keys; verb: answers it."""

    base: Scenario
    keys: tuple[str, ...]
    build: Build
    verb: Verb
    catalog: Path | None


class Point(NamedTuple):
    """A point as it is asked: its key, and its scenario or the error that stands in the way of one."""

    key: bytes
    scenario: Scenario | None
    error: str = ""
    rest: tuple[Value, ...] = ()


class Evaluator:
    """Answers points of one job; keeps what points share."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.library = Library(job.catalog)
        self.plan_keys = [i for i, key in enumerate(job.keys) if key in _FAST]
        self.other = [i for i in range(len(job.keys)) if i not in self.plan_keys]
        self.templates: dict[tuple[Value, ...], tuple[Scenario, dict[str, Any], Any] | str] = {}

    def asked(self, values: Sequence[Sequence[Value]]) -> list[Point]:
        """Scenario and key of each point."""
        return [self._asked(each) for each in values]

    def rows(self, values: Sequence[Sequence[Value]]) -> list[tuple[bytes, Row]]:
        """Key and row of each point, in their order."""
        return self.answered(self.asked(values))

    def answered(self, asked: Sequence[Point]) -> list[tuple[bytes, Row]]:
        """Rows of points. Those that differ in their plan only are priced together."""
        out: list[Row | None] = [None] * len(asked)
        together: dict[tuple[Value, ...], list[int]] = {}
        for place, point in enumerate(asked):
            if point.scenario is None:
                out[place] = Row("error", point.error)
            elif batched(point.scenario):
                together.setdefault(point.rest, []).append(place)
            else:
                out[place] = self._alone(point.scenario)
        for places in together.values():
            scenarios = [scenario for i in places if (scenario := asked[i].scenario) is not None]
            for place, row in zip(places, self._batch(scenarios), strict=True):
                out[place] = row
        return [(point.key, row) for point, row in zip(asked, out, strict=True) if row is not None]

    def _batch(self, scenarios: list[Scenario]) -> list[Row]:
        try:
            return train_rows(self.library, scenarios[0], [scenario.groups[0].plan for scenario in scenarios])
        except Exception:  # what stops a batch may be one plan's: each is asked alone and says its own error
            return [self._alone(scenario) for scenario in scenarios]

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
        rest = tuple(values[i] for i in self.other)
        try:
            if rest not in self.templates:
                self.templates[rest] = self._template(rest)
        except GambrelError as error:
            self.templates[rest] = str(error)
        template = self.templates[rest]
        if isinstance(template, str):
            return Point(self._key_of_text(values), None, template)
        scenario, plain, digest = template
        if self.plan_keys:
            changes = {self.job.keys[i][5:]: values[i] for i in self.plan_keys}
            try:
                plan = Plan.model_validate({**plain, **changes})
            except ValueError:
                return self._refused(values)
            group = scenario.groups[0].model_copy(update={"plan": plan})
            scenario = scenario.model_copy(update={"groups": (group, *scenario.groups[1:])})
        key = digest.copy()
        key.update(scenario.groups[0].plan.model_dump_json().encode())
        return Point(key.digest(), scenario, rest=rest)

    def _refused(self, values: Sequence[Value]) -> Point:
        """A plan that is none: asked again by the way that words errors."""
        try:
            self.job.build(self.job.base, self.job.keys, values)
        except GambrelError as error:
            return Point(self._key_of_text(values), None, str(error))
        raise AssertionError(f"{values} are refused one way only")

    def _template(self, rest: tuple[Value, ...]) -> tuple[Scenario, dict[str, Any], Any]:
        scenario = self.job.build(self.job.base, [self.job.keys[i] for i in self.other], rest)
        bare = scenario.groups[0].model_copy(update={"plan": Plan()})
        shared = scenario.model_copy(update={"groups": (bare, *scenario.groups[1:])}).model_dump_json()
        text = json.dumps([__version__, facts(self.library, scenario)], sort_keys=True) + shared
        plan = scenario.groups[0].plan
        return scenario, {name: getattr(plan, name) for name in Plan.model_fields}, hashlib.blake2b(text.encode(), digest_size=16)

    def _key_of_text(self, values: Sequence[Value]) -> bytes:
        text = f"{__version__}{self.job.base.model_dump_json()}{self.job.keys}{tuple(values)!r}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


def batched(scenario: Scenario) -> bool:
    """May this point be priced together with others? One group that trains, its size given, without faults or a power cap."""
    group = scenario.groups[0]
    plain = group.role == "train" and group.devices is not None and group.power_cap_w is None
    return plain and len(scenario.groups) == 1 and isinstance(scenario.demand, TokenBudget) and not scenario.campaign.faults


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
