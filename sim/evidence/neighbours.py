"""Interpolation of a measured table: what a lookup of the nearest measured shapes would answer. The model must beat it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .rules import BoolArray
from .splits import Labels
from .tables import FloatArray, Table

NEAREST = 4
_NAMES = ("dtype", "kv_dtype", "op", "routing")  # two rows that differ here are never neighbours
Indices = NDArray[np.intp]


def interpolated(table: Table, labels: Labels, usable: BoolArray) -> FloatArray:
    """Time of each labelled row by its nearest usable neighbours of another label, NaN where there is none [n].

    The mean of log time of the four nearest by the distance of log sizes, weighted by its inverse square. Neighbours are of
    the same device and stack where such are left, else of the same stack, else of the same device.
    """
    measured = table.measured("time_us")
    sizes = [n for n in table.kind.needs if n not in (*_NAMES, "device")]
    at = np.log(np.stack([table.numbers(name) for name in sizes], axis=1))
    devices, stacks = (np.array(table.column(name), dtype=object) for name in ("device", "stack"))
    out = np.full(len(table), math.nan)
    for rows, label, device, stack in _queries(table, labels, devices, stacks):
        queries = rows[(labels[rows] == label) & (devices[rows] == device) & (stacks[rows] == stack)]
        seen = rows[(labels[rows] != label) & usable[rows]]
        alike, same = stacks[seen] == stack, devices[seen] == device
        chosen = next((seen[mask] for mask in (alike & same, alike, same) if mask.any()), seen)
        if chosen.size:
            out[queries] = np.exp(_mean_of_nearest(at[queries], at[chosen], np.log(measured[chosen])))
    return out


def _queries(table: Table, labels: Labels, devices: Labels, stacks: Labels) -> Iterator[tuple[Indices, str, str, str]]:
    """(rows that may be neighbours, label, device, stack) of every set of rows that is answered alike."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(*(table.column(name) for name in _NAMES), strict=True)):
        groups[key].append(index)
    for members in groups.values():
        rows = np.array(members, dtype=np.intp)
        for label, device, stack in sorted({(labels[i], devices[i], stacks[i]) for i in members if labels[i]}):
            yield rows, label, device, stack


def _mean_of_nearest(queries: FloatArray, points: FloatArray, values: FloatArray) -> FloatArray:
    squares = (queries**2).sum(axis=1)[:, None] + (points**2).sum(axis=1)[None, :] - 2.0 * queries @ points.T
    count = min(NEAREST, len(points))
    nearest = np.argpartition(squares, count - 1, axis=1)[:, :count]
    weights = 1.0 / (np.maximum(np.take_along_axis(squares, nearest, axis=1), 0.0) + 1e-6)
    out: FloatArray = (weights * values[nearest]).sum(axis=1) / weights.sum(axis=1)
    return out
