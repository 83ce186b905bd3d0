"""Fits the named parameters of one group of measured kernels: robust least squares on log time with a prior on their logs.

A group is one kind, format multiplied in and format stored, on one chip under one stack. The prior is Gaussian on the log of
each parameter around the family's value; its width is the one whose left-out error is least. docs/how-to/calibrate.md.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cost import Machine, seconds
from ..cost.parameters import TABLES
from ..errors import InputError
from ..lowering.kernels import Kernels
from ..lowering.kinds import KINDS
from ..seeds import generator
from .tables import FloatArray

LEAST_ROWS = 24
NOISE = 0.1  # errors of log time below it count by their square, those far above by their size
WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # of the prior on the logs
STEP = 0.02  # of a derivative, in logs: wide enough to see past the steps that whole tiles make
FOLDS = 5
SEEN = 1.1  # the family's values have seen the rows that are left out of a fit: a tenth of its error is theirs
_BELOW_ONE = ("efficiency", "memory_efficiency", "cache_share", "quantum", "one_shot_efficiency")
# bounds that are not a factor of the family's value; attention whose label hides a narrower format exceeds the peak
_BOUNDS = {
    **dict.fromkeys(_BELOW_ONE, (0.01, 1.0)),
    "cache_share": (0.0, 1.0),
    "quantum": (0.0, 1.0),
    "norm": (1.0, 12.0),
    "tail": (0.0, 2.0),
}
_FACTOR = 12.0
# what counts rows, sides or switches a path on is a choice of the kernel, not a number to be fitted
_CHOICES = ("query_tile", "pack", "granule", "one_shot", "chunk", "host_share")
# A parameter p moves on the scale log(p + unit): by shares where it is large, by amounts where it is small or 0.
_UNITS = {
    "fill_clocks": 500.0,
    "step_clocks": 0.3,
    "ramp_clocks": 300.0,
    "split_clocks": 1000.0,
    "tile_clocks": 500.0,
    "item_clocks": 300.0,
    "sequence_clocks": 20.0,
    "head_clocks": 200.0,
    "experts_clocks": 20.0,
    "peer_clocks": 50.0,
    "quantum": 0.2,
    "tail": 0.2,
    "cache_share": 0.05,
    "pair_passes": 1.0,
    "row_passes": 1.0,
    "pair_width_passes": 1.0,
    "throttle": 0.2,
    "head_exponent": 0.2,
    "reduce_clocks": 2000.0,
    "step_hops": 0.1,
}
_NONE = ("experts_clocks",)  # not of this kind where the family leaves it at 0
_FLAGS = ("causal", "limit", "skew", "matrices", "pairs", "share", "stride")  # dims that are no sizes

Indices = NDArray[np.intp]


class Group(NamedTuple):
    """Rows of one kind and format. key: as a calibration names it. machine: as the family prices it. measured: seconds [n]."""

    key: str
    machine: Machine
    kernels: Kernels
    measured: FloatArray


class Errors(NamedTuple):
    """Median and 90th percentile of |predicted / measured - 1|."""

    median: float
    p90: float


class LeftOut(NamedTuple):
    """Mean |log(predicted / measured)| of rows that a fit did not see: random fifths, and the largest quarter."""

    fifths: float
    quarter: float


class GroupFit(NamedTuple):
    """What a fit of a group found. width: of the prior that was chosen; refused: why the family's values stay, or ""."""

    key: str
    rows: int
    parameters: dict[str, float]
    family: Errors
    fitted: Errors
    left_out_family: LeftOut
    left_out: LeftOut
    left_out_errors: Errors
    width: float
    residuals: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    refused: str = ""


def solver() -> Callable[..., Any]:
    """scipy.optimize.least_squares. Raises InputError if SciPy is not installed."""
    try:
        optimize = import_module("scipy.optimize")
    except ImportError:
        raise InputError("calibrate needs SciPy, which is not installed. Run: pip install 'gambrel[fit]'.") from None
    found: Callable[..., Any] = optimize.least_squares
    return found


def _limits(name: str, value: float) -> tuple[float, float]:
    """Least and largest that a parameter may become."""
    unit = _UNITS.get(name, 0.0)
    low, high = _BOUNDS.get(name, (value / _FACTOR if unit == 0.0 else 0.0, max(value, unit) * _FACTOR))
    return min(low, value), max(high, value)


