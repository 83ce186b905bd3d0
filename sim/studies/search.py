"""Search over training plans: enumerate, prune by memory, price in compiled batches, rank, and say why the winner wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..errors import Infeasible
from ..lowering.kinds import PARTS
from ..lowering.sharding import Columns
from ..training.memory import footprint, held_bytes, usable_bytes
from ..training.pricing import Priced, Sketch, price, sketch
from ..units import text
from .space import FREE, Space, space

FloatArray = NDArray[np.float64]
Progress = Callable[[float, str], None]
CHUNK = 1 << 15  # plans priced at a time: bounds the memory of a search
SHOWN = 10
FIRST = 64  # plans priced before the first bound is drawn; twice as many each time


class Question(NamedTuple):
    """What is searched: ranks of the cluster, a base plan whose `fixed` fields stay, tokens of a sequence, schedules."""

    model: Model
    target: Target
    devices: int
    base: Plan
    seq_len: int
    fixed: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ("1f1b",)


class Alternative(NamedTuple):
    """The best plan that differs from the winner in one field only. slower: its time over the winner's - 1."""

    field: str
    value: str
    slower: float
    part: str


@dataclass(frozen=True)
class Found:
    """What a search found. legal, pruned: plans enumerated, and left out because they do not fit; beaten: left out because no
    schedule lets them into the best, onto the front or among the winner's alternatives; step_s, memory_bytes of all others, with
    their `rows` in `space`, best first; front: positions of the Pareto front of time against memory."""

    question: Question
    space: Space
    legal: int
    pruned: int
    beaten: int
    rows: NDArray[np.intp]
    step_s: FloatArray
    memory_bytes: FloatArray
    front: NDArray[np.intp]

    def plan(self, place: int) -> Plan:
        """The plan at a place of the ranking."""
        return self.space.plan(int(self.rows[place]))

    @property
    def best(self) -> Plan:
        return self.plan(0)


