"""The price of training steps, batch first: many plans of one model on one target, from lowering to schedule.

Rows of all plans are priced by one call of the cost core, summed by site and direction, placed on stages, and swept by the
compiled executors. `api.train` is a batch of one.
"""

from __future__ import annotations

import math
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
from ..lowering import PART_IDS, PARTS, SEND, STEP, Kernels, columns, units
from ..lowering.passes import BETWEEN_COLUMNS, PASS_COLUMNS, between_units, pass_units
from ..lowering.sharding import RECOMPUTE, SCHEDULES, Columns, Step
from ..result import BASES
from .memory import footprint, held_bytes
from .stages import DIRECTIONS, Stages, placed
from .times import Times, executed, times_of

FloatArray = NDArray[np.float64]
BUBBLE, HOST, DP, EP = PART_IDS["bubble"], PART_IDS["host"], PART_IDS["dp_traffic"], PART_IDS["ep_traffic"]
MOVING_UNITS = (
    20.0  # of a chip that DualPipe gives to the exchange of experts (DeepSeek-V3 technical report, section 3.2.2)
)
WEAKEST_SHARE = 0.05
_WHOLE = [RECOMPUTE["full"], RECOMPUTE["operators"]]  # elementwise kernels of a layer run again


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
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
    rows = executed(units(model, c, Step("train", 1.0, seq_len, seq_len)), target)
    alone = cost.seconds(rows, machine)
    times = times_of(rows, c, alone, len(model.blocks))
    sums, spent = _Sums(model, c, target, times), times.spent(target)
    stages = sums.stages()
    step = (stages.makespans() + sums.settle(target) + target.stack.step_host_s) * straggling(c, target)
    parts = sums.parts(step)
    low, high = _interval(model, target, step, sums, (rows, machine, alone, spent))
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


@dataclass(frozen=True)
class Sketch:
    """Many plans priced up to their schedule. stages: of those that differ in it, `which` says whose a plan has [n]; once_s: what
    a step takes beside its pipeline [n]; longer: times what, because domains wait for the slowest [n]."""

    stages: Stages
    which: NDArray[np.intp]
    once_s: FloatArray
    longer: FloatArray

    def least_s(self) -> FloatArray:
        """Seconds that no step of a plan can beat [n]."""
        return np.asarray((self.stages.least()[self.which] + self.once_s) * self.longer)

    def step_s(self, plans: NDArray[np.intp]) -> FloatArray:
        """Seconds of a step of some plans: their pipelines are swept here."""
        some, places = np.unique(self.which[plans], return_inverse=True)
        return np.asarray((self.stages.take(some).makespans()[places] + self.once_s[plans]) * self.longer[plans])


def sketch(model: Model, c: Columns, target: Target, seq_len: float) -> Sketch:
    """What plans share is lowered and priced once: passes, what lies between them, and the placement on stages."""
    step = [Step("train", 1.0, seq_len, seq_len)]
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
    parts = []
    for names, lowered in ((PASS_COLUMNS, pass_units), (BETWEEN_COLUMNS, between_units)):
        first, which = c.distinct(names)
        some = c.take(first)
        rows = executed(lowered(model, some, step), target)
        times = times_of(rows, some, cost.seconds(rows, machine), len(model.blocks))
        parts.append((_Sums(model, some, target, times), which))
    (inside, of_pass), (between, of_between) = parts
    ends = len(model.blocks) + 2
    totals = inside.units[:, :ends].sum(axis=2)
    sends = between.units[:, between.at(SEND), PART_IDS["pp_traffic"], 0]
    key = c.take(np.arange(c.n), tp=of_pass.astype(float), dp=c.micro_batches, cp=sends[of_between])
    first, which = key.distinct(("tp", "dp", "cp", "pp", "virtual_stages", "schedule"))
    stages = placed(model, c.take(first), totals[of_pass[first]], sends[of_between[first]])
    backward = inside.backward_s()[of_pass] * inside.pp[of_pass] / c.pp
    once = once_s(between.once[of_between], backward, c, target) + target.stack.step_host_s
    return Sketch(stages, which, once, straggling(c, target))


