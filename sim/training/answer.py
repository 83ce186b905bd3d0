"""The training part of an answer: figures of the step and of the run, and their words."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..catalog.campaigns import Campaign
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.scenarios import TokenBudget
from ..catalog.targets import Target
from ..errors import InputError
from ..lowering.parameters import parameters
from ..result import BASES, Figure
from ..units import text
from .campaign_figures import campaigns, draws, figures_of, mean_w, median_of, power_over_time, without_faults
from .campaign_setup import setup
from .figures import breakdown, devices_of, step_figures, why
from .pricing import price

INTERVAL_BASIS = "kernel residuals of the calibration, fully correlated within the step"
FEW_MICRO_BATCHES = 4


class Answer(NamedTuple):
    """Figures by name, words, and what the bill needs: seconds of the run, watts of a chip, basis. tables: of a campaign."""

    verdict: str
    figures: dict[str, Figure]
    breakdown: dict[tuple[str, str], float]
    why: str
    warnings: tuple[str, ...]
    seconds: float
    chip_w: float
    basis: str
    tables: dict[str, Any] | None = None


def answer(
    model: Model, plan: Plan, target: Target, demand: TokenBudget, campaign: Campaign | None = None, seed: int = 0
) -> Answer:
    """Price one legal plan (dp and global_batch set), and the run over the budget if it has one; with faults if asked for.

    Raises InputError for faults without a token budget or without failure rates.
    """
    campaign = campaign or Campaign()
    priced = price(model, [plan], target, demand.seq_len)
    figures = step_figures(model, plan, target, demand.seq_len, priced)
    step, basis = figures["step_time"], BASES[int(priced.basis[0])]
    seconds = step.value or 0.0
    chip_w = float(priced.joules[0]) / (step.value or 1.0)
    run, warnings, tables = "", _warnings(plan), None
    if demand.tokens is not None:
        done = without_faults(plan, demand.seq_len, demand.tokens, seconds)
        figures["steps"] = Figure(done.steps, "steps", basis="measured", note="tokens / tokens of a step, rounded up")
        figures["days"] = step.scaled(done.steps / 86400.0, "days")
        seconds = done.seconds
        run = f"{text(demand.tokens, 'tokens')} in {seconds / 86400:,.1f} days; "
        if campaign.faults:
            made = setup(campaign, model, plan, target, (done.steps, step.value or 0.0))
            outcomes = campaigns(made, seed)
            figures.update(figures_of(made, outcomes))
            median, idle_w = median_of(outcomes), _idle_w(target, chip_w)
            run = _with_faults(demand.tokens, figures, done.seconds)
            tables = {"campaigns": draws(outcomes), "power": power_over_time(median, chip_w, idle_w)}
            seconds, chip_w = median.seconds, mean_w(median, chip_w, idle_w)
        elif target.cluster.reliability is not None:
            warnings += ("Days without failures. Add --faults for a campaign with failures, checkpoints and restarts.",)
    elif campaign.faults:
        raise InputError("faults: a campaign needs its length. Give --tokens.")
    parts = breakdown(priced)
    devices = devices_of(plan, target)
    verdict = (
        f"{model.name} ({parameters(model) / 1e9:,.4g}B) on {devices:,} x {target.chip.name}: {run}"
        f"{text(step.value or 0.0, 's')} a step, MFU {figures['mfu'].value:.1%}."
    )
    return Answer(verdict, figures, parts, why(parts), warnings, seconds, chip_w, basis, tables)


def _with_faults(tokens: float, figures: dict[str, Figure], plain_s: float) -> str:
    """The run in words, with what failures do to it."""
    days, share, count = (figures[name] for name in ("days_with_faults", "productive_share", "interruptions"))
    return (
        f"{text(tokens, 'tokens')} in {days.value:,.1f} days ({days.low:,.1f} to {days.high:,.1f}; {plain_s / 86400:,.1f} "
        f"undisturbed), {count.value:,.0f} interruptions, {share.value:.1%} productive; "
    )


def _idle_w(target: Target, busy_w: float) -> float:
    """What a chip draws while the job is down [W]."""
    power = target.chip.power
    return power.idle_w or target.family.idle_share * (power.tdp_w or busy_w)


def _warnings(plan: Plan) -> tuple[str, ...]:
    passes = (plan.global_batch or 1) // (plan.micro_batch * (plan.dp or 1))
    bubble = (plan.pp - 1) / (passes * plan.virtual_stages)
    if plan.schedule == "1f1b" and plan.pp > 1 and passes * plan.virtual_stages < FEW_MICRO_BATCHES * plan.pp:
        return (f"{passes} micro-batches for {plan.pp} pipeline stages leave a bubble of {bubble:.0%} of the work.",)
    return ()
