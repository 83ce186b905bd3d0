"""`--leave-out`: refits the kernels without some of the measured rows and predicts those by values that have not seen them.

A refit takes one kind and format under one stack, on all its chips together (joint.py), and starts from the declared defaults.
Rules of dispatch (choices) are those of the family and, where the generation of a row is not what is left out, of the generation.
Left out a stack, its rows are priced as another stack with rows of the same format is, else by the values of no stack.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..catalog.chips import Chip
from ..cost import BASES, Machine, interval
from ..cost.machine import WORK
from ..cost.parameters import TABLES
from ..errors import UnknownFigure
from ..lowering.kernels import Kernels
from ..lowering.kinds import KINDS
from .context import Context, Level
from .fit import LEAST_ROWS, STEPS, good_start, ranges
from .groups import key_of
from .joint import Indices, Joint, JointFit, Member, solver
from .kernel_rows import kernels_of, launched_alone, launched_alone_s, stack_of
from .predictions import Predictions, Progress
from .rules import BoolArray
from .splits import Labels, split_labels
from .tables import FloatArray, Skip, Table

SEEN = "every refit has seen the row"
LEAST_HOSTED = 5
ALONE = "nothing else of its kind, format and stack is measured"
_INTERVALS: dict[str, Level] = {
    "random": "fitted",
    "shapes": "fitted",
    "generation": "shared",
}  # of a device that is not measured: its generation's, which other chips of it told


class LeftOut(NamedTuple):
    """Predictions of the rows that a refit left out. family_us: what the refit's values say without what differs by generation
    and chip; labels: which refit left a row out."""

    predictions: Predictions
    family_us: FloatArray
    labels: Labels


class _Group(NamedTuple):
    """Rows of one kind and format under one stack. rows: row numbers by chip id."""

    key: str
    stack: str
    rows: dict[str, Indices]


class _Fitted(NamedTuple):
    """Values of a refit, of which group, and which of its rows the refit saw, by chip id. host_s: between two calls by the host, where
    rows that were seen tell it."""

    group: _Group
    fit: JointFit
    seen: dict[str, Indices]
    host_s: float | None = None


def leave_out(table: Table, split: str, excluded: Sequence[str], context: Context, progress: Progress) -> LeftOut:
    """Predict the rows of a table of kernels by refits that have not seen them. Needs SciPy.

    split: one of splits.OF_KERNELS; excluded: the rule that takes a row out of the score: no refit uses such a row, but for
    those that are scored apart. Raises InputError if SciPy is not installed.
    """
    solver()
    return _Refits(table, split, excluded, context).predict(progress)


class _Refits:
    """The table as kernels, its groups, and what has been predicted so far."""

    def __init__(self, table: Table, split: str, excluded: Sequence[str], context: Context) -> None:
        self.context, self.split = context, split
        self.shared, self.ruled = Context(context.library, "shared"), Context(context.library, "family")
        self.plain = Context(context.library, "datasheet")
        self.spread = Context(context.library, _INTERVALS.get(split, "family"))
        self.kernels, self.reason = kernels_of(table)
        self.measured_s = table.measured("time_us") * 1e-6
        self.alone = launched_alone(table)
        self.usable = usable_rows(table, excluded)
        self.labels = split_labels(table, self.kernels, split, context)
        self.chips: dict[str, Chip] = {}
        self.groups = self._groups(table)
        n = len(table)
        self.time, self.low, self.high, self.family = (np.full(n, math.nan) for _ in range(4))
        self.fits: dict[tuple[str, str], _Fitted | None] = {}

    def _groups(self, table: Table) -> list[_Group]:
        found: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        columns = zip(table.column("device"), table.column("stack"), strict=True)
        for index, (device, stack) in enumerate(columns):
            if self.reason[index]:
                continue
            try:
                chip = self.context.chip(device)
            except Skip as skip:
                self.reason[index] = str(skip)
                continue
            self.chips[chip.id] = chip
            if self.labels[index]:
                self.reason[index] = ALONE  # until a refit has answered
            else:
                self.reason[index] = SEEN
            found[key_of(self.kernels, index), stack][chip.id].append(index)
        return [
            _Group(key, stack, {chip: np.array(rows, dtype=np.intp) for chip, rows in sorted(chips.items())})
            for (key, stack), chips in sorted(found.items())
        ]

    def predict(self, progress: Progress) -> LeftOut:
        answer = self._without_stack if self.split == "stack" else self._without_labels
        for done, group in enumerate(self.groups):
            progress(done, len(self.groups))
            answer(group)
        progress(len(self.groups), len(self.groups))
        predictions = Predictions(
            {"time_us": self.time * 1e6},
            tuple(self.reason),
            self.low * 1e6,
            self.high * 1e6,
            tuple("" if reason else "extrapolated" if self.split != "random" else BASES[1] for reason in self.reason),
        )
        return LeftOut(predictions, self.family * 1e6, self.labels)

    def _without_labels(self, group: _Group) -> None:
        """A refit for each label of the group: the rows of the label by what is left."""
        whole = self._joint(group)
        if whole is None:
            return
        joint, chips = whole
        for label in sorted({self.labels[i] for rows in group.rows.values() for i in rows} - {""}):
            kept = [np.flatnonzero(self.labels[self._fitted_rows(group, chip)] != label) for chip in chips]
            if sum(rows.size for rows in kept) < LEAST_ROWS:
                continue
            fit = joint.result(joint.fit(kept, steps=STEPS))
            seen = {chip: self._fitted_rows(group, chip)[rows] for chip, rows in zip(chips, kept, strict=True)}
            for chip, rows in group.rows.items():
                told = rows[self.usable[rows] & self.alone[rows] & (self.labels[rows] != label)]
                fitted = _Fitted(group, fit, seen, self._host_s(told, chip, group.stack))
                self._price(rows[self.labels[rows] == label], chip, group.stack, fitted)

    def _host_s(self, rows: Indices, chip: str, stack: str) -> float | None:
        """From one call by the host to the next [s]: the median of collectives that the host launched one by one and that a graph
        would run in less than half the time; None where fewer than LEAST_HOSTED rows tell it."""
        if rows.size < LEAST_HOSTED or not KINDS[int(self.kernels.kind[rows[0]])].collective:
            return None
        kernels = self.kernels.take(rows)
        graph_s = self.context.seconds(kernels, self._machine(self.ruled, chip, stack))
        bound = graph_s < 0.5 * self.measured_s[rows]
        return float(np.median(self.measured_s[rows][bound])) if bound.sum() >= LEAST_HOSTED else None

    def _without_stack(self, group: _Group) -> None:
        """The rows of a group by the values of another stack that has rows of the same kind and format."""
        others = [other for other in self.groups if other.key == group.key and other.stack != group.stack]
        others.sort(key=lambda other: -sum(self._fitted_rows(other, chip).size for chip in other.rows))
        source = next((fitted for other in others if (fitted := self._fit(other)) is not None), None)
        for chip, rows in group.rows.items():
            if source is None:
                self._price(rows, chip, group.stack, None)
            else:
                self._price(rows, chip, source.group.stack, source)

    def _fit(self, group: _Group) -> _Fitted | None:
        name = (group.key, group.stack)
        if name not in self.fits:
            whole = self._joint(group)
            if whole is None:
                self.fits[name] = None
            else:
                seen = {chip: self._fitted_rows(group, chip) for chip in whole[1]}
                self.fits[name] = _Fitted(group, whole[0].result(whole[0].fit(steps=STEPS)), seen)
        return self.fits[name]

    def _fitted_rows(self, group: _Group, chip: str) -> Indices:
        rows = group.rows[chip]
        return rows[self.usable[rows] & ~self.alone[rows]]

    def _joint(self, group: _Group) -> tuple[Joint, list[str]] | None:
        """The group's rows that may be fitted, and their chips; None where they are too few."""
        chips = [chip for chip in group.rows if self._fitted_rows(group, chip).size]
        if sum(self._fitted_rows(group, chip).size for chip in chips) < LEAST_ROWS:
            return None
        members = []
        for chip in chips:
            rows = self._fitted_rows(group, chip)
            packed = self._machine(self._base(chip, chips), chip, group.stack)
            kernels = self.kernels.take(rows)
            members.append(Member(chip, self.chips[chip].generation, packed, kernels, self.measured_s[rows]))
        table = TABLES[group.key.partition(".")[0]]
        cell = members[0].machine.parameters[_cell(members[0].kernels)]
        values = {parameter.name: float(value) for parameter, value in zip(table, cell, strict=False)}
        return Joint(members, start=good_start(values, table, fresh=True)), chips

    def _base(self, chip: str, chips: Iterable[str]) -> Context:
        """Whose rules of dispatch a refit may know: its generation's, unless no other chip tells of the generation."""
        generation = self.chips[chip].generation
        told = any(other != chip and self.chips[other].generation == generation for other in chips)
        return self.ruled if self.split in _INTERVALS or (self.split == "device" and told) else self.shared

    def _machine(self, context: Context, chip: str, stack: str) -> Machine:
        record = self.chips[chip]
        return context.machine(record, stack_of(stack, record, context))

    def _price(self, rows: Indices, chip: str, stack: str, fitted: _Fitted | None) -> None:
        """Seconds, interval and the family's answer of rows of a chip, by a refit or by the values of no stack."""
        if not rows.size:
            return
        kernels = self.kernels.take(rows)
        try:
            base = self._machine(self._base(chip, fitted.group.rows) if fitted else self.plain, chip, stack)
            spread = self._machine(self.spread if fitted else self.plain, chip, stack).residuals
            packed = base._replace(residuals=spread)
            shared = packed
            if fitted is not None:
                packed = _within(packed, kernels, self.kernels.take(_seen(fitted, chip)))
                shared = _with(packed, kernels, fitted.fit.family)
                packed = _with(packed, kernels, _values(fitted.fit, self.chips[chip]))
            times = self.context.seconds(kernels, packed)
            low, high = interval(kernels, packed, times)
            family = self.context.seconds(kernels, shared)
            if fitted is not None and fitted.host_s is not None:
                base = _with(base, kernels, {"host_us": fitted.host_s * 1e6})
        except UnknownFigure as error:
            self._mark(rows, f"{error.key} is unknown")
            return
        for out, values in ((self.time, times), (self.low, low), (self.high, high), (self.family, family)):
            out[rows] = np.where(self.alone[rows], launched_alone_s(values, kernels, base), values)
        self._mark(rows, "")

    def _mark(self, rows: Indices, reason: str) -> None:
        for index in rows:
            self.reason[index] = reason


