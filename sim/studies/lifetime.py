"""Size and tokens of a model for the least cost of training plus serving, at equal loss.

Training costs in proportion to 6 N D, serving in proportion to N times the tokens served. Source: Sardana et al., Beyond
Chinchilla-Optimal: Accounting for Inference in Language Model Scaling Laws, arXiv:2401.00448, equation 2.
"""

from __future__ import annotations

from typing import NamedTuple

from ..catalog.claims import ScalingLaw
from ..errors import InputError
from .scaling import FLOPS_PER_PARAMETER_TOKEN, flops_at_loss, least_parameters, optimal_parameters, tokens_at_loss

FLOPS_SERVED = 2.0
"""Of one served token for each parameter: forward alone. Source: arXiv:2001.08361, table 1."""
STEPS = 200


class Rates(NamedTuple):
    """What things cost, in any one unit. training: of one FLOP of 6 N D. serving: of one served token for each parameter."""

    training: float
    serving: float


class Life(NamedTuple):
    """A model over its life: its size, its training tokens, and what both halves cost in the unit of the rates."""

    parameters: float
    tokens: float
    training: float
    serving: float

    @property
    def total(self) -> float:
        return self.training + self.serving


def life(law: ScalingLaw, target: float, parameters: float, served: float, rates: Rates) -> Life:
    """A model of a given size trained until it has the loss `target`. Raises InputError for one too small to reach it."""
    tokens = tokens_at_loss(law, parameters, target)
    training = rates.training * FLOPS_PER_PARAMETER_TOKEN * parameters * tokens
    return Life(parameters, tokens, training, rates.serving * parameters * served)


def cheapest(law: ScalingLaw, target: float, served: float, rates: Rates) -> Life:
    """The size with the least total for `served` tokens: by bisection of the slope of the total, which rises with the size below
    the compute-optimal one; without demand that one, in closed form.

    Raises InputError for a negative demand, rates that are not positive, a loss out of reach.
    """
    if served < 0.0:
        raise InputError(f"served = {served:g} tokens is negative. Give 0 or more.")
    if rates.training <= 0.0 or rates.serving <= 0.0:
        raise InputError(f"rates = {rates.training:g} and {rates.serving:g} are not both positive. Give positive ones.")
    high = optimal_parameters(law, flops_at_loss(law, target))
    if served == 0.0:
        return life(law, target, high, served, rates)
    low = least_parameters(law, target)
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if _slope(law, target, middle, served, rates) < 0.0:
            low = middle
        else:
            high = middle
    return life(law, target, high, served, rates)


def _slope(law: ScalingLaw, target: float, parameters: float, served: float, rates: Rates) -> float:
    """Sign of d total / d parameters."""
    by_size = law.a / parameters**law.alpha
    left = target - law.e - by_size
    if left <= 0.0:
        return -1.0
    tokens = (law.b / left) ** (1.0 / law.beta)
    of_training = FLOPS_PER_PARAMETER_TOKEN * rates.training * tokens * (1.0 - law.alpha * by_size / (law.beta * left))
    return float(of_training + rates.serving * served)
