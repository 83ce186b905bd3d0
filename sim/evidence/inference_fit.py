"""The numbers of inference_numbers.py from published inference results: robust least squares of the logarithms of all measured
values around their priors, family by family, and what such a fit says of rows that it has not seen.

The values of a row are followed along their slopes over the logarithms of the numbers; those of a refit are then priced anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..catalog.calibrations import Calibration, Stack
from ..catalog.library import Library
from ..catalog.records import Record
from ..seeds import generator
from . import inference_rows
from .context import Context
from .inference_numbers import INFERENCE_NUMBERS, InferenceNumber, Place
from .joint import FOLDS, solver
from .limits import scored_by
from .predictions import Predictions, Progress, silent
from .score import LATENCIES, SECONDARY, errors_of, inference_targets
from .serving_stacks import serving_stack
from .tables import FloatArray, Skip, Table

SOFT = 0.15  # a residual beyond weighs less than by its square
STEP = 0.05  # of the logarithm of a number, for its slopes
NOT_SCORED = "not scored"
METRICS = (*LATENCIES, *SECONDARY)


class Trial(Library):
    """The library with other values of some numbers; values: by place."""

    def __init__(self, base: Library, values: Mapping[Place, float]) -> None:
        super().__init__()
        self.roots, self._index, self._read, self.facts = base.roots, base._index, base._read, base.facts
        self._changed: dict[str, dict[tuple[str, ...], float]] = {}
        for place, value in values.items():
            self._changed.setdefault(place.file, {})[place.path] = value

    def _get(self, record: Any, kind: str, name: str) -> Any:
        found = super()._get(record, kind, name)
        changed = self._changed.get(f"{kind}s/{getattr(found, 'id', name)}")
        return with_values(found, changed) if changed else found


def with_values(found: Record, changed: Mapping[tuple[str, ...], float]) -> Record:
    """A stack or a calibration with other values, by path."""
    if isinstance(found, Stack):
        fields = {path[0]: value for path, value in changed.items() if len(path) == 1}
        factors = {path[1]: value for path, value in changed.items() if len(path) == 2}
        return found.with_(**fields, factors={**found.factors, **factors})
    assert isinstance(found, Calibration)
    parameters = {kind: dict(values) for kind, values in found.parameters.items()}
    for (kind, name), value in changed.items():
        parameters.setdefault(kind, {})[name] = value
    return found.with_(parameters=parameters)


def value_of(number: InferenceNumber, library: Library) -> float:
    """A number as the catalogue holds it."""
    folder, name = number.places[0].file.split("/")
    path = number.places[0].path
    if folder == "calibrations":
        return float(library.calibration_named(name).parameters[path[0]][path[1]])
    stack = library.stack(name)
    return float(getattr(stack, path[0]) if len(path) == 1 else stack.factors[path[1]])


class Slopes(NamedTuple):
    """Rows of one family that count. rows: their numbers in the table; at[n]: the row of each value, its place in `rows`;
    errors[n]: ln(predicted / measured) at the values that ship; slopes[n, numbers] of it over ln of the numbers."""

    rows: np.ndarray
    at: np.ndarray
    errors: FloatArray
    slopes: FloatArray


class InferenceFit:
    """A table of inference results, and how its values move with the numbers."""

    def __init__(self, table: Table, context: Context, progress: Progress = silent) -> None:
        self.table, self.context = table, context
        self.excluded = scored_by(table, context)
        self.families, self.stacks = _families(table, context)
        self.shipped = inference_rows.predict(table.configuration(), context, progress)
        self.slopes: dict[str, Slopes] = {}
        for family in sorted({number.family for number in INFERENCE_NUMBERS}):
            found = self._slopes(family)
            if found is not None:
                self.slopes[family] = found

    def _slopes(self, family: str) -> Slopes | None:
        numbers = numbers_of(family)
        files = {place.file for number in numbers for place in number.places}
        alone = {file.removeprefix("stacks/") for file in files}  # they say nothing of other stacks
        touched = [stack in alone or any("calibrations" in file for file in files) for stack in self.stacks]
        known = [of == family and hit for of, hit in zip(self.families, touched, strict=True)]
        rows = np.array([i for i, of in enumerate(known) if of and not self.excluded[i]], dtype=np.intp)
        if not rows.size:
            return None
        base = _values(self.shipped, rows)
        targets = inference_targets(self.table.select(rows.tolist()))
        measured = np.array([targets[name] for name in METRICS])
        moved = []
        for number in numbers:
            trial = self.priced(rows, {number.name: value_of(number, self.context.library) * math.exp(STEP)})
            moved.append(np.log(trial / base) / STEP)
        known = np.isfinite(measured) & np.isfinite(base)
        at = np.nonzero(known)[1]
        slopes = np.stack([np.nan_to_num(each[known]) for each in moved], axis=1)
        return Slopes(rows, at, np.log(base / measured)[known], slopes)

    def priced(self, rows: np.ndarray, values: Mapping[str, float]) -> FloatArray:
        """Values [metrics, rows] with some numbers changed (by name)."""
        places = {p: values[n.name] for n in INFERENCE_NUMBERS if n.name in values for p in n.places}
        context = Context(Trial(self.context.library, places), self.context.level)
        part = self.table.select(rows.tolist()).configuration()
        return _values(inference_rows.predict(part, context, silent), np.arange(len(rows)))

    def fit(self, family: str, keep: np.ndarray | None = None) -> dict[str, float]:
        """The family's numbers, fitted to the rows that `keep` marks (all). Raises InputError if SciPy is not installed."""
        numbers, found = numbers_of(family), self.slopes[family]
        now = np.log([value_of(number, self.context.library) for number in numbers])
        prior = np.log([number.prior for number in numbers])
        width = np.array([number.width for number in numbers])
        kept = np.ones(len(found.at), bool) if keep is None else keep[found.at]

        def residuals(x: FloatArray) -> FloatArray:
            z = (found.errors[kept] + found.slopes[kept] @ (x - now)) / SOFT
            return np.concatenate([np.sign(z) * np.sqrt(2.0 * (np.sqrt(1.0 + z * z) - 1.0)), (x - prior) / width])

        return dict(zip([n.name for n in numbers], np.exp(solver()(residuals, now).x).tolist(), strict=True))

    def left_out(self, split: str, progress: Progress = silent) -> dict[str, FloatArray]:
        """Values of each metric [n]: of each row by a fit of its family that has not seen its label. Rows that no number touches
        keep what ships: no fit has seen them."""
        out = {name: column.copy() for name, column in self.shipped.values.items()}
        for family, found in self.slopes.items():
            labels = np.array(labels_of(self.table, split), dtype=object)[found.rows]
            names = sorted(set(labels))
            for done, name in enumerate(names):
                progress(done, len(names))
                inside = labels == name
                values = self.priced(found.rows[inside], self.fit(family, ~inside))
                for metric, column in zip(METRICS, values, strict=True):
                    out[metric][found.rows[inside]] = column
        return out


