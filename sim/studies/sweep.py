"""A sweep: points, evaluated by workers, kept in a journal, laid out as one tidy table. The same table for any workers and stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.sweeps import Sweep
from ..errors import InputError
from .evaluate import Evaluator, Job, batched
from .journal import Journal
from .points import Points, points
from .priced import Row
from .workers import Chunk, Workers

if TYPE_CHECKING:
    import polars

Progress = Callable[[float, str], None]
BATCH = 1024  # plans that are priced together
FEW = 4  # points that are answered one by one: what a kill may lose of a worker


class Swept(NamedTuple):
    """table: one row a point; counts of points by status, of those that stood in the journal before, and evaluated now."""

    table: polars.DataFrame
    counts: dict[str, int]
    before: int
    evaluated: int


def sweep(asked: Sweep, job: Job, workers: Workers, folder: Path, resume: bool = False, progress: Progress | None = None) -> Swept:
    """Evaluate every point that the journal in `folder` does not hold, then lay out all of them.

    Raises InputError if the folder holds a journal and `resume` is not asked for, or Polars is not installed.
    """
    need_polars()
    path = folder / "journal.sqlite"
    if path.exists() and not resume:
        raise InputError(f"{folder}: holds the journal of a sweep. Give --resume to go on, or another --out.")
    found = points(asked)
    journal = Journal(path)
    try:
        left, keys = _left(job, found, journal)
        done = found.n - left.size
        before, evaluated, failed = done, 0, 0
        for answers in workers.answers(job, _chunks(found, left, _size(job, found))):
            journal.add(answers)
            evaluated += len(answers)
            done += len(answers)
            failed += sum(row.status == "error" for _, row in answers)
            if progress is not None:
                progress(done / found.n, f"{done:,} of {found.n:,} points, {failed:,} errors")
        rows = journal.rows()
    finally:
        journal.close()
    ordered = [rows[key] for key in (keys or _keys(job, found))]
    return Swept(_table(found, ordered), _counts(ordered), before, evaluated)


def need_polars() -> Any:
    """The module, or InputError that names the extra."""
    try:
        import polars
    except ImportError:
        raise InputError("sweep: Polars is not installed. Install gambrel[sweep].") from None
    return polars


def _keys(job: Job, found: Points) -> list[bytes]:
    evaluator = Evaluator(job)
    return [point.key for point in evaluator.asked(found.rows(np.arange(found.n)))]


def _left(job: Job, found: Points, journal: Journal) -> tuple[NDArray[np.int64], list[bytes]]:
    """Places of the points that are not answered yet, and the keys of all if they had to be made for that."""
    held = journal.keys()
    if not held:
        return np.arange(found.n), []
    keys = _keys(job, found)
    return np.array([i for i, key in enumerate(keys) if key not in held], dtype=np.int64), keys


def _size(job: Job, found: Points) -> int:
    """Points of a chunk: many where they are priced together."""
    first = Evaluator(job).asked(found.rows(np.arange(min(found.n, 16))))
    return BATCH if any(point.scenario is not None and batched(point.scenario) for point in first) else FEW


def _chunks(found: Points, left: NDArray[np.int64], size: int) -> Iterator[Chunk]:
    for start in range(0, left.size, size):
        yield found.rows(left[start : start + size])


def _counts(rows: list[Row]) -> dict[str, int]:
    return {status: sum(row.status == status for row in rows) for status in ("ok", "infeasible", "error")}


def _table(found: Points, rows: list[Row]) -> polars.DataFrame:
    """point, a column for each key, status, error, basis, then figures; what a point does not have is null."""
    pl = need_polars()
    out: dict[str, Any] = {"point": np.arange(found.n)}
    for i, key in enumerate(found.keys):
        values = found.column(i)
        kinds = {float if type(v) is int else type(v) for v in found.values[i] if v is not None}
        out[key] = pl.Series([v if v is None else str(v) for v in values] if len(kinds) > 1 else values, strict=False)
    for name in ("status", "error", "basis"):
        out[name] = [getattr(row, name) or None for row in rows]
    layouts: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        layouts.setdefault(row.names, []).append(place)
    names = sorted(layouts, key=lambda each: layouts[each][0])
    columns = {name: np.full(found.n, np.nan) for layout in names for name in layout}
    for layout in names:
        places = np.array(layouts[layout])
        block = np.stack([rows[place].values for place in layouts[layout]])
        for i, name in enumerate(layout):
            columns[name][places] = block[:, i]
    return pl.DataFrame(out).with_columns(pl.Series(name, values, nan_to_null=True) for name, values in columns.items())