def search(question: Question, progress: Progress | None = None, keep: int = SHOWN) -> Found:
    """Rank legal plans: the `keep` best, the front and the winner's alternatives are those of pricing every one. Raises InputError
    if none is legal, Infeasible if none fits, saying by how much the least misses."""
    model, chip = question.model, question.target.chip
    found = space(
        model, question.base, question.devices * chip.ranks, question.seq_len, question.schedules, question.fixed
    )
    c = found.plans
    held = np.concatenate(
        [
            held_bytes(footprint(model, c.take(part), question.target, question.seq_len), question.target)
            for part in np.array_split(np.arange(c.n), -(-c.n // CHUNK))
        ]
    )
    capacity = usable_bytes(question.target)
    fits = np.flatnonzero(held <= capacity)
    if not fits.size:
        least = int(np.argmin(held))
        raise Infeasible(
            f"search train: none of {c.n:,} plans of {model.name} fits {question.devices:,} x {chip.name}: the least takes "
            f"{text(float(held[least]), 'bytes')} a chip, {text(float(held[least]) - capacity, 'bytes')} too much. Use more devices."
        )
    race = _Race(keep)
    parts = np.array_split(fits, -(-fits.size // CHUNK))
    for number, part in enumerate(parts):
        race.run(sketch(model, c.take(part), question.target, question.seq_len), part, held[part])
        if progress is not None:
            progress((number + 1) / len(parts), f"{fits.size:,} plans that fit")
    beside = np.setdiff1d(_neighbours(c, fits, race.winner), race.rows)
    if beside.size:
        race.add(
            beside,
            sketch(model, c.take(beside), question.target, question.seq_len).step_s(np.arange(beside.size)),
            held[beside],
        )
    order = np.lexsort((race.memory, race.step))
    rows, ranked, memory = race.rows[order], race.step[order], race.memory[order]
    left = fits.size - rows.size
    return Found(question, found, c.n, c.n - fits.size, left, rows, ranked, memory, pareto(ranked, memory))


class _Race:
    """Plans priced so far, and which others can still matter: those whose least time is not above that of the `keep`-th best, or
    that no priced plan beats in both time and memory."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.rows = np.empty(0, dtype=np.intp)
        self.step, self.memory = np.empty(0), np.empty(0)

    @property
    def winner(self) -> int:
        return int(self.rows[np.lexsort((self.memory, self.step))[0]])

    def add(self, rows: NDArray[np.intp], step: FloatArray, memory: FloatArray) -> None:
        self.rows = np.concatenate([self.rows, rows])
        self.step, self.memory = np.concatenate([self.step, step]), np.concatenate([self.memory, memory])

    def run(self, some: Sketch, rows: NDArray[np.intp], memory: FloatArray) -> None:
        """Price of these plans those that can matter, the ones with the least bound first."""
        least = some.least_s()
        order, size = np.argsort(least), FIRST
        while order.size:
            order = order[self._open(least[order], memory[order])]
            now, order = order[:size], order[size:]
            self.add(rows[now], some.step_s(now), memory[now])
            size *= 2

    def _open(self, least: FloatArray, memory: FloatArray) -> NDArray[np.bool_]:
        if self.step.size < self.keep:
            return np.ones(least.size, dtype=bool)
        front = pareto(self.step, self.memory)
        at = np.searchsorted(self.step[front], least, side="right") - 1  # the leanest of those that are faster
        beaten = (at >= 0) & (self.memory[front][at] <= memory)
        return np.asarray((least <= np.partition(self.step, self.keep - 1)[self.keep - 1]) | ~beaten)


def _neighbours(c: Columns, rows: NDArray[np.intp], winner: int) -> NDArray[np.intp]:
    """Those of the rows that differ from the winner in at most one free field."""
    differ = np.zeros(rows.size, dtype=np.int64)
    for name in FREE:
        column = getattr(c, name)
        differ += column[rows] != column[winner]
    return rows[differ <= 1]


def pareto(*costs: FloatArray) -> NDArray[np.intp]:
    """Positions of the rows that no other beats in every cost (each less is better), in order of the first."""
    table = np.stack(costs, axis=1)
    order = np.lexsort(table.T[::-1])
    if table.shape[1] == 2:  # in order of the first cost, a row stands if its second is the least so far
        second = table[order, 1]
        least = np.minimum.accumulate(second)
        keep = np.concatenate(([True], second[1:] < least[:-1]))
        return np.asarray(order[keep])
    kept: list[int] = []
    for row in order:
        front = table[kept]
        if not kept or not np.any(np.all(front <= table[row], axis=1)):
            kept.append(int(row))
    return np.array(kept, dtype=np.intp)


def alternatives(found: Found) -> tuple[Alternative, ...]:
    """For each free field, the best plan among those that differ from the winner in it alone (a degree takes dp along)."""
    best, c = found.best, found.space.plans
    out = []
    columns = {name: getattr(c, name)[found.rows] for name in FREE}
    for name in FREE:
        same = np.ones(len(found.rows), dtype=bool)
        for other, values in columns.items():
            same &= (values != values[0]) if other == name else (values == values[0])
        places = np.flatnonzero(same)
        if places.size:
            place = int(places[0])
            plan = found.plan(place)
            slower = float(found.step_s[place] / found.step_s[0] - 1.0)
            out.append(Alternative(name, str(getattr(plan, name)), slower, _grown(found, best, plan)))
    return tuple(sorted(out, key=lambda each: each.slower))


def _grown(found: Found, best: Plan, other: Plan) -> str:
    """The part of the step that grows most from the best plan to another."""
    priced = price(found.question.model, [best, other], found.question.target, found.question.seq_len)
    grown = priced.parts[1].sum(axis=1) - priced.parts[0].sum(axis=1)
    return PARTS[int(np.argmax(grown))].replace("_", " ")


def binds(found: Found, priced: Priced) -> str:
    """One line: where the winner's time goes, and how near its memory is to the limit."""
    shares = priced.parts[0].sum(axis=1) / float(priced.step_s[0])
    largest = [PARTS[i].replace("_", " ") + f" {shares[i]:.0%}" for i in np.argsort(-shares)[:3]]
    capacity = usable_bytes(found.question.target)
    used = float(found.memory_bytes[0]) / capacity
    pruned = found.pruned / found.legal
    return f"{', '.join(largest)}; memory {used:.0%} full, and {pruned:.0%} of the legal plans do not fit"


def ranking(found: Found, places: Sequence[int] | None = None) -> list[tuple[int, Plan, float, float]]:
    """(place, plan, seconds, bytes) of the first ones, or of these places."""
    chosen = range(min(SHOWN, len(found.rows))) if places is None else places
    return [(p, found.plan(p), float(found.step_s[p]), float(found.memory_bytes[p])) for p in chosen]
