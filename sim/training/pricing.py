"""The price of training steps, batch first: many plans of one model on one target, from lowering to schedule.

Rows of all plans are priced by one call of the cost core, summed by site and direction, placed on stages, and swept by the
compiled 1F1B executor. `api.train` is a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .. import cost
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..cost.machine import WAIT_W
from ..engine.pipeline_blocks import DUAL, LINE, RULES, VEE, block_pipeline, chunks_of
from ..engine.pipeline_tables import one_f_one_b_many
from ..lowering import EMBEDDING, HEAD, PART_IDS, PARTS, PHASE_IDS, SEND, STEP, Kernels, layers_on_stages, units
from ..lowering.footprint import training_footprint
from ..lowering.kinds import KIND_IDS, KINDS
from ..lowering.sharding import Step
from ..result import BASES
from .memory import FRAGMENTATION_FACTOR, FRAMEWORK_FACTOR

FloatArray = NDArray[np.float64]
DIRECTIONS = ("forward", "backward", "weights")  # backward holds recomputation too; weights: their gradients
BUBBLE, HOST = PART_IDS["bubble"], PART_IDS["host"]
WEAKEST_SHARE = 0.05
_COLLECTIVES = np.array([kind.collective for kind in KINDS])
# which factor of the stack says how much of a kind of traffic is exposed; what it does not name is exposed in full
_EXPOSED = {
    "tp_traffic": "tp_exposed",
    "cp_traffic": "cp_exposed",
    "ep_traffic": "ep_exposed",
    "pp_traffic": "pp_exposed",
}


@dataclass(frozen=True)
class Priced:
    """n plans. step_s, memory_bytes (a chip, at its fullest stage), joules (a chip and step; NaN: power unknown), float64[n];
    parts[n, len(PARTS), 3]: seconds of a step on the mean stage by part and direction, summing to step_s;
    low_s, high_s: interval; basis: index into BASES; stage: the one with most memory."""

    step_s: FloatArray
    memory_bytes: FloatArray
    joules: FloatArray
    parts: FloatArray
    low_s: FloatArray
    high_s: FloatArray
    basis: NDArray[np.int64]
    stage: NDArray[np.int32]


@dataclass(frozen=True)
class Stages:
    """Times of the chunks of every plan, flat: plan i has pp * chunks of them, [stage, chunk] by rows, in work_s[3] as
    DIRECTIONS. schedules, micro_batches, send_s [n]."""

    schedules: tuple[str, ...]
    pp: NDArray[np.int64]
    chunks: NDArray[np.int64]
    micro_batches: NDArray[np.int64]
    work_s: FloatArray
    send_s: FloatArray

    def of(self, plan: int) -> FloatArray:
        """Seconds of one plan's chunks [3, pp, chunks]."""
        first = int((self.pp * self.chunks)[:plan].sum())
        size = int(self.pp[plan] * self.chunks[plan])
        return self.work_s[:, first : first + size].reshape(3, int(self.pp[plan]), int(self.chunks[plan]))

    def makespans(self) -> FloatArray:
        """Seconds from the first forward to the last gradient of each plan [n]."""
        plain = np.array([schedule == "1f1b" for schedule in self.schedules])
        out = np.empty(len(self.schedules))
        inside = np.repeat(plain, self.pp * self.chunks)
        forward, backward = self.work_s[0, inside], (self.work_s[1] + self.work_s[2])[inside]
        if plain.any():
            out[plain] = one_f_one_b_many(
                self.pp[plain], self.micro_batches[plain], self.chunks[plain], forward, backward, self.send_s[plain]
            )
        for i in np.flatnonzero(~plain):
            send = np.full(int(self.pp[i]), self.send_s[i])
            out[i] = block_pipeline(self.schedules[i], int(self.micro_batches[i]), self.of(int(i)), send).makespan_s
        return out


def price(model: Model, plans: Sequence[Plan], target: Target, seq_len: float) -> Priced:
    """Price plans whose dp is set and which `lowering.check` accepts. Raises UnknownFigure if a rate is unknown."""
    rows = units(model, plans, Step("train", 1.0, seq_len, seq_len))
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
    alone = cost.seconds(rows, machine)
    spent = alone * rows.count * exposure(rows, plans, target)
    sums = _Sums(model, plans, target, rows, spent)
    stages = sums.stages()
    makespan = stages.makespans()
    once = sums.once.sum(axis=1) + target.stack.step_host_s
    step = makespan + once
    parts = sums.parts(step)
    low, high = (step * _ratio(sums, spent, bound, alone) for bound in cost.interval(rows, machine, alone))
    memory = training_footprint(model, plans, seq_len)
    factors = target.stack.factors
    held = memory.total * factors.get(FRAGMENTATION_FACTOR, 1.0) + factors.get(FRAMEWORK_FACTOR, 0.0)
    return Priced(
        step_s=step,
        memory_bytes=held * target.chip.ranks,
        joules=_joules(rows, machine, alone, sums, step) * target.chip.ranks,
        parts=parts,
        low_s=low,
        high_s=high,
        basis=_basis(rows, machine, spent, sums),
        stage=memory.stage,
    )


