"""A sweep: points, evaluated by workers, kept in a journal, laid out as one tidy table. The same table for any workers and stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.files import held
from ..catalog.sweeps import Sweep
from ..errors import InputError
from .evaluate import KEY, Evaluator, Job
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


def sweep(
    asked: Sweep, job: Job, workers: Workers, folder: Path, resume: bool = False, progress: Progress | None = None
) -> Swept:
    """Evaluate every point that the journal in `folder` does not hold, then lay out all of them.

    Raises InputError if the folder holds a journal and `resume` is not asked for, if another sweep is writing it, or Polars is not
    installed.
    """
    need_polars()
    path = folder / "journal.sqlite"
    with held(folder / ".lock"):
        if path.exists() and not resume:
            raise InputError(f"{folder}: holds the journal of a sweep. Give --resume to go on, or another --out.")
        found = points(asked)
        with Journal(path) as journal:
            keys, before = _answered(found, job, workers, journal, progress)
            rows = journal.rows()
    ordered = [rows[key] for key in keys]
    return Swept(_table(found, ordered), _counts(ordered), before, found.n - before)


def _answered(
    found: Points, job: Job, workers: Workers, journal: Journal, progress: Progress | None
) -> tuple[list[bytes], int]:
    """(keys of all points, number of those that stood in the journal), once the journal holds every answer."""
    keys = _known(job, found, journal)
    left = np.array([i for i, key in enumerate(keys) if not key], dtype=np.int64)
    size = _size(job, found)
    done, failed = found.n - left.size, 0
    for number, made, blocks in workers.answers(job, _chunks(found, left, size)):
        journal.add(blocks)
        for i, place in enumerate(left[number * size : (number + 1) * size].tolist()):
            keys[place] = made[KEY * i : KEY * (i + 1)]
        done += len(made) // KEY
        failed += sum(block.said[i][0] == "error" for block in blocks for i in block.which)
        if progress is not None:
            progress(done / found.n, f"{done:,} of {found.n:,} points, {failed:,} errors")
    return keys, found.n - left.size


def need_polars() -> Any:
    """The module, or InputError that names the extra."""
    try:
        import polars
    except ImportError:
        raise InputError("sweep: Polars is not installed. Install gambrel[sweep].") from None
    return polars


def _known(job: Job, found: Points, journal: Journal) -> list[bytes]:
    """Keys of the points that are answered already, by place; empty where one is not."""
    held = journal.keys()
    if not held:
        return [b""] * found.n
    asked = Evaluator(job).asked(found.rows(np.arange(found.n)))
    return [point.key if point.key in held else b"" for point in asked]


def _size(job: Job, found: Points) -> int:
    """Points of a chunk: many where they are priced together."""
    first = Evaluator(job).asked(found.rows(np.arange(min(found.n, 16))))
    return BATCH if any(point.template is not None and point.template.batched for point in first) else FEW


def _chunks(found: Points, left: NDArray[np.int64], size: int) -> Iterator[Chunk]:
    for number, start in enumerate(range(0, left.size, size)):
        yield number, found.rows(left[start : start + size])


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
    table: polars.DataFrame = pl.DataFrame(out).with_columns(
        pl.Series(name, values, nan_to_null=True) for name, values in columns.items()
    )
    return table
