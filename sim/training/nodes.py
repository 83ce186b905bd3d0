"""One training step as a graph of nodes for each pipeline stage: stretches of compute, collectives, sends and receives.

A row of the step's schedule is a pass of one micro-batch through one chunk; here it is taken apart into its layers, and a layer
into what lies between two collectives. Seconds are those of the schedule: the nodes of a row add up to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..cost import machine, seconds
from ..engine.pipeline_blocks import DUAL, LINE, RULES, block_order, block_schedule
from ..engine.pipeline_tables import one_f_one_b_schedule, program
from ..engine.schedule import Schedule
from ..lowering import (
    EMBEDDING,
    HEAD,
    KINDS,
    PART_IDS,
    PARTS,
    SEND,
    STEP,
    Kernels,
    columns,
    layers_on_stages,
    units,
)
from ..lowering.sharding import Columns, Step
from .pricing import _Sums
from .times import executed, times_of

FloatArray = NDArray[np.float64]
COMPUTE, SENT, RECEIVED = "compute", "send", "receive"  # of nodes; collectives are called as their kind of kernel
_DP, _HOST = PART_IDS["dp_traffic"], PART_IDS["host"]
_DIRECTIONS = ("forward", "backward", "weights")
_MOST_TIMES = 8  # a collective that runs so often in a layer is that many nodes; more often, one with all bytes


class Node(NamedTuple):
    """What one rank of a stage does. seconds: as the schedule counts them; flops, size_bytes: computed and moved in memory, or
    sent; ranks, stride: the group of a collective, or whom a send goes to; after: earlier nodes of the same stage; tag: pairs a
    send with its receive; ring: every rank of the group sends to the next one."""

    kind: str
    name: str
    seconds: float
    flops: float
    size_bytes: float
    after: tuple[int, ...]
    ranks: int = 1
    stride: int = 1
    tag: int = 0
    ring: bool = False


@dataclass(frozen=True)
class StepGraph:
    """Nodes by stage, in an order in which each stands after what it waits for. world: ranks in all; across: distance in rank
    order of the same rank of the next stage; schedule: what the nodes take apart."""

    stages: tuple[tuple[Node, ...], ...]
    world: int
    across: int
    schedule: Schedule

    def stage_of(self, rank: int) -> int:
        """The pipeline stage of a rank."""
        return rank // self.across % len(self.stages)

    def group(self, rank: int, ranks: int, stride: int) -> tuple[int, ...]:
        """The ranks of a collective that a rank takes part in."""
        first = rank - rank // stride % ranks * stride
        return tuple(first + i * stride for i in range(ranks))


class _Piece(NamedTuple):
    """A stretch of compute, or a collective, of one site and direction. aside: traffic that runs beside compute."""

    kind: str
    name: str
    seconds: float
    flops: float
    size_bytes: float
    ranks: int = 1
    stride: int = 1
    aside: bool = False


Pieces = dict[tuple[int, int], list[_Piece]]


def step_graph(model: Model, plan: Plan, target: Target, seq_len: float) -> StepGraph:
    """The graph of one step of a settled plan. Raises what pricing the plan raises."""
    c = columns(model, [plan], True)
    packed = machine(target.chip, target.family, target.calibration, target.cluster)
    rows = executed(units(model, c, Step("train", 1.0, seq_len, seq_len)), target)
    times = times_of(rows, c, seconds(rows, packed), len(model.blocks))
    sums = _Sums(model, c, target, times)
    stages = sums.stages()
    work_s, send_s, batches = stages.of(0), float(stages.send_s[0]), int(stages.micro_batches[0])
    if plan.schedule == "1f1b":
        table = one_f_one_b_schedule(plan.pp, batches, plan.virtual_stages, work_s[0], work_s[1] + work_s[2], send_s)
        order = [list(program(s, plan.pp, batches, plan.virtual_stages)) for s in range(plan.pp)]
    else:
        between = np.full(plan.pp, send_s)
        table = block_schedule(plan.schedule, batches, work_s, between)
        order = [[] for _ in range(plan.pp)]
        for s, kind, chunk, batch in block_order(plan.schedule, batches, work_s, between).tolist():
            order[s].append((kind, chunk, batch))
    raw = sums.by_unit(times.spent(target))[0]
    sums.settle(target)
    pieces = _pieces(rows, c, times.spent(target), raw, _settled(sums))
    return _Builder(model, plan, table, order, pieces).graph()


def _settled(sums: _Sums) -> FloatArray:
    """Seconds [sites, parts, directions] after what runs beside compute is hidden; of the step's own work all in direction 1."""
    once = np.zeros((1, *sums.units.shape[2:]))
    once[0, :, 1] = sums.once[0]
    return np.asarray(np.concatenate([sums.units[0], once]))


