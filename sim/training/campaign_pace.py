"""Training between two events: work, pauses for checkpoints and what is safe, in closed form, so that weeks are one leap."""

from __future__ import annotations

import math
from typing import NamedTuple


class Pace(NamedTuple):
    """Work a second (1 = undisturbed), work between checkpoints, the stop for each, and until one is safe [s]."""

    rate: float
    interval_s: float
    pause_s: float
    safe_s: float


class Leap(NamedTuple):
    """Work done [s of undisturbed training], time in pauses, and of the checkpoints begun: work at the last one that is safe,
    at the last one begun, and the time from the start of the leap until that is safe; None where there is none."""

    work: float
    paused_s: float
    safe: float | None
    begun: float | None
    safe_after_s: float


def seconds_for(pace: Pace, since: float, work: float) -> float:
    """Time of so much work when `since` was done after the last checkpoint; a checkpoint due at its very end is left out."""
    first = pace.interval_s - since
    stops = 0 if work <= first else math.ceil((work - first) / pace.interval_s)
    return work / pace.rate + stops * pace.pause_s


def leap(pace: Pace, since: float, elapsed_s: float) -> Leap:
    """What `elapsed_s` of training did."""
    first = pace.interval_s - since
    first_s = first / pace.rate
    if elapsed_s <= first_s:
        return Leap(elapsed_s * pace.rate, 0.0, None, None, 0.0)
    cycle_s = pace.pause_s + pace.interval_s / pace.rate
    last = math.floor((elapsed_s - first_s) / cycle_s)  # checkpoints begun before the last one
    inside_s = elapsed_s - first_s - last * cycle_s
    paused_s = last * pace.pause_s + min(inside_s, pace.pause_s)
    work = first + last * pace.interval_s + max(0.0, inside_s - pace.pause_s) * pace.rate
    safe = math.floor((elapsed_s - first_s - pace.safe_s) / cycle_s)
    return Leap(
        work,
        paused_s,
        first + safe * pace.interval_s if safe >= 0 else None,
        first + last * pace.interval_s,
        first_s + last * cycle_s + pace.safe_s,
    )
