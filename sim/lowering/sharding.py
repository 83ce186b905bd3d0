"""Plans as columns: one array entry a plan, so that a batch of plans is lowered by the same code as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Model
from ..catalog.plans import Plan
from .kernels import DTYPE_IDS

Column = NDArray[np.float64]
Ids = NDArray[np.int16]
RECOMPUTE = {"auto": 0, "none": 0, "selective": 1, "full": 2}
SHARDING = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3}


class Step(NamedTuple):
    """One pass. phase: train | prefill | decode; sequences (a micro-batch, or a serving replica's batch), new tokens of
    each, and tokens that each attends to (its new ones included). skew: exponent of the power law of expert loads."""

    phase: str
    sequences: float
    query_tokens: float
    kv_tokens: float
    skew: float = 0.0


@dataclass(frozen=True)
class Columns:
    """n plans; float64[n] each. `t` tokens of a rank a pass, `sequence` those tokens under sequence parallelism."""

    n: int
    training: bool
    tp: Column
    pp: Column
    dp: Column
    cp: Column
    ep: Column
    expert_tp: Column
    attention_dp: Column
    micro_batch: Column
    virtual_stages: Column
    shard: Column
    sequence_parallel: NDArray[np.bool_]
    flash: NDArray[np.bool_]
    recompute: NDArray[np.int16]
    recompute_share: Column
    sharding: NDArray[np.int16]
    offload: NDArray[np.bool_]
    global_batch: Column
    lora_rank: Column
    frozen: NDArray[np.bool_]
    linear: Ids
    linear_in: Ids
    attention: Ids
    attention_in: Ids
    experts: Ids
    experts_in: Ids
    kv: Ids
    gradient_bytes: Column
    optimizer_bytes: Column
    parameter_bytes: Column

    @property
    def micro_batches(self) -> Column:
        """Pipeline passes of one replica in an optimizer step."""
        return np.maximum(1.0, self.global_batch / (self.dp * self.micro_batch))

    def stride(self, degree: str) -> Column:
        """Distance in rank order between neighbours of a group; tp is innermost, then cp, dp, pp."""
        inner = {"tp": 1.0, "cp": self.tp, "dp": self.tp * self.cp, "pp": self.tp * self.cp * self.dp}
        return np.broadcast_to(np.asarray(inner[degree], dtype=np.float64), (self.n,)).copy()


def columns(model: Model, plans: Sequence[Plan], training: bool) -> Columns:
    """Plans as columns. `dp` must be set where it matters; null counts as 1."""

    def number(values: Iterable[float]) -> Column:
        return np.fromiter(values, dtype=np.float64)

    tp, ep = number([p.tp for p in plans]), number([p.ep for p in plans])
    dp, cp = number([p.dp or 1 for p in plans]), number([p.cp for p in plans])
    attention_dp = number([p.attention_dp for p in plans])
    left = np.where(ep > 1, 1.0, tp) if training else np.maximum(1.0, tp * attention_dp / ep)
    expert_tp = np.where([p.expert_tp is None for p in plans], left, number([p.expert_tp or 1 for p in plans]))
    formats = [_formats(model, plan, training) for plan in plans]

    def ids(index: int) -> Ids:
        return np.array([DTYPE_IDS[f[index]] for f in formats], dtype=np.int16)

    stored_bytes = number(
        [2.0 if training and p.trainable == "all" else _BYTES[f[0]] for p, f in zip(plans, formats, strict=True)]
    )
    state = number([{"fp32": 8.0, "bf16": 4.0, "fp8": 2.0, "int8": 2.0}[p.dtypes.optimizer] for p in plans])
    momentum = np.where([p.optimizer == "adam" for p in plans], 1.0, 0.5)
    return Columns(
        n=len(plans),
        training=training,
        tp=tp,
        pp=number([p.pp for p in plans]),
        dp=dp,
        cp=cp,
        ep=ep,
        expert_tp=expert_tp,
        attention_dp=attention_dp,
        micro_batch=number([p.micro_batch for p in plans]),
        virtual_stages=number([p.virtual_stages for p in plans]),
        shard=np.minimum(number([p.shard_degree or 1e18 for p in plans]), dp * cp),
        sequence_parallel=np.array([p.sequence_parallel and p.tp > 1 for p in plans]),
        flash=np.array([p.flash_attention for p in plans]),
        recompute=np.array([RECOMPUTE[p.recompute] for p in plans], dtype=np.int16),
        recompute_share=number([p.recompute_layers for p in plans]),
        sharding=np.array([SHARDING[p.sharding] for p in plans], dtype=np.int16),
        offload=np.array([p.offload == "optimizer" for p in plans]),
        global_batch=number([p.global_batch or p.micro_batch * (p.dp or 1) for p in plans]),
        lora_rank=number([p.lora_rank for p in plans]),
        frozen=np.array([p.trainable == "lora" for p in plans]),
        linear=ids(0),
        linear_in=ids(1),
        attention=ids(2),
        attention_in=ids(3),
        experts=ids(4),
        experts_in=ids(5),
        kv=ids(6),
        gradient_bytes=number([4.0 if p.dtypes.gradients == "fp32" else 2.0 for p in plans]),
        optimizer_bytes=state * momentum + 4.0,  # moments and the fp32 master copy
        parameter_bytes=stored_bytes,
    )


_BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625, "int4": 0.53}


def _formats(model: Model, plan: Plan, training: bool) -> tuple[str, ...]:
    """(linear stored, in; attention stored, in; experts stored, in; KV cache): what is stored and what is multiplied in."""
    own, chosen = model.stored, plan.dtypes
    base = "bf16" if training and model.dtype == "fp32" else model.dtype
    if training:
        linear = chosen.weights or base
        attention, experts = chosen.attention or linear, chosen.experts or linear
    else:
        linear = chosen.weights or own.linear or base
        attention = chosen.attention or (chosen.weights or own.attention or own.linear or base)
        experts = chosen.experts or chosen.weights or own.experts or own.linear or base
    activations = chosen.activations or (None if chosen.weights else own.activations)

    def wide(stored: str) -> str:
        """What a matrix stored so is multiplied in."""
        if stored in ("bf16", "fp16", "fp32"):
            return base
        return activations or ("bf16" if stored == "int4" else stored)

    kv = chosen.kv_cache or own.kv_cache or ("fp16" if base == "fp16" else "bf16")
    return linear, wide(linear), attention, wide(attention), experts, wide(experts), kv
