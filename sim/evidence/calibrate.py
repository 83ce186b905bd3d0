"""Calibrates a family or a chip from measured tables: reads, fits each group, writes what holds on rows left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..catalog.library import Library
from ..errors import InputError
from .context import Context
from .fit import GroupFit, fit_family
from .fit_files import Made, Shelf, write_family
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
    """Which rows are fitted and where the result goes. stack: only that one; kinds: only those ((): all);
    into: the stack under which it is written (default: that of the rows); catalog: the folder
    that holds devices/calibrations (default: the working folder); fresh: from the declared defaults."""

    stack: str | None = None
    kinds: tuple[str, ...] = ()
    into: str | None = None
    catalog: Path | None = None
    fresh: bool = False


def calibrate_family(
    paths: Sequence[Path], family: str, asked: Asked, made: Made, progress: Progress = silent
) -> Calibrated:
    """Fit every group of a family over all its chips, and merge what was found into the family's, the generations' and the
    chips' files.

    Raises InputError for a malformed table, a family without rows, or a missing SciPy.
    """
    solver()
    context = Context(Library(asked.catalog))
    name = context.library.family(family).id
    groups = groups_of(tables_of(paths), lambda chip: chip.family == name, asked.stack, asked.kinds, context)
    if not groups:
        raise InputError(
            f"calibrate: no row of a chip of family {name!r} that counts. Check --stack, --kind and device."
        )
    fits = []
    for done, group in enumerate(groups):
        progress(done, len(groups))
        fits.append(fit_family(replace(group, stack=asked.into or group.stack), asked.fresh))
    known = {entry.id: entry.path for entry in context.library.entries("calibration")}
    written = write_family(Shelf(asked.catalog or Path.cwd(), known), name, fits, made)
    return Calibrated(name, tuple(fits), tuple(written))
