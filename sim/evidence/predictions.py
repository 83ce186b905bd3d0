"""What was predicted for the rows of a table, column by column, and why a row was skipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..errors import GambrelError, UnknownFigure
from .tables import FloatArray, Row, Skip, Table

T = TypeVar("T")
Progress = Callable[[int, int], None]  # (rows done, rows in all)


class Answer(NamedTuple):
    """One row's prediction: value of each measured column it answers, factors (low, high) of the interval, basis."""

    values: dict[str, float]
    basis: str
    low: float = math.nan
    high: float = math.nan
    fits: bool | None = None


@dataclass(frozen=True)
class Predictions:
    """n rows. values: measured column -> what was predicted, NaN where nothing was; low, high: interval of the first value of
    a row; reason: why a row was skipped, "" where it was not; fits: "true", "false" or "" (training tables only)."""

    values: dict[str, FloatArray]
    reason: tuple[str, ...]
    low: FloatArray
    high: FloatArray
    basis: tuple[str, ...]
    fits: tuple[str, ...] = ()

    def columns(self, excluded: Sequence[str]) -> dict[str, list[str]]:
        """The columns that `--rows` adds after the table's own, as text."""
        out = {
            "status": ["skipped" if reason else "predicted" for reason in self.reason],
            "reason": list(self.reason),
            "excluded_by": list(excluded),
            **{f"predicted_{name}": [_text(value) for value in array] for name, array in self.values.items()},
        }
        if self.fits:
            out["predicted_fits"] = list(self.fits)
        return {
            **out,
            "low": [_text(value) for value in self.low],
            "high": [_text(value) for value in self.high],
            "basis": list(self.basis),
        }


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"


def nothing(table: Table, reason: str) -> Predictions:
    """Every row skipped for one reason."""
    blank = np.full(len(table), math.nan)
    return Predictions(
        dict.fromkeys(table.kind.measured, blank), (reason,) * len(table), blank, blank, ("",) * len(table)
    )


def predict_rows(table: Table, predict: Callable[[Row], Answer], progress: Progress) -> Predictions:
    """Predict row by row. A row that lacks a fact (Skip), asks for what the catalogue does not hold or cannot run
    (Infeasible, UnknownFigure) is skipped with the reason; any other exception is a bug and ends the run."""
    answers: list[Answer | str] = []
    for index, row in enumerate(table.rows()):
        answers.append(answered(row, predict))
        progress(index + 1, len(table))
    return collect(table, answers)


def answered(row: Row, predict: Callable[[Row], T]) -> T | str:
    """What `predict` makes of a row, or the reason why it is skipped."""
    try:
        return predict(row)
    except Skip as skip:
        return str(skip)
    except UnknownFigure as error:
        return f"{error.key} is unknown"
    except GambrelError as error:
        if str(error).startswith(row.place):
            raise
        return str(error)
    except ValueError as error:
        reasons: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)  # a record's own
        if reasons is None:
            raise
        first = reasons(include_url=False)[0]
        return f"cannot be run as it is stated: {'.'.join(map(str, first['loc']))} = {first['input']!r:.40}: {first['msg']}"


def collect(table: Table, answers: Iterable[Answer | str]) -> Predictions:
    """Rows of answers, or of reasons for none, as columns."""
    listed = list(answers)
    names = table.kind.measured
    values = {name: np.full(len(listed), math.nan) for name in names}
    low, high = np.full(len(listed), math.nan), np.full(len(listed), math.nan)
    for index, answer in enumerate(listed):
        if isinstance(answer, str):
            continue
        for name, value in answer.values.items():
            values.setdefault(name, np.full(len(listed), math.nan))[index] = value
        first = next((answer.values[n] for n in names if not math.isnan(answer.values.get(n, math.nan))), math.nan)
        low[index], high[index] = first * answer.low, first * answer.high
    fits = ["" if isinstance(a, str) or a.fits is None else str(a.fits).lower() for a in listed]
    return Predictions(
        values,
        tuple(a if isinstance(a, str) else "" for a in listed),
        low,
        high,
        tuple("" if isinstance(a, str) else a.basis for a in listed),
        tuple(fits) if table.kind.name == "training" else (),
    )


def silent(done: int, total: int) -> None:
    """The progress callback of a caller that wants none."""
