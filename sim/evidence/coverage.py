"""How often a measurement lies inside the interval of its prediction, which is to hold four fifths of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..cost import SIZES, size_classes
from .context import Context
from .kernel_rows import kernels_of, stack_of
from .predictions import Predictions
from .rules import TRAINING_TARGETS
from .tables import FloatArray, Skip, Table

_SIZES = dict(zip(SIZES, ("bound by the launch", "between", "large"), strict=True))


class Coverage(NamedTuple):
    """Share of n measured rows that lie inside their interval."""

    grouping: str
    group: str
    n: int
    share: float


def coverage(table: Table, predictions: Predictions, excluded: Sequence[str], context: Context) -> tuple[Coverage, ...]:
    """Coverage of the rows that count and have an interval: of all, by device, and of kernels by size (none: no such row)."""
    ratio = _ratio(table, predictions)
    first = _first(table, predictions)
    kept = np.array([rule == "" for rule in excluded], bool)
    rows = np.flatnonzero(kept & np.isfinite(ratio) & np.isfinite(predictions.low) & np.isfinite(first))
    with np.errstate(invalid="ignore"):
        inside = (ratio * first >= predictions.low) & (ratio * first <= predictions.high)
    labels = {"all": ["all"] * len(table), "device": table.column("device")}
    if table.kind.verb == "kernels":
        labels["size"] = _sizes(table, predictions, context)
    out = []
    for grouping, names in labels.items():
        members: dict[str, list[int]] = defaultdict(list)
        for index in rows:
            members[names[index]].append(int(index))
        order = sorted(members) if grouping != "size" else [name for name in _SIZES.values() if name in members]
        out += [Coverage(grouping, name, len(members[name]), float(inside[members[name]].mean())) for name in order]
    return tuple(out)


def _first(table: Table, predictions: Predictions) -> FloatArray:
    """The value that a row's interval is of."""
    out = np.full(len(table), math.nan)
    for name in reversed(table.kind.measured):
        out = np.where(np.isfinite(predictions.values[name]), predictions.values[name], out)
    return out


def _ratio(table: Table, predictions: Predictions) -> FloatArray:
    """Measured over predicted of the value that the interval is of; a rate of a training step tells its time."""
    training = table.kind.name == "training"
    names = TRAINING_TARGETS if training else table.kind.measured
    out, first = np.full(len(table), math.nan), _first(table, predictions)
    for name in reversed(names):
        measured, predicted = table.measured(name), predictions.values[name]
        is_first = predicted == first
        if training and name != names[0]:
            measured, predicted = predicted, measured
            is_first = np.ones(len(table), bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = measured / predicted
        out = np.where(is_first & np.isfinite(found) & (found > 0.0), found, out)
    return out


def _sizes(table: Table, predictions: Predictions, context: Context) -> list[str]:
    """Size of each kernel by its predicted time (cost.size_classes)."""
    kernels, _ = kernels_of(table)
    time = predictions.values["time_us"] * 1e-6
    out = [""] * len(table)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(table.column("device"), table.column("stack"), strict=True)):
        if math.isfinite(time[index]):
            groups[key].append(index)
    for (device, stack), members in groups.items():
        try:
            chip = context.chip(device)
            packed = context.machine(chip, stack_of(stack, chip, context))
        except Skip:
            continue
        rows = np.array(members, dtype=np.intp)
        for index, size in zip(rows, size_classes(kernels.take(rows), packed, time[rows]), strict=True):
            out[index] = _SIZES[SIZES[size]]
    return out