def left_out_errors(fit: InferenceFit, split: str) -> dict[str, FloatArray]:
    """|predicted / measured - 1| of every value that counts, by family of the table, of rows that a fit had not seen; split "": as
    shipped."""
    values = fit.left_out(split) if split else fit.shipped.values
    found = replace(fit.shipped, values=values)
    return {errors.metric: errors.error for errors in errors_of(fit.table, found, fit.excluded)}


def numbers_of(family: str) -> list[InferenceNumber]:
    """The numbers that rows of a family decide."""
    return [number for number in INFERENCE_NUMBERS if number.family == family]


def labels_of(table: Table, split: str) -> list[str]:
    """Label of the refit that leaves a row out."""
    if split != "random":
        return table.column({"source": "source_id"}.get(split, split))
    shuffled = generator(0, "leave-out", "inference").permutation(len(table))
    return [f"fifth {place % FOLDS + 1}" for place in np.argsort(shuffled)]


def _families(table: Table, context: Context) -> tuple[list[str], list[str]]:
    """Family of the device and stack of each row, "" where there is none."""
    found = []
    for row in table.rows():
        try:
            chip = context.chip(row.text("device"))
            found.append((chip.family, serving_stack(context, chip, row.text("engine"), row.text("engine_version")).id))
        except Skip:
            found.append(("", ""))
    return [family for family, _ in found], [stack for _, stack in found]


def _values(found: Predictions, rows: Iterable[int]) -> FloatArray:
    at = list(rows)
    return np.array([found.values[name][at] for name in METRICS])


def leave_out(table: Table, split: str, context: Context, progress: Progress) -> Predictions:
    """Every scored row by a fit that has not seen its fifth, source, device or model (`split`). Raises InputError if SciPy is not
    installed."""
    solver()
    fit = InferenceFit(table, context, progress)
    values, shipped = fit.left_out(split, progress), fit.shipped
    reason = tuple(why or (NOT_SCORED if rule else "") for why, rule in zip(shipped.reason, fit.excluded, strict=True))
    return Predictions(values, reason, shipped.low, shipped.high, shipped.basis)
