"""Four factors of a user's site from measured serving runs: what kernels, collectives, the host and the front-end take there.

Predicted times are nearly linear in the factors, so each row's TTFT and TPOT is priced at 1 and with each factor raised, and a
robust fit of the logs runs on that plane; where its optimum lies far out the plane is laid anew there. A prior holds each
factor at 1 (log-normal): rows that say little move it little. What they cannot tell stays at 1 and is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..catalog.calibrations import Stack
from ..catalog.chips import Chip
from ..catalog.sites import FACTORS, SiteFactors
from ..seeds import generator
from .context import Context
from .joint import FOLDS, solver
from .serving_rows import predict
from .tables import FloatArray, Table

METRICS = ("tpot_ms", "ttft_ms")
PRIORS = np.array([0.10, 0.20, 0.30, 0.50])  # of FACTORS: spread of ln(factor) before any row is seen
NOISE = np.array([[0.10], [0.25]])  # of METRICS, on the log: what a row is off for reasons of its own
RAISED = 1.25  # a factor's slope is measured up to this
FAR = 0.15  # of ln(factor): from there the plane is laid anew
TOLD = 0.8  # a factor whose spread the rows leave above this share of the prior's is not told
ALIKE = 0.9  # correlation of two factors that the rows cannot tell apart
ONE_BY_ONE = 20  # rows up to which each is left out alone, else fifths
GAIN = 0.002  # of the mean error left out: less is no gain, and more is a loss


class Measured(NamedTuple):
    """Rows of one chip under one stack. times[2, n]: METRICS [ms], NaN where one does not count."""

    chip: Chip
    stack: Stack
    table: Table
    times: FloatArray


class Plane(NamedTuple):
    """Predicted METRICS of n rows around the factors `at`[4]: value[2, n] there, slope[2, n, 4] by unit of each [ms]."""

    at: FloatArray
    value: FloatArray
    slope: FloatArray
    reasons: tuple[str, ...]

    def times(self, factors: FloatArray) -> FloatArray:
        """METRICS at other factors, at least a hundredth of what they are at `at` [2, n]."""
        return np.maximum(self.value + self.slope @ (factors - self.at), 0.01 * self.value)


class SiteFit(NamedTuple):
    """What was found for a chip under a stack. told: factors that are fitted, the others are 1; untold: what the rows cannot
    tell, in words; without, fitted, left_out: errors |predicted / measured - 1| [2, n]; skipped: rows that cannot be predicted,
    by reason; refused: why nothing is written, "" if it holds."""

    chip: str
    stack: str
    factors: dict[str, float]
    told: tuple[str, ...]
    untold: tuple[str, ...]
    without: FloatArray
    fitted: FloatArray
    left_out: FloatArray
    skipped: tuple[str, ...]
    refused: str

    @property
    def rows(self) -> int:
        """Rows with a time that counts and is predicted."""
        return int(np.isfinite(self.without).any(axis=0).sum())


def fit_site(measured: Measured, context: Context, progress: Callable[[float], None]) -> SiteFit:
    """Fit the factors. Needs SciPy; prices each row five times, ten where a factor is far from 1."""
    solver()
    plane = _plane(measured, np.ones(4), context, lambda share: progress(share / 2.0))
    without = errors(plane, measured, np.ones(4))
    told, untold = what_is_told(plane, measured)
    factors = solve(plane, measured, told)
    if np.abs(np.log(factors)).max() > FAR:
        plane = _plane(measured, factors, context, lambda share: progress(0.5 + share / 2.0))
    if np.isfinite(without).any(axis=0).sum() < 2:
        why = (
            "of a single row nothing can be left out, so nothing says whether factors would hold; measure two at least"
        )
        return _refused(measured, plane, (untold, without, np.full_like(without, math.nan)), why)
    candidates = _candidates(told)
    tried = [_left_out(plane, measured, names) for names in candidates]
    holds = [names for names, errors_of in zip(candidates, tried, strict=True) if _better(errors_of, without)]
    if not holds:
        why = "on rows that were left out of the fit no factor gains anything"
        return _refused(measured, plane, (untold, without, tried[0] if tried else without), why)
    kept = holds[0]
    factors = solve(plane, measured, kept)
    dropped = tuple(f"{name}: fitted, it does not hold on rows left out" for name in told if name not in kept)
    return SiteFit(
        measured.chip.id,
        measured.stack.id,
        dict(zip(FACTORS, factors.tolist(), strict=True)),
        kept,
        (*untold, *dropped),
        without,
        errors(plane, measured, factors),
        tried[candidates.index(kept)],
        tuple(reason for reason in plane.reasons if reason),
        "",
    )


def _refused(
    measured: Measured, plane: Plane, found: tuple[tuple[str, ...], FloatArray, FloatArray], why: str
) -> SiteFit:
    untold, without, left_out = found
    skipped = tuple(reason for reason in plane.reasons if reason)
    ones = dict.fromkeys(FACTORS, 1.0)
    return SiteFit(measured.chip.id, measured.stack.id, ones, (), untold, without, without, left_out, skipped, why)


def errors(plane: Plane, measured: Measured, factors: FloatArray) -> FloatArray:
    """|predicted / measured - 1| of METRICS [2, n]."""
    return np.abs(plane.times(factors) / measured.times - 1.0)


def _plane(measured: Measured, at: FloatArray, context: Context, progress: Callable[[float], None]) -> Plane:
    calibration = context.library.calibration(measured.chip, measured.stack, context.level)
    blind, passes = measured.table.configuration(), len(FACTORS) + 1

    def priced(number: int, factors: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
        site = SiteFactors(**dict(zip(FACTORS, factors.tolist(), strict=True)))
        given = {(measured.chip.id, measured.stack.id): calibration.with_(site=site)}
        there = Context(context.library, context.level, given)
        found = predict(blind, there, lambda done, total: progress((number + done / total) / passes))
        return np.stack([found.values[name] for name in METRICS]), found.reason

    value, reasons = priced(0, at)
    slope = np.empty((*value.shape, len(FACTORS)))
    for index in range(len(FACTORS)):
        raised = at.copy()
        raised[index] *= RAISED
        slope[..., index] = (priced(index + 1, raised)[0] - value) / (raised[index] - at[index])
    return Plane(at, value, slope, reasons)


def _sensitivity(plane: Plane, measured: Measured) -> FloatArray:
    """d ln(time) / d ln(factor) over the noise, of each time that counts [k, 4]."""
    scaled = plane.slope * plane.at / plane.value[..., None] / NOISE[..., None]
    counted = np.isfinite(plane.value) & np.isfinite(measured.times)
    out: FloatArray = scaled[counted]
    return out


def what_is_told(plane: Plane, measured: Measured) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(factors that the rows tell, what they do not in words): from the spread that rows and prior leave to each factor."""
    sensitivity = _sensitivity(plane, measured)
    told, words = list(FACTORS), []
    for name, moved in zip(FACTORS, np.abs(sensitivity).sum(axis=0), strict=True):
        if moved < 1e-6:
            told.remove(name)
            words.append(f"{name}: no row depends on it")
    while told:
        at = [FACTORS.index(name) for name in told]
        part, prior = sensitivity[:, at], PRIORS[at]
        covariance = np.linalg.inv(part.T @ part + np.diag(prior**-2.0))
        left = np.sqrt(np.diag(covariance))
        weakest = int(np.argmax(left / prior))
        if left[weakest] > TOLD * prior[weakest]:
            words.append(f"{told[weakest]}: the rows say too little of it")
            del told[weakest]
            continue
        alike = np.triu(np.abs(covariance / np.outer(left, left)), 1)
        one, other = np.unravel_index(int(np.argmax(alike)), alike.shape)
        if alike[one, other] <= ALIKE:
            break
        gone = max(int(one), int(other), key=lambda i: left[i] / prior[i])
        kept = int(one) + int(other) - gone
        words.append(f"{told[gone]} and {told[kept]} move these rows alike: all of it is {told[kept]}")
        del told[gone]
    return tuple(told), tuple(words)


