"""The pairs of one measured table and what a comparison says of them: ratios as measured, as predicted, as one number alone says.

Of a pair that differs in the device, the first row is priced as its chip is calibrated and the second by its family's and
generation's values alone: what one knows of a device that one does not have. Pairs of layouts are priced as calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from . import serving_rows, training_rows
from .context import Context
from .contrasts import steps
from .pairs import LAYOUT, METRICS, TRAINED, Pair, bandwidth_ratios, figures, log_ratios, pairs, training_pairs
from .predictions import Predictions, Progress
from .score import warming_up
from .tables import FloatArray, Table

Predict = Callable[[Table, Context, Progress], Predictions]
HIGHER = (METRICS[2],)  # metrics of which more is better


class Ratio(NamedTuple):
    """ln of the ratio (second over first) of one metric of each pair: measured, predicted, by bandwidth alone [pairs]."""

    measured: FloatArray
    predicted: FloatArray
    bandwidth: FloatArray


class Compared(NamedTuple):
    """The pairs of a table. labels: what the chances of a pair must not have seen; reasons: of rows that were not predicted."""

    pairs: list[Pair]
    ratios: dict[str, Ratio]
    labels: list[str]
    reasons: list[str]


def gain(metric: str, log_ratio: FloatArray) -> FloatArray:
    """ln of how much better the second row is: less time, or a higher rate."""
    return log_ratio if metric in HIGHER else -log_ratio


def of_serving(table: Table, excluded: Sequence[str], context: Context, progress: Progress) -> Compared:
    """Pairs of closed-loop runs, by TPOT, TTFT and rate a chip."""
    found = pairs(table, excluded)
    known, unseen = _ends(table, found, context, progress, serving_rows.predict)
    warm = warming_up(table, np.array([rule == "" for rule in excluded], bool))
    told = figures(table, table.measured("ttft_ms"), table.measured("tpot_ms"))
    told[METRICS[1]] = np.where(warm, math.nan, table.measured("ttft_ms"))
    one, other = (figures(table, end.values["ttft_ms"], end.values["tpot_ms"]) for end in (known, unseen))
    ratios = {
        name: Ratio(
            log_ratios(found, told[name], told[name]),
            _predicted(found, one[name], other[name]),
            bandwidth_ratios(table, found, name, context),
        )
        for name in METRICS
    }
    return Compared(found, ratios, _labels(table, found), _reasons(found, known, unseen))


def of_training(table: Table, excluded: Sequence[str], context: Context, progress: Progress) -> Compared:
    """Pairs of training runs, by device time a token; whatever rate a source publishes, both sides of its row count it alike."""
    found = training_pairs(table, excluded)
    known, unseen = _ends(table, found, context, progress, training_rows.predict)
    one, other = (1.0 / end.values["tokens_per_s_per_device"] for end in (known, unseen))
    truth, guess = steps(table, known)
    with np.errstate(divide="ignore", invalid="ignore"):
        told = one * truth / guess
    truth, guess = steps(table, unseen)
    with np.errstate(divide="ignore", invalid="ignore"):
        told = np.where(np.isfinite(told), told, other * truth / guess)
    ratio = Ratio(log_ratios(found, told, told), _predicted(found, one, other), np.full(len(found), math.nan))
    labels = [f"{table.column('source')[pair.first]}|{table.column('model')[pair.first]}" for pair in found]
    return Compared(found, {TRAINED: ratio}, labels, _reasons(found, known, unseen))


def _predicted(found: Sequence[Pair], known: FloatArray, unseen: FloatArray) -> FloatArray:
    layout = np.array([pair.contrast == LAYOUT for pair in found], bool)
    return np.where(layout, log_ratios(found, known, known), log_ratios(found, known, unseen))


def _reasons(found: Sequence[Pair], known: Predictions, unseen: Predictions) -> list[str]:
    each = [known.reason[row] or unseen.reason[row] for row in sorted({row for pair in found for row in pair[1:]})]
    return [reason for reason in each if reason]


def _ends(
    table: Table, found: Sequence[Pair], context: Context, progress: Progress, predict: Predict
) -> tuple[Predictions, Predictions]:
    """Every row as its chip is calibrated, and as its family alone would have it; rows that no pair needs are skipped."""
    unseen = Context(context.library, "family" if context.level == "fitted" else context.level, context.given)
    targets = sorted({pair.second for pair in found if pair.contrast != LAYOUT})
    others = sorted({pair.first for pair in found} | {pair.second for pair in found if pair.contrast == LAYOUT})
    count = len(targets) + len(others)

    def some(rows: list[int], at: Context, before: int) -> Predictions:
        """Predictions of some rows, in their places of the table."""
        part = predict(table.select(rows).configuration(), at, lambda done, total: progress(before + done, count))
        values = {name: np.full(len(table), math.nan) for name in part.values}
        reason, basis = [""] * len(table), [""] * len(table)
        for place, row in enumerate(rows):
            reason[row], basis[row] = part.reason[place], part.basis[place]
        for name, column in part.values.items():
            values[name][rows] = column
        blank = np.full(len(table), math.nan)
        return Predictions(values, tuple(reason), blank, blank, tuple(basis))

    return some(others, context, 0), some(targets, unseen, len(others))


def _labels(table: Table, found: Sequence[Pair]) -> list[str]:
    """The model of each pair, or, where there is only one, its lengths and clients."""
    names: tuple[str, ...] = ("model",)
    if len({table.column("model")[pair.first] for pair in found}) == 1:
        names = ("input_tokens", "output_tokens", "concurrency")
    columns = [table.column(name) for name in names]
    return ["|".join(column[pair.first] for column in columns) for pair in found]
