"""How sure a comparison is: the chance that one of two runs is faster, from how far off other predicted ratios were.

What both runs of a pair get wrong alike cancels in their ratio, so its spread is counted from ratios, never from the errors of
single runs. A residual is ln(measured / predicted) of a ratio. The order of a pair means nothing: each counts with both signs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .tables import FloatArray

EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.0)  # of the curve: stated chance of the side that is predicted to win
FEWEST = 3  # labels that tell how labels differ
EIGHTY = 0.8  # share of ratios that an interval is to hold


class Bin(NamedTuple):
    """n pairs whose stated chances lie from low to high: their mean, and how often the predicted side won."""

    low: float
    high: float
    n: int
    stated: float
    happened: float


class Reliability(NamedTuple):
    """Brier score of n chances (0 is best; `without`: the score of saying one half each time), share of right winners, width of
    the interval (the factor within which a predicted ratio is to be), how many measured ratios it holds, and the curve."""

    n: int
    brier: float
    without: float
    right: float
    factor: float
    inside: float
    curve: tuple[Bin, ...]


def chance(log_ratio: float, residuals: FloatArray, weights: FloatArray | None = None) -> float:
    """Chance that ln of the true ratio is above 0, given what is predicted and residuals of other pairs [n]; never quite 0 or 1.

    weights[n]: how much each residual counts (None: all the same)."""
    weights = np.ones(residuals.size) if weights is None else weights
    either = sum(np.sign(log_ratio + side) / 2.0 + 0.5 for side in (residuals, -residuals))
    above = float(np.sum(weights * either) / (2.0 * weights.sum()))
    like = 2.0 * float(weights.sum() ** 2 / np.sum(weights**2))  # so many residuals of one weight, with both signs
    return (above * like + 1.0) / (like + 2.0)


def half_width(residuals: FloatArray, weights: FloatArray | None = None) -> float:
    """Half the width, on the log, of the interval that is to hold EIGHTY of the ratios; NaN where there is no residual."""
    if not residuals.size:
        return math.nan
    order = np.argsort(np.abs(residuals))
    held = np.cumsum((np.ones(residuals.size) if weights is None else weights)[order])
    at = min(int(np.searchsorted(held, EIGHTY * held[-1])), residuals.size - 1)
    return float(np.abs(residuals[order[at]]))


def sizes(residual: FloatArray, labels: Sequence[str], count: int) -> FloatArray:
    """Evenly spaced quantiles of the sizes of residuals, each label weighing the same: what `chance` takes in their place."""
    weights, known = _weights(residual, labels), np.isfinite(residual)
    size, weight = np.abs(residual[known]), weights[known]
    order = np.argsort(size)
    reached = (np.cumsum(weight[order]) - weight[order] / 2.0) / weight.sum()
    quantiles: FloatArray = np.interp((np.arange(count) + 0.5) / count, reached, size[order])
    return quantiles


def _weights(residual: FloatArray, labels: Sequence[str]) -> FloatArray:
    names, known = np.array(labels, dtype=object), np.isfinite(residual)
    counts = {name: int(np.sum((names == name) & known)) for name in set(labels)}
    return np.array([1.0 / max(counts[name], 1) for name in labels])


def left_out(log_ratio: FloatArray, residual: FloatArray, labels: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """(chance, half width) of each pair from the residuals of the pairs under other labels, of which each label counts the same:
    what is asked about is a label more. NaN where there are none [n], [n]."""
    names, known = np.array(labels, dtype=object), np.isfinite(residual)
    weights = _weights(residual, labels)
    chances, widths = np.full(len(names), math.nan), np.full(len(names), math.nan)
    for name in sorted(set(labels)):
        own, others = (names == name) & known, (names != name) & known
        if not others.any():
            continue
        chances[own] = [chance(float(each), residual[others], weights[others]) for each in log_ratio[own]]
        widths[own] = _of_a_label_more(residual[others], weights[others], names[others])
    return chances, widths


def _of_a_label_more(residual: FloatArray, weights: FloatArray, names: np.ndarray) -> float:
    """Half width for pairs of a label that none of these has: that of all of them, times the factor by which it would have had to be
    wider to hold EIGHTY of each of them, had that one been the new label."""
    width, labels = half_width(residual, weights), sorted(set(names))
    if len(labels) < FEWEST:
        return width
    shares = np.empty(residual.size)
    for label in labels:
        own = names == label
        shares[own] = residual[own] / half_width(residual[~own], weights[~own])
    return width * max(1.0, half_width(shares, weights))


def reliability(measured: FloatArray, residual: FloatArray, chances: FloatArray, widths: FloatArray) -> Reliability:
    """Score of stated chances against which side of each pair was faster (ln of the measured ratio above 0); ties count half."""
    known = np.isfinite(chances) & np.isfinite(residual)
    stated, won = chances[known], np.sign(measured[known]) / 2.0 + 0.5
    if not stated.size:
        return Reliability(0, *(math.nan,) * 5, ())
    sure, right = np.maximum(stated, 1.0 - stated), np.where(stated >= 0.5, won, 1.0 - won)
    bins = []
    for low, high in pairwise(EDGES):
        at = (sure >= low) & ((sure < high) | (high == EDGES[-1]))
        if at.any():
            bins.append(Bin(low, high, int(at.sum()), float(sure[at].mean()), float(right[at].mean())))
    return Reliability(
        int(known.sum()),
        float(np.mean((stated - won) ** 2)),
        float(np.mean((0.5 - won) ** 2)),
        float(right.mean()),
        float(np.exp(np.median(widths[known]))),
        float(np.mean(np.abs(residual[known]) <= widths[known])),
        tuple(bins),
    )
