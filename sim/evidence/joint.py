"""Fits one group of kernels on several chips at once: shared values of the family, few of which differ by generation and chip.

A group is one kind, format multiplied in and format stored, under one stack. Every free parameter moves on log(value + scale).
A chip's value = family's + deviation of its generation + its own, and only `chip` parameters deviate. Gaussian priors hold
the family's values near where they start, the generation's near the family's and the chip's near its generation's; the
times that the rows ask for are joined by a robust loss. docs/how-to/calibrate.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cost import Machine, seconds
from ..cost.parameters import TABLES, Parameter
from ..errors import InputError
from ..lowering.kernels import Kernels
from ..lowering.kinds import KINDS
from ..seeds import generator
from .tables import FloatArray

NOISE = 0.1  # errors of log time below it count by their square, those far above by their size
STEP = 0.02  # of a derivative, in logs: wide enough to see past the steps that whole tiles make
FACTOR = 12.0  # how far from where it starts a parameter without bounds may go
FOLDS = 5
MOST_LOCAL = 6  # values of a group in which a chip may differ from its family
HELD = 1e-4
TOLD = 0.9
Indices = NDArray[np.intp]


class Member(NamedTuple):
    """One chip's rows of a group. machine: as packed now; kernels: its rows [n]; measured: seconds [n]."""

    chip: str
    generation: str
    machine: Machine
    kernels: Kernels
    measured: FloatArray


class Priors(NamedTuple):
    """Widths on the logs: of the family's values around their start, of a generation's around the family's, of a chip's."""

    family: float = 1.5
    generation: float = 0.3
    chip: float = 0.1


class Errors(NamedTuple):
    """Median and 90th percentile of |predicted / measured - 1| of n rows, and the mean of |log(measured / predicted)|."""

    median: float
    p90: float
    mean_log: float
    n: int


class _Task(NamedTuple):
    """Rows to be met: kernels and logs of seconds of each member, and how many rows in all."""

    kernels: list[Kernels]
    targets: list[FloatArray]
    n: int


class JointFit(NamedTuple):
    """Values by name. family: of all; generations, chips: only of what deviates there (values, not deviations)."""

    names: tuple[str, ...]
    family: dict[str, float]
    generations: dict[str, dict[str, float]]
    chips: dict[str, dict[str, float]]


def errors(residuals: FloatArray) -> Errors:
    """Statistics of log(measured / predicted)."""
    relative = np.abs(np.exp(-residuals) - 1.0)
    return Errors(
        float(np.median(relative)),
        float(np.quantile(relative, 0.9)),
        float(np.mean(np.abs(residuals))),
        residuals.size,
    )


