"""Pipelines of equal micro-batches through stages, one forward one backward (1F1B), plain or interleaved.

Order of a stage's work: Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM"
(2021), section 2.2. With v virtual stages a stage holds v chunks; chunk c of stage s is layer group c * p + s. The k-th
forward of every stage is that of chunk (k mod p*v) div p and micro-batch (k div p*v) * p + k mod p; the k-th backward has
the chunks in reverse. A stage runs w forwards ahead, then forward and backward in turn, then the backwards that are left;
w = p - 1 - s, interleaved 2 (p - 1 - s) + (v - 1) p.

Sends leave in order of production on a queue for each neighbour and direction, beside the compute: activations from stage s
to s + 1, gradients back, and interleaved also around the end. send_s[s] is the time between stage s and s + 1, send_s[p - 1]
that around the end, both ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..jit import inline, jit
from .schedule import FloatArray, IntArray, Schedule

WARM_UP, PLAIN_WARM_UP = (
    6,
    4,
)  # micro-batches a stage after which a long pipeline (plain: not interleaved) repeats itself
PERIODIC = 1e-12  # relative difference of two times that count as equal


@inline
def _ahead(stage: int, p: int, v: int) -> int:
    """How many forwards a stage runs ahead of its first forward-backward turn."""
    return p - 1 - stage if v == 1 else 2 * (p - 1 - stage) + (v - 1) * p


@inline
def _slots(p: int, v: int) -> int:
    """Slots of the rings that hold arrivals not yet used, a power of two.

    A producer is at most `_ahead` + 4 items, and around the end p items, in front of its consumer.
    """
    slots = 8
    while slots < _ahead(0, p, v) + p + 4:
        slots *= 2
    return slots


@inline
def _pipeline(
    p: int, m: int, v: int, forward_s: FloatArray, backward_s: FloatArray, send_s: FloatArray
) -> tuple[float, float]:
    """Makespan and pace [s]: every stage in turn runs as far as what has arrived allows, up the pipeline and down again, till
    done. Pace: what each micro-batch more (interleaved: p of them) adds for ever, 0 if that cannot be told.

    When a stage ends an item depends on when items ended that stand at most a window before it. Where all of a window, forward
    and backward on every stage, ended one and the same time after the items a period before, so will all that follow.
    """
    period = p * v if v > 1 else 1
    window = 3 * period if v > 1 else p + 2
    ended = np.zeros((2, p, period))
    gap_s, same = np.zeros((2, p)), np.zeros((2, p), dtype=np.int64)
    total, slots = m * v, _slots(p, v)
    mask = slots - 1
    arrived = np.empty((2, p, slots))  # [forward or backward, producer, item]: when the item is there for its consumer
    link_s = np.zeros((2, p))  # when the producer's send queue is free
    free_s = np.zeros(p)
    count = np.zeros((2, p), dtype=np.int64)  # forwards and backwards done
    place = np.zeros((4, p), dtype=np.int64)  # chunk and micro-batch within the group, of the next forward and backward
    stage, step, left = 0, 1, p
    while left > 0:
        f, b, now = count[0, stage], count[1, stage], free_s[stage]
        if b < total:
            ahead = _ahead(stage, p, v)
            last, first = stage == p - 1, stage == 0
            f_chunk, f_at, b_chunk, b_at = place[0, stage], place[1, stage], place[2, stage], place[3, stage]
            f_from, f_shift = (p - 1, p) if first else (stage - 1, 0)
            b_from, b_shift = (0, p) if last else (stage + 1, 0)
            f_have, b_have = count[0, f_from] + f_shift, count[1, b_from] + b_shift
            base = stage * v
            while b < total:
                if f < total and f - b <= ahead:
                    if not (first and f_chunk == 0):
                        if f >= f_have:
                            break
                        now = max(now, arrived[0, f_from, (f - f_shift) & mask])
                    now += forward_s[base + f_chunk]
                    if abs(now - ended[0, stage, f % period] - gap_s[0, stage]) > PERIODIC * now:
                        gap_s[0, stage], same[0, stage] = now - ended[0, stage, f % period], 0
                    ended[0, stage, f % period] = now
                    same[0, stage] += 1
                    if not (last and f_chunk == v - 1):
                        link_s[0, stage] = max(now, link_s[0, stage]) + send_s[stage]
                        arrived[0, stage, f & mask] = link_s[0, stage]
                    f += 1
                    f_at += 1
                    if f_at == p:
                        f_at = 0
                        f_chunk = f_chunk + 1 if f_chunk + 1 < v else 0
                else:
                    if not (last and b_chunk == 0):
                        if b >= b_have:
                            break
                        now = max(now, arrived[1, b_from, (b - b_shift) & mask])
                    now += backward_s[base + v - 1 - b_chunk]
                    if f < total:
                        if abs(now - ended[1, stage, b % period] - gap_s[1, stage]) > PERIODIC * now:
                            gap_s[1, stage], same[1, stage] = now - ended[1, stage, b % period], 0
                        ended[1, stage, b % period] = now
                        same[1, stage] += 1
                    if not (first and b_chunk == v - 1):
                        back = p - 1 if first else stage - 1
                        link_s[1, stage] = max(now, link_s[1, stage]) + send_s[back]
                        arrived[1, stage, b & mask] = link_s[1, stage]
                    b += 1
                    b_at += 1
                    if b_at == p:
                        b_at = 0
                        b_chunk = b_chunk + 1 if b_chunk + 1 < v else 0
            count[0, stage], count[1, stage], free_s[stage] = f, b, now
            place[0, stage], place[1, stage], place[2, stage], place[3, stage] = f_chunk, f_at, b_chunk, b_at
            if b == total:
                left -= 1
        if p > 1:
            if stage + step < 0 or stage + step >= p:
                step = -step
            stage += step
    end, pace = np.max(free_s), gap_s[0, 0]
    steady = np.min(same) >= window and np.max(np.abs(gap_s - pace)) <= PERIODIC * end
    return end, pace if steady else 0.0


@inline
def _makespan(p: int, m: int, v: int, forward_s: FloatArray, backward_s: FloatArray, send_s: FloatArray) -> float:
    """Makespan [s]. A long pipeline is swept until it repeats itself, and goes on at that pace; in full if it does not."""
    short = WARM_UP * p + m % p if v > 1 else PLAIN_WARM_UP * p
    if m > 1.25 * short:
        end, pace = _pipeline(p, short, v, forward_s, backward_s, send_s)
        if pace > 0.0:
            return end + pace * ((m - short) // p if v > 1 else m - short)
    return _pipeline(p, m, v, forward_s, backward_s, send_s)[0]


@jit
def price_pipelines(
    p: IntArray, m: IntArray, v: IntArray, forward_s: FloatArray, backward_s: FloatArray, send_s: FloatArray
) -> FloatArray:
    """The jitted heart of `one_f_one_b_many`, with send_s ragged by stage; checks nothing."""
    makespan_s = np.empty(len(p))
    chunks, stages = 0, 0
    for i in range(len(p)):
        more_chunks, more_stages = chunks + p[i] * v[i], stages + p[i]
        makespan_s[i] = _makespan(
            p[i], m[i], v[i], forward_s[chunks:more_chunks], backward_s[chunks:more_chunks], send_s[stages:more_stages]
        )
        chunks, stages = more_chunks, more_stages
    return makespan_s


class PipelineTimes(NamedTuple):
    """makespan_s of a pipeline and busy_s float64[p], the time that each stage computes [s]."""

    makespan_s: float
    busy_s: FloatArray


def one_f_one_b_many(
    p: ArrayLike, m: ArrayLike, v: ArrayLike, forward_s: ArrayLike, backward_s: ArrayLike, send_s: ArrayLike
) -> FloatArray:
    """Makespan [s] of n pipelines in one compiled call, float64[n]: built and swept without a table.

    p, m, v int[n]: stages, micro-batches, virtual stages. forward_s, backward_s: seconds a micro-batch, flat, pipeline after
    pipeline, each [p, v] by rows. send_s: float[n], or flat [p] for each pipeline (see the module). Valid where sends do not
    disturb compute. Raises InputError for an illegal pipeline, naming the first.
    """
    stages, batches, chunks = (np.array(x, dtype=np.int64, ndmin=1) for x in (p, m, v))
    forward, backward, send = (np.array(x, dtype=np.float64, ndmin=1) for x in (forward_s, backward_s, send_s))
    if not len(stages) == len(batches) == len(chunks):
        raise InputError(
            f"pipelines: p, m, v have {len(stages)}, {len(batches)}, {len(chunks)} entries. Make them equal."
        )
    _check(stages, batches, chunks)
    if len(send) == len(stages):
        send = np.repeat(send, stages)
    cells = int((stages * chunks).sum())
    for name, values, size in (
        ("forward_s", forward, cells),
        ("backward_s", backward, cells),
        ("send_s", send, int(stages.sum())),
    ):
        if len(values) != size:
            raise InputError(f"pipelines: {name} has {len(values)} entries, p and v ask for {size}.")
        if not np.all((values >= 0) & np.isfinite(values)):
            raise InputError(f"pipelines: {name} has an entry that is not a finite number >= 0.")
    makespan_s: FloatArray = price_pipelines(stages, batches, chunks, forward, backward, send)
    return makespan_s


def one_f_one_b(
    p: int, m: int, v: int, forward_s: ArrayLike, backward_s: ArrayLike, send_s: ArrayLike
) -> PipelineTimes:
    """One pipeline: forward_s, backward_s [p, v] seconds a micro-batch, send_s a number or [p]. See `one_f_one_b_many`."""
    forward, backward = np.asarray(forward_s, dtype=np.float64), np.asarray(backward_s, dtype=np.float64)
    makespan_s = one_f_one_b_many([p], [m], [v], forward.ravel(), backward.ravel(), np.broadcast_to(send_s, p))
    return PipelineTimes(float(makespan_s[0]), m * (forward + backward).reshape(p, v).sum(axis=1))


def one_f_one_b_schedule(
    p: int, m: int, v: int, forward_s: ArrayLike, backward_s: ArrayLike, send_s: ArrayLike
) -> Schedule:
    """The same pipeline as a Schedule, for traces, faults and SimPy: its sweep has the same makespan to the last bit.

    Queue s is stage s; the send queues follow. Parts: compute, send; phases: forward, backward.
    """
    _check(*(np.array([x], dtype=np.int64) for x in (p, m, v)))
    work_s = np.stack((np.reshape(forward_s, (p, v)), np.reshape(backward_s, (p, v)))).astype(np.float64)
    between_s = np.broadcast_to(np.asarray(send_s, dtype=np.float64), p)
    programs = [list(program(s, p, m, v)) for s in range(p)]
    rows: list[_Row] = []
    arrival: dict[tuple[int, int, int], int] = {}  # (phase, layer group, micro-batch) -> the row that brings it
    position = [0] * p
    while any(position[s] < len(programs[s]) for s in range(p)):
        for s in range(p):
            for phase, chunk, batch in programs[s][position[s] :]:
                group = chunk * p + s
                source, target = (group - 1, group + 1) if phase == 0 else (group + 1, group - 1)
                has_source = 0 <= source < p * v
                if has_source and (phase, source, batch) not in arrival:
                    break
                waits = (arrival[phase, source, batch],) if has_source else ()
                rows.append(_Row(s, work_s[phase, s, chunk], waits, 0, phase))
                if 0 <= target < p * v:
                    lasts_s = between_s[s if phase == 0 else (s - 1) % p]
                    rows.append(_Row(p * (1 + phase) + s, lasts_s, (len(rows) - 1,), 1, phase))
                    arrival[phase, group, batch] = len(rows) - 1
                position[s] += 1
    names = [f"stage {s}" for s in range(p)]
    names += [f"{what} from stage {s}" for what in ("activations", "gradients") for s in range(p)]
    queue, seconds, after, part, phases = zip(*rows, strict=True)
    return replace(
        Schedule.of(queue, seconds, after, part=part, phase=phases),
        queue_names=tuple(names),
        part_names=("compute", "send"),
        phase_names=("forward", "backward"),
    )


class _Row(NamedTuple):
    queue: int
    seconds: float
    after: tuple[int, ...]
    part: int
    phase: int


def program(stage: int, p: int, m: int, v: int) -> Iterator[tuple[int, int, int]]:
    """What a stage does, in order: (0 forward | 1 backward, chunk, micro-batch)."""
    total = m * v
    ahead = min(p - 1 - stage if v == 1 else 2 * (p - 1 - stage) + (v - 1) * p, total)
    order = [0] * ahead + [0, 1] * (total - ahead) + [1] * ahead
    done = [0, 0]
    for phase in order:
        item = done[phase]
        chunk = item % (p * v) // p
        yield phase, chunk if phase == 0 else v - 1 - chunk, item // (p * v) * p + item % p
        done[phase] += 1


def _check(p: IntArray, m: IntArray, v: IntArray) -> None:
    """Raise InputError, naming the first pipeline that is illegal."""
    for bad, rule in (
        ((p < 1) | (m < 1) | (v < 1), "each must be at least 1"),
        ((v > 1) & (p < 2), "virtual stages need at least 2 stages"),
        ((v > 1) & (m % np.maximum(p, 1) != 0), "with virtual stages, m must be a multiple of p"),
    ):
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(
                f"pipeline {i}: stages p = {p[i]}, micro-batches m = {m[i]}, virtual stages v = {v[i]}: {rule}."
            )
