"""A training campaign without faults: so many tokens, one step after another."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..catalog.plans import Plan


class Campaign(NamedTuple):
    """Steps of a run, its length, and the tokens of a step."""

    steps: int
    seconds: float
    tokens_per_step: float


def without_faults(plan: Plan, seq_len: int, tokens: float, step_s: float) -> Campaign:
    """A run over `tokens` at `step_s` a step; the last step may be started for a part of its tokens."""
    batch = plan.global_batch or plan.micro_batch * (plan.dp or 1)
    per_step = float(batch * seq_len)
    steps = math.ceil(tokens / per_step)
    return Campaign(steps, steps * step_s, per_step)