def solve(plane: Plane, measured: Measured, told: Sequence[str], seen: FloatArray | None = None) -> FloatArray:
    """The factors [4]: least squares of the logs, soft beyond NOISE, with the prior. seen[n]: rows that count (None: all)."""
    at = [FACTORS.index(name) for name in told]
    counted = np.isfinite(plane.value) & np.isfinite(measured.times)
    if seen is not None:
        counted &= seen.astype(bool)
    if not at or not counted.any():
        return np.ones(4)

    def full(logs: FloatArray) -> FloatArray:
        factors = np.ones(4)
        factors[at] = np.exp(logs)
        return factors

    def residuals(logs: FloatArray) -> FloatArray:
        off = (np.log(plane.times(full(logs)) / measured.times) / NOISE)[counted]
        soft = np.sign(off) * np.sqrt(2.0 * (np.sqrt(1.0 + off**2) - 1.0))  # pseudo-Huber
        return np.concatenate([soft, logs / PRIORS[at]])

    return full(solver()(residuals, np.zeros(len(at))).x)


def _left_out(plane: Plane, measured: Measured, told: Sequence[str]) -> FloatArray:
    """Errors of rows by fits that have not seen them [2, n]: one by one, or in fifths."""
    n = plane.value.shape[1]
    folds = n if n <= ONE_BY_ONE else FOLDS
    order = generator(0, "site", measured.chip.id, measured.stack.id).permutation(n)
    out = np.full(plane.value.shape, math.nan)
    for fold in range(folds):
        rows = order[fold::folds]
        seen = np.ones(n)
        seen[rows] = 0.0
        out[:, rows] = errors(plane, measured, solve(plane, measured, told, seen))[:, rows]
    return out


def _candidates(told: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What may be fitted, the most first: all that is told, then less and less of it, then each factor alone."""
    found = [told[: len(told) - dropped] for dropped in range(len(told))]
    return list(dict.fromkeys([*found, *((name,) for name in told)]))


def _better(left_out: FloatArray, without: FloatArray) -> bool:
    """Is the mean error on rows left out lower for one metric and not higher for the other?"""
    change = [
        float(np.mean(new[known]) - np.mean(old[known]))
        for new, old in zip(left_out, without, strict=True)
        if (known := np.isfinite(new) & np.isfinite(old)).any()
    ]
    return bool(change) and min(change) < -GAIN and max(change) <= GAIN
