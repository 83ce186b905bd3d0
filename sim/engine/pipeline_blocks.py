"""Pipelines built from a repeated block: GPipe, zero bubble (ZB-H1, ZB-V, V-half, V-min) and DualPipe.

A backward pass is split into the gradient of the input (B), which the stage before waits for, and that of the weights (W),
which nobody waits for (Qi et al., "Zero Bubble Pipeline Parallelism", 2024). A schedule is one block of F, B and W of one
micro-batch on all stages, laid out in units of equal length, repeated at an interval at which no two of a stage's operations
meet ("Pipeline Parallelism with Controllable Memory", 2024, section 3). Only the order of operations is taken from the block;
when they run follows from their real times. How far apart neighbours stand in the block sets how many micro-batches a stage
holds: 1F1B's p for ZB-H1 and ZB-V, half of it for V-half, a third for V-min.

A stage holds one or two chunks. `line`: chunk 0 flows down the stages. `vee`: chunk 1 flows back up from where chunk 0 ends, so
that the first stage holds both ends of the model. `dual`: two copies of the model flow against each other, each with half of the
micro-batches (DualPipe, DeepSeek-V3 report, section 3.2.1). Sends from a stage to the next, and back, queue up each.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..jit import inline, jit
from .schedule import FloatArray, IntArray, Schedule

LINE, VEE, DUAL = range(3)
F, B, W = range(3)
OPERATIONS = ("forward", "backward", "weights")
_WIDEST_STEP, _WIDEST_GAP = 5, 5  # of a block, in units


class Rule(NamedTuple):
    """A schedule. shape: how chunks lie. split: is W apart from B? step: mean distance of neighbours in the block, in units.

    fixed: W stands where the block has it; else it fills whatever gap comes, and stands back behind F and B.
    """

    shape: int
    split: bool
    step: float
    fixed: bool


RULES = {
    "gpipe": Rule(LINE, False, 0.0, True),
    "zb-h1": Rule(LINE, True, 1.5, True),
    "zb-v": Rule(VEE, True, 3.0, False),
    "v-half": Rule(VEE, True, 1.5, True),
    "v-min": Rule(VEE, True, 1.0, True),
    "dualpipe": Rule(DUAL, True, 3.0, False),
}


class BlockTimes(NamedTuple):
    """makespan_s; busy_s float64[p]; held int64[p]: most micro-batches of chunks that a stage holds activations of at once."""

    makespan_s: float
    busy_s: FloatArray
    held: IntArray


def chunks_of(schedule: str) -> int:
    """Chunks that a stage holds under a schedule of this file."""
    return 1 if RULES[schedule].shape == LINE else 2


def block_pipeline(schedule: str, m: int, work_s: FloatArray, send_s: FloatArray) -> BlockTimes:
    """Run m micro-batches through a schedule of RULES.

    work_s float64[3, p, chunks]: seconds of F, B and W of one micro-batch in a chunk; send_s float64[p]: between stage s and
    s + 1, either way. Raises InputError if p or m do not suit the schedule.
    """
    return _swept(schedule, m, work_s, send_s)[0]


def block_order(schedule: str, m: int, work_s: FloatArray, send_s: FloatArray) -> IntArray:
    """The operations in the order of `block_schedule`'s compute rows: (stage, F, B or W, chunk, micro-batch) [n, 4]."""
    return _swept(schedule, m, work_s, send_s)[1]


def _swept(schedule: str, m: int, work_s: FloatArray, send_s: FloatArray) -> tuple[BlockTimes, IntArray]:
    p = work_s.shape[1]
    rule = RULES[schedule]
    program = _programs(schedule, p, m)
    end_s, busy_s, held, order = sweep_blocks(
        (rule.shape, rule.split, rule.fixed, _limit(rule, p)), program, work_s, send_s
    )
    return BlockTimes(end_s, busy_s, held), order


def _limit(rule: Rule, p: int) -> int:
    """Micro-batches of chunks that a stage may hold before it must run a W that waits: 2p half stages, p + 1 whole ones."""
    return 2 * p if rule.shape == VEE else p + 1


@lru_cache(maxsize=1024)
def _programs(schedule: str, p: int, m: int) -> NDArray[np.int64]:
    """What each stage does, in order: int64[p, n, 3] of operation, chunk, micro-batch; W only where it is fixed."""
    rule = RULES[schedule]
    if rule.shape == DUAL and (m % 2 or p % 2):
        raise InputError(f"{schedule}: {p} stages, {m} micro-batches: both must be even. Change pp or global_batch.")
    flow = m // 2 if rule.shape == DUAL else m
    interval, offsets = _block(schedule, p, m)
    programs = []
    for stage in range(p):
        listed = [
            (int(at[stage]) + interval * i, operation, chunk, i)
            for operation, chunk, at in offsets
            if operation != W or (rule.split and rule.fixed)
            for i in range(flow)
        ]
        programs.append([entry[1:] for entry in sorted(listed)])
    return np.array(programs, dtype=np.int64)


Offsets = list[tuple[int, int, IntArray]]