def exposure(rows: Kernels, plans: Sequence[Plan], target: Target) -> FloatArray:
    """Factor on each row's time alone: the exposed share of overlapped traffic, extra passes of real software."""
    factors = target.stack.factors
    out = np.ones(len(rows))
    for part, name in _EXPOSED.items():
        out[rows.part == PART_IDS[part]] = factors.get(name, 1.0)
    out[rows.part == PART_IDS["ep_traffic"]] *= factors.get("ep_passes", 1.0)
    overlapped = np.array([plan.overlap for plan in plans])[rows.owner]
    traffic = rows.part == PART_IDS["dp_traffic"]
    sharded = traffic & (rows.site != STEP)
    out[sharded & overlapped] = factors.get("fsdp_exposed", 1.0)
    out[traffic & (rows.site == STEP) & overlapped] = factors.get("dp_exposed", 1.0)
    elementwise = rows.kind == KIND_IDS["memory"]
    forward = rows.phase == PHASE_IDS["forward"]
    out[elementwise & forward] *= factors.get("vector_forward", 1.0)
    out[elementwise & ~forward] *= factors.get("vector_backward", 1.0)
    out[rows.kind == KIND_IDS["optimizer"]] *= factors.get("optimizer_passes", 1.0)
    return out


class _Sums:
    """Row times summed by plan, site, part and direction; per layer or end of a site."""

    def __init__(self, model: Model, plans: Sequence[Plan], target: Target, rows: Kernels, spent: FloatArray) -> None:
        self.model, self.rows = model, rows
        self.n, self.blocks = len(plans), len(model.blocks)
        self.pp = np.array([plan.pp for plan in plans])
        self.schedules = tuple(plan.schedule for plan in plans)
        self.chunks = np.array([_chunks(plan) for plan in plans])
        self.again = np.array([plan.recompute_layers if plan.recompute == "full" else 0.0 for plan in plans])
        batch = np.array([plan.global_batch or plan.micro_batch * (plan.dp or 1) for plan in plans])
        self.micro_batches = np.maximum(1, batch // np.array([plan.micro_batch * (plan.dp or 1) for plan in plans]))
        self.site = np.where(rows.site >= 0, rows.site, self.blocks - 1 - rows.site)  # ends follow the blocks
        self.direction = np.where(rows.phase == PHASE_IDS["weights"], 2, (rows.phase != PHASE_IDS["forward"]) * 1)
        units_s = self.by_unit(spent)
        self.once = units_s[:, self.at(STEP)].sum(axis=2)
        self.units = units_s[:, : self.blocks + 3]
        self._host(target)

    def at(self, site: int) -> int:
        return self.blocks - 1 - site

    def by_unit(self, values: FloatArray) -> FloatArray:
        """[n, sites, parts, directions]"""
        shape = (self.n, self.blocks + 4, len(PARTS), len(DIRECTIONS))
        key = ((self.rows.owner * shape[1] + self.site) * shape[2] + self.rows.part) * shape[3] + self.direction
        return np.bincount(key, weights=values, minlength=int(np.prod(shape))).astype(np.float64).reshape(shape)

    def _host(self, target: Target) -> None:
        """Eager software: a layer cannot pass faster than the host launches its kernels; what is missing is `host` time."""
        stack = target.stack
        if stack.launch != "eager":
            return
        runs = np.where(_COLLECTIVES[self.rows.kind], 1.0, self.rows.count)
        launches = self.by_unit(runs)[:, : self.blocks].sum(axis=2)
        small = stack.kernels_per_layer * np.stack([np.ones(self.n), 1.0 + self.again, np.zeros(self.n)], axis=1)
        floor = (launches + small[:, None, :]) * stack.host_launch_s
        experts = [getattr(block.ffn, "kind", "") == "moe" for block in self.model.blocks]
        floor[:, experts] = np.maximum(
            floor[:, experts], stack.factors.get("moe_host_layer_s", 0.0) * np.array([1 / 3, 1 / 3, 1 / 3])
        )
        device = self.units[:, : self.blocks].sum(axis=2)
        behind = np.maximum(
            floor[..., 1:].sum(axis=-1) - device[..., 1:].sum(axis=-1), 0.0
        )  # of both gradients together
        self.units[:, : self.blocks, HOST, 0] = np.maximum(floor - device, 0.0)[..., 0]
        self.units[:, : self.blocks, HOST, 1] = behind

    def stages(self) -> Stages:
        """Chunk times of every plan; plans of equal pp and chunks are placed together."""
        offsets = np.concatenate([[0], np.cumsum(self.pp * self.chunks)])
        out = np.empty((len(DIRECTIONS), offsets[-1]))
        totals = self.units.sum(axis=2)
        send = PART_IDS["pp_traffic"]
        folds = np.array([_fold(schedule) for schedule in self.schedules])
        for pp, chunks, fold in {*zip(self.pp.tolist(), self.chunks.tolist(), folds.tolist(), strict=True)}:
            rows = np.flatnonzero((self.pp == pp) & (self.chunks == chunks) & (folds == fold))
            for direction in range(len(DIRECTIONS)):
                times = self._slots(totals[rows, :, direction], pp, 1 if fold == DUAL else chunks)
                times = times.reshape(len(rows), -1, pp)
                if fold == VEE:
                    times[:, 1] = times[:, 1, ::-1]
                elif fold == DUAL:
                    times = np.concatenate([times, times[:, :, ::-1]], axis=1)
                times = times.transpose(0, 2, 1).reshape(len(rows), -1)
                out[direction][offsets[rows, None] + np.arange(pp * chunks)] = times
        sends = self.units[:, self.at(SEND), send, 0]
        return Stages(self.schedules, self.pp, self.chunks, self.micro_batches, out, sends)

    def _slots(self, totals: FloatArray, pp: int, chunks: int) -> FloatArray:
        """Seconds of each slot in depth order [plans, pp * chunks]; the ends lie on the first and the last one."""
        times: FloatArray = totals[:, : self.blocks] @ _held(self.model, pp, chunks).T
        times[:, 0] += totals[:, self.at(EMBEDDING)]
        times[:, -1] += totals[:, self.at(HEAD)]
        return times

    def parts(self, step: FloatArray) -> FloatArray:
        """[n, parts, 3]: seconds of a step on the mean stage; what no row explains is the bubble."""
        layers = np.array([block.layers for block in self.model.blocks], dtype=np.float64)
        times = np.concatenate([layers, [1.0, 1.0, 0.0]])
        out = np.einsum("nspd,s->npd", self.units, times) * (self.micro_batches / self.pp)[:, None, None]
        out[:, :, 1] += self.once
        out[:, BUBBLE, 1] = np.maximum(step - out.sum(axis=(1, 2)), 0.0)
        return np.asarray(out)

    def per_plan(self, values: FloatArray) -> FloatArray:
        """Sum of a row quantity over a whole step of the mean stage [n]."""
        layers = np.concatenate([[float(block.layers) for block in self.model.blocks], [1.0, 1.0, 0.0, 0.0]])
        weight = layers[self.site] * (self.micro_batches / self.pp)[self.rows.owner]
        weight = np.where(self.rows.site == STEP, 1.0, weight)
        return np.bincount(self.rows.owner, weights=values * weight, minlength=self.n).astype(np.float64)


def _fold(schedule: str) -> int:
    return LINE if schedule == "1f1b" else RULES[schedule].shape


def _chunks(plan: Plan) -> int:
    return plan.virtual_stages if plan.schedule == "1f1b" else chunks_of(plan.schedule)


@lru_cache(maxsize=4096)
def _held(model: Model, pp: int, chunks: int) -> FloatArray:
    return layers_on_stages(model, pp, chunks)


def _ratio(sums: _Sums, spent: FloatArray, bound: FloatArray, alone: FloatArray) -> FloatArray:
    """How a plan's time moves when every kernel takes its bound: kernel errors count as fully correlated."""
    ratio = np.divide(bound, alone, out=np.ones_like(alone), where=alone > 0)
    return sums.per_plan(spent * ratio) / np.maximum(sums.per_plan(spent), 1e-30)


def _joules(rows: Kernels, machine: cost.Machine, alone: FloatArray, sums: _Sums, step: FloatArray) -> FloatArray:
    """Of one rank in one step: its kernels, and what it draws while it waits."""
    busy = sums.per_plan(cost.joules(rows, machine, alone) * rows.count)
    waits = np.maximum(step - sums.per_plan(alone * rows.count), 0.0)
    return cost.held_j(busy + waits * machine.chip_values[WAIT_W], step, machine)


def _basis(rows: Kernels, machine: cost.Machine, spent: FloatArray, sums: _Sums) -> NDArray[np.int64]:
    """The weakest basis that holds more than 5% of a plan's time."""
    ids = cost.basis(rows, machine)
    total = np.maximum(sums.per_plan(spent), 1e-30)
    out = np.zeros(sums.n, dtype=np.int64)
    for index in range(len(BASES)):
        share = sums.per_plan(spent * (ids == index)) / total
        out = np.where(share > WEAKEST_SHARE, index, out)
    return out
