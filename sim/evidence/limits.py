"""Times that no chip can reach: rows of kernels that were not measured as their columns say."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from ..catalog.chips import Chip
from ..errors import UnknownFigure
from ..lowering.kernels import DTYPE_NAMES
from ..lowering.kinds import KINDS
from .context import Context
from .kernel_rows import kernels_of
from .rules import BoolArray, excluded_by
from .tables import Skip, Table

TOLERANCE = 1.05
CACHES = 2.0  # bytes up to so many times the last-level cache may come from it
RULE = "faster than the chip"


def scored_by(table: Table, context: Context) -> list[str]:
    """`rules.excluded_by`, and for kernels the rule that a chip's data sheet decides [n]."""
    excluded = excluded_by(table)
    if table.kind.verb != "kernels":
        return excluded
    return [rule or RULE * bool(fast) for rule, fast in zip(excluded, faster_than_chip(table, context), strict=True)]


def faster_than_chip(table: Table, context: Context) -> BoolArray:
    """True where a kernel is faster than its chip by more than a twentieth: its FLOPs at the peak rate, or its bytes at the
    memory's where they exceed twice the last-level cache. Which experts a batch meets is drawn, so that no byte of them is
    compulsory; collectives have no peak of a chip [n]."""
    kernels, reason = kernels_of(table)
    time = table.measured("time_us") * 1e-6
    out = np.zeros(len(table), bool)
    flops, moved = kernels.flops(), kernels.bytes()
    drawn = np.array([kind.name == "moe" for kind in KINDS])[kernels.kind]
    collective = np.array([kind.collective for kind in KINDS])[kernels.kind]
    groups: dict[str, list[int]] = defaultdict(list)
    for index, device in enumerate(table.column("device")):
        if not reason[index] and time[index] > 0.0 and not collective[index]:
            groups[device].append(index)
    for device, members in groups.items():
        rows = np.array(members, dtype=np.intp)
        try:
            chip = context.chip(device)
        except Skip:
            continue
        peaks = {name: _peak(chip, DTYPE_NAMES[name]) for name in set(kernels.dtype[rows].tolist())}
        peak = np.array([peaks[name] for name in kernels.dtype[rows]], dtype=np.float64)
        cache = (chip.sram.capacity_bytes if chip.sram else None) or 0.0
        large = ~drawn[rows] & (moved[rows] > CACHES * cache)
        beyond = large & (time[rows] * TOLERANCE < moved[rows] / chip.memory.bandwidth_bytes_per_s)
        out[rows] = beyond | (flops[rows] > TOLERANCE * time[rows] * peak)
    return out


def _peak(chip: Chip, dtype: str) -> float:
    """Peak rate of a format; infinite where the data sheet leaves it out."""
    try:
        return chip.matmul_flops_per_s(dtype)
    except UnknownFigure:
        return math.inf