def usable_rows(table: Table, excluded: Sequence[str]) -> BoolArray:
    """Rows that a refit or an interpolation may see: measured, and scored, if only apart [n]."""
    counts = np.array([rule in ("", "host-bound") for rule in excluded], bool)
    return counts & (table.measured("time_us") > 0.0)


def _cell(kernels: Kernels) -> tuple[int, int, int]:
    return int(kernels.kind[0]), int(kernels.dtype[0]), int(kernels.stored[0])


def _values(fit: JointFit, chip: Chip) -> dict[str, float]:
    """A chip's values: the family's, overridden by its generation's and by its own where the refit has seen these."""
    return {**fit.family, **fit.generations.get(chip.generation, {}), **fit.chips.get(chip.id, {})}


def _seen(fitted: _Fitted, chip: str) -> Indices:
    """The rows of a chip that a refit saw; of a chip that it did not see, those of all others."""
    own = fitted.seen.get(chip)
    return own if own is not None and own.size else np.concatenate(list(fitted.seen.values()))


def _within(packed: Machine, kernels: Kernels, seen: Kernels) -> Machine:
    """The machine with the ranges of the rows that a refit saw, for kernels of their kind and format."""
    kind, dtype, stored = _cell(kernels)
    limits = packed.ranges.copy()
    cells = limits[kind] if KINDS[kind].collective else limits[kind, dtype, stored]
    cells[...] = (-math.inf, math.inf)
    dims = (*KINDS[kind].dims, *[""] * (WORK - len(KINDS[kind].dims)), "work")
    for name, (low, high) in ranges(seen).items():
        cells[..., dims.index(name), :] = (low, high)
    return packed._replace(ranges=limits)


def _with(packed: Machine, kernels: Kernels, values: dict[str, float]) -> Machine:
    """The machine with these parameters of the kernels' kind and format."""
    kind, dtype, stored = _cell(kernels)
    parameters = packed.parameters.copy()
    names = [parameter.name for parameter in TABLES[KINDS[kind].name]]
    cells = parameters[kind] if KINDS[kind].collective else parameters[kind, dtype, stored]
    for name, value in values.items():
        cells[..., names.index(name)] = value
    return packed._replace(parameters=parameters)