def _pieces(rows: Kernels, c: Columns, spent: FloatArray, raw: FloatArray, settled: FloatArray) -> Pieces:
    """Pieces of one unit of each (site, direction), in the order of the rows. settled over raw: what of a row's time is left."""
    flops, moved = rows.flops(), rows.bytes()
    blocks = len(raw) - 4
    phases = {0: 0, 6: 2}  # forward, weights; all else is backward
    found: Pieces = {}
    shares = np.divide(settled, raw, out=np.ones_like(raw), where=raw > 0.0)
    whole = raw[-1].sum(axis=1)
    once = np.divide(settled[-1].sum(axis=1), whole, out=np.ones_like(whole), where=whole > 0.0)
    for i in range(len(rows)):
        site, part, direction = int(rows.site[i]), int(rows.part[i]), phases.get(int(rows.phase[i]), 1)
        at = site if site >= 0 else blocks - 1 - site
        share = shares[min(at, blocks + 2), part, direction] if site != STEP else once[part]
        lasts = float(spent[i] * share)
        kind, runs = KINDS[rows.kind[i]], float(rows.count[i])
        pieces = found.setdefault((site, direction), [])
        if kind.collective:
            pieces += _traffic(rows, i, lasts, aside=part == _DP and bool(c.overlap[0]) and site != STEP)
        elif pieces and pieces[-1].kind == COMPUTE:
            last = pieces[-1]
            pieces[-1] = last._replace(
                seconds=last.seconds + lasts,
                flops=last.flops + flops[i] * runs,
                size_bytes=last.size_bytes + moved[i] * runs,
            )
        else:
            pieces.append(_Piece(COMPUTE, PARTS[part], lasts, float(flops[i] * runs), float(moved[i] * runs)))
    for site in range(blocks):
        for direction in range(3):
            host_s = float(settled[site, _HOST, direction] - raw[site, _HOST, direction])
            if host_s > 0.0:
                found.setdefault((site, direction), []).append(_Piece(COMPUTE, "host", host_s, 0.0, 0.0))
    return found


def _traffic(rows: Kernels, i: int, lasts: float, aside: bool) -> list[_Piece]:
    """The pieces of a row of a collective: as many as it runs, or one with all bytes where that is no small whole number."""
    kind, runs = KINDS[rows.kind[i]], float(rows.count[i])
    size, ranks, stride = (float(value) for value in rows.dims[i, :3])
    if ranks <= 1.0:
        return []
    times = int(runs) if runs.is_integer() and runs <= _MOST_TIMES else 1
    name = f"{kind.name} {PARTS[rows.part[i]]}"
    one = _Piece(kind.name, name, lasts / times, 0.0, size * runs / times, int(ranks), int(stride), aside)
    return [one] * times


