"""Plans as columns: one array entry a plan, so that a batch of plans is lowered by the same code as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Model
from ..catalog.plans import Plan
from .kernels import DTYPE_IDS, stored_bytes

Column = NDArray[np.float64]
Ids = NDArray[np.int16]
RECOMPUTE = {"auto": 0, "none": 0, "selective": 1, "full": 2, "operators": 3, "behind_attention": 4, "elementwise": 5}
SCHEDULES = {"1f1b": 0, "gpipe": 1, "zb-h1": 2, "zb-v": 3, "v-half": 4, "v-min": 5, "dualpipe": 6}
TWO_CHUNKS = ("zb-v", "v-half", "v-min")  # the second flows back up, so that the first stage holds both ends
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
    schedule: NDArray[np.int16]
    shard: Column
    sequence_parallel: NDArray[np.bool_]
    flash: NDArray[np.bool_]
    recompute: NDArray[np.int16]
    recompute_share: Column
    sharding: NDArray[np.int16]
    offload: NDArray[np.bool_]
    offload_inputs: NDArray[np.bool_]
    overlap: NDArray[np.bool_]
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
    def gathered(self) -> Column:
        """What ZeRO moves in every pass: nothing (0), or over `shard` ranks gradients (-shard) or weights too (shard)."""
        both = np.where((self.sharding == SHARDING["zero3"]) & ~self.settles, self.shard, 0.0)
        return np.where((self.sharding == SHARDING["zero2"]) & ~self.settles, -self.shard, both)

    @property
    def settles(self) -> NDArray[np.bool_]:
        """Are gradients summed over ranks once a step? Not where each micro-batch scatters them; stages of a pipeline leave
        that to the last one, and keep weights that they gathered until then (torch.distributed.pipelining)."""
        return np.asarray((self.sharding < SHARDING["zero2"]) | self.split)

    @property
    def split(self) -> NDArray[np.bool_]:
        """Does the model lie on several stages?"""
        return self.pp > 1

    @property
    def accumulates(self) -> NDArray[np.bool_]:
        """Are gradients of several micro-batches summed on the rank?"""
        return (self.micro_batches > 1) & self.settles

    @property
    def folded(self) -> NDArray[np.bool_]:
        """Does a stage hold a chunk of both halves of the model, the first one both ends?"""
        return np.isin(self.schedule, [SCHEDULES[name] for name in TWO_CHUNKS])

    @property
    def micro_batches(self) -> Column:
        """Pipeline passes of one replica in an optimizer step."""
        return np.maximum(1.0, self.global_batch / (self.dp * self.micro_batch))

    def take(self, rows: NDArray[np.intp], **changed: Any) -> Columns:
        """The columns of some plans (an index array), with some replaced."""
        names = [name for name in self.__dataclass_fields__ if name not in ("n", "training")]
        return Columns(
            **{"n": len(rows), "training": self.training, **{n: getattr(self, n)[rows] for n in names}, **changed}
        )

    def distinct(self, names: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(first, which): a plan of each combination of values of these columns, and the combination of each plan [n]."""
        codes = np.zeros(self.n, dtype=np.int64)
        count = 1
        for name in names:
            column = np.broadcast_to(getattr(self, name), (self.n,))
            if self.n and np.all(column == column[0]):
                continue
            values, code = np.unique(column, return_inverse=True)
            codes = codes * len(values) + code
            count *= len(values)
            if count > 2**40:  # keep codes small, so that they never overflow
                seen, codes = np.unique(codes, return_inverse=True)
                count = len(seen)
        _, first, which = np.unique(codes, return_index=True, return_inverse=True)
        return first, which

    def stride(self, degree: str) -> Column:
        """Distance in rank order between neighbours of a group; tp is innermost, then cp, dp, pp."""
        inner = {"tp": 1.0, "cp": self.tp, "dp": self.tp * self.cp, "pp": self.tp * self.cp * self.dp}
        return np.broadcast_to(np.asarray(inner[degree], dtype=np.float64), (self.n,)).copy()


