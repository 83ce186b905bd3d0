"""The training part of an answer: figures of the step and of the run, and their words."""

from __future__ import annotations

from typing import NamedTuple

from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.scenarios import TokenBudget
from ..catalog.targets import Target
from ..lowering.parameters import parameters
from ..result import BASES, Figure
from ..units import text
from .campaign import without_faults
from .figures import breakdown, devices_of, step_figures, why
from .pricing import price

INTERVAL_BASIS = "kernel residuals of the calibration, fully correlated within the step"
FEW_MICRO_BATCHES = 4


class Answer(NamedTuple):
    """Figures by name, words, and what the bill needs: seconds of the run, watts of a chip, basis."""

    verdict: str
    figures: dict[str, Figure]
    breakdown: dict[tuple[str, str], float]
    why: str
    warnings: tuple[str, ...]
    seconds: float
    chip_w: float
    basis: str


def answer(model: Model, plan: Plan, target: Target, demand: TokenBudget) -> Answer:
    """Price one legal plan (dp and global_batch set), and the run over the budget if it has one."""
    priced = price(model, [plan], target, demand.seq_len)
    figures = step_figures(model, plan, target, demand.seq_len, priced)
    step, basis = figures["step_time"], BASES[int(priced.basis[0])]
    seconds = step.value or 0.0
    run = ""
    if demand.tokens is not None:
        done = without_faults(plan, demand.seq_len, demand.tokens, seconds)
        figures["steps"] = Figure(done.steps, "steps", basis="measured", note="tokens / tokens of a step, rounded up")
        figures["days"] = step.scaled(done.steps / 86400.0, "days")
        seconds = done.seconds
        run = f"{text(demand.tokens, 'tokens')} in {seconds / 86400:,.1f} days; "
    parts = breakdown(priced)
    devices = devices_of(plan, target)
    verdict = (
        f"{model.name} ({parameters(model) / 1e9:,.4g}B) on {devices:,} x {target.chip.name}: {run}"
        f"{text(step.value or 0.0, 's')} a step, MFU {figures['mfu'].value:.1%}."
    )
    chip_w = float(priced.joules[0]) / (step.value or 1.0)
    return Answer(verdict, figures, parts, why(parts), _warnings(plan), seconds, chip_w, basis)


def _warnings(plan: Plan) -> tuple[str, ...]:
    passes = (plan.global_batch or 1) // (plan.micro_batch * (plan.dp or 1))
    if plan.pp > 1 and passes < FEW_MICRO_BATCHES * plan.pp:
        return (
            f"{passes} micro-batches for {plan.pp} pipeline stages leave a bubble of {(plan.pp - 1) / passes:.0%} of the work.",
        )
    return ()