def quick(model: Model, c: Columns, target: Target, seq_len: float) -> Quick:
    """What `price` says of a step's time and memory, many plans at once: what plans share is lowered and priced once.

    Differs from `price` by rounding only (sums are taken in another order).
    """
    step_s = sketch(model, c, target, seq_len).step_s(np.arange(c.n))
    return Quick(step_s, held_bytes(footprint(model, c, target, seq_len), target))


def once_s(parts: FloatArray, backward_s: FloatArray, c: Columns, target: Target) -> FloatArray:
    """Seconds of what is done once a step [n]: parts[n, PARTS], of which data-parallel traffic runs beside the backward pass of
    the last micro-batch."""
    traffic = parts[:, DP]
    left = hidden_behind(traffic, backward_s, target.stack.factors.get("dp_exposed", 1.0))
    return np.asarray(parts.sum(axis=1) - traffic + np.where(c.overlap, left, traffic))


def steps_of(model: Model, c: Columns, target: Target, times: Times) -> FloatArray:
    """Seconds of a step of plans whose rows are priced: what a fit of the stack's numbers varies [n]."""
    sums = _Sums(model, c, target, times)
    alone = sums.stages().makespans() + sums.settle(target) + target.stack.step_host_s
    return np.asarray(alone * straggling(c, target))


def straggling(c: Columns, target: Target) -> FloatArray:
    """How much longer a step takes because all domains of the inner network wait for the slowest one [n]: the expected maximum
    of delays with exponential tails grows with the logarithm of how many there are; `straggle`: their mean, a share of a step."""
    inside = (target.cluster.tiers[0].size or math.inf) * target.chip.ranks
    domains = np.maximum(1.0, c.tp * c.pp * c.dp * c.cp / inside)
    return np.asarray(1.0 + target.stack.factors.get("straggle", 0.0) * np.log(domains))


def hidden_behind(traffic_s: FloatArray, compute_s: FloatArray, exposed: float | FloatArray) -> FloatArray:
    """What is left of traffic that runs beside compute: the share that nothing hides, and what compute is too short for."""
    left: FloatArray = exposed * traffic_s + np.maximum((1.0 - exposed) * traffic_s - compute_s, 0.0)
    return left


