"""Memory of a serving chip by part. Needs no Numba."""

from __future__ import annotations

import math

from ..catalog.models import Model
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target
from ..lowering.footprint import serving_footprint
from .drafter import drafting, held_beside
from .settings import of_replica, resolved


def memory_parts(
    model: Model, plan: Plan, target: Target, engine: Engine, draft_model: Model | None = None
) -> dict[str, float]:
    """Bytes of one chip by part. What the engine may use beside weights, workspace and states is the KV cache; the rest of
    the chip stays free. A plan that leaves no room for KV sums to more than the chip has."""
    settings = of_replica(resolved(engine, target), engine, plan.attention_dp * plan.pp)
    ranks = target.chip.ranks
    held = serving_footprint(model, [plan], float(settings.max_batched_tokens or 1) / plan.pp)
    capacity = target.chip.memory.capacity_bytes
    states = float(held.state[0]) * -(-(settings.max_num_seqs or 1) // plan.attention_dp)
    fixed = {"weights": float(held.weights[0]), "workspace": float(held.workspace[0]), "states": states}
    cached = float(held.kv_per_token[0])
    drafter = drafting(model, plan, settings, draft_model)
    if drafter is not None:
        fixed["draft"], per_token = held_beside(model, drafter)
        cached += per_token
    parts = {name: value * ranks for name, value in fixed.items() if value}
    free = (1.0 - (settings.kv_fraction or 0.0)) * capacity
    pool = max(capacity - free - math.fsum(parts.values()), cached * ranks * settings.kv_block)
    return {**parts, "kv_cache" if cached else "unused": pool, "free": free}
