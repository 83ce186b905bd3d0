"""From measured tables to the groups that are fitted: rows of one kind and format under one stack, by chip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..catalog.calibrations import Stack
from ..catalog.chips import Chip
from ..cost.parameters import TABLES
from ..errors import InputError, did_you_mean
from ..lowering.kernels import DTYPE_NAMES, Kernels, concatenate
from ..lowering.kinds import KINDS
from .context import Context
from .joint import Member
from .kernel_rows import kernels_of, launched_alone, stack_of
from .nccl_tests import KERNEL
from .rules import excluded_by
from .tables import FloatArray, Skip, Table, find_tables, parse_number

NO_KERNELS = "nccl"  # label of the collectives that every stack without kernels of its own runs


@dataclass(frozen=True)
class Group:
    """Rows of one kind and format under one stack on several chips of a family.

    key: `gemm.bf16.bf16` (a collective: its kind alone); stack: as a calibration file names it; members: with machines as
    their family and generation price them; current: seconds by the calibrations now, those of chips included [n] each;
    start: the family's values now, by name; lawful: chips differ now in nothing but what may differ by chip;
    data: what the values now were fitted to, "" if to nothing that is known;
    widths: how far generations and chips of the family stand apart, where its file says so.
    """

    key: str
    stack: str
    members: tuple[Member, ...]
    current: tuple[FloatArray, ...]
    start: dict[str, float]
    lawful: bool
    data: str = ""
    widths: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """Name of the kernel kind."""
        return self.key.partition(".")[0]

    @property
    def shapes(self) -> int:
        """Different shapes of all rows."""
        return len(np.unique(np.concatenate([member.kernels.dims for member in self.members]), axis=0))

    @property
    def rows(self) -> int:
        """Rows of all chips."""
        return sum(member.measured.size for member in self.members)


def family_key(key: str) -> str:
    """Key of a group in a family's file: a format stored as it is multiplied also serves formats without rows."""
    kind, *formats = key.split(".")
    return f"{kind}.{formats[0]}" if len(formats) == 2 and formats[0] == formats[1] else key


class _Rows:
    """What is collected of one table: its kernels, times, and the members of each group as row numbers."""

    def __init__(self, table: Table) -> None:
        self.kernels, self.reason = kernels_of(table)
        self.measured = _times(table)
        skipped, hosted = excluded_by(table), launched_alone(table)
        self.use = [
            not (self.reason[i] or skipped[i] or hosted[i]) and self.measured[i] > 0.0 for i in range(len(table))
        ]


def _times(table: Table) -> FloatArray:
    """Measured seconds, NaN where blank [n]. Raises InputError for text and for a time that no kernel can take."""
    out = np.full(len(table), np.nan)
    for index, text in enumerate(table.column("time_us")):
        if text:
            out[index] = parse_number(text, "time_us", table.place(index)) * 1e-6
            if out[index] <= 0.0:
                raise InputError(
                    f"{table.place(index)}: time_us = {text!r} is no time of a kernel. Write one above 0, or leave the "
                    "cell blank."
                )
    return out


def tables_of(paths: Sequence[Path], context: Context, chip: str | None = None) -> list[Table]:
    """The kernel tables of files and folders, and of output of nccl-tests, whose devices are the chip (if one is given) where
    the catalogue does not know the driver's name of them. Raises InputError where one holds none or has no times."""
    tables = [table for path in paths for table in find_tables(path, "kernels")]
    for table in tables:
        if "time_us" not in table.header:
            raise InputError(f"{table.path}: no column time_us: nothing here is measured. Add it, in microseconds.")
    return tables if chip is None else [_named(table, chip, context) for table in tables]


def _named(table: Table, chip: str, context: Context) -> Table:
    if KERNEL not in table.column("kernel"):
        return table
    at = table.header.index("device")
    cells = tuple((*row[:at], row[at] if _chip(row[at], context) else chip, *row[at + 1 :]) for row in table.cells)
    return replace(table, cells=cells)