def columns(model: Model, plans: Sequence[Plan] | Columns, training: bool) -> Columns:
    """Plans as columns, unless they are already. `dp` must be set where it matters; null counts as 1."""
    if isinstance(plans, Columns):
        return plans
    return Columns(
        n=len(plans),
        training=training,
        **_degrees(plans, training),
        **_choices(plans),
        **_formats_of(model, plans, training),
    )


def _numbers(values: Iterable[float]) -> Column:
    return np.fromiter(values, dtype=np.float64)


def _degrees(plans: Sequence[Plan], training: bool) -> dict[str, Any]:
    names = ("tp", "pp", "cp", "ep", "attention_dp", "micro_batch", "virtual_stages", "lora_rank")
    out = {name: _numbers(getattr(plan, name) for plan in plans) for name in names}
    tp, ep = out["tp"], out["ep"]
    left = np.where(ep > 1, 1.0, tp) if training else np.maximum(1.0, tp * out["attention_dp"] / ep)
    given = _numbers(plan.expert_tp or 0 for plan in plans)
    dp = _numbers(plan.dp or 1 for plan in plans)
    return {
        **out,
        "dp": dp,
        "expert_tp": np.where(given > 0, given, left),
        "shard": np.minimum(_numbers(plan.shard_degree or np.inf for plan in plans), dp * out["cp"]),
        "global_batch": _numbers(plan.global_batch or plan.micro_batch * (plan.dp or 1) for plan in plans),
    }


def _choices(plans: Sequence[Plan]) -> dict[str, Any]:
    """What is chosen from a list, as flags and small integers; bytes of the optimizer's state a parameter."""
    state = _numbers(_STATE_BYTES[plan.dtypes.optimizer] for plan in plans)
    moments = _numbers(2.0 if plan.optimizer == "adam" else 1.0 for plan in plans)
    return {
        "sequence_parallel": np.array([plan.sequence_parallel and plan.tp > 1 for plan in plans]),
        "flash": np.array([plan.flash_attention for plan in plans]),
        "schedule": np.array([SCHEDULES[plan.schedule] for plan in plans], dtype=np.int16),
        "recompute": np.array([RECOMPUTE[plan.recompute] for plan in plans], dtype=np.int16),
        "recompute_share": _numbers(plan.recompute_layers for plan in plans),
        "sharding": np.array([SHARDING[plan.sharding] for plan in plans], dtype=np.int16),
        "offload": np.array([plan.offload == "optimizer" for plan in plans]),
        "offload_inputs": np.array([plan.offload == "activations" for plan in plans]),
        "overlap": np.array([plan.overlap for plan in plans]),
        "frozen": np.array([plan.trainable == "lora" for plan in plans]),
        "gradient_bytes": _numbers(_STATE_BYTES[plan.dtypes.gradients] for plan in plans),
        "optimizer_bytes": state * moments + 4.0,  # moments, and the fp32 master copy
    }


_STATE_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0}


def _formats_of(model: Model, plans: Sequence[Plan], training: bool) -> dict[str, Any]:
    """Ids of the formats, and the bytes that a parameter takes: a trained one is kept in 16 bits, a frozen one as stored."""
    names = ("linear", "linear_in", "attention", "attention_in", "experts", "experts_in", "kv")
    formats = [_formats(model, plan, training) for plan in plans]
    ids = {name: np.array([DTYPE_IDS[f[i]] for f in formats], dtype=np.int16) for i, name in enumerate(names)}
    trained = np.array([training and plan.trainable == "all" for plan in plans])
    return {"parameter_bytes": np.where(trained, 2.0, stored_bytes(ids["linear"])), **ids}


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

    def kept(stored: str) -> str:
        """A checkpoint with block scales keeps them when it is served in fp8."""
        return "fp8_block" if stored == "fp8" and own.block_scales and not training else stored

    return kept(linear), wide(linear), kept(attention), wide(attention), kept(experts), wide(experts), kv
