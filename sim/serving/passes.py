"""The mean prefill and decode pass of a run: its interval, basis and draw stand for all passes of its phase."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import cost
from ..lowering.passes import units
from ..lowering.sharding import Step
from ..result import weakest
from . import state as at
from .run import Served
from .settings import as_served
from .setup import Setup


class MeanPass(NamedTuple):
    """low, high: factors on its time; basis: the weakest that matters; rank_w: mean draw of a rank [W], NaN if unknown."""

    low: float
    high: float
    basis: str
    rank_w: float


def mean_passes(setup: Setup, served: Served, pool: int, machine: cost.Machine) -> dict[str, MeanPass]:
    """Of one pool, by phase: its interval, basis and draw."""
    return {phase: mean_pass(setup, step, machine) for phase, step in mean_steps(setup, served, pool).items()}


def mean_steps(setup: Setup, served: Served, pool: int) -> dict[str, Step]:
    """Of one pool, by phase: a pass of the mean prompt, and of the mean decode batch over the mean context."""
    done = served.finished
    prompt = float(served.input_tokens[done].mean()) if done.any() else 1.0
    made = float(served.output_tokens[done].mean()) if done.any() else 1.0
    decoded, steps = served.counters[served.pool == pool][:, [at.DECODED, at.DECODE_STEPS]].sum(axis=0).tolist()
    return steps_of(setup, (prompt, made), (decoded, steps))


def steps_of(setup: Setup, tokens: tuple[float, float], decodes: tuple[float, float]) -> dict[str, Step]:
    """Mean passes by phase. tokens: mean in and out of a request; decodes: tokens decoded, in so many steps."""
    (prompt, made), (decoded, steps) = tokens, decodes
    passes = {"prefill": Step("prefill", 1.0, prompt, prompt)}
    if decoded:
        asked = setup.engine.speculative
        query = 1.0 + (asked.tokens if asked else 0)
        passes["decode"] = Step("decode", max(1.0, decoded / steps), query, prompt + made / 2.0)
    return passes


def mean_pass(setup: Setup, step: Step, machine: cost.Machine) -> MeanPass:
    model = setup.model
    rows = units(model, [as_served(setup.plan, model, setup.target.chip)], step)
    layers = np.array([float(block.layers) for block in model.blocks])
    times = np.where(rows.site >= 0, layers[np.maximum(rows.site, 0)], 1.0) * rows.count
    alone = cost.seconds(rows, machine)
    spent = alone * times
    low, high = cost.interval(rows, machine, alone)
    total = max(float(spent.sum()), 1e-30)
    names = [cost.BASES[index] for index in cost.basis(rows, machine).tolist()]
    joules = cost.held_j((cost.joules(rows, machine, alone) * times).sum(), spent.sum(), machine)
    return MeanPass(
        low=float((low * times).sum()) / total,
        high=float((high * times).sum()) / total,
        basis=weakest(_by_basis(names, spent.tolist())),
        rank_w=float(joules) / total,
    )


def _by_basis(names: list[str], seconds: list[float]) -> list[tuple[float, str]]:
    sums: dict[str, float] = {}
    for name, value in zip(names, seconds, strict=True):
        sums[name] = sums.get(name, 0.0) + value
    return [(value, name) for name, value in sums.items()]