class Joint:
    """The group as a function of one vector: family's free values, then deviations of generations, then of chips.

    names: parameters that are free if they move a time (default: all but choices). local: those that may deviate (default: of
    scope `chip`, the MOST_LOCAL that move times most).
    start: values of the family to start from, by name, and the centre of its prior (default: the first chip's machine).
    """

    def __init__(
        self,
        members: Sequence[Member],
        names: Sequence[str] | None = None,
        local: Sequence[str] | None = None,
        priors: Priors | None = None,
        start: Mapping[str, float] | None = None,
    ) -> None:
        self.priors = priors or Priors()
        self.members = [
            member._replace(machine=member.machine._replace(parameters=member.machine.parameters.copy()))
            for member in members
        ]
        kernels = members[0].kernels
        kind = int(kernels.kind[0])
        self.table = TABLES[KINDS[kind].name]
        self.cell = (kind, int(kernels.dtype[0]), int(kernels.stored[0]))
        free = [p for p in self.table if (p.scope != "choice" if names is None else p.name in names)]
        first = self.members[0].machine.parameters[self.cell].copy()
        for name, value in (start or {}).items():
            first[[p.name for p in self.table].index(name)] = value
        columns = [self.table.index(p) for p in free]
        self._set(free, np.array(columns, dtype=np.intp), first)
        most, mean = self._reach()
        moves = most > 1e-3
        free = [p for p, moved in zip(free, moves, strict=True) if moved]
        self._set(free, self.columns[moves], first)
        chosen = np.flatnonzero([p.name in local if local is not None else p.scope == "chip" for p in free])
        strongest = np.argsort(-mean[moves][chosen], kind="stable")[: MOST_LOCAL if local is None else None]
        self.local: Indices = np.sort(chosen[strongest])
        self.generations = sorted({member.generation for member in members})
        self.chips = [member.chip for member in members]

    def _set(self, free: list[Parameter], columns: Indices, first: FloatArray) -> None:
        self.names = tuple(p.name for p in free)
        self.columns = columns
        self.scales = np.array([p.scale for p in free])
        self.held = np.array([p.width for p in free])
        values = first[columns]
        self.start = np.log(np.maximum(values + self.scales, 1e-12))
        limits = [_limits(p, float(value)) for p, value in zip(free, values, strict=True)]
        self.low = np.log(np.array([low for low, _ in limits]) + self.scales + 1e-12) - 1e-9
        self.high = np.log(np.array([high for _, high in limits]) + self.scales + 1e-12) + 1e-9
        self.start = np.clip(self.start, self.low, self.high)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return int(self.start.size + self.local.size * (len(self.generations) + len(self.chips)))

    def _reach(self) -> tuple[FloatArray, FloatArray]:
        """Most and mean change of log time over the rows when a parameter changes by a third, either way."""
        most, mean = np.zeros(self.start.size), np.zeros(self.start.size)
        for member in self.members:
            base = self._logs(member, self.start, member.kernels)
            for index in range(self.start.size):
                for sign in (-0.3, 0.3):
                    at = self.start.copy()
                    at[index] += sign
                    change = np.abs(self._logs(member, at, member.kernels) - base)
                    most[index] = max(most[index], float(np.max(change)))
                    mean[index] += float(np.sum(change))
        return most, mean

    def _logs(self, member: Member, at: FloatArray, kernels: Kernels) -> FloatArray:
        """Log seconds of rows of a chip whose free values have the logs `at`."""
        values = np.maximum(np.exp(np.clip(at, self.low, self.high)) - self.scales, 0.0)
        kind, dtype, stored = self.cell
        if KINDS[kind].collective:
            member.machine.parameters[kind][..., self.columns] = values
        else:
            member.machine.parameters[kind, dtype, stored, self.columns] = values
        out: FloatArray = np.log(seconds(kernels, member.machine))
        return out

    def of_chip(self, at: FloatArray, index: int) -> FloatArray:
        """Logs of the free values of member `index`, deviations included."""
        out = at[: self.start.size].copy()
        out[self.local] += at[self.generation_of(index)] + at[self.chip_of(index)]
        return out

    def generation_of(self, index: int) -> slice:
        """Where the deviations of the generation of member `index` stand in the vector."""
        first = self.start.size + self.local.size * self.generations.index(self.members[index].generation)
        return slice(first, first + self.local.size)

    def chip_of(self, index: int) -> slice:
        """Where the deviations of member `index` itself stand in the vector."""
        first = self.start.size + self.local.size * (len(self.generations) + index)
        return slice(first, first + self.local.size)

    def widths(self) -> FloatArray:
        """Prior width of each entry of the vector; one of 0 holds its entries where they are."""
        held = self.held[self.local]
        widths = np.concatenate(
            (
                np.minimum(self.held, self.priors.family),
                *[np.minimum(held, self.priors.generation) for _ in self.generations],
                *[np.minimum(held, self.priors.chip) for _ in self.chips],
            )
        )
        out: FloatArray = np.maximum(widths, HELD)
        return out

    def residuals(self, at: FloatArray, rows: Sequence[Indices] | None = None) -> list[FloatArray]:
        """log(measured / predicted) of the rows of each member (default: all)."""
        out = []
        for index, member in enumerate(self.members):
            chosen = np.arange(member.measured.size) if rows is None else rows[index]
            logs = self._logs(member, self.of_chip(at, index), member.kernels.take(chosen))
            out.append(np.log(member.measured[chosen]) - logs)
        return out

    def fit(
        self, rows: Sequence[Indices] | None = None, start: FloatArray | None = None, steps: int = 25
    ) -> FloatArray:
        """The vector that suits the rows of each member (default: all rows)."""
        task = self._task(rows)
        free = np.full(self.size - self.start.size, 5.0)
        low, high = np.concatenate((self.low, -free)), np.concatenate((self.high, free))
        begin = np.clip(self.centre() if start is None else start, low + 1e-12, high - 1e-12)
        found = solver()(
            lambda at: self._misfit(at, task),
            begin,
            jac=lambda at: self._slopes(at, task),
            bounds=(low, high),
            loss=_robust(task.n),
            max_nfev=steps,
            xtol=1e-4,
            ftol=1e-4,
        )
        return np.asarray(found.x, dtype=np.float64)

    def _task(self, rows: Sequence[Indices] | None) -> _Task:
        chosen = [np.arange(m.measured.size) for m in self.members] if rows is None else list(rows)
        return _Task(
            [m.kernels.take(at) for m, at in zip(self.members, chosen, strict=True)],
            [np.log(m.measured[at]) for m, at in zip(self.members, chosen, strict=True)],
            sum(at.size for at in chosen),
        )

    def centre(self) -> FloatArray:
        """Where the priors stand: the start, and no deviation."""
        return np.concatenate((self.start, np.zeros(self.size - self.start.size)))

    def _misfit(self, at: FloatArray, task: _Task) -> FloatArray:
        """What the sum of squares is made of: errors of the rows, then distances from the priors."""
        found = [
            self._logs(member, self.of_chip(at, i), task.kernels[i]) - task.targets[i]
            for i, member in enumerate(self.members)
        ]
        return np.concatenate((np.concatenate(found) / NOISE, (at - self.centre()) / self.widths()))

    def _slopes(self, at: FloatArray, task: _Task) -> FloatArray:
        """Derivatives of `_misfit` [rows and priors, entries of the vector]."""
        n = task.n
        out = np.zeros((n + at.size, at.size))
        out[n + np.arange(at.size), np.arange(at.size)] = 1.0 / self.widths()
        first = 0
        for i, member in enumerate(self.members):
            own = self.of_chip(at, i)
            base = self._logs(member, own, task.kernels[i])
            last = first + base.size
            for column in range(self.start.size):
                ahead = own.copy()
                step = STEP if own[column] + STEP <= self.high[column] else -STEP
                ahead[column] += step
                out[first:last, column] = (self._logs(member, ahead, task.kernels[i]) - base) / step / NOISE
            out[first:last, self.generation_of(i)] = out[first:last, self.local]
            out[first:last, self.chip_of(i)] = out[first:last, self.local]
            first = last
        return out

    def open(self, at: FloatArray) -> tuple[str, ...]:
        """Parameters of the family that the rows do not tell: what is left of the prior's width is more than TOLD of it."""
        slopes = self._slopes(at, self._task(None))
        left = np.sqrt(np.diag(np.linalg.inv(slopes.T @ slopes))) / self.widths()
        return tuple(name for name, share in zip(self.names, left, strict=False) if share > TOLD)

    def result(self, at: FloatArray) -> JointFit:
        """The vector as named values."""
        shared = at[: self.start.size]

        def named(logs: FloatArray, which: Indices) -> dict[str, float]:
            values = np.maximum(np.exp(np.clip(logs, self.low, self.high)) - self.scales, 0.0)
            return {self.names[i]: float(values[i]) for i in which}

        everything = np.arange(self.start.size)
        generations: dict[str, dict[str, float]] = {}
        for index, member in enumerate(self.members):
            logs = shared.copy()
            logs[self.local] += at[self.generation_of(index)]
            generations[member.generation] = named(logs, self.local)
        chips = {m.chip: named(self.of_chip(at, i), self.local) for i, m in enumerate(self.members)}
        return JointFit(self.names, named(shared, everything), generations, chips)

    def splits(self, seed: int = 0) -> dict[str, list[list[Indices]]]:
        """What is left out, by split: for each refit the rows left out of each member. Random fifths; the largest quarter by
        work; each chip; each generation (where another is left)."""
        parts = []
        for member in self.members:
            shuffled = generator(seed, "joint", member.chip, str(self.cell)).permutation(member.measured.size)
            parts.append([np.sort(shuffled[i::FOLDS]) for i in range(FOLDS)])
        none = np.zeros(0, dtype=np.intp)
        whole = [np.arange(m.measured.size) for m in self.members]
        out = {"random": [[part[i] for part in parts] for i in range(FOLDS)]}
        out["shapes"] = [[_largest(member) for member in self.members]]
        if len(self.members) > 1:
            out["device"] = [
                [whole[i] if i == left else none for i in range(len(self.members))] for left in range(len(self.members))
            ]
        if len(self.generations) > 1:
            out["generation"] = [
                [whole[i] if m.generation == name else none for i, m in enumerate(self.members)]
                for name in self.generations
            ]
        return out

    def refits(self, split: list[list[Indices]], start: FloatArray | None = None) -> list[FloatArray]:
        """The vector of each part of a split, fitted without what that part leaves out."""
        return [
            self.fit(
                [np.setdiff1d(np.arange(m.measured.size), out) for m, out in zip(self.members, part, strict=True)],
                start,
            )
            for part in split
        ]

    def unseen(self, split: list[list[Indices]], refits: Sequence[FloatArray]) -> list[FloatArray]:
        """log(measured / predicted) of the rows of each member that a split leaves out, in their order, by its refits.
        Members with nothing left out in any part of the split keep an empty array."""
        found = [self.residuals(at, part) for at, part in zip(refits, split, strict=True)]
        return [
            np.concatenate([residuals[i] for residuals in found])[
                np.argsort(np.concatenate([part[i] for part in split]), kind="stable")
            ]
            for i in range(len(self.members))
        ]

    def left_out(self, split: list[list[Indices]], start: FloatArray | None = None) -> list[FloatArray]:
        """`unseen` by refits from `start`."""
        return self.unseen(split, self.refits(split, start))


