"""The fitted numbers of training (training_numbers.py) from published steps: robust least squares of log(predicted / measured)
around their priors. Rows are lowered and priced once; each trial only weighs their times anew, by the code that prices plans."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import cost
from ..catalog.calibrations import Calibration
from ..catalog.models import Model
from ..catalog.records import read
from ..catalog.targets import Target
from ..errors import UnknownFigure
from ..lowering import PART_IDS, Step, columns, units
from ..lowering.sharding import Columns
from ..seeds import generator
from ..training.pricing import steps_of
from ..training.times import CLASSES, Times, executed, times_of
from .context import Context
from .joint import FOLDS, solver
from .predictions import Predictions, Progress, silent
from .rules import TRAINING_TARGETS, training_tiers
from .tables import FloatArray, Table
from .training_numbers import NUMBERS, PRODUCTS, Number
from .training_rows import Case, cases_of, measured_step_s, predict

SOFT = 0.06  # a residual beyond weighs less than by its square
CROWD, SHARE = (
    20.0,
    -0.35,
)  # rows of a source on one device weigh (n / CROWD)^SHARE each, so that crowds do not decide alone
FEWEST = 10  # rows that quantiles are taken of
LIMITED = "power limited"
SMALL = 0.6  # weight of small models on one node, by the hundred
STEPS, REFIT_STEPS = 10, 6
NUDGE = 1e-3
SPLITS = ("source", "device", "model")  # columns of a table
NARROW = ("fp8", "int8", "fp4")
_HOST = ("host_launch_s", "step_host_s")
_PRODUCTS = [list(CLASSES).index(name) for name in ("other", "experts")]  # classes of rows that hold products


class Measured(NamedTuple):
    """Rows of one model on one target. rows: their numbers in the list of all rows; efficiencies: of the numbers that stand in
    calibrations, as the times were priced; formats: of each plan."""

    model: Model
    c: Columns
    target: Target
    times: Times
    rows: np.ndarray
    formats: np.ndarray


class TrainingFit(NamedTuple):
    """values: of NUMBERS by name; error: |predicted / measured - 1| of the rows [n]; residual: log(measured / predicted) [n]."""

    values: dict[str, float]
    residual: FloatArray

    @property
    def error(self) -> FloatArray:
        return np.abs(np.exp(-self.residual) - 1.0)


class Steps:
    """Measured steps of some tables, priced once, and how they move with the numbers."""

    def __init__(self, tables: Sequence[Table], context: Context) -> None:
        self.context = context
        cases: list[Case] = []
        measured: list[float] = []
        self.tiers: list[str] = []
        self.places: list[tuple[int, int]] = []
        for number, table in enumerate(tables):
            tiers = training_tiers(table)
            for index, (case, step_s) in enumerate(measured_cases(table, context)):
                if case is not None and not tiers[index].startswith("x:") and step_s > 0.0:
                    cases.append(case)
                    measured.append(step_s)
                    self.tiers.append(tiers[index])
                    self.places.append((number, index))
        self.cases, self.measured_s = cases, np.array(measured)
        columns_of = {name: [table.column(name) for table in tables] for name in SPLITS}
        shuffled = generator(0, "leave-out", "training").permutation(len(cases))
        self.labels = {
            name: np.array([columns_of[name][number][index] for number, index in self.places], dtype=object)
            for name in SPLITS
        }
        fifths = [f"fifth {place % FOLDS + 1}" for place in np.argsort(shuffled)]
        self.labels |= {"random": np.array(fifths, dtype=object), "all": np.full(len(cases), "all", dtype=object)}
        self.groups = [group for group in self._groups() if group is not None]
        self.now = {number.name: value_now(number, context) for number in NUMBERS}
        self.touched = [[touches(number, group) for group in self.groups] for number in NUMBERS]

    def _groups(self) -> list[Measured | None]:
        found: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for index, case in enumerate(self.cases):
            found[case.key].append(index)
        return [self._priced(np.array(rows, dtype=np.intp)) for rows in found.values()]

    def _priced(self, rows: np.ndarray) -> Measured | None:
        first, plans = self.cases[rows[0]], [self.cases[i].plan for i in rows]
        model, target, seq_len = first.model, first.target, float(first.seq_len)
        c = columns(model, plans, True)
        machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
        kernels = executed(units(model, c, Step("train", 1.0, seq_len, seq_len)), target)
        try:
            times = times_of(kernels, c, cost.seconds(kernels, machine), len(model.blocks)).condensed()
        except UnknownFigure:
            return None
        formats = np.array([str(plan.dtypes.weights) for plan in plans], dtype=object)
        return Measured(model, c, target, times, rows, formats)

    def predicted(self, values: dict[str, float], chosen: Sequence[int] | None = None) -> FloatArray:
        """Seconds of a step of each row; NaN for rows of groups that are not among `chosen` (numbers of groups)."""
        out = np.full(len(self.cases), math.nan)
        for index in range(len(self.groups)) if chosen is None else chosen:
            group = self.groups[index]
            times, factors, host = group.times, dict(group.target.stack.factors), {}
            seconds = times.seconds
            for number, touched in zip(NUMBERS, self.touched, strict=True):
                if not touched[index]:
                    continue
                value = values[number.name]
                if number.factor in _HOST:
                    host[number.factor] = value
                elif number.factor:
                    factors[number.factor] = value
                else:
                    slower = self.now[number.name] / value
                    slower = slower if number.parameter == "efficiency" else 1.0 / slower
                    seconds = np.where(of_number(number, group), seconds * slower, seconds)
            stack = group.target.stack.with_(factors=factors, **host)
            target = group.target._replace(stack=stack)
            out[group.rows] = steps_of(group.model, group.c, target, times._replace(seconds=seconds))
        return out

    def fit(
        self, keep: np.ndarray | None = None, start: dict[str, float] | None = None, steps: int = STEPS
    ) -> TrainingFit:
        """Fit all numbers to the rows that `keep` marks (all). Needs SciPy; raises InputError if it is not installed."""
        least_squares = solver()
        keep = np.ones(len(self.cases), bool) if keep is None else keep
        task = _Task(self, keep & ~np.isnan(self.predicted(self.now)))
        first = np.log([(start or {}).get(number.name, number.prior) for number in NUMBERS])
        values = _named(least_squares(task.residuals, first, jac=task.slopes, max_nfev=steps).x)
        return TrainingFit(values, np.log(self.measured_s / self.predicted(values)))

    def weights(self, keep: np.ndarray) -> FloatArray:
        crowd: dict[tuple[str, str], int] = defaultdict(int)
        keys = list(zip(self.labels["source"], self.labels["device"], strict=True))
        for key, kept in zip(keys, keep, strict=True):
            crowd[key] += bool(kept)
        small = np.array([tier == "V1" for tier in self.tiers])
        weight = np.array([(max(crowd[key], 1) / CROWD) ** SHARE for key in keys])
        limited = np.array([LIMITED in device for device in self.labels["device"]])  # by watts that no source prints
        return np.where(limited, 0.0, np.where(small, SMALL * weight, weight))

    def left_out(self, split: str, found: TrainingFit, progress: Progress = silent) -> FloatArray:
        """Seconds of a step of each row by fits that have not seen any row of its label (source, device or model)."""
        out = np.full(len(self.cases), math.nan)
        labels = self.labels[split]
        names = sorted(set(labels))
        for done, label in enumerate(names):
            progress(done, len(names))
            inside = labels == label
            start = dict(found.values)
            for number, touched in zip(NUMBERS, self.touched, strict=True):
                if any(t and inside[g.rows].any() for t, g in zip(touched, self.groups, strict=True)):
                    start[number.name] = number.prior
            values = self.fit(~inside, start, REFIT_STEPS).values
            chosen = [i for i, group in enumerate(self.groups) if inside[group.rows].any()]
            out[inside] = self.predicted(values, chosen)[inside]
        return out


class _Task:
    """Residuals of a fit to the rows that `keep` marks, and their slopes, at logarithms of NUMBERS."""

    def __init__(self, steps: Steps, keep: np.ndarray) -> None:
        self.steps, self.rows = steps, np.flatnonzero(keep)
        self.keep, self.weight = keep, steps.weights(keep)
        self.prior = np.log([number.prior for number in NUMBERS])
        self.width = np.array([number.width for number in NUMBERS])
        self.groups = [[i for i, touched in enumerate(row) if touched] for row in steps.touched]

    def residuals(self, x: FloatArray) -> FloatArray:
        """Softened residuals of the rows, and how far the numbers stand from their priors."""
        return np.concatenate([self._soft(self.steps.predicted(_named(x)), self.rows), (x - self.prior) / self.width])

    def slopes(self, x: FloatArray) -> FloatArray:
        """Differences; a number moves only the groups that it touches."""
        rows, many = self.rows, len(NUMBERS)
        base = self._soft(self.steps.predicted(_named(x)), rows)
        place = np.full(len(self.keep), -1)
        place[rows] = np.arange(rows.size)
        out = np.zeros((rows.size + many, many))
        out[rows.size + np.arange(many), np.arange(many)] = 1.0 / self.width
        for column, chosen in enumerate(self.groups):
            members = [self.steps.groups[i].rows for i in chosen]
            inside = np.concatenate(members) if members else np.zeros(0, dtype=np.intp)
            inside = inside[self.keep[inside]]
            if inside.size:
                moved = x.copy()
                moved[column] += NUDGE
                at = place[inside]
                nudged = self._soft(self.steps.predicted(_named(moved), chosen), inside)
                out[at, column] = (nudged - base[at]) / NUDGE
        return out

    def _soft(self, predicted: FloatArray, rows: np.ndarray) -> FloatArray:
        z = np.log(predicted[rows] / self.steps.measured_s[rows]) * self.weight[rows] / SOFT
        return np.asarray(np.sign(z) * np.sqrt(2.0 * (np.sqrt(1.0 + z * z) - 1.0)))


def _named(x: FloatArray) -> dict[str, float]:
    """Values by name of logarithms; no share of the peak above what a product may reach."""
    most = np.array([number.most for number in NUMBERS])
    return dict(zip((number.name for number in NUMBERS), np.minimum(np.exp(x), most).tolist(), strict=True))


def leave_out(table: Table, split: str, context: Context, progress: Progress) -> Predictions:
    """Every scored row by a fit that has not seen its fifth, source, model or device, or any row at all (`split`),
    the others by the numbers that
    ship. Raises InputError if SciPy is not installed."""
    steps = Steps([table], context)
    unseen = steps.left_out(split, steps.fit(), progress)
    found = predict(table.configuration(), context, silent)
    ratio = np.ones(len(table))
    for (_, row), one, other in zip(steps.places, unseen, steps.predicted(steps.now), strict=True):
        ratio[row] = one / other
    values = {name: column.copy() for name, column in found.values.items()}
    for name in TRAINING_TARGETS:
        values[name] = values[name] * ratio if name == TRAINING_TARGETS[0] else values[name] / ratio
    return Predictions(values, found.reason, found.low * ratio, found.high * ratio, found.basis, found.fits)


def measured_cases(table: Table, context: Context) -> list[tuple[Case | None, float]]:
    """Each row as a case and the step time that it states, or that its rate says by its source's convention; None: cannot be
    priced."""
    return [
        (None, math.nan) if isinstance(case, str) else (case, measured_step_s(row, case))
        for row, case in zip(table.rows(), cases_of(table.configuration(), context), strict=True)
    ]


def touches(number: Number, group: Measured) -> bool:
    """Does a number move the price of a group?"""
    if number.stacks:
        return group.target.stack.id in number.stacks
    return bool(of_number(number, group).any())


def of_number(number: Number, group: Measured) -> np.ndarray:
    """Rows of a group that are the kernels of a number of calibrations [rows]."""
    times, target = group.times, group.target
    stacks = {file.partition("--")[2] for file, _, _ in number.places} - {"any"}
    known = {target.stack.id, target.stack.kernels_from}
    if target.chip.id not in number.chips or (stacks and not stacks & known):
        return np.zeros(len(times.seconds), bool)
    parts = np.isin(times.part, [PART_IDS[part] for part in number.parts]) & np.isin(times.of, _PRODUCTS)
    fits = np.ones(len(group.formats), bool) if not number.format else np.isin(group.formats, number.format.split())
    wide = np.ones(len(times.seconds), bool) if not number.format else times.part != PART_IDS["logits"]
    if not number.format and number.parts == PRODUCTS:  # narrow products have numbers of their own
        fits = ~np.isin(group.formats, NARROW)
    return np.asarray(parts & fits[times.owner] & wide)


def value_now(number: Number, context: Context) -> float:
    """A number as the catalogue holds it."""
    library = context.library
    if number.stacks:
        stack = library.stack(number.stacks[0])
        if number.factor in _HOST:
            return float(getattr(stack, number.factor))
        return float(stack.factors.get(number.factor, number.prior))
    file, kind, divisor = number.places[0]
    return read(Calibration, library.find("calibration", file).path).parameters[kind][number.parameter] * divisor


def residuals_of(steps: Steps, residuals: Sequence[FloatArray]) -> dict[str, dict[str, float]]:
    """p10 and p90 of log(measured / predicted) of rows that fits had not seen, by stack; `moe_` of mixtures of experts.
    residuals: of each way to leave rows out, which count alike: a plan that is asked about may be of a kind of runs that was
    measured, or not. Few rows of a stack stand beside those of all stacks of its chips' family."""
    ways = len(residuals)
    residual = np.concatenate(residuals)
    stacks = np.array([case.target.stack.id for case in steps.cases] * ways, dtype=object)
    families = np.array([case.target.family.id for case in steps.cases] * ways, dtype=object)
    moe = np.array([tier in ("M", "Tm") for tier in steps.tiers] * ways)
    out: dict[str, dict[str, float]] = {}
    for stack in sorted(set(stacks)):
        family = families[stacks == stack][0]
        for prefix, kind in (("", ~moe), ("moe_", moe)):
            rows = kind & (stacks == stack)
            if rows.sum() < FEWEST * ways:
                rows = kind & (families == family)
            known = residual[rows & np.isfinite(residual)]
            if known.size >= FEWEST:
                low, high = np.quantile(known, [0.1, 0.9])
                out.setdefault(stack, {}).update({f"{prefix}p10": float(low), f"{prefix}p90": float(high)})
    return out
