"""The price of training steps, batch first: many plans of one model on one target, from lowering to schedule.

Rows of all plans are priced by one call of the cost core, summed by site and direction, placed on stages, and swept by the
compiled executors. `api.train` is a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import cost
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..cost.machine import WAIT_W
from ..lowering import PART_IDS, PARTS, PHASE_IDS, SEND, STEP, Kernels, columns, units
from ..lowering.kinds import KIND_IDS, KINDS
from ..lowering.passes import BETWEEN_COLUMNS, PASS_COLUMNS, between_units, pass_units
from ..lowering.sharding import RECOMPUTE, Columns, Step
from ..result import BASES
from .memory import footprint, held_bytes
from .stages import DIRECTIONS, Stages, placed

FloatArray = NDArray[np.float64]
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


def price(model: Model, plans: Sequence[Plan] | Columns, target: Target, seq_len: float) -> Priced:
    """Price plans whose dp is set and which `lowering.check` accepts. Raises UnknownFigure if a rate is unknown."""
    c = columns(model, plans, True)
    rows = units(model, c, Step("train", 1.0, seq_len, seq_len))
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
    alone = cost.seconds(rows, machine)
    spent = alone * rows.count * exposure(rows, c, target)
    sums = _Sums(model, c, target, rows, spent)
    stages = sums.stages()
    makespan = stages.makespans()
    once = sums.once.sum(axis=1) + target.stack.step_host_s
    step = makespan + once
    parts = sums.parts(step)
    low, high = (step * _ratio(sums, spent, bound, alone) for bound in cost.interval(rows, machine, alone))
    memory = footprint(model, c, target, seq_len)
    return Priced(
        step_s=step,
        memory_bytes=held_bytes(memory, target),
        joules=_joules(rows, machine, alone, sums, step) * target.chip.ranks,
        parts=parts,
        low_s=low,
        high_s=high,
        basis=_basis(rows, machine, spent, sums),
        stage=memory.stage,
    )


class Quick(NamedTuple):
    """Seconds of a step and bytes of a chip of n plans, float64[n]: what a search ranks by."""

    step_s: FloatArray
    memory_bytes: FloatArray


def quick(model: Model, c: Columns, target: Target, seq_len: float) -> Quick:
    """What `price` says of a step's time and memory, many plans at once: what plans share is lowered and priced once.

    Differs from `price` by rounding only (sums are taken in another order).
    """
    step = [Step("train", 1.0, seq_len, seq_len)]
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
    parts = []
    for names, lowered in ((PASS_COLUMNS, pass_units), (BETWEEN_COLUMNS, between_units)):
        first, which = c.distinct(names)
        some = c.take(first)
        rows = lowered(model, some, step)
        spent = cost.seconds(rows, machine) * rows.count * exposure(rows, some, target)
        parts.append((_Sums(model, some, target, rows, spent), which))
    (inside, of_pass), (between, of_between) = parts
    ends = len(model.blocks) + 2
    totals = inside.units[:, :ends].sum(axis=2)
    sends = between.units[:, between.at(SEND), PART_IDS["pp_traffic"], 0]
    key = c.take(np.arange(c.n), tp=of_pass.astype(float), dp=c.micro_batches, cp=sends[of_between])
    first, which = key.distinct(("tp", "dp", "cp", "pp", "virtual_stages", "schedule"))
    stages = placed(model, c.take(first), totals[of_pass[first]], sends[of_between[first]])
    once = between.once.sum(axis=1)[of_between] + target.stack.step_host_s
    return Quick(stages.makespans()[which] + once, held_bytes(footprint(model, c, target, seq_len), target))


def exposure(rows: Kernels, c: Columns, target: Target) -> FloatArray:
    """Factor on each row's time alone: the exposed share of overlapped traffic, extra passes of real software."""
    factors = target.stack.factors
    out = np.ones(len(rows))
    for part, name in _EXPOSED.items():
        out[rows.part == PART_IDS[part]] = factors.get(name, 1.0)
    out[rows.part == PART_IDS["ep_traffic"]] *= factors.get("ep_passes", 1.0)
    overlapped = c.overlap[rows.owner]
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

    def __init__(self, model: Model, c: Columns, target: Target, rows: Kernels, spent: FloatArray) -> None:
        self.model, self.c, self.rows = model, c, rows
        self.n, self.blocks = c.n, len(model.blocks)
        self.pp, self.micro_batches = c.pp, c.micro_batches
        self.again = np.where(c.recompute == RECOMPUTE["full"], c.recompute_share, 0.0)
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
        """Chunk times of every plan."""
        sends = self.units[:, self.at(SEND), PART_IDS["pp_traffic"], 0]
        return placed(self.model, self.c, self.units[:, : self.blocks + 2].sum(axis=2), sends)

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
