"""Rows of published training runs -> Model, Plan, Cluster, stack -> step time, rates by each source's convention, memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..catalog.chips import Chip
from ..catalog.clusters import Cluster, sliced
from ..catalog.models import Attention, LatentAttention, Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..cost import BASES
from ..errors import UnknownFigure
from ..lowering import Step, check, kernels, model_flops
from ..lowering.kinds import KIND_IDS, PHASE_IDS
from ..training import Priced, price
from ..training.memory import footprint, held_bytes, settled, usable_bytes
from .context import Context
from .predictions import Answer, Predictions, Progress, answered, collect
from .row_models import model_of
from .tables import Row, Table
from .training_plans import Layout, cluster_for, interleaved, layout_of, unstated_degrees
from .training_sources import Source, source_of

THIS_YEAR = 2026  # of rows that state none and whose source is not listed: current software


class Case(NamedTuple):
    """One row, ready to be priced."""

    model: Model
    target: Target
    plan: Plan
    scale: float
    source: Source
    devices: int
    seq_len: int

    @property
    def key(self) -> tuple[int, str, str, str, int]:
        """Rows of equal keys are priced by one call."""
        target = self.target
        return id(self.model), target.chip.id, target.cluster.id, target.stack.id, self.seq_len


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Every row of a table of training runs, published, vTrain's or out of memory."""
    cases = cases_of(table, context)
    groups: dict[tuple[int, str, str, str, int], list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        if isinstance(case, Case):
            groups[case.key].append(index)
    answers: list[Answer | str] = [case if isinstance(case, str) else "" for case in cases]
    done = len(table) - sum(map(len, groups.values()))
    for members in groups.values():
        group = [case for case in (cases[i] for i in members) if isinstance(case, Case)]
        for index, answer in zip(members, _price(group), strict=True):
            answers[index] = answer
        done += len(members)
        progress(done, len(table))
    return collect(table, answers)


def cases_of(table: Table, context: Context) -> list[Case | str]:
    """Each row ready to be priced, or why it cannot be."""
    models: dict[Model, Model] = {}
    return [answered(row, lambda row: _case(row, context, models)) for row in table.rows()]


def measured_step_s(row: Row, case: Case) -> float:
    """Seconds of the plan's step that a row states, or that its rate says by its source's convention; NaN: it states none."""
    tokens = float((case.plan.global_batch or 1) * case.seq_len) / case.devices
    if step_s := row.number("step_time_s"):
        return step_s / case.scale
    if rate := row.number("tokens_per_s_per_device"):
        return tokens / rate
    if tflops := row.number("tflops_per_device"):
        return tokens * flops_per_token(case.model, case.seq_len, case.source) / (tflops * 1e12)
    if share := row.number("mfu_pct"):
        useful = flops_per_token(case.model, case.seq_len, case.source._replace(counts="model"))
        return tokens * useful / (share / 100.0 * _peak(case))
    return math.nan


def _peak(case: Case) -> float:
    """Peak that the source divides by."""
    dtype = str(case.plan.dtypes.weights) if case.source.peak == "own" else "bf16"
    return case.target.chip.matmul_flops_per_s(dtype)


def _case(row: Row, context: Context, models: dict[Model, Model]) -> Case:
    model = model_of(context, row, "num_experts", "experts_per_token", "ffn")
    model = models.setdefault(model, model)  # equal models are one object, so that their rows are priced together
    chip = context.chip(row.text("device"))
    devices, seq_len = row.need("num_devices"), row.need("seq_len")
    source = source_of(row.text("source"), f"{row.text('id')} {row.text('notes')}")
    year = row.count("year") or int(source.year or THIS_YEAR)
    fitting: list[Case] = []
    for layout in _layouts(row, model, chip, year, source):
        check(model, layout.plan, training=True)
        target = _target(context, chip, _cluster(context, row, chip, layout.plan, source), source, row)
        plan = _settled(model, layout.plan, target, float(seq_len), source)
        case = Case(model, target, plan, layout.scale, source, devices, seq_len)
        if held_bytes(footprint(model, [plan], target, float(seq_len)), target)[0] <= usable_bytes(target):
            fitting.append(case)
            if len(unstated_degrees(row, chip)) == 1:
                break
    return _fastest(fitting) if fitting else case


def _settled(model: Model, plan: Plan, target: Target, seq_len: float, source: Source) -> Plan:
    """The plan with what it recomputes settled as memory asks: what the source's software turns to before full recomputation."""
    found = settled(model, plan, target, seq_len)
    if source.lighter and plan.recompute == "auto" and found.recompute == "full":
        lighter = plan.with_(recompute=source.lighter)
        if held_bytes(footprint(model, [lighter], target, seq_len), target)[0] <= usable_bytes(target):
            return lighter
    return found


def _fastest(cases: list[Case]) -> Case:
    """Of layouts that a row may have run the one whose step is shortest: published runs are tuned."""
    if len(cases) == 1:
        return cases[0]
    steps = [float(price(c.model, [c.plan], c.target, float(c.seq_len)).step_s[0]) for c in cases]
    return cases[int(np.argmin(steps))]


def _layouts(row: Row, model: Model, chip: Chip, year: int, source: Source) -> Iterator[Layout]:
    """What a row may have run, least first: the degrees that it does not state, then sharded weights if it does not state how
    it shards, then states in 16 bits where the compiler offers them."""
    for unstated in unstated_degrees(row, chip):
        layout = layout_of(row, model, chip, year, unstated, source)
        if source.chunk_layers and row.count("VPP") is None:
            layout = layout._replace(plan=interleaved(layout.plan, model, int(source.chunk_layers)))
        yield layout
    if not row.text("sharding") or "assumed default" in row.text("notes"):
        yield layout._replace(plan=layout.plan.with_(sharding="zero3"))
    if (
        chip.family == "tpu" and layout.plan.dtypes.optimizer == "fp32"
    ):  # MaxText's weight_dtype=bfloat16: states in 16 bits
        states = layout.plan.dtypes.with_(gradients="bf16", optimizer="bf16")
        yield layout._replace(plan=layout.plan.with_(dtypes=states))


def _cluster(context: Context, row: Row, chip: Chip, plan: Plan, source: Source) -> Cluster:
    """The user's cluster for rows on its chip, else what the row's own columns say."""
    if context.cluster is not None and context.library.chip(context.cluster.chip).id == chip.id:
        return sliced(context.cluster, row.need("num_devices"))[0]
    return cluster_for(row, chip, plan, source)


def _target(context: Context, chip: Chip, cluster: Cluster, source: Source, row: Row) -> Target:
    family = context.family(chip)
    stack = context.stack(source.stack or row.text("source"), family.default_training_stack)
    return Target(chip, family, cluster, stack, context.calibration(chip, stack))


def _price(cases: list[Case]) -> list[Answer | str]:
    """Answers of rows with one model on one target."""
    first = cases[0]
    try:
        priced = price(first.model, [case.plan for case in cases], first.target, float(first.seq_len))
    except UnknownFigure as error:
        return [f"{error.key} is unknown"] * len(cases)
    return [_answer(case, priced, index) for index, case in enumerate(cases)]


def _answer(case: Case, priced: Priced, index: int) -> Answer:
    plan = case.plan
    step, held = float(priced.step_s[index]), float(priced.memory_bytes[index])
    rate = (plan.global_batch or 1) * case.seq_len / step / case.devices
    counted = rate * flops_per_token(case.model, case.seq_len, case.source)
    useful = rate * flops_per_token(case.model, case.seq_len, case.source._replace(counts="model"))
    return Answer(
        {
            "step_time_s": step * case.scale,
            "tokens_per_s_per_device": rate,
            "tflops_per_device": counted / 1e12,
            "mfu_pct": 100.0 * useful / _peak(case),
            "memory_gb_per_device": held / 1e9,
        },
        BASES[int(priced.basis[index])],
        float(priced.low_s[index]) / step,
        float(priced.high_s[index]) / step,
        fits=held <= usable_bytes(case.target),
    )


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