def _block(schedule: str, p: int, m: int) -> tuple[int, Offsets]:
    """(interval, [(operation, chunk, offset on each stage)]) of one micro-batch, in units."""
    rule = RULES[schedule]
    stage = np.arange(p)
    if schedule == "gpipe":  # every F of a stage before its first B
        return 1, [(F, 0, stage), (B, 0, stage + m + p)]
    if rule.shape == LINE:  # 1F1B with W held back so that every stage holds p micro-batches
        back = 3 * p - 2 - 2 * stage
        return 3, [(F, 0, stage), (B, 0, back), (W, 0, back + 1 + 3 * stage)]
    four = _vee(p, rule.step) if rule.shape == VEE else _dual(p, rule.step)
    offsets = [(F, 0, four[0]), (F, 1, four[1]), (B, 1, four[2]), (B, 0, four[3])]
    return 6, offsets + _weights(four)


def _weights(four: IntArray) -> Offsets:
    """W of both chunks in the two units of six that F and B leave free, as soon after their B as may be."""
    taken = four % 6
    out = np.zeros((2, four.shape[1]), dtype=np.int64)
    for stage in range(four.shape[1]):
        free = sorted(set(range(6)) - set(taken[:, stage].tolist()))
        late, early = int(four[3, stage]), int(four[2, stage])  # B of chunk 0, of chunk 1
        ways = [
            [(mine - late - 1) % 6 + late + 1, (other - early - 1) % 6 + early + 1]
            for mine, other in itertools.permutations(free)
        ]
        out[:, stage] = min(ways, key=lambda way: max(way[0] - late, way[1] - early))
    return [(W, 1, out[1]), (W, 0, out[0])]


def _vee(p: int, step: float) -> IntArray:
    """Offsets [4, p] of F0, F1, B1, B0 whose neighbours stand `step` apart on average and that never meet, least gaps first."""
    down, up = np.arange(p), np.arange(p)[::-1]
    best: tuple[tuple[int, int], IntArray] | None = None
    for steps in itertools.product(range(1, _WIDEST_STEP + 1), repeat=4):
        if sum(steps) != round(4 * step):
            continue
        for gaps in itertools.product(range(_WIDEST_GAP), repeat=3):
            first = steps[0] * down
            second = first[-1] + 1 + gaps[0] + steps[1] * up
            back = second[0] + 1 + gaps[1] + steps[2] * down
            last = back[-1] + 1 + gaps[2] + steps[3] * up
            best = _better(best, (sum(gaps), max(steps) - min(steps)), np.stack((first, second, back, last)))
    return _found(best, p)


def _dual(p: int, step: float) -> IntArray:
    """Offsets [4, p] of F0, F1, B1, B0 of two mirrored flows that never meet."""
    down, up = np.arange(p), np.arange(p)[::-1]
    best: tuple[tuple[int, int], IntArray] | None = None
    for forward in range(1, _WIDEST_STEP + 1):
        backward = round(2 * step) - forward
        for gap, shift in itertools.product(range(6), repeat=2):
            turn = forward * (p - 1) + 1 + gap
            rows = (forward * down, shift + forward * up, shift + turn + backward * down, turn + backward * up)
            if backward > 0:
                best = _better(best, (gap + shift, abs(forward - backward)), np.stack(rows))
    return _found(best, p)


def _better(
    best: tuple[tuple[int, int], IntArray] | None, price: tuple[int, int], rows: IntArray
) -> tuple[tuple[int, int], IntArray] | None:
    """The cheaper of two blocks, if no stage of the new one does two things in the same unit of an interval."""
    if best is not None and price >= best[0]:
        return best
    units = np.sort(rows % 6, axis=0)
    return best if np.any(units[1:] == units[:-1]) else (price, rows)


def _found(best: tuple[tuple[int, int], IntArray] | None, p: int) -> IntArray:
    if best is None:
        raise InputError(f"pipeline: no block without collisions for {p} stages. Use schedule: 1f1b.")
    return best[1]


