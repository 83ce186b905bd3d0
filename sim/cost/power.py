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
    with the square root of their use, memory and links with their bytes. May exceed the limit, which holds for means over
    milliseconds (`held_j`).

    rate: peak FLOP/s of the dtype. NaN where the limit is unknown.
    """
    drawn = chip[WAIT_W] + power[MATRIX_PJ] * PJ * chip[PEAK_RATE] * math.sqrt(work[0] / seconds / rate)
    return float(drawn + (power[BYTE_PJ] * work[1] + power[LINK_BYTE_PJ] * work[2]) * PJ / seconds)


def clock_share(drawn_w: FloatArray, chip: FloatArray) -> FloatArray:
    """Clock that keeps a kernel under a power cap, over the clock that it had at the chip's own limit [n]: what is drawn
    above idle goes with its square."""
    spare = chip[LIMIT_W] - chip[IDLE_W]
    share: FloatArray = np.sqrt(spare / np.maximum(np.minimum(drawn_w, chip[TDP_W]) - chip[IDLE_W], spare))
    return share


def held_j(joules: FloatArray, seconds: FloatArray | float, machine: Machine) -> FloatArray:
    """Energy of so many seconds of work [J], whose mean draw the power limit holds."""
    out: FloatArray = np.minimum(joules, seconds * machine.chip_values[LIMIT_W])
    return out


def with_draw(machine: Machine, power: FloatArray) -> Machine:
    """The machine with other parameters of its draw (parameters.POWER)."""
    values = machine.chip_values.copy()
    values[WAIT_W] = min(max(values[IDLE_W], power[WAIT_SHARE] * values[TDP_W]), values[LIMIT_W])
    return machine._replace(power=power, chip_values=values)


def at_clock(machine: Machine, share: float) -> Machine:
    """The machine whose units run at a share of their clock; memory and network keep theirs."""
    values = machine.chip_values.copy()
    for column in (CLOCK_HZ, VECTOR_RATE, EXP_RATE):
        values[column] *= share
    return machine._replace(rates=machine.rates * share, chip_values=values)
