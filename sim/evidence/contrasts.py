"""Contrasts that a mean error hides: does the prediction rank what one would choose between?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .choices import BARS, NEAR, choices, score
from .power_rows import batch_contrasts
from .predictions import Predictions
from .rules import TRAINING_TARGETS
from .tables import FloatArray, Table

SCALED, LARGE = 8, 4096  # times as many devices, and how many at least
FEWEST = 8  # rows of a group that are worth ranking


class Contrast(NamedTuple):
    """One figure over `groups` groups of rows."""

    name: str
    value: float
    groups: int


def contrasts(table: Table, predictions: Predictions, excluded: Sequence[str]) -> tuple[Contrast, ...]:
    """The contrasts of a kind of table; none for most."""
    found = _CONTRASTS.get(table.kind.name)
    return () if found is None else tuple(c for c in found(table, predictions, excluded) if not math.isnan(c.value))


def _groups(table: Table, columns: Sequence[str], rows: Sequence[int]) -> list[list[int]]:
    texts = [table.column(name) for name in columns]
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index in rows:
        found[tuple(text[index] for text in texts)].append(index)
    return list(found.values())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's: correlation of the ranks (ties in order of appearance)."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _layouts(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Contrast]:
    """Layouts of one model size on one cluster: rank correlation of the FLOP rate, and what the predicted best one costs."""
    measured, guessed = table.measured("tflops_per_device"), predictions.values["tflops_per_device"]
    rows = [i for i, rule in enumerate(excluded) if not rule and measured[i] > 0 and guessed[i] > 0]
    same = ("source", "device", "num_devices", "global_batch", "seq_len", "precision")
    groups = [np.array(g) for g in _groups(table, same, rows) if len(g) >= FEWEST]
    ranks = [rank_correlation(measured[g], guessed[g]) for g in groups]
    regret = [1.0 - float(measured[g[np.argmax(guessed[g])]] / measured[g].max()) for g in groups]
    return [
        Contrast("rank correlation of layouts", _mean(ranks), len(ranks)),
        Contrast("rate lost by the predicted best layout", _mean(regret), len(regret)),
    ]


def _recomputation(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Contrast]:
    """Pairs of steps that differ in nothing but full or selective recomputation: distance of the ratio of their rates."""
    measured, guessed = steps(table, predictions)
    recompute = table.column("recompute")
    same = ("source", "model", "device", "num_devices", "global_batch", "micro_batch", "TP", "PP", "precision")
    rows = [i for i, rule in enumerate(excluded) if not rule and measured[i] > 0 and guessed[i] > 0]
    off = []
    for group in _groups(table, same, rows):
        full = [i for i in group if recompute[i] == "full"]
        less = [i for i in group if recompute[i] == "selective"]
        if full and less:
            ratios = [float(v[full].mean() / v[less].mean()) for v in (measured, guessed)]
            off.append(abs(ratios[1] - ratios[0]))
    return [Contrast("ratio of full to selective recomputation, off by", _mean(off), len(off))]


def _scaling(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Contrast]:
    """One model on few and on at least SCALED times as many devices: error of the ratio of time a token and device."""
    measured, guessed = steps(table, predictions)
    tokens = table.numbers("global_batch") * table.numbers("seq_len") / table.numbers("num_devices")
    devices = table.numbers("num_devices")
    rows = [i for i, rule in enumerate(excluded) if not rule and measured[i] > 0 and guessed[i] > 0]
    off = []
    for group in _groups(table, ("source", "model", "device", "seq_len", "precision"), rows):
        few, many = min(group, key=lambda i: devices[i]), max(group, key=lambda i: devices[i])
        if devices[many] >= SCALED * devices[few] and devices[many] >= LARGE:
            ratios = [float(v[many] / tokens[many] / (v[few] / tokens[few])) for v in (measured, guessed)]
            off.append(abs(ratios[1] / ratios[0] - 1.0))
    return [Contrast("cost of scaling out, off by", _mean(off), len(off))]


def steps(table: Table, predictions: Predictions) -> tuple[FloatArray, FloatArray]:
    """Measured and predicted time of each step, up to a factor of the row: that of its first target [n], [n]."""
    tokens = table.numbers("global_batch") * table.numbers("seq_len") / table.numbers("num_devices")
    measured, guessed = np.full(len(table), math.nan), np.full(len(table), math.nan)
    for name in reversed(TRAINING_TARGETS):
        known, said = table.measured(name), predictions.values[name]
        stated = known > 0
        if name != TRAINING_TARGETS[0]:
            known, said = tokens / np.where(stated, known, math.nan), tokens / said
        measured[stated], guessed[stated] = known[stated], said[stated]
    return measured, guessed


def _training(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Contrast]:
    parts = (_layouts, _recomputation, _scaling)
    return [contrast for part in parts for contrast in part(table, predictions, excluded)]


def _choice(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Contrast]:
    """Choices of a serving configuration (choices.py)."""
    found = score(choices(table, predictions, excluded))
    least, most = BARS
    named = {
        f"choices of a configuration within {NEAR:.0%} of the best, share (to be {least:g} or more)": found.near,
        f"rate lost by them, mean (to be {most:g} or less)": found.regret,
        f"choices that break the limit of TPOT by over {NEAR:.0%}, share": found.broken,
        "rate lost by a configuration drawn by lot, mean": found.regret_blind,
    }
    return [Contrast(name, value, found.n) for name, value in named.items()]


def _batches(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Contrast]:
    """Power: what a larger batch saves of the energy of a token."""
    return [Contrast(*each) for each in batch_contrasts(table, predictions, excluded)]


_CONTRASTS: dict[str, Callable[[Table, Predictions, Sequence[str]], list[Contrast]]] = {
    "training": _training,
    "serving": _choice,
    "power": _batches,
}
