"""Memory of a training chip by part, and whether it fits. Needs no Numba."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..lowering.footprint import PLAIN, Footprint, Software, stage_parts, training_footprint
from ..lowering.sharding import Column, Columns

USABLE_SHARE = 0.989
"""What the driver leaves of a chip's memory: PyTorch reports 79.15 GiB of an A100 with 80 GiB, 31.75 of a V100 with 32."""


def footprint(model: Model, plans: Sequence[Plan] | Columns, target: Target, seq_len: float) -> Footprint:
    """What one rank must hold of every plan, as the target's software keeps it."""
    return training_footprint(model, plans, seq_len, _software(target))


def _software(target: Target) -> Software:
    """How the target's stack keeps things."""
    factors = target.stack.factors
    given = {name: value for name in PLAIN._fields if (value := factors.get(name)) is not None}
    return PLAIN._replace(**given)


def held_bytes(memory: Footprint, target: Target) -> Column:
    """Bytes of a chip at its fullest stage, with what the stack adds [n]."""
    fragmentation, framework = _added(memory, target)
    return (memory.total + fragmentation + framework) * target.chip.ranks


def _added(memory: Footprint, target: Target) -> tuple[Column, Column]:
    """(fragmentation, framework) of a rank [n]: a share of all tensors that lies between them where the allocator cannot use it
    (flat copies of weights, gradients and states leave holes as activations do); the context of the driver with its loaded
    kernels, buffers of each communicator, and flat buckets of a distributed optimizer."""
    factors = target.stack.factors
    framework = factors.get("context_bytes", 0.0) + factors.get("communicator_bytes", 0.0) * memory.communicators
    return memory.total * factors.get("fragmentation", 0.0), framework + factors.get(
        "bucket_bytes", 0.0
    ) * memory.sharded


def usable_bytes(target: Target) -> float:
    """Bytes of a chip that programs may use."""
    return target.chip.memory.capacity_bytes * USABLE_SHARE


def fullest_stage(model: Model, plan: Plan, target: Target, seq_len: float) -> int:
    """The pipeline stage that holds most."""
    return int(footprint(model, [plan], target, seq_len).stage[0])


def memory_parts(model: Model, plan: Plan, target: Target, seq_len: float) -> dict[str, float]:
    """Bytes of one chip by part, at its fullest stage: closed forms, and what the stack adds to them."""
    memory = footprint(model, [plan], target, seq_len)
    fragmentation, framework = _added(memory, target)
    parts = {**memory.parts(), "fragmentation": float(fragmentation[0]), "framework": float(framework[0])}
    return {name: value * target.chip.ranks for name, value in parts.items() if value}


def memory_by_stage(model: Model, plan: Plan, target: Target, seq_len: float) -> list[dict[str, float]]:
    """Bytes of one chip by part on each pipeline stage; `memory_parts` has those of the fullest."""
    _, framework = _added(footprint(model, [plan], target, seq_len), target)
    share = target.stack.factors.get("fragmentation", 0.0)
    stages = []
    for parts in stage_parts(model, plan, seq_len, _software(target)):
        whole = {**parts, "fragmentation": share * sum(parts.values()), "framework": float(framework[0])}
        stages.append({name: value * target.chip.ranks for name, value in whole.items() if value})
    return stages


def settled(model: Model, plan: Plan, target: Target, seq_len: float) -> Plan:
    """The plan with recompute = auto replaced by what memory asks for: none, or full for the least share of the layers; where
    all is not enough and the software can (factor `offloads_inputs`), with the layers' inputs in host memory.

    Activations fall in proportion to the share; one layer's are held while it is recomputed.
    """
    if plan.recompute != "auto":
        return plan

    def needed(candidate: Plan) -> float:
        return float(held_bytes(footprint(model, [candidate], target, seq_len), target)[0])

    none, full = plan.with_(recompute="none"), plan.with_(recompute="full")
    usable = usable_bytes(target)
    if needed(none) <= usable:
        return none
    before, after = needed(full.with_(recompute_layers=1e-9)), needed(full)
    if after > usable and plan.offload == "none" and target.stack.factors.get("offloads_inputs"):
        return full.with_(offload="activations")
    share = 1.0 if before <= after else min(1.0, max(0.0, (before - usable) / (before - after)))
    layers = -(-model.layers // plan.pp)
    return full.with_(recompute_layers=min(1.0, -(-share * layers // 1) / layers))
