"""The legal training plans of a model on so many ranks, as columns: enumerated, never built one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Attention, LatentAttention, LinearAttention, Model, Moe
from ..catalog.plans import Plan
from ..errors import InputError
from ..lowering.sharding import RECOMPUTE, SCHEDULES, SHARDING, TWO_CHUNKS, Columns, columns

LEAST_TOKENS = (
    256  # of a sequence that context parallelism leaves to a rank: ring attention with less has nothing to hide behind
)
FREE = (
    *("tp", "pp", "cp", "ep", "micro_batch", "virtual_stages", "schedule", "sharding", "recompute"),
    *("sequence_parallel", "offload"),
)


class Layout(NamedTuple):
    """What tells the degrees of two plans apart."""

    tp: int
    pp: int
    dp: int
    cp: int
    ep: int
    micro_batch: int
    virtual_stages: int
    schedule: str


class Space(NamedTuple):
    """Legal plans as columns; base: what they share; fixed: names of the fields that were given and not searched."""

    plans: Columns
    base: Plan
    fixed: tuple[str, ...]

    def plan(self, index: int) -> Plan:
        """One of them as a Plan."""
        c = self.plans
        counts = ("tp", "pp", "dp", "cp", "ep", "micro_batch", "virtual_stages", "global_batch")
        named = {"schedule": SCHEDULES, "sharding": SHARDING}
        values: dict[str, Any] = {name: int(getattr(c, name)[index]) for name in counts}
        for name, ids in named.items():
            values[name] = next(key for key, value in ids.items() if value == getattr(c, name)[index])
        values["recompute"] = ("none", "selective", "full", "operators", "behind_attention", "elementwise")[
            int(c.recompute[index])
        ]
        values["sequence_parallel"] = bool(c.sequence_parallel[index])
        inputs = "activations" if c.offload_inputs[index] else "none"
        values["offload"] = "optimizer" if c.offload[index] else inputs
        return self.base.with_(**values)


def space(
    model: Model, base: Plan, ranks: int, seq_len: int, schedules: Sequence[str] = ("1f1b",), fixed: Sequence[str] = ()
) -> Space:
    """Every legal plan of `ranks` ranks: degrees that multiply out and divide what they split, and each way to shard, to
    recompute and to offload. Fields in `fixed` keep the value of `base`, whose global_batch must be set.

    Raises InputError if there is none.
    """
    if not base.global_batch:
        raise InputError("search train: --global-batch is not given. Say how many sequences an optimizer step has.")
    layouts = list(_layouts(model, base, (ranks, seq_len), tuple(schedules), frozenset(fixed)))
    if not layouts:
        raise InputError(
            f"search train: no legal plan of {model.id} on {ranks:,} ranks with a global batch of {base.global_batch:,}. "
            "Change --devices or --global-batch, or leave degrees out."
        )
    found = _crossed(model, base, layouts, frozenset(fixed))
    return Space(found.take(_distinct(found)), base, tuple(fixed))


def _crossed(model: Model, base: Plan, layouts: list[Layout], fixed: frozenset[str]) -> Columns:
    """Every layout with every way to shard, to recompute and to offload."""
    degrees = np.array([layout[:7] for layout in layouts], dtype=np.float64)
    options, which = _options(base, fixed)
    n, k = len(layouts), len(options)
    outer, inner = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    template = columns(model, [base.with_(dp=1)], True).take(np.zeros(n * k, dtype=np.intp))
    tp, pp, dp, cp, ep, micro, virtual = degrees[outer].T
    chosen = options[inner]
    schedule = np.array([SCHEDULES[layout.schedule] for layout in layouts], dtype=np.int16)[outer]
    return template.take(
        np.arange(n * k),
        tp=tp,
        pp=pp,
        dp=dp,
        cp=cp,
        ep=ep,
        micro_batch=micro,
        virtual_stages=virtual,
        expert_tp=np.where(ep > 1, 1.0, tp) if base.expert_tp is None else template.expert_tp,
        shard=np.minimum(float(base.shard_degree or np.inf), dp * cp),
        schedule=schedule,
        sharding=chosen[:, which["sharding"]].astype(np.int16),
        recompute=chosen[:, which["recompute"]].astype(np.int16),
        sequence_parallel=(chosen[:, which["sequence_parallel"]] > 0) & (tp > 1),
        offload=chosen[:, which["offload"]] > 0,
        offload_inputs=template.offload_inputs & (chosen[:, which["offload"]] == 0),
    )


def _distinct(c: Columns) -> NDArray[np.intp]:
    """Leave out what is another plan under a second name: sequence parallelism without tp, sharding over one rank."""
    alone = (c.dp * c.cp == 1) & (c.sharding > c.sharding.min())
    first, _ = c.distinct(FREE)
    return np.sort(first[~alone[first]])


def _options(base: Plan, fixed: frozenset[str]) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Rows of (sharding, recompute, sequence_parallel, offload) as small integers, and the column of each."""
    recompute = "none" if base.recompute == "auto" else base.recompute
    axes = {
        "sharding": [SHARDING[base.sharding]] if "sharding" in fixed else list(SHARDING.values()),
        "recompute": [RECOMPUTE[recompute]] if "recompute" in fixed else [0, 1, 2],
        "sequence_parallel": [int(base.sequence_parallel)] if "sequence_parallel" in fixed else [1, 0],
        "offload": [int(base.offload == "optimizer")] if "offload" in fixed else [0, 1],
    }
    grid = np.array(np.meshgrid(*axes.values(), indexing="ij")).reshape(len(axes), -1).T
    return grid, {name: index for index, name in enumerate(axes)}


