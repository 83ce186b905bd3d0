"""`calibrate` on serving benchmarks: rows of one chip by stack, the fit of their factors, and the file that serving reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog.chips import Chip
from ..catalog.files import write_whole
from ..catalog.library import FOLDERS, Library
from ..errors import InputError
from .context import Context
from .fit_files import Made, short, text_of
from .predictions import Progress, silent
from .rules import excluded_by
from .score import warming_up
from .serving_stacks import serving_stack
from .sites import METRICS, Measured, SiteFit, fit_site
from .tables import FloatArray, Skip, Table, UnknownTable, read_table


@dataclass(frozen=True)
class Sited:
    """Fits of one chip, by stack; what became of the other rows, by reason; the files that were written."""

    chip: str
    fits: tuple[SiteFit, ...]
    aside: dict[str, int]
    paths: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null."""
        return {
            "chip": self.chip,
            "written": [str(path) for path in self.paths],
            "aside": self.aside,
            "stacks": [
                {
                    "stack": fit.stack,
                    "rows": fit.rows,
                    "factors": fit.factors,
                    "fitted": list(fit.told),
                    "untold": list(fit.untold),
                    "errors": {
                        name: {metric: list(pair) for metric, pair in summed(errors).items()}
                        for name, errors in (("without", fit.without), ("with", fit.fitted), ("left_out", fit.left_out))
                    },
                    "skipped": dict(Counter(fit.skipped)),
                    "refused": fit.refused,
                }
                for fit in self.fits
            ],
        }


def summed(errors: FloatArray) -> dict[str, tuple[float, float]]:
    """Median and mean of the errors of each metric that has any."""
    known = {metric: row[np.isfinite(row)] for metric, row in zip(METRICS, errors, strict=True)}
    return {metric: (float(np.median(row)), float(row.mean())) for metric, row in known.items() if row.size}


def is_serving(path: Path, library: Library) -> bool:
    """Is this file a table of serving runs, or the result of a serving benchmark?"""
    if path.is_dir():
        return False
    try:
        return read_table(path, library).kind.verb == "serving"
    except UnknownTable:
        return False


def calibrate_site(
    paths: Sequence[Path], chip: str, stack: str | None, where: tuple[Path | None, Made], progress: Progress = silent
) -> Sited:
    """Fit the factors of a chip under each stack of the rows (or the one that is named: rows without an engine are its), and
    write what holds below `devices/sites` of the catalogue folder, else of the working folder. where: that folder, and what
    was measured.

    Raises InputError for a table without times, text where a time stands, and where no row is left.
    """
    catalog, made = where
    context = Context(Library(catalog))
    own = context.library.chip(chip)
    aside: Counter[str] = Counter()
    parts: dict[str, list[Measured]] = {}
    for path in paths:
        for part in _by_stack(_table(path, context), own, stack, (context, aside)):
            parts.setdefault(part.stack.id, []).append(part)
    if not parts:
        reasons = "; ".join(f"{count:,} {why}" for why, count in aside.items())
        raise InputError(
            f"calibrate: no serving run of {own.id} that counts ({reasons or 'no row'}). Check --chip, --stack."
        )
    fits = []
    for done, (_, members) in enumerate(sorted(parts.items())):
        fits.append(fit_site(_joined(members), context, partial(_told, progress, done, len(parts))))
    written = tuple(_write(fit, made, catalog or Path.cwd()) for fit in fits if not fit.refused)
    return Sited(own.id, tuple(fits), dict(aside), written)


def _told(progress: Progress, done: int, stacks: int, share: float) -> None:
    progress(round(1000 * (done + share)), 1000 * stacks)


def _table(path: Path, context: Context) -> Table:
    table = read_table(path, context.library)
    if table.kind.verb != "serving":
        raise InputError(
            f"{path}: this is a table of {table.kind.name}, and others are of serving runs. Give one kind."
        )
    if not set(METRICS) & set(table.header):
        raise InputError(f"{path}: neither tpot_ms nor ttft_ms is a column: nothing here is measured. Add one, in ms.")
    return table