class _Builder:
    """Walks the schedule's rows in their order and lays down the nodes of each stage."""

    def __init__(
        self, model: Model, plan: Plan, table: Schedule, order: list[list[tuple[int, int, int]]], pieces: Pieces
    ):
        self.plan, self.table, self.order, self.pieces = plan, table, order, pieces
        self.shape = LINE if plan.schedule == "1f1b" else RULES[plan.schedule].shape
        self.split = plan.schedule != "1f1b" and RULES[plan.schedule].split
        chunks = plan.virtual_stages if plan.schedule == "1f1b" else len({c for each in order for _, c, _ in each})
        self.slots = plan.pp * (1 if self.shape == DUAL else chunks)
        self.held = layers_on_stages(model, plan.pp, self.slots // plan.pp)
        self.nodes: list[list[Node]] = [[] for _ in range(plan.pp)]
        self.last: list[tuple[int, ...]] = [()] * plan.pp
        self.beside: list[list[int]] = [[] for _ in range(plan.pp)]
        self.across = plan.tp * plan.cp * (plan.dp or 1)

    def graph(self) -> StepGraph:
        table, pp = self.table, self.plan.pp
        done = [0] * pp
        ends: dict[int, int] = {}  # row -> the node of its own stage that ends it
        for row in range(len(table)):
            queue = int(table.queue[row])
            waits = table.after[table.after_ptr[row] : table.after_ptr[row + 1]].tolist()
            if queue < pp:
                brought = [self._received(queue, r) for r in waits if int(table.queue[r]) >= pp]
                self._pass(queue, self.order[queue][done[queue]], tuple(brought))
                done[queue] += 1
                ends[row] = len(self.nodes[queue]) - 1
            else:
                self._sent(queue, row, ends[waits[0]])
        for stage in range(pp):
            self._once(stage)
        return StepGraph(tuple(tuple(each) for each in self.nodes), self.across * pp, self.across, table)

    def _add(self, stage: int, node: Node) -> int:
        self.nodes[stage].append(node)
        return len(self.nodes[stage]) - 1

    def _send_piece(self, row: int) -> tuple[float, int]:
        """Bytes of a send of the schedule, and the tag that it shares with its receive."""
        phase = 0 if self.table.phase[row] == 0 else 1
        pieces = self.pieces.get((SEND, phase)) or self.pieces.get((SEND, 0)) or []
        return sum(piece.size_bytes for piece in pieces), row

    def _sent(self, queue: int, row: int, made: int) -> None:
        pp, stage = self.plan.pp, queue % self.plan.pp
        size, tag = self._send_piece(row)
        to = 1 if queue // pp == 1 else -1
        hop = (stage + to) % pp - stage
        lasts, way = float(self.table.seconds[row]), hop * self.across
        self._add(stage, Node(SENT, self._phase(row), lasts, 0.0, size, (made,), 2, way, tag))

    def _phase(self, row: int) -> str:
        return str(self.table.phase_names[self.table.phase[row]])

    def _received(self, stage: int, row: int) -> int:
        size, tag = self._send_piece(row)
        source = int(self.table.queue[row]) % self.plan.pp
        way = (source - stage) * self.across
        node = Node(RECEIVED, self._phase(row), 0.0, 0.0, size, (), 2, way, tag)
        return self._add(stage, node)

    def _pass(self, stage: int, item: tuple[int, int, int], brought: tuple[int, ...]) -> None:
        """One micro-batch through one chunk: its sites in depth order, or against it."""
        kind, chunk, batch = item
        slot = self._slot(stage, chunk)
        directions = (0,) if kind == 0 else (2,) if kind == 2 else (1,) if self.split else (1, 2)
        sites = [EMBEDDING] * (slot == 0)
        sites += [site for site, layers in enumerate(self.held[slot]) for _ in range(int(layers))]
        sites += [HEAD] * (slot == self.slots - 1)
        self.last[stage] = (*self.last[stage], *brought)
        first = len(self.nodes[stage])
        for site in sites if kind == 0 else sites[::-1]:
            for direction in directions:
                self._lay(stage, site, direction, f"{_DIRECTIONS[direction]} micro-batch {batch}")
        if len(self.nodes[stage]) == first:  # a stage without layers still hands on what it gets
            self._chain(stage, Node(COMPUTE, f"{_DIRECTIONS[directions[0]]} micro-batch {batch}", 0.0, 0.0, 0.0, ()))

    def _slot(self, stage: int, chunk: int) -> int:
        """The place of a chunk in the depth of the model; see `stages.placed`."""
        pp = self.plan.pp
        if self.shape == DUAL:
            return stage if chunk == 0 else pp - 1 - stage
        return chunk * pp + (stage if self.shape == LINE or chunk == 0 else pp - 1 - stage)

    def _lay(self, stage: int, site: int, direction: int, what: str) -> None:
        for piece in self.pieces.get((site, direction), ()):
            self._piece(stage, piece, f"{piece.name} {what}")

    def _piece(self, stage: int, piece: _Piece, name: str) -> None:
        if piece.kind == "send_recv":
            self._ring(stage, piece, name)
            return
        seconds_, size, before = piece.seconds, piece.size_bytes, self.last[stage]
        node = Node(piece.kind, name, seconds_, piece.flops, size, before, piece.ranks, piece.stride)
        if piece.aside:
            self.beside[stage].append(self._add(stage, node))
        else:
            self._chain(stage, node)

    def _chain(self, stage: int, node: Node) -> None:
        self.last[stage] = (self._add(stage, node._replace(after=self.last[stage])),)

    def _ring(self, stage: int, piece: _Piece, name: str) -> None:
        """Every rank of a group sends to the next one and waits for the one before."""
        tag = len(self.table) + len(self.nodes[stage])
        before = self.last[stage]
        one = Node(SENT, name, piece.seconds, 0.0, piece.size_bytes, before, piece.ranks, piece.stride, tag, ring=True)
        ends = [one, one._replace(kind=RECEIVED, seconds=0.0)]
        self.last[stage] = tuple(self._add(stage, end) for end in ends)

    def _once(self, stage: int) -> None:
        """What is done once a step, after all passes and what ran beside them."""
        self.last[stage] = (*self.last[stage], *self.beside[stage])
        for direction in range(3):
            self._lay(stage, STEP, direction, "step")