def _layouts(
    model: Model, base: Plan, size: tuple[int, int], schedules: tuple[str, ...], fixed: frozenset[str]
) -> Iterator[Layout]:
    """Every combination of degrees that `lowering.check` accepts."""
    ranks, seq_len = size
    batch = base.global_batch or 1
    for tp in _given(base, "tp", fixed, [d for d in divisors(ranks) if _splits(model, d)]):
        for pp in _given(base, "pp", fixed, [d for d in divisors(ranks // tp) if d <= model.layers]):
            for cp in _given(base, "cp", fixed, _contexts(ranks // tp // pp, seq_len)):
                dp, rest = divmod(ranks, tp * pp * cp)
                if rest or batch % dp or seq_len % cp:
                    continue
                for ep in _given(base, "ep", fixed, _expert_degrees(model, tp * cp * dp)):
                    for micro in _given(base, "micro_batch", fixed, divisors(batch // dp)):
                        if (batch // dp) % micro:
                            continue
                        for schedule in schedules:
                            for virtual in _chunks(model, base, (pp, batch // dp // micro), schedule, fixed):
                                yield Layout(tp, pp, dp, cp, ep, micro, virtual, schedule)


def _given(base: Plan, name: str, fixed: frozenset[str], free: list[int]) -> list[int]:
    return [value for value in free if name not in fixed or value == getattr(base, name)]


def divisors(n: int) -> list[int]:
    """All divisors, ascending."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return small + [n // d for d in reversed(small) if d * d != n]


def _splits(model: Model, tp: int) -> bool:
    """May every block be split over tp ranks?"""
    for block in model.blocks:
        mixer = block.mixer
        if isinstance(mixer, Attention | LatentAttention) and mixer.heads % tp:
            return False
        if isinstance(mixer, Attention) and mixer.kv_heads % tp and tp % mixer.kv_heads:
            return False
        if isinstance(mixer, LinearAttention) and mixer.key_heads % tp:
            return False
    return True


def _contexts(ranks: int, seq_len: int) -> list[int]:
    return [d for d in divisors(ranks) if seq_len % d == 0 and (d == 1 or seq_len // d >= LEAST_TOKENS)]


def _expert_degrees(model: Model, ranks: int) -> list[int]:
    counts = [block.ffn.experts for block in model.blocks if isinstance(block.ffn, Moe)]
    return [d for d in divisors(ranks) if all(count % d == 0 for count in counts)] if counts else [1]


def _chunks(model: Model, base: Plan, size: tuple[int, int], schedule: str, fixed: frozenset[str]) -> list[int]:
    """Virtual stages that suit a pipeline of (pp, micro-batches); none where the schedule itself does not."""
    pp, micro_batches = size
    if schedule != "1f1b":
        legal = pp > 1 and pp * (2 if schedule in TWO_CHUNKS else 1) <= model.layers
        if schedule == "dualpipe":
            legal = legal and pp % 2 == 0 and micro_batches % 2 == 0
        return [1] if legal else []
    if "virtual_stages" in fixed:
        wanted = [base.virtual_stages]
    else:
        wanted = [v for v in divisors(model.layers) if v == 1 or model.layers % (pp * v) == 0]
    return [v for v in wanted if v == 1 or (pp > 1 and micro_batches % pp == 0 and pp * v <= model.layers)]
