"""Rows of published training runs -> Model, Plan, Cluster, stack -> step time, rates by each source's convention, memory."""

from __future__ import annotations

from functools import lru_cache

from ..catalog.chips import Chip
from ..catalog.clusters import Cluster
from ..catalog.models import Attention, LatentAttention, Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..cost import BASES
from ..lowering import Step, check, kernels, model_flops
from ..lowering.kinds import KIND_IDS, PHASE_IDS
from ..training import price
from .context import Context
from .predictions import Answer, Predictions, Progress, predict_rows
from .row_models import model_of
from .tables import Row, Table
from .training_plans import cluster_for, layout_of
from .training_sources import Source, source_of


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Every row of a table of training runs, published, vTrain's or out of memory."""
    return predict_rows(table, lambda row: _answer(row, context), progress)


def _answer(row: Row, context: Context) -> Answer:
    model = model_of(context, row, "num_experts", "experts_per_token", "ffn")
    chip = context.chip(row.text("device"))
    devices, seq_len = row.need("num_devices"), row.need("seq_len")
    layout = layout_of(row, model, chip, devices, seq_len)
    for plan in layout.plans:
        check(model, plan, training=True)
    source = source_of(row.text("source"), row.text("notes"))
    target = _target(context, chip, cluster_for(row, chip, layout.plans[0]), source, row)
    priced = price(model, list(layout.plans), target, float(seq_len))
    capacity = chip.memory.capacity_bytes
    chosen = next((i for i, held in enumerate(priced.memory_bytes) if held <= capacity), len(layout.plans) - 1)
    held, step = float(priced.memory_bytes[chosen]), float(priced.step_s[chosen])
    plan = layout.plans[chosen]
    rate = (plan.global_batch or 1) * seq_len / step / devices
    tflops = rate * flops_per_token(model, seq_len, source) / 1e12
    useful = rate * flops_per_token(model, seq_len, source._replace(counts="model")) / 1e12
    peak = chip.matmul_flops_per_s(str(plan.dtypes.weights) if source.peak == "own" else "bf16")
    return Answer(
        {
            "step_time_s": step * layout.scale,
            "tokens_per_s_per_device": rate,
            "tflops_per_device": tflops,
            "mfu_pct": 100.0 * useful * 1e12 / peak,
            "memory_gb_per_device": held / 1e9,
        },
        BASES[int(priced.basis[chosen])],
        float(priced.low_s[chosen]) / step,
        float(priced.high_s[chosen]) / step,
        fits=held <= capacity,
    )


def _target(context: Context, chip: Chip, cluster: Cluster, source: Source, row: Row) -> Target:
    family = context.family(chip)
    stack = context.stack(source.stack or row.text("source"), family.default_training_stack)
    return Target(chip, family, cluster, stack, context.calibration(chip, stack))


@lru_cache(maxsize=512)
def flops_per_token(model: Model, seq_len: int, source: Source) -> float:
    """FLOPs of one token of a training step as a source counts them. `hardware`: one forward pass of the layers more, as
    Narayanan et al. (2021), equation 3; what a step really recomputes does not enter."""
    counted = model_flops(model, seq_len, causal=source.attention == "causal")
    if source.counts == "model":
        return counted
    table = kernels(model, Plan(), Step("train", 1.0, seq_len, seq_len))
    inside = (table.phase == PHASE_IDS["forward"]) & (table.site >= 0) & (table.kind != KIND_IDS["memory"])
    layers = float((table.flops() * table.count)[inside].sum()) / seq_len
    return counted + layers + (_causal_half(model, seq_len) if source.attention == "full" else 0.0)


def _causal_half(model: Model, seq_len: int) -> float:
    """Forward FLOPs of a token in the half of the attention matrix that causal kernels skip."""
    total = 0.0
    for block in model.blocks:
        mixer = block.mixer
        if isinstance(mixer, Attention) and mixer.causal:
            total += block.layers * 2.0 * mixer.heads * mixer.head_dim * (seq_len - 1)
        elif isinstance(mixer, LatentAttention):
            size = mixer.nope_dim + mixer.rope_dim + mixer.value_dim
            total += block.layers * mixer.heads * size * (seq_len - 1)
    return total
