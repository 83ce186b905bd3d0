"""Scaling laws: loss by size and tokens; the size that a compute budget wants. Source: arXiv:2203.15556, section 3.3."""

from __future__ import annotations

from ..catalog.claims import ScalingLaw
from ..errors import InputError

FLOPS_PER_PARAMETER_TOKEN = 6.0
"""Of training, forward and backward. Source: Kaplan et al., Scaling Laws for Neural Language Models, arXiv:2001.08361, table 1."""


def loss(law: ScalingLaw, parameters: float, tokens: float) -> float:
    """Loss [nats a token] of a dense model after training."""
    return float(law.e + law.a / parameters**law.alpha + law.b / tokens**law.beta)


def optimal_parameters(law: ScalingLaw, flops: float) -> float:
    """The size that reaches the least loss for a training budget [FLOP]: G (C/6)^(beta / (alpha + beta))."""
    share = law.alpha + law.beta
    g = (law.alpha * law.a / (law.beta * law.b)) ** (1.0 / share)
    return float(g * (flops / FLOPS_PER_PARAMETER_TOKEN) ** (law.beta / share))


def optimal_tokens(law: ScalingLaw, flops: float) -> float:
    """The tokens that go with `optimal_parameters`."""
    return flops / FLOPS_PER_PARAMETER_TOKEN / optimal_parameters(law, flops)


def tokens_at_loss(law: ScalingLaw, parameters: float, target: float) -> float:
    """Tokens after which a model of this size reaches a loss. Raises InputError where it never does."""
    left = target - law.e - law.a / parameters**law.alpha
    if left <= 0.0:
        raise InputError(
            f"a model of {parameters:.3g} parameters never reaches a loss of {target:.4g}. Use a larger one."
        )
    return float((law.b / left) ** (1.0 / law.beta))


def least_parameters(law: ScalingLaw, target: float) -> float:
    """The size below which a loss is out of reach, whatever the tokens. Raises InputError for a loss under the floor."""
    if target <= law.e:
        raise InputError(f"loss = {target:.4g} lies under the floor {law.e:g} of the law {law.id}. Ask for more.")
    return float((law.a / (target - law.e)) ** (1.0 / law.alpha))


def flops_at_loss(law: ScalingLaw, target: float) -> float:
    """The least training budget [FLOP] that reaches a loss, in closed form: where alpha A / N^alpha = beta B / D^beta."""
    for_size = (target - law.e) * law.beta / (law.alpha + law.beta)
    if for_size <= 0.0:
        raise InputError(f"loss = {target:.4g} lies under the floor {law.e:g} of the law {law.id}. Ask for more.")
    parameters = (law.a / for_size) ** (1.0 / law.alpha)
    return float(FLOPS_PER_PARAMETER_TOKEN * parameters * tokens_at_loss(law, parameters, target))