def _robust(n: int) -> Callable[[FloatArray], FloatArray]:
    """soft_l1 of the first n squares (rows), plain squares of the others (priors): value and two derivatives [3, all]."""

    def loss(squared: FloatArray) -> FloatArray:
        root = np.sqrt(1.0 + squared)
        out = np.stack((2.0 * (root - 1.0), 1.0 / root, -0.5 / root**3))
        out[0, n:], out[1, n:], out[2, n:] = squared[n:], 1.0, 0.0
        return out

    return loss


def _limits(parameter: Parameter, value: float) -> tuple[float, float]:
    """Least and largest that a parameter may become."""
    if parameter.bounds is not None:
        low, high = parameter.bounds
    else:
        low = value / FACTOR if parameter.scale == 0.0 else 0.0
        high = max(value, parameter.scale) * FACTOR
    return min(low, value), max(high, value)


def _largest(member: Member) -> Indices:
    """The largest quarter of the rows by work (bytes, where a kind multiplies nothing)."""
    n = member.measured.size
    collective = KINDS[int(member.kernels.kind[0])].collective
    size = member.kernels.dims[:, 0] if collective else member.kernels.flops()
    return np.sort(np.argsort(size, kind="stable")[n - n // 4 :])


def solver() -> Callable[..., Any]:
    """scipy.optimize.least_squares. Raises InputError if SciPy is not installed."""
    try:
        optimize = import_module("scipy.optimize")
    except ImportError:
        raise InputError("calibrate needs SciPy, which is not installed. Run: pip install 'gambrel[fit]'.") from None
    found: Callable[..., Any] = optimize.least_squares
    return found
