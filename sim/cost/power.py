"""Electrical power of a busy chip, the clock that a power limit leaves, and energy. docs/cost.md section 7."""

from __future__ import annotations

import math

import numpy as np

from ..jit import inline
from .machine import (
    CLOCK_HZ,
    EXP_RATE,
    IDLE_W,
    LIMIT_W,
    PEAK_RATE,
    TDP_W,
    VECTOR_RATE,
    WAIT_W,
    FloatArray,
    Machine,
    Row,
)

WAIT_SHARE, MATRIX_PJ, BYTE_PJ, LINK_BYTE_PJ = range(4)
PJ = 1e-12

Work = tuple[float, float, float]  # FLOP, bytes of memory, bytes sent


@inline
def draw_w(seconds: float, work: Work, rate: float, power: Row, chip: Row) -> float:
    """Draw of a rank at its full clock [W] during a kernel of that length: what it draws while it waits, its matrix units
    with the square root of their use, memory and links with their bytes; never more than the chip's own limit.

    rate: peak FLOP/s of the dtype. NaN where the limit is unknown.
    """
    drawn = chip[WAIT_W] + power[MATRIX_PJ] * PJ * chip[PEAK_RATE] * math.sqrt(work[0] / seconds / rate)
    drawn += (power[BYTE_PJ] * work[1] + power[LINK_BYTE_PJ] * work[2]) * PJ / seconds
    return float(drawn) if drawn < chip[TDP_W] else chip[TDP_W]


def clock_share(drawn_w: FloatArray, chip: FloatArray) -> FloatArray:
    """Clock that keeps a kernel at the limit, over its full clock [n]: what is drawn above idle goes with its square."""
    spare = chip[LIMIT_W] - chip[IDLE_W]
    share: FloatArray = np.sqrt(spare / np.maximum(drawn_w - chip[IDLE_W], spare))
    return share


def at_clock(machine: Machine, share: float) -> Machine:
    """The machine whose units run at a share of their clock; memory and network keep theirs."""
    values = machine.chip_values.copy()
    for column in (CLOCK_HZ, VECTOR_RATE, EXP_RATE):
        values[column] *= share
    return machine._replace(rates=machine.rates * share, chip_values=values)
