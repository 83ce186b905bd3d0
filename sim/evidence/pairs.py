"""Pairs of runs that are equal in all but the device, or in all but the layout: what a change of either was worth.

The ratio of a pair is the second row's figure over the first one's. Times are TTFT and TPOT; a rate is output tokens a second
and chip. Beside a predicted ratio stand two that need no simulator: no change, and what memory bandwidth alone says.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from .choices import chips_of, rate_per_chip
from .context import Context
from .rules import TRAINING_TARGETS
from .tables import FloatArray, Skip, Table

METRICS = ("tpot", "ttft", "tokens per s per chip")  # of serving
TRAINED = "device time a token"  # of training
DEVICE, VERSION, LAYOUT = "device", "device and version of the engine", "layout"
CONTRASTS = (DEVICE, LAYOUT, VERSION)
_DEGREES = ("num_workers", "batch_size", "tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
_LAYOUT = tuple(f"{side}{name}" for side in ("", "prefill_", "decode_") for name in _DEGREES)
_VARIES = {DEVICE: ("device",), VERSION: ("device", "engine_version"), LAYOUT: _LAYOUT}
# of training: what both runs of a pair share (sources count and run alike), and what makes a layout
_SAME_RUN = ("source", "model", "layers", "hidden", "seq_len", "global_batch", "precision", "num_devices")
TRAINING_LAYOUT = ("TP", "PP", "VPP", "DP", "CP", "EP", "micro_batch", "sharding", "sequence_parallel", "recompute")
_NOT_COMPARED = ("source", "licence", "notes", "ttft_ms", "tpot_ms")


class Pair(NamedTuple):
    """Two rows of a table and what differs between them; of devices, `second` (the later name) is the one that is asked about."""

    contrast: str
    first: int
    second: int


def pairs(table: Table, excluded: Sequence[str]) -> list[Pair]:
    """Every pair of rows that count, by contrast, in the order of the rows. A blank degree is a degree of 1."""
    columns = {name: _plain(table, name) for name in table.header if name not in _NOT_COMPARED}
    rows = [i for i in range(len(table)) if not excluded[i] and table.measured("tpot_ms")[i] > 0]
    found = []
    for contrast, varies in _VARIES.items():
        same = [column for name, column in columns.items() if name not in varies]
        differs = [columns[name] for name in varies if name in columns]
        if contrast == VERSION:
            differs = [column for name, column in columns.items() if name in varies]
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index in rows:
            groups[tuple(column[index] for column in same)].append(index)
        for group in groups.values():
            ordered = group if contrast == LAYOUT else sorted(group, key=lambda i: columns["device"][i])
            for first, second in combinations(ordered, 2):
                apart = [column[first] != column[second] for column in differs]
                if any(apart) if contrast == LAYOUT else all(apart):
                    found.append(Pair(contrast, first, second))
    return found


def training_pairs(table: Table, excluded: Sequence[str]) -> list[Pair]:
    """Every pair of training runs that count: of equal device and another layout, or of equal layout and another device."""
    counted = np.any([table.measured(name) > 0 for name in TRAINING_TARGETS], axis=0)
    rows = [i for i in range(len(table)) if not excluded[i] and counted[i]]
    device, layout = table.column("device"), list(zip(*map(table.column, TRAINING_LAYOUT), strict=True))
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(*map(table.column, _SAME_RUN), strict=True)):
        groups[key].append(index)
    found = []
    for group in groups.values():
        for one, other in combinations(sorted(set(group) & set(rows), key=lambda i: (device[i], i)), 2):
            if (device[one] == device[other]) != (layout[one] == layout[other]):
                found.append(Pair(LAYOUT if device[one] == device[other] else DEVICE, one, other))
    return found


def _plain(table: Table, name: str) -> list[str]:
    column = table.column(name)
    return [text if text not in ("", "0", "0.0", "1.0") else "1" for text in column] if name in _LAYOUT else column


def figures(table: Table, ttft_ms: FloatArray, tpot_ms: FloatArray) -> dict[str, FloatArray]:
    """Each of METRICS of every row, from its times [ms]."""
    values = (tpot_ms, ttft_ms, rate_per_chip(table, ttft_ms, tpot_ms))
    return dict(zip(METRICS, values, strict=True))


def log_ratios(found: Sequence[Pair], first: FloatArray, second: FloatArray) -> FloatArray:
    """ln(second / first) of each pair; first, second: a figure of every row, as it stands for either end [n] -> [pairs]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = second[[pair.second for pair in found]] / first[[pair.first for pair in found]]
        return np.where(ratio > 0.0, np.log(ratio), math.nan)


def bandwidth_ratios(table: Table, found: Sequence[Pair], metric: str, context: Context) -> FloatArray:
    """ln of the ratio that memory bandwidth alone says: times go as one over that of all chips, rates as that of one chip."""
    bandwidth = np.array([_bandwidth(label, context) for label in table.column("device")])
    whole = bandwidth * chips_of(table)
    return log_ratios(found, bandwidth, bandwidth) if metric == METRICS[2] else -log_ratios(found, whole, whole)


def _bandwidth(label: str, context: Context) -> float:
    try:
        return float(context.chip(label).memory.bandwidth_bytes_per_s or math.nan)
    except Skip:
        return math.nan


def off(log_error: FloatArray) -> FloatArray:
    """A distance of logs as a share: a ratio that is 1.1 times too large or too small is 10% off."""
    return np.expm1(np.abs(log_error))