@jit
def sweep_blocks(
    rule: tuple[int, bool, bool, int], program: IntArray, work_s: FloatArray, send_s: FloatArray
) -> tuple[float, FloatArray, IntArray, IntArray]:
    """(makespan [s], seconds busy [p], most held [p], order int64[n, 4]: stage, operation, chunk, micro-batch as they start).

    rule: shape, split, fixed (see Rule), and where W is not fixed, how many may be held while one waits. Stages run in order of
    start, so that what has arrived by then is known.
    """
    shape, split, fixed, limit = rule
    p, n, chunks = program.shape[0], program.shape[1], work_s.shape[2]
    m = n // (chunks * (3 if split and fixed else 2))
    order = np.empty((p * m * chunks * (3 if split else 2), 4), dtype=np.int64)
    arrived = np.full((2, chunks, p, m), np.inf)
    arrived[F, 0, 0, :] = 0.0
    if shape == DUAL:
        arrived[F, 1, p - 1, :] = 0.0
    place, held, most = np.zeros(p, dtype=np.int64), np.zeros(p, dtype=np.int64), np.zeros(p, dtype=np.int64)
    backs, weights = np.zeros((chunks, p), dtype=np.int64), np.zeros((chunks, p), dtype=np.int64)
    free_s, busy_s, start_s = np.zeros(p), np.zeros(p), np.zeros(p)
    link_s = np.zeros((2, p))  # down from a stage, up from it
    for s in range(p):
        start_s[s] = arrived[F, program[s, 0, 1], s, 0]
    for count in range(order.shape[0]):
        s = int(np.argmin(start_s))
        waits = -1
        for c in range(chunks):
            if split and not fixed and waits < 0 and weights[c, s] < backs[c, s]:
                waits = c
        kind, c = W, waits
        if place[s] < n:
            k, chunk, i = program[s, place[s], 0], program[s, place[s], 1], program[s, place[s], 2]
            full = k == F and waits >= 0 and held[s] >= limit
            if not full and (k == W or arrived[k, chunk, s, i] <= start_s[s]):
                kind, c = k, chunk
                place[s] += 1
        lasts = work_s[kind, s, c]
        if kind == F:
            held[s] += 1
            most[s] = max(most[s], held[s])
            i = program[s, place[s] - 1, 2]
        elif kind == B:
            i = backs[c, s]
            backs[c, s] += 1
            if not split:
                lasts += work_s[W, s, c]
                held[s] -= 1
        else:
            i = weights[c, s]
            weights[c, s] += 1
            held[s] -= 1
        end = start_s[s] + lasts
        order[count, 0], order[count, 1], order[count, 2], order[count, 3] = s, kind, c, i
        free_s[s] = end
        busy_s[s] += lasts
        other = s
        if kind != W:
            other = _hand_on((s, kind, c, i), end, shape, arrived, link_s, send_s)
        for q in (s, other):
            at = np.inf
            if place[q] < n:
                k, chunk, i = program[q, place[q], 0], program[q, place[q], 1], program[q, place[q], 2]
                at = 0.0 if k == W else arrived[k, chunk, q, i]
            for chunk in range(chunks):
                if split and not fixed and weights[chunk, q] < backs[chunk, q]:
                    at = min(at, free_s[q])
            start_s[q] = max(at, free_s[q])
    return float(np.max(free_s)), busy_s, most, order


@inline
def _hand_on(
    done: tuple[int, int, int, int], end: float, shape: int, arrived: FloatArray, link_s: FloatArray, send_s: FloatArray
) -> int:
    """Let the next stage of the flow have what (stage, operation, chunk, micro-batch) made; returns that stage."""
    s, kind, c, i = done
    down = (kind == F) == (c == 0)
    to = s + 1 if down else s - 1
    if 0 <= to < arrived.shape[2]:
        way = 0 if down else 1
        link_s[way, s] = max(end, link_s[way, s]) + send_s[s if down else to]
        arrived[kind, c, to, i] = link_s[way, s]
        return int(to)
    if kind == F:
        if shape == VEE and c == 0:
            arrived[F, 1, s, i] = end
        else:
            arrived[B, c, s, i] = end
    elif shape == VEE and c == 1:
        arrived[B, 0, s, i] = end
    return int(s)


def block_schedule(schedule: str, m: int, work_s: FloatArray, send_s: FloatArray) -> Schedule:
    """The same pipeline as a Schedule, for traces, faults and SimPy: its sweep has the same makespan to the last bit.

    Queue s is stage s; the send queues follow, down and up. Parts: compute, send; phases: forward, backward, weights.
    """
    p, rule = work_s.shape[1], RULES[schedule]
    order = _swept(schedule, m, work_s, send_s)[1]
    rows: list[tuple[int, float, tuple[int, ...], int, int]] = []
    brings: dict[
        tuple[int, int, int, int], int
    ] = {}  # (operation, chunk, stage, micro-batch) -> the row that brings it
    for s, kind, c, i in order.tolist():
        source = (brings[kind, c, s, i],) if (kind, c, s, i) in brings else ()
        lasts = work_s[kind, s, c] + (work_s[W, s, c] if kind == B and not rule.split else 0.0)
        rows.append((s, float(lasts), source, 0, kind))
        if kind == W:
            continue
        made, down = len(rows) - 1, (kind == F) == (c == 0)
        to = s + 1 if down else s - 1
        if 0 <= to < p:
            rows.append((p * (1 if down else 2) + s, float(send_s[s if down else to]), (made,), 1, kind))
            brings[kind, c, to, i] = len(rows) - 1
        elif kind == F:
            brings[(F, 1, s, i) if rule.shape == VEE and c == 0 else (B, c, s, i)] = made
        elif rule.shape == VEE and c == 1:
            brings[B, 0, s, i] = made
    names = [f"stage {s}" for s in range(p)] + [f"{way} from stage {s}" for way in ("down", "up") for s in range(p)]
    queue, seconds, after, part, phases = zip(*rows, strict=True)
    return replace(
        Schedule.of(queue, seconds, after, part=part, phase=phases),
        queue_names=tuple(names),
        part_names=("compute", "send"),
        phase_names=OPERATIONS,
    )