class _Model:
    """Log seconds of a group's rows as a function of the logs of its free parameters."""

    def __init__(self, group: Group) -> None:
        self.kernels = group.kernels
        self.machine = group.machine._replace(parameters=group.machine.parameters.copy())
        kind, dtype, stored = (
            int(column[0]) for column in (group.kernels.kind, group.kernels.dtype, group.kernels.stored)
        )
        table = TABLES[KINDS[kind].name]
        self.cells = (
            self.machine.parameters[kind] if KINDS[kind].collective else self.machine.parameters[kind, dtype, stored]
        )
        first = group.machine.parameters[kind, dtype, stored]
        choices = [name for name in _CHOICES if (KINDS[kind].name, name) != ("attention_prefill", "query_tile")]
        zero = [name for name in _UNITS if name not in _NONE]
        named = [i for i, p in enumerate(table) if p.name not in choices and (first[i] > 0.0 or p.name in zero)]
        self.columns = np.array(named, dtype=np.intp)
        self.names = [table[i].name for i in named]
        self.units = np.array([_UNITS.get(name, 0.0) for name in self.names])
        self.start = np.log(first[self.columns] + self.units)
        self._drop(self._moves())
        limits = np.array([_limits(name, value) for name, value in self.values(self.start).items()])
        self.low = np.log(limits[:, 0] + self.units) - 1e-9
        self.high = np.log(limits[:, 1] + self.units) + 1e-9

    def values(self, at: FloatArray) -> dict[str, float]:
        """The parameters by name."""
        found = np.maximum(np.exp(at) - self.units, 0.0)
        return dict(zip(self.names, found.tolist(), strict=True))

    def put(self, at: FloatArray) -> None:
        """Let the machine have these parameters."""
        self.cells[..., self.columns] = np.maximum(np.exp(at) - self.units, 0.0)

    def _moves(self) -> NDArray[np.bool_]:
        """Which parameters move any time of the group by a thousandth when they change by a third."""
        rows = np.arange(len(self.kernels))
        base = self.logs(self.start, rows)
        moved = []
        for index in range(len(self.start)):
            spans = []
            for sign in (-1.0, 1.0):
                at = self.start.copy()
                at[index] += sign * 0.3
                spans.append(float(np.max(np.abs(self.logs(at, rows) - base))))
            moved.append(max(spans) > 1e-3)
        return np.array(moved, bool)

    def _drop(self, keep: NDArray[np.bool_]) -> None:
        self.put(self.start)
        self.columns, self.start, self.units = self.columns[keep], self.start[keep], self.units[keep]
        self.names = [name for name, kept in zip(self.names, keep, strict=True) if kept]

    def logs(self, at: FloatArray, rows: Indices) -> FloatArray:
        self.put(at)
        out: FloatArray = np.log(seconds(self.kernels.take(rows), self.machine))
        return out


def _fit(model: _Model, measured: FloatArray, rows: Indices, width: float) -> FloatArray:
    """Logs of the free parameters that suit the rows [p]."""
    target = np.log(measured[rows])
    data = rows.size
    chosen = model.kernels.take(rows)

    def logs(at: FloatArray) -> FloatArray:
        model.put(at)
        out: FloatArray = np.log(seconds(chosen, model.machine))
        return out

    def residuals(at: FloatArray) -> FloatArray:
        return np.concatenate(((logs(at) - target) / NOISE, (at - model.start) / width))

    def slopes(at: FloatArray) -> FloatArray:
        base = logs(at)
        out = np.zeros((data + at.size, at.size))
        for index in range(at.size):
            ahead = at.copy()
            step = STEP if at[index] + STEP <= model.high[index] else -STEP
            ahead[index] += step
            out[:data, index] = (logs(ahead) - base) / step / NOISE
            out[data + index, index] = 1.0 / width
        return out

    def loss(squared: FloatArray) -> FloatArray:
        """soft_l1 of the rows, plain squares of the prior: value and two derivatives [3, n]."""
        root = np.sqrt(1.0 + squared)
        out = np.stack((2.0 * (root - 1.0), 1.0 / root, -0.5 / root**3))
        out[0, data:], out[1, data:], out[2, data:] = squared[data:], 1.0, 0.0
        return out

    found = solver()(
        residuals, model.start, jac=slopes, bounds=(model.low, model.high), loss=loss, max_nfev=25, xtol=1e-4
    )
    return np.asarray(found.x, dtype=np.float64)