def _by_stack(table: Table, chip: Chip, stack: str | None, kept: tuple[Context, Counter[str]]) -> list[Measured]:
    """The rows of the chip that count, by stack; where a cell names no device or engine, what was asked for stands there."""
    context, aside = kept
    wanted = context.stack(stack).id if stack else None
    times = _times(table)
    excluded = excluded_by(table)
    warm = warming_up(table, np.array([rule == "" for rule in excluded], bool))
    times[METRICS.index("ttft_ms"), warm] = math.nan
    rows: dict[str, list[int]] = {}
    for index, (device, engine) in enumerate(zip(table.column("device"), table.column("engine"), strict=True)):
        try:
            other = bool(device) and context.chip(device).id != chip.id
        except Skip:
            other = True
        agg = table.column("mode")[index] == "agg"
        name = (wanted if not engine else None) or serving_stack(context, chip, engine).id
        if other:
            aside["of other chips"] += 1
        elif wanted not in (None, name):
            aside["of other stacks"] += 1
        elif agg and not table.column("tp_size")[index]:
            aside["say not on how many chips: `gambrel import FILE --tp N -o served.csv` adds it"] += 1
        elif excluded[index] or not np.isfinite(times[:, index]).any():
            aside[f"do not count: {excluded[index] or 'no time'}"] += 1
        else:
            rows.setdefault(name, []).append(index)
    filled = _filled(table, {"device": chip.id, "engine": wanted or ""})
    return [Measured(chip, context.stack(name), filled.select(at), times[:, at]) for name, at in sorted(rows.items())]


def _times(table: Table) -> FloatArray:
    """METRICS of every row [2, n], NaN where blank. Raises InputError for text and for a time of nothing."""
    times = np.stack([table.numbers(name) for name in METRICS])
    for name, row in zip(METRICS, times, strict=True):
        for index in np.flatnonzero(row <= 0.0):
            raise InputError(
                f"{table.place(int(index))}: {name} = {row[index]:g} is no time. Write one above 0, in ms."
            )
    return times


def _filled(table: Table, cells: dict[str, str]) -> Table:
    columns = [cells.get(name, "") for name in table.header]
    rows = tuple(tuple(cell.strip() or own for cell, own in zip(row, columns, strict=True)) for row in table.cells)
    return replace(table, cells=rows)


def _joined(parts: Sequence[Measured]) -> Measured:
    """Rows of several files as one table, in the columns that any of them has."""
    first = parts[0]
    if len(parts) == 1:
        return first
    header = tuple(dict.fromkeys(name for part in parts for name in part.table.header))
    cells, lines = [], []
    for part in parts:
        for row, line in zip(part.table.rows(), part.table.lines, strict=True):
            cells.append(tuple(row.cells.get(name, "") for name in header))
            lines.append(line)
    table = replace(first.table, header=header, cells=tuple(cells), lines=tuple(lines))
    return first._replace(table=table, times=np.concatenate([part.times for part in parts], axis=1))


def _write(fit: SiteFit, made: Made, folder: Path) -> Path:
    name = f"{fit.chip}--{fit.stack}"
    path = folder / FOLDERS["site"] / f"{name}.yaml"
    blocks = {"without": fit.without, "fitted": fit.fitted, "left_out": fit.left_out}
    document = {
        "id": name,
        "chip": fit.chip,
        "stack": fit.stack,
        **{factor: short(value) for factor, value in fit.factors.items() if factor in fit.told},
        "untold": list(fit.untold),
        "rows": fit.rows,
        **{block: _medians(errors) for block, errors in blocks.items()},
        **made._asdict(),
        "source": f"robust least squares of the logs on {made.data}, shrunk to 1",
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text_of(document))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Give another --catalog.") from error
    return path


def _medians(errors: FloatArray) -> dict[str, float | None]:
    found = summed(errors)
    return {metric.removesuffix("_ms"): short(found[metric][0]) if metric in found else None for metric in METRICS}
