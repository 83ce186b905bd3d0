"""Stage times of pipelines, many at once: units placed on stages, and swept by the compiled executors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Model
from ..engine.pipeline_blocks import DUAL, LINE, RULES, VEE, block_pipeline, chunks_of
from ..engine.pipeline_tables import one_f_one_b_many
from ..lowering import layers_on_stages
from ..lowering.sharding import SCHEDULES, Columns

FloatArray = NDArray[np.float64]
DIRECTIONS = ("forward", "backward", "weights")  # backward holds recomputation too; weights: their gradients
ROUNDING = 1e-9  # sums in another order may differ by so much
_NAMES = {index: name for name, index in SCHEDULES.items()}


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

    def take(self, rows: NDArray[np.intp]) -> Stages:
        """The stages of some plans."""
        sizes = self.pp * self.chunks
        first = np.cumsum(sizes) - sizes
        inside = np.repeat(first[rows] - (np.cumsum(sizes[rows]) - sizes[rows]), sizes[rows]) + np.arange(
            sizes[rows].sum()
        )
        return Stages(
            tuple(self.schedules[i] for i in rows),
            self.pp[rows],
            self.chunks[rows],
            self.micro_batches[rows],
            self.work_s[:, inside],
            self.send_s[rows],
        )

    def least(self) -> FloatArray:
        """Seconds that no pipeline of these stages can beat [n]; 0 of other schedules than 1F1B. Each stage computes all of its
        work, not before the first micro-batch has come through the first chunks of the stages before it, and its last gradient
        still has to go back through them."""
        out, sizes = np.zeros(len(self.schedules)), self.pp * self.chunks
        first = np.cumsum(sizes) - sizes
        plain = np.array([schedule == "1f1b" for schedule in self.schedules])
        key = np.where(plain, self.pp * (self.chunks.max(initial=0) + 1) + self.chunks, -1)
        for value in np.unique(key[plain]):
            rows = np.flatnonzero(key == value)
            p, v = int(self.pp[rows[0]]), int(self.chunks[rows[0]])
            both = self.work_s[:, first[rows, None] + np.arange(p * v)].sum(axis=0).reshape(len(rows), p, v)
            way = np.cumsum(both[:, :, 0] + 2.0 * self.send_s[rows, None], axis=1)
            before = np.concatenate([np.zeros((len(rows), 1)), way[:, :-1]], axis=1)
            out[rows] = (before + self.micro_batches[rows, None] * both.sum(axis=2)).max(axis=1)
        return out * (1.0 - ROUNDING)

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


def placed(model: Model, c: Columns, totals: FloatArray, sends: FloatArray) -> Stages:
    """Chunk times of every plan. totals[n, blocks + 2, 3]: seconds of one layer of each block, of the embedding and of the
    head, by direction; sends[n]: of handing a micro-batch on. Plans of equal pp, chunks and shape are placed together."""
    schedules = tuple(_NAMES[index] for index in c.schedule.tolist())
    pp, chunks = (
        c.pp.astype(np.int64),
        np.array([_chunks(s, int(v)) for s, v in zip(schedules, c.virtual_stages, strict=True)]),
    )
    folds = np.array([_fold(schedule) for schedule in schedules])
    offsets = np.concatenate([[0], np.cumsum(pp * chunks)])
    out = np.empty((len(DIRECTIONS), offsets[-1]))
    key = (pp * (chunks.max() + 1) + chunks) * 4 + folds
    for value in np.unique(key):
        rows = np.flatnonzero(key == value)
        p, v, fold = int(pp[rows[0]]), int(chunks[rows[0]]), int(folds[rows[0]])
        for direction in range(len(DIRECTIONS)):
            slots = _slots(model, totals[rows, :, direction], p, 1 if fold == DUAL else v)
            times: FloatArray = slots.reshape(len(rows), -1, p)
            if fold == VEE:
                times[:, 1] = times[:, 1, ::-1]
            elif fold == DUAL:
                times = np.concatenate([times, times[:, :, ::-1]], axis=1)
            out[direction][offsets[rows, None] + np.arange(p * v)] = times.transpose(0, 2, 1).reshape(len(rows), -1)
    return Stages(schedules, pp, chunks, c.micro_batches.astype(np.int64), out, sends)


def _slots(model: Model, totals: FloatArray, pp: int, chunks: int) -> FloatArray:
    """Seconds of each slot in depth order [plans, pp * chunks]; the ends lie on the first and the last one."""
    blocks = len(model.blocks)
    times: FloatArray = totals[:, :blocks] @ _held(model, pp, chunks).T
    times[:, 0] += totals[:, blocks]
    times[:, -1] += totals[:, blocks + 1]
    return times


def _fold(schedule: str) -> int:
    return LINE if schedule == "1f1b" else RULES[schedule].shape


def _chunks(schedule: str, virtual_stages: int) -> int:
    return virtual_stages if schedule == "1f1b" else chunks_of(schedule)


@lru_cache(maxsize=4096)
def _held(model: Model, pp: int, chunks: int) -> FloatArray:
    return layers_on_stages(model, pp, chunks)