class _Sums:
    """Row times summed by plan, site, part and direction; per layer or end of a site."""

    def __init__(self, model: Model, c: Columns, target: Target, times: Times) -> None:
        self.model, self.c, self.times = model, c, times
        self.n, self.blocks = c.n, len(model.blocks)
        self.pp, self.micro_batches = c.pp, c.micro_batches
        self.again = np.where(np.isin(c.recompute, _WHOLE), c.recompute_share, 0.0)
        units_s = self.by_unit(times.spent(target))
        self.once = units_s[:, self.at(STEP)].sum(axis=2)
        self.units = units_s[:, : self.blocks + 3]
        self._shards(target)
        self._pairs(target)
        self._host(target)

    def at(self, site: int) -> int:
        return self.blocks - 1 - site

    def by_unit(self, values: FloatArray) -> FloatArray:
        """[n, sites, parts, directions]"""
        shape = (self.n, self.blocks + 4, len(PARTS), len(DIRECTIONS))
        t = self.times
        key = ((t.owner * shape[1] + t.site) * shape[2] + t.part) * shape[3] + t.direction
        return np.bincount(key, weights=values, minlength=int(np.prod(shape))).astype(np.float64).reshape(shape)

    def backward_s(self) -> FloatArray:
        """Backward pass of a micro-batch through the layers of the mean stage [n]."""
        layers = np.array([block.layers for block in self.model.blocks], dtype=np.float64)
        return np.asarray(self.units[:, : self.blocks, :, 1:].sum(axis=(2, 3)) @ layers / self.pp)

    def settle(self, target: Target) -> FloatArray:
        """Seconds of what is done once a step [n]; from here on `once` holds of its traffic what the backward pass leaves."""
        once = once_s(self.once, self.backward_s(), self.c, target)
        self.once[:, DP] += once - self.once.sum(axis=1)
        return once

    def _shards(self, target: Target) -> None:
        """Gathers and scatters of sharded weights and gradients run beside the compute of their direction."""
        ends = self.blocks + 2
        traffic = self.units[:, :ends, DP]
        rest = self.units[:, :ends].sum(axis=2) - traffic
        rest[..., 1] += rest[..., 2]  # both gradients are computed while the next weights come
        exposed = target.stack.factors.get("fsdp_exposed", 1.0)
        left = hidden_behind(traffic, rest, exposed)
        self.units[:, :ends, DP] = np.where(self.c.overlap[:, None, None], left, traffic)

    def _pairs(self, target: Target) -> None:
        """DualPipe runs a forward beside a backward pass of another micro-batch, and the exchange of experts of one beside the
        compute of the other; the units that move it compute nothing, and filling and draining passes have no partner. Source:
        DeepSeek-V3 technical report, sections 3.2.1 and 3.2.2."""
        paired = (self.c.schedule == SCHEDULES["dualpipe"]) & self.c.overlap
        if not paired.any():
            return
        layers = self.units[:, : self.blocks]
        traffic = layers[:, :, EP].copy()
        rest = (layers.sum(axis=2) - traffic).sum(axis=2)
        alone = np.minimum(1.0, self.pp / self.micro_batches)
        moving = min(1.0, MOVING_UNITS / (target.chip.matrix.units or MOVING_UNITS))
        exposed = (alone + (1.0 - alone) * moving)[:, None]
        total = traffic.sum(axis=2)
        share = np.divide(hidden_behind(total, rest, exposed), total, out=np.ones_like(total), where=total > 0)
        layers[:, :, EP] = np.where(paired[:, None, None], traffic * share[:, :, None], traffic)

    def _host(self, target: Target) -> None:
        """Eager software: a layer cannot pass faster than the host launches its kernels; what is missing is `host` time."""
        stack = target.stack
        if stack.launch != "eager":
            return
        launches = self.by_unit(self.times.launches)[:, : self.blocks].sum(axis=2)
        small = stack.kernels_per_layer * np.stack([np.ones(self.n), 1.0 + self.again, np.zeros(self.n)], axis=1)
        floor = (launches + small[:, None, :]) * stack.host_launch_s
        experts = [getattr(block.ffn, "kind", "") == "moe" for block in self.model.blocks]
        floor[:, experts] = np.maximum(floor[:, experts], stack.factors.get("moe_host_layer_s", 0.0) / 3.0)
        device = self.units[:, : self.blocks].sum(axis=2)
        behind = np.maximum((floor - device)[..., 1:].sum(axis=-1), 0.0)  # of both gradients together
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
        owner, site = self.times.owner, self.times.site
        weight = layers[site] * (self.micro_batches / self.pp)[owner]
        weight = np.where(site == self.at(STEP), 1.0, weight)
        return np.bincount(owner, weights=values * weight, minlength=self.n).astype(np.float64)


def _interval(
    model: Model,
    target: Target,
    step: FloatArray,
    sums: _Sums,
    priced: tuple[Kernels, cost.Machine, FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Low and high of a step: quantiles of measured steps over predicted ones on rows that a fit of the stack's numbers had not
    seen; of a stack without measured steps, its kernels' errors, fully correlated."""
    known = target.stack.residuals
    moe = any(getattr(block.ffn, "kind", "") == "moe" for block in model.blocks)
    names = [name if f"moe_{name}" not in known or not moe else f"moe_{name}" for name in ("p10", "p90")]
    if all(name in known for name in names):
        return step * np.exp(known[names[0]]), step * np.exp(known[names[1]])
    rows, machine, alone, spent = priced
    low, high = (step * _ratio(sums, spent, bound, alone) for bound in cost.interval(rows, machine, alone))
    return low, high


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
