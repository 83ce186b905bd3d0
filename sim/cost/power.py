"""Electrical power of a busy chip and energy of a kernel. docs/cost.md section 7."""

from __future__ import annotations

from ..jit import inline
from .machine import BYTES_PER_S, FULL_W, IDLE_W, MEMORY_RATE, TDP_W

FLOP_SHARE, BYTE_SHARE, LINK_SHARE, BUSY_SHARE = range(4)


@inline
def power_w(flops_per_s, bytes_per_s, sent_per_s, rate, power, chip, levels):
    """Draw of a rank [W] at these rates: idle, plus shares of the full-speed draw above idle, capped at the limit.

    rate: peak FLOP/s of the dtype. NaN where the chip's limit is unknown.
    """
    dynamic = chip[FULL_W] - chip[IDLE_W]
    busy = power[BUSY_SHARE] + power[FLOP_SHARE] * flops_per_s / rate + power[BYTE_SHARE] * bytes_per_s / chip[MEMORY_RATE]
    busy += power[LINK_SHARE] * sent_per_s / levels[0, BYTES_PER_S]
    drawn = chip[IDLE_W] + dynamic * busy
    return drawn if drawn < chip[TDP_W] else chip[TDP_W]


@inline
def kernel_j(seconds, flops, moved, sent, rate, power, chip, levels):
    """Energy of a kernel of that length [J]; at least idle power times time."""
    if seconds <= 0.0:
        return 0.0
    return seconds * power_w(flops / seconds, moved / seconds, sent / seconds, rate, power, chip, levels)
