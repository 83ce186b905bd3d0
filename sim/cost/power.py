"""Electrical power of a busy chip and energy of a kernel. docs/cost.md section 7."""

from __future__ import annotations

from ..jit import inline
from .machine import BYTES_PER_S, FULL_W, IDLE_W, MEMORY_RATE, TDP_W, FloatArray, Row

FLOP_SHARE, BYTE_SHARE, LINK_SHARE, BUSY_SHARE = range(4)


Work = tuple[float, float, float]  # FLOP, bytes of memory, bytes sent


@inline
def power_w(speeds: Work, rate: float, power: Row, chip: Row, levels: FloatArray) -> float:
    """Draw of a rank [W]: idle, plus shares of the full-speed draw above idle, capped at the limit.

    speeds: FLOP/s, bytes/s of memory, bytes/s sent. rate: peak FLOP/s of the dtype. NaN where the limit is unknown.
    """
    busy = power[BUSY_SHARE] + power[FLOP_SHARE] * speeds[0] / rate + power[BYTE_SHARE] * speeds[1] / chip[MEMORY_RATE]
    busy += power[LINK_SHARE] * speeds[2] / levels[0, BYTES_PER_S]
    drawn = chip[IDLE_W] + (chip[FULL_W] - chip[IDLE_W]) * busy
    return float(drawn) if drawn < chip[TDP_W] else chip[TDP_W]


@inline
def kernel_j(seconds: float, work: Work, rate: float, power: Row, chip: Row, levels: FloatArray) -> float:
    """Energy of a kernel of that length [J]; at least idle power times time."""
    if seconds <= 0.0:
        return 0.0
    speeds = (work[0] / seconds, work[1] / seconds, work[2] / seconds)
    return seconds * power_w(speeds, rate, power, chip, levels)