def groups_of(
    tables: Sequence[Table], chosen: Callable[[Chip], bool], stack: str | None, kinds: Sequence[str], context: Context
) -> list[Group]:
    """Groups of the rows that count, by stack and key. chosen: which chips; stack: only that one, and rows that name none are
    its; kinds: only those, with or without formats ([]: all). context: of the level that prices the calibrations now (`fitted`).

    Raises InputError for a row that names no stack where none is asked for, and for a kind that is none.
    """
    for kind in kinds:
        if kind.partition(".")[0] not in TABLES:
            raise InputError(f"--kind {kind!r} is no kernel kind. {did_you_mean(kind, TABLES)}".rstrip())
    found: dict[tuple[str, str], dict[str, list[tuple[Kernels, FloatArray]]]] = defaultdict(lambda: defaultdict(list))
    stacks: dict[tuple[str, str], Stack] = {}
    for table in tables:
        rows = _Rows(table)
        for (label, device, key), at in _members(table, rows, stack).items():
            chip = _chip(device, context)
            if chip is None or not chosen(chip) or (kinds and not _is_of(key, kinds)):
                continue
            named = stack_of(label, chip, context)
            name = "any" if label == NO_KERNELS else named.id
            stacks[name, chip.id] = named
            found[name, key][chip.id].append((rows.kernels.take(at), rows.measured[at]))
    shelf = _Shelf(context)
    return [
        shelf.group(
            key, name, [(context.library.chip(id), stacks[name, id], parts) for id, parts in sorted(chips.items())]
        )
        for (name, key), chips in sorted(found.items())
    ]


def _members(table: Table, rows: _Rows, stack: str | None) -> dict[tuple[str, str, str], np.ndarray]:
    """Row numbers by (stack label, device label, key)."""
    out: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    devices, stacks = table.column("device"), table.column("stack")
    for index in range(len(table)):
        if not rows.use[index]:
            continue
        label = stacks[index] or stack
        if label is None:
            raise InputError(
                f"{table.place(index)}: the row names no stack. Fill the column stack, or give --stack NAME."
            )
        if stack is None or label in (stack, NO_KERNELS):
            out[label, devices[index], key_of(rows.kernels, index)].append(index)
    return {key: np.array(at, dtype=np.intp) for key, at in out.items()}


def key_of(kernels: Kernels, index: int) -> str:
    """Key of a row's group."""
    kind = KINDS[int(kernels.kind[index])]
    if kind.collective:
        return kind.name
    return f"{kind.name}.{DTYPE_NAMES[kernels.dtype[index]]}.{DTYPE_NAMES[kernels.stored[index]]}"


def _is_of(key: str, kinds: Sequence[str]) -> bool:
    """True for the key of a group that a kind, or a kind with its formats, names."""
    return any(f"{key}.".startswith(f"{kind}.") for kind in kinds)


def _chip(label: str, context: Context) -> Chip | None:
    try:
        return context.chip(label)
    except Skip:
        return None


Part = tuple[Kernels, FloatArray]


class _Shelf:
    """Machines at the three depths that a group needs."""

    def __init__(self, context: Context) -> None:
        self.now = context
        self.family = Context(context.library, level="family")
        self.shared = Context(context.library, level="shared")

    def group(self, key: str, name: str, chips: list[tuple[Chip, Stack, list[Part]]]) -> Group:
        table = TABLES[key.partition(".")[0]]
        members, current, lawful = [], [], True
        for chip, stack, parts in chips:
            kernels = concatenate([part for part, _ in parts])
            packed = self.now.machine(chip, stack)
            own = packed._replace(parameters=self.family.machine(chip, stack).parameters)
            members.append(
                Member(chip.id, chip.generation, own, kernels, np.concatenate([times for _, times in parts]))
            )
            current.append(self.now.seconds(kernels, packed))
            cell = (kernels.kind[0], kernels.dtype[0], kernels.stored[0])
            differs = packed.parameters[cell] != own.parameters[cell]
            lawful &= not any(found and table[i].scope != "chip" for i, found in enumerate(differs[: len(table)]))
        shared = self.shared.machine(*chips[0][:2]).parameters[cell]
        start = {parameter.name: float(shared[i]) for i, parameter in enumerate(table)}
        known = self.now.calibration(*chips[0][:2])
        fit = known.fits.get(key) or known.fits.get(family_key(key))
        widths = tuple(known.priors.get(family_key(key), {}).values())
        return Group(key, name, tuple(members), tuple(current), start, lawful, fit.data if fit else "", widths)