def _splits(group: Group, seed: int) -> tuple[list[Indices], Indices]:
    """Random fifths, and the largest quarter by work (bytes, where a kind multiplies nothing)."""
    n = group.measured.size
    shuffled = generator(seed, "fit", group.key).permutation(n)
    collective = KINDS[int(group.kernels.kind[0])].collective
    size = group.kernels.dims[:, 0] if collective else group.kernels.flops()
    largest = np.argsort(size, kind="stable")[n - n // 4 :]
    return [np.sort(shuffled[i::FOLDS]) for i in range(FOLDS)], np.sort(largest)


def _left_out(
    model: _Model, group: Group, width: float, splits: tuple[list[Indices], Indices]
) -> tuple[LeftOut, FloatArray]:
    """Errors of rows that a fit has not seen, and log(measured / predicted) of each row by the fit without its fifth."""
    everything = np.arange(group.measured.size)
    unseen = np.empty(group.measured.size)
    fifths, largest = splits

    def without(rows: Indices) -> FloatArray:
        at = _fit(model, group.measured, np.setdiff1d(everything, rows), width)
        return np.asarray(np.log(group.measured[rows]) - model.logs(at, rows))

    for fifth in fifths:
        unseen[fifth] = without(fifth)
    return LeftOut(_size(unseen), _size(without(largest))), unseen


def _size(residuals: FloatArray) -> float:
    return float(np.mean(np.abs(residuals)))


def _errors(residuals: FloatArray) -> Errors:
    """residuals: log(measured / predicted)."""
    relative = np.abs(np.exp(-residuals) - 1.0)
    return Errors(float(np.median(relative)), float(np.quantile(relative, 0.9)))


def fit_group(group: Group, seed: int = 0) -> GroupFit:
    """Fit one group; `refused` says why, if the fit predicts rows it has not seen worse than the family's values do.

    Raises InputError if SciPy is not installed.
    """
    solver()
    model = _Model(group)
    rows = np.arange(group.measured.size)
    splits = _splits(group, seed)
    family = np.log(group.measured) - np.log(seconds(group.kernels, group.machine))
    before = LeftOut(_size(family), _size(family[splits[1]]))
    if rows.size < LEAST_ROWS:
        return _kept(group, family, before, f"{rows.size} rows, fewer than {LEAST_ROWS}")
    best: tuple[float, float, LeftOut, FloatArray] | None = None
    for width in WIDTHS:
        after, unseen = _left_out(model, group, width, splits)
        score = after.fifths + after.quarter
        if after.fifths > before.fifths or after.quarter > SEEN * before.quarter or score > sum(before):
            continue
        if best is None or score < 0.99 * best[0]:  # a weaker prior must earn its place
            best = (score, width, after, unseen)
    if best is None:
        return _kept(group, family, before, "left-out error no less than the family's")
    _, width, after, unseen = best
    at = _fit(model, group.measured, rows, width)
    return GroupFit(
        key=group.key,
        rows=rows.size,
        parameters=model.values(at),
        family=_errors(family),
        fitted=_errors(np.log(group.measured) - model.logs(at, rows)),
        left_out_family=before,
        left_out=after,
        left_out_errors=_errors(unseen),
        width=width,
        residuals=_quantiles(unseen),
        ranges=_ranges(group),
    )


def _kept(group: Group, family: FloatArray, before: LeftOut, why: str) -> GroupFit:
    errors = _errors(family)
    return GroupFit(group.key, family.size, {}, errors, errors, before, before, errors, 0.0, {}, {}, why)


def _quantiles(unseen: FloatArray) -> dict[str, float]:
    """Conformal quantiles of log(measured / predicted) of unseen rows: the ranks that cover a further row."""
    low = -float(np.quantile(-unseen, min(0.9 * (1.0 + 1.0 / unseen.size), 1.0), method="higher"))
    high = float(np.quantile(unseen, min(0.9 * (1.0 + 1.0 / unseen.size), 1.0), method="higher"))
    return {"p10": low, "p90": high}


def _ranges(group: Group) -> dict[str, tuple[float, float]]:
    """Smallest and largest of each dim that is a size."""
    kind = KINDS[int(group.kernels.kind[0])]
    dims = group.kernels.dims
    return {
        name: (float(dims[:, i].min()), float(dims[:, i].max()))
        for i, name in enumerate(kind.dims)
        if name not in _FLAGS and dims[:, i].max() > dims[:, i].min()
    }
