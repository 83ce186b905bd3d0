"""Choice of a serving configuration: what the predicted best one is worth, measured, against the measured best one.

A configuration is a row that counts: layout, engine, number formats and clients. For each model, device, lengths and limit of
TPOT the one with the highest predicted rate is chosen of those that are predicted to keep the limit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .context import Context
from .predictions import Predictions
from .tables import FloatArray, Skip, Table

TPOT_LIMITS_MS = (10.0, 20.0, 30.0, 50.0, 100.0)
FEWEST = 3  # configurations that make a choice
NEAR = 0.1  # a choice this near to the best is a good one
BARS = (0.80, 0.05)  # share of choices that are near, at least; mean regret, at most
_SPANS = ("tp_size", "pp_size", "attention_dp_size")
_SAME = ("model", "device", "input_tokens", "output_tokens")


class Choice(NamedTuple):
    """One choice between `of` rows. share: measured rate of the chosen row over that of the best row that keeps the limit, at
    most 1; blind: the mean of that share over all rows that keep it; kept: the chosen row's measured TPOT keeps the limit
    within NEAR."""

    rows: tuple[int, ...]
    limit_ms: float
    chosen: int
    best: int
    share: float
    blind: float
    kept: bool

    @property
    def of(self) -> int:
        """Configurations to choose from."""
        return len(self.rows)


class Score(NamedTuple):
    """n choices: share that come within NEAR of the best, mean regret (1 - share), share whose measured TPOT breaks the limit by
    more than NEAR, and mean regret of a choice by lot."""

    n: int
    near: float
    regret: float
    broken: float
    regret_blind: float


def chips_of(table: Table, context: Context | None = None) -> FloatArray:
    """Chips of each deployment: those of its one replica, or of all its workers; NaN where their number is not stated [n].

    context: counts a chip's ranks where software addresses several; None: one a chip.
    """
    disagg = np.array(table.column("mode"), dtype=object) == "disagg"
    alone, workers = _span(table, ""), np.zeros(len(table))
    for side in ("prefill_", "decode_"):
        workers += table.numbers(f"{side}num_workers") * _span(table, side)
    chips: FloatArray = np.where(disagg, workers, alone)
    return chips if context is None else chips / _ranks(table, context)


def _span(table: Table, prefix: str) -> FloatArray:
    columns = [np.nan_to_num(table.numbers(prefix + name), nan=1.0) for name in _SPANS]
    span: FloatArray = np.prod([np.maximum(column, 1.0) for column in columns], axis=0)
    return span


def _ranks(table: Table, context: Context) -> FloatArray:
    known: dict[str, float] = {}
    for label in set(table.column("device")):
        try:
            known[label] = float(context.chip(label).ranks)
        except Skip:
            known[label] = math.nan
    return np.array([known[label] for label in table.column("device")])


def rate_per_chip(table: Table, ttft_ms: FloatArray, tpot_ms: FloatArray) -> FloatArray:
    """Output tokens a second and chip of a closed loop: concurrency x output / (TTFT + TPOT (output - 1)) / chips [n]."""
    made = table.numbers("output_tokens")
    rate: FloatArray = table.numbers("concurrency") * made / (ttft_ms + tpot_ms * (made - 1.0)) * 1e3 / chips_of(table)
    return rate


def choices(
    table: Table, predictions: Predictions, excluded: Sequence[str], first: tuple[Predictions, int] | None = None
) -> list[Choice]:
    """Every choice that a table of serving runs holds, by rows that count and are predicted. first: plainer predictions of the same
    rows, and how many of the best that they say keep the limit the choice is made among; None: among all."""
    ahead = None if first is None else (_rates(table, first[0]), first[0].values["tpot_ms"], first[1])
    tpot, guess = table.measured("tpot_ms"), predictions.values["tpot_ms"]
    measured = rate_per_chip(table, table.measured("ttft_ms"), tpot)
    guessed = _rates(table, predictions)
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(*(table.column(name) for name in _SAME), strict=True)):
        if not excluded[index] and measured[index] > 0 and guessed[index] > 0:
            groups[key].append(index)
    found = []
    for group in groups.values():
        for limit in TPOT_LIMITS_MS:
            met = [i for i in group if tpot[i] <= limit]
            if len(group) < FEWEST or not met:
                continue
            among = group if ahead is None else _best(group, limit, ahead)
            kept = [i for i in among if guess[i] <= limit] or [min(among, key=lambda i: guess[i])]
            chosen = max(kept, key=lambda i: guessed[i])
            best = max(met, key=lambda i: measured[i])
            shares = np.minimum(measured[[chosen, *met]] / measured[best], 1.0)
            holds = bool(tpot[chosen] <= limit * (1.0 + NEAR))
            found.append(Choice(tuple(group), limit, chosen, best, float(shares[0]), float(shares[1:].mean()), holds))
    return found


def _rates(table: Table, predictions: Predictions) -> FloatArray:
    return rate_per_chip(table, predictions.values["ttft_ms"], predictions.values["tpot_ms"])


def _best(group: Sequence[int], limit_ms: float, ahead: tuple[FloatArray, FloatArray, int]) -> list[int]:
    """The rows of the highest rates among those that keep the limit; the fastest where none does. ahead: rates, TPOT, how many."""
    rate, tpot, most = ahead
    known = [i for i in group if rate[i] > 0] or list(group)
    kept = [i for i in known if tpot[i] <= limit_ms] or [min(known, key=lambda i: tpot[i])]
    return sorted(kept, key=lambda i: -rate[i])[:most]


def score(found: Sequence[Choice]) -> Score:
    """What the choices are worth together; NaN of none."""
    if not found:
        return Score(0, *(math.nan,) * 4)
    share, blind = (np.array([getattr(choice, name) for choice in found]) for name in ("share", "blind"))
    broken = np.array([not choice.kept for choice in found])
    near = share >= 1.0 - NEAR
    return Score(len(found), *(float(each.mean()) for each in (near, 1.0 - share, broken, 1.0 - blind)))
