"""A table of what must run: one row is a stretch of work on one queue, after the rows it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_COLUMNS = {
    "queue": np.int32,
    "seconds": np.float64,
    "after_ptr": np.int64,
    "after": np.int32,
    "link_ptr": np.int64,
    "links": np.int32,
    "part": np.int16,
    "phase": np.int16,
}


@dataclass(frozen=True, eq=False)
class Schedule:
    """Rows in topological order; a queue runs its rows in table order, one at a time.

    queue int32[n]; seconds float64[n], how long the row lasts when alone. after int32[m] with after_ptr int64[n+1]: row i
    waits for the earlier rows after[after_ptr[i]:after_ptr[i+1]]. links int32[k] with link_ptr int64[n+1]: the shared links
    that row i occupies; rows that overlap on a link share it (see `links`). part, phase int16[n] say what a row is for.
    The four tuples name queues, parts, phases and links; a name without rows is legal.
    """

    queue: NDArray[np.int32]
    seconds: FloatArray
    after_ptr: IntArray
    after: NDArray[np.int32]
    link_ptr: IntArray
    links: NDArray[np.int32]
    part: NDArray[np.int16]
    phase: NDArray[np.int16]
    queue_names: tuple[str, ...]
    part_names: tuple[str, ...]
    phase_names: tuple[str, ...]
    link_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, dtype in _COLUMNS.items():
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))

    def __len__(self) -> int:
        return len(self.seconds)

    @classmethod
    def of(
        cls,
        queue: Sequence[int | str],
        seconds: Sequence[float] | FloatArray,
        after: Sequence[Sequence[int]] = (),
        links: Sequence[Sequence[int | str]] = (),
        part: Sequence[int | str] = (),
        phase: Sequence[int | str] = (),
    ) -> Schedule:
        """A checked schedule from plain lists, one entry a row; an empty list is no dependency, no link, one part, one phase.

        Names are numbered in order of first appearance; numbers are named by themselves. Raises InputError (see `check`).
        """
        rows = len(queue)
        _same_length(rows, seconds=seconds, after=after, links=links, part=part, phase=phase)
        queue_ids, queue_names = _numbered(queue)
        part_ids, part_names = _numbered(part if len(part) else ["all"] * rows)
        phase_ids, phase_names = _numbered(phase if len(phase) else ["all"] * rows)
        link_ids, link_names = _numbered([link for row in links for link in row])
        table = cls(
            queue=np.array(queue_ids, dtype=np.int32),
            seconds=np.array(seconds, dtype=np.float64),
            after_ptr=_pointers(after, rows),
            after=np.array([earlier for row in after for earlier in row], dtype=np.int32),
            link_ptr=_pointers(links, rows),
            links=np.array(link_ids, dtype=np.int32),
            part=np.array(part_ids, dtype=np.int16),
            phase=np.array(phase_ids, dtype=np.int16),
            queue_names=queue_names,
            part_names=part_names,
            phase_names=phase_names,
            link_names=link_names,
        )
        table.check()
        return table

    def check(self) -> None:
        """Raise InputError, naming the first bad row, unless the table is one that can run."""
        rows = len(self.seconds)
        for name in ("queue", "part", "phase"):
            if len(getattr(self, name)) != rows:
                raise InputError(
                    f"schedule.{name} has {len(getattr(self, name))} rows, seconds has {rows}. Make them equal."
                )
        for name, values, pointers in (("after", self.after, self.after_ptr), ("links", self.links, self.link_ptr)):
            if (
                len(pointers) != rows + 1
                or pointers[0] != 0
                or pointers[-1] != len(values)
                or np.any(np.diff(pointers) < 0)
            ):
                raise InputError(
                    f"schedule.{name}: its pointers must rise from 0 to {len(values)} in {rows + 1} entries."
                )
        bad = np.flatnonzero(~((self.seconds >= 0) & np.isfinite(self.seconds)))
        if bad.size:
            raise InputError(f"schedule row {bad[0]}: seconds = {self.seconds[bad[0]]}. Give a finite number >= 0.")
        for name, names in (("queue", self.queue_names), ("part", self.part_names), ("phase", self.phase_names)):
            _in_range(name, getattr(self, name), len(names), np.arange(rows))
        link_rows = np.repeat(np.arange(rows), np.diff(self.link_ptr))
        _in_range("link", self.links, len(self.link_names), link_rows)
        if len(np.unique(link_rows * max(1, len(self.link_names)) + self.links)) != len(self.links):
            raise InputError("schedule.links: a row names the same link twice. Name each link once a row.")
        after_rows = np.repeat(np.arange(rows), np.diff(self.after_ptr))
        _in_range("after", self.after, rows, after_rows)
        late = np.flatnonzero(self.after >= after_rows)
        if late.size:
            row, other = after_rows[late[0]], self.after[late[0]]
            raise InputError(
                f"schedule row {row}: after = {other} is not an earlier row. Put row {other} before row {row}."
            )


def _same_length(rows: int, **columns: Sequence[object] | FloatArray) -> None:
    for name, column in columns.items():
        if len(column) != rows and (name == "seconds" or len(column)):
            raise InputError(f"schedule.{name} has {len(column)} rows, queue has {rows}. Give one entry a row.")


def _numbered(values: Sequence[int | str]) -> tuple[list[int], tuple[str, ...]]:
    """Numbers for names, in order of first appearance; numbers stay and are named by themselves."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) == len(values):
        return numbers, tuple(str(number) for number in range(max(numbers, default=-1) + 1))
    order = {name: number for number, name in enumerate(dict.fromkeys(map(str, values)))}
    return [order[str(value)] for value in values], tuple(order)


def _pointers(lists: Sequence[Sequence[object]], rows: int) -> IntArray:
    pointers = np.zeros(rows + 1, dtype=np.int64)
    if len(lists):
        np.cumsum([len(entry) for entry in lists], out=pointers[1:])
    return pointers


def _in_range(name: str, values: NDArray[np.signedinteger], limit: int, rows: IntArray) -> None:
    bad = np.flatnonzero((values < 0) | (values >= limit))
    if bad.size:
        row = rows[bad[0]]
        raise InputError(
            f"schedule row {row}: {name} = {values[bad[0]]} is not one of 0 to {limit - 1}. Name it or fix it."
        )
