"""Operator figures one by one: met, missed by so much, or not answerable and why."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .predictions import Predictions
from .tables import FloatArray, Table

TOLERANCE = 0.05  # a measured figure is met within this share of it; a bound or a range where it holds


class Verdict(NamedTuple):
    """One row: what it is, what was measured (as text: bounds have no single value), what was predicted, what came of it.

    error: signed, predicted over measured (the nearest end of a bound or range) less 1; 0 where a bound holds; NaN where
    nothing was predicted.
    """

    device: str
    what: str
    metric: str
    measured: str
    predicted: float
    error: float
    verdict: str


def operator_errors(table: Table, predictions: Predictions) -> FloatArray:
    """Signed error of each row [n], see Verdict."""
    predicted, low = predictions.values["value"], table.measured("value")
    high, bound = table.measured("value_high"), np.array(table.column("bound"), dtype=object)
    least = np.where(np.isin(bound, ("equal", "at least", "between")), low, -math.inf)
    most = np.where(bound == "between", high, np.where(np.isin(bound, ("equal", "at most")), low, math.inf))
    with np.errstate(divide="ignore", invalid="ignore"):
        error: FloatArray = np.where(
            predicted < least, predicted / least - 1.0, np.where(predicted > most, predicted / most - 1.0, 0.0)
        )
    return np.where(np.isnan(predicted), math.nan, error)


def verdicts(table: Table, predictions: Predictions) -> tuple[Verdict, ...]:
    """A verdict for each row of a table of operators; none for other tables."""
    if table.kind.name != "operators":
        return ()
    errors = operator_errors(table, predictions)
    columns = [table.column(name) for name in ("device", "what", "metric", "bound", "value", "value_high", "dtype")]
    found = []
    for index, (device, what, metric, bound, low, high, dtype) in enumerate(zip(*columns, strict=True)):
        measured = {"between": f"{low} to {high}", "equal": low}.get(bound, f"{bound} {low}")
        error, reason = float(errors[index]), predictions.reason[index]
        said = f"not answerable: {reason}" if reason else _said(error)
        label = f"{what}, {dtype}" if dtype else what
        found.append(Verdict(device, label, metric, measured, float(predictions.values["value"][index]), error, said))
    return tuple(found)


def _said(error: float) -> str:
    return "met" if abs(error) <= TOLERANCE else f"missed by {abs(error):.1%}"
