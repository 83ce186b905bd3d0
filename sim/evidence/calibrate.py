"""Calibrates a family or a chip from measured tables: reads, fits each group, writes what holds on rows left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog.chips import Chip
from ..catalog.library import Library
from ..errors import InputError
from .context import Context
from .fit import GroupFit, fit_chip, fit_family
from .fit_files import Made, Shelf, write_chip, write_family
from .groups import groups_of, tables_of
from .joint import solver
from .predictions import Progress, silent


@dataclass(frozen=True)
class Calibrated:
    """The fits of one subject (a family or a chip), and the files that were written."""

    subject: str
    fits: tuple[GroupFit, ...]
    paths: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "subject": self.subject,
            "written": [str(path) for path in self.paths],
            "groups": [fit.to_dict() for fit in self.fits],
        }


@dataclass(frozen=True)
class Asked:
    """What is fitted, of which rows, and where it goes. Either family (all its chips together) or chip; stack: only that one;
    kinds: only those kernels ((): all); into: the stack under which it is written (default: that of the rows); catalog: the
    folder that holds devices/calibrations (default: the working folder); fresh: a family, from the declared defaults."""

    family: str | None = None
    chip: str | None = None
    stack: str | None = None
    kinds: tuple[str, ...] = ()
    into: str | None = None
    catalog: Path | None = None
    fresh: bool = False


def calibrate(paths: Sequence[Path], asked: Asked, made: Made, progress: Progress = silent) -> Calibrated:
    """Fit every group of measured kernels, and merge what holds into the files of the family, its generations and chips, or
    of the one chip. A group that the fit does not serve keeps its values.

    Raises InputError for a malformed table, a family or chip without rows, or a missing SciPy.
    """
    solver()
    if (asked.family is None) == (asked.chip is None):
        raise InputError("calibrate: name what was measured: either --chip ID or --family ID.")
    context = Context(Library(asked.catalog))
    subject, chosen = _subject(asked, context)
    tables = tables_of(paths, context, None if asked.family else subject)
    groups = groups_of(tables, chosen, asked.stack, asked.kinds, context)
    if not groups:
        raise InputError(f"calibrate: no row of {subject!r} that counts. Check the column device, --stack and --kind.")
    fits = []
    for done, group in enumerate(groups):
        progress(done, len(groups))
        found = fit_family(group, made.data, asked.fresh) if asked.family else fit_chip(group, made.data)
        fits.append(found._replace(stack=asked.into or group.stack))
    known = {entry.id: entry.path for entry in context.library.entries("calibration")}
    shelf = Shelf(asked.catalog or Path.cwd(), known)
    write = write_family if asked.family else write_chip
    return Calibrated(subject, tuple(fits), tuple(write(shelf, subject, fits, made)))


def _subject(asked: Asked, context: Context) -> tuple[str, Callable[[Chip], bool]]:
    """Id of what is calibrated, and which chips belong to it."""
    if asked.family is not None:
        family = context.library.family(asked.family).id
        return family, lambda chip: chip.family == family
    own = context.library.chip(asked.chip or "").id
    return own, lambda chip: chip.id == own
