"""Campaigns drawn again and again -> figures with percentiles; and the campaign without faults in closed form."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..catalog.plans import Plan
from ..result import Figure
from .campaign import DOWN, Outcome, run
from .campaign_setup import Setup

PERCENTILES = (10.0, 50.0, 90.0)
DAY_S = 86400.0


class PlainRun(NamedTuple):
    """Steps of a run, its length, and the tokens of a step."""

    steps: int
    seconds: float
    tokens_per_step: float


def without_faults(plan: Plan, seq_len: int, tokens: float, step_s: float) -> PlainRun:
    """A run over `tokens` at `step_s` a step; the last step may be started for a part of its tokens."""
    batch = plan.global_batch or plan.micro_batch * (plan.dp or 1)
    per_step = float(batch * seq_len)
    steps = math.ceil(tokens / per_step)
    return PlainRun(steps, steps * step_s, per_step)


def campaigns(setup: Setup, seed: int = 0) -> tuple[Outcome, ...]:
    """As many campaigns as the options ask for, each from streams of its own."""
    return tuple(run(setup, seed, draw) for draw in range(setup.options.seeds))


def figures_of(setup: Setup, outcomes: tuple[Outcome, ...]) -> dict[str, Figure]:
    """Figures of the campaigns: the median, between the 10th and the 90th percentile of the draws."""
    note = f"median of {len(outcomes)} campaigns; low and high: 10th and 90th percentile of chance alone"

    def spread(values: list[float], unit: str, more: str = "") -> Figure:
        low, middle, high = (float(each) for each in np.percentile(values, PERCENTILES))
        return Figure(middle, unit, low, high, "extrapolated", f"{note}{more}")

    found = {
        "days_with_faults": spread([each.seconds / DAY_S for each in outcomes], "days"),
        "productive_share": spread([each.productive_share for each in outcomes], "fraction"),
        "interruptions": spread([float(each.interrupted) for each in outcomes], "interruptions"),
        "mtbf": Figure(
            _mtbf_h(outcomes), "h", basis="extrapolated", note="time on the wall / interruptions, all campaigns"
        ),
        "checkpoint_interval": Figure(setup.interval_s, "s", basis="extrapolated", note="training between checkpoints"),
        "checkpoint_write": Figure(setup.write_s, "s", basis="extrapolated", note="of one checkpoint to storage"),
    }
    total_s = math.fsum(each.seconds for each in outcomes)
    for cause in sorted({cause for each in outcomes for cause in each.lost_s}):
        lost_s = math.fsum(each.lost_s.get(cause, 0.0) for each in outcomes)
        if lost_s > 0:
            found[f"lost_to_{cause.replace(' ', '_')}"] = Figure(
                lost_s / total_s, "fraction", basis="extrapolated", note=f"of the time: {cause}"
            )
    return found


def _mtbf_h(outcomes: tuple[Outcome, ...]) -> float | None:
    count = sum(each.interrupted for each in outcomes)
    return math.fsum(each.seconds for each in outcomes) / count / 3600.0 if count else None


def median_of(outcomes: tuple[Outcome, ...]) -> Outcome:
    """The campaign of median length."""
    return sorted(outcomes, key=lambda each: each.seconds)[len(outcomes) // 2]


def mean_w(outcome: Outcome, busy_w: float, idle_w: float) -> float:
    """Mean power over a campaign [W]: while it is down, chips idle."""
    return idle_w + (busy_w - idle_w) * outcome.busy_s / outcome.seconds


def power_over_time(outcome: Outcome, busy_w: float, idle_w: float) -> dict[str, Any]:
    """Power and energy at each change of state: time_s, power_w from then on, energy_j until then; the last row is the end."""
    times = np.array([time for time, _ in outcome.states] + [outcome.seconds])
    watts = np.array([idle_w if state == DOWN else busy_w for _, state in outcome.states])
    energy = np.concatenate([[0.0], np.cumsum(watts * np.diff(times))])
    return {"time_s": times, "power_w": np.append(watts, watts[-1]), "energy_j": energy}


def draws(outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    """One row a campaign, for a file."""
    return {
        "draw": np.arange(len(outcomes)),
        "days": np.array([each.seconds / DAY_S for each in outcomes]),
        "productive_share": np.array([each.productive_share for each in outcomes]),
        "interruptions": np.array([each.interrupted for each in outcomes]),
    }
