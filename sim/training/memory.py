"""Memory of a training chip by part. Needs no Numba."""

from __future__ import annotations

from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..lowering.footprint import training_footprint

FRAMEWORK_FACTOR, FRAGMENTATION_FACTOR = "framework_bytes", "fragmentation"


def memory_parts(model: Model, plan: Plan, target: Target, seq_len: float) -> dict[str, float]:
    """Bytes of one chip by part, at its fullest stage: closed forms, and what the stack adds to them."""
    parts = training_footprint(model, [plan], seq_len).parts()
    factors, ranks = target.stack.factors, target.chip.ranks
    fragmentation = sum(parts.values()) * (factors.get(FRAGMENTATION_FACTOR, 1.0) - 1.0)
    extra = {"fragmentation": fragmentation, "framework": factors.get(FRAMEWORK_FACTOR, 0.0)}
    return {name: value * ranks for name, value in {**parts, **extra}.items() if value}


def settled(model: Model, plan: Plan, target: Target, seq_len: float) -> Plan:
    """The plan with recompute = auto replaced by what memory asks for: none, or full for the least share of the layers.

    Activations fall in proportion to the share; one layer's are held while it is recomputed.
    """
    if plan.recompute != "auto":
        return plan
    none = plan.with_(recompute="none")
    spare = target.chip.memory.capacity_bytes - sum(memory_parts(model, none, target, seq_len).values())
    if spare >= 0:
        return none
    nothing = memory_parts(model, plan.with_(recompute="full", recompute_layers=0.0), target, seq_len)
    everything = memory_parts(model, plan.with_(recompute="full"), target, seq_len)
    before, after = sum(nothing.values()), sum(everything.values())
    capacity = target.chip.memory.capacity_bytes
    share = 1.0 if before <= after else min(1.0, max(0.0, (before - capacity) / (before - after)))
    layers = -(-model.layers // plan.pp)
    return plan.with_(recompute="full", recompute_layers=min(1.0, -(-share * layers // 1) / layers))
