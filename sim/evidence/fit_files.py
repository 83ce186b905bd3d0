"""From measured tables to the groups that are fitted, and from fits to calibration files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..catalog.calibrations import Fit
from ..catalog.chips import Chip
from ..catalog.files import write_whole
from ..catalog.library import Library
from ..errors import InputError
from ..lowering.kernels import DTYPE_NAMES, Kernels
from ..lowering.kinds import KINDS
from .context import Context
from .fit import Group, GroupFit, fit_group, solver
from .kernel_rows import kernels_of, launched_alone, stack_of
from .predictions import Progress, silent
from .rules import excluded_by
from .tables import Skip, Table, find_tables

NO_KERNELS = "nccl"  # label of the collectives that every stack without kernels of its own runs


@dataclass(frozen=True)
class Calibrated:
    """The fits of one stack on a chip; stack `any` holds what every stack shares. path: the file that was written, or None."""

    chip: str
    stack: str
    fits: tuple[GroupFit, ...]
    path: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        groups = [
            {
                "group": fit.key,
                "rows": fit.rows,
                "written": not fit.refused,
                "refused": fit.refused,
                "family": fit.family._asdict(),
                "fitted": fit.fitted._asdict(),
                "left_out": fit.left_out_errors._asdict(),
                "left_out_mean_log_family": fit.left_out_family._asdict(),
                "left_out_mean_log": fit.left_out._asdict(),
                "prior_width": fit.width,
                "parameters": fit.parameters,
            }
            for fit in self.fits
        ]
        return {
            "chip": self.chip,
            "stack": self.stack,
            "written": None if self.path is None else str(self.path),
            "groups": groups,
        }


def tables_of(paths: Sequence[Path]) -> list[Table]:
    """The kernel tables of files and folders. Raises InputError where one holds none."""
    return [table for path in paths for table in find_tables(path, "kernels")]


def groups_of(tables: Sequence[Table], chip: Chip, stack: str | None, context: Context) -> dict[str, list[Group]]:
    """Rows of a chip that count, by stack and then by kind and format. stack: only that one; rows that name none are its.

    Raises InputError if no row is of the chip (and the stack).
    """
    out: dict[str, list[Group]] = defaultdict(list)
    for table in tables:
        kernels, reason = kernels_of(table)
        hosted = launched_alone(table)
        excluded, measured = excluded_by(table), table.measured("time_us") * 1e-6
        devices, stacks = table.column("device"), table.column("stack")
        members: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index in range(len(table)):
            label = stacks[index] or stack or ""
            asked = stack is None or label in (stack, NO_KERNELS)
            if (
                asked
                and not (reason[index] or excluded[index] or hosted[index])
                and _is_chip(devices[index], chip, context)
            ):
                members[label, _key(kernels, index)].append(index)
        for (label, key), rows in members.items():
            named = stack_of(label, chip, context)
            at = np.array(rows, dtype=np.intp)
            group = Group(key, context.machine(chip, named), kernels.take(at), measured[at])
            out["any" if label == NO_KERNELS else named.id].append(group)
    if not out:
        under = f" under {stack}" if stack else ""
        raise InputError(
            f"calibrate: no row of chip {chip.id!r}{under} that counts. Check the columns device and stack."
        )
    return out


def _is_chip(label: str, chip: Chip, context: Context) -> bool:
    try:
        return context.chip(label).id == chip.id
    except Skip:
        return False


def _key(kernels: Kernels, index: int) -> str:
    kind = KINDS[int(kernels.kind[index])]
    if kind.collective:
        return kind.name
    return f"{kind.name}.{DTYPE_NAMES[kernels.dtype[index]]}.{DTYPE_NAMES[kernels.stored[index]]}"


def calibrate(
    paths: Sequence[Path],
    chip: str,
    *,
    stack: str | None = None,
    catalog: Path | None = None,
    made: Fit,
    progress: Progress = silent,
) -> tuple[Calibrated, ...]:
    """Fit every group of a chip's measured kernels and write `<chip>--<stack>.yaml` for each stack that has a fit.

    catalog: the folder that holds devices/calibrations (default: the working folder). made: what was measured, when and by
    which command, as the file says it. A group that the fit does not serve keeps the family's values.
    Raises InputError for a malformed table, a chip without rows, or a missing SciPy.
    """
    solver()
    context = Context(Library(catalog), level="family")
    record = context.library.chip(chip)
    found = groups_of(tables_of(paths), record, stack, context)
    total, done, out = sum(len(groups) for groups in found.values()), 0, []
    for name, groups in sorted(found.items()):
        fits = []
        for group in sorted(groups, key=lambda group: group.key):
            fits.append(fit_group(group))
            done += 1
            progress(done, total)
        path = None
        if any(not fit.refused for fit in fits):
            path = (catalog or Path.cwd()) / "devices" / "calibrations" / f"{record.id}--{name}.yaml"
            write_whole(path, text_of(record.id, name, fits, made))
        out.append(Calibrated(record.id, name, tuple(fits), path))
    return tuple(out)


def text_of(chip: str, stack: str, fits: Sequence[GroupFit], made: Fit) -> str:
    """The calibration file of the groups that were fitted."""
    kept = [fit for fit in fits if not fit.refused]
    document = {
        "id": f"{chip}--{stack}",
        "subject": chip,
        "stack": stack,
        "basis": "calibrated",
        "parameters": {fit.key: {name: _short(value) for name, value in fit.parameters.items()} for fit in kept},
        "residuals": {fit.key: {name: _short(value, 3) for name, value in fit.residuals.items()} for fit in kept},
        "ranges": _joined_ranges(kept),
        "fit": {"data": made.data, "date": made.date, "command": made.command},
        "source": f"{sum(fit.rows for fit in kept)} kernels of {made.data}; robust least squares around the family's values",
    }
    return yaml.safe_dump(document, sort_keys=False, width=120, default_flow_style=None)


def _joined_ranges(fits: Sequence[GroupFit]) -> dict[str, dict[str, list[float]]]:
    """Of each kind, from the least to the largest value that any of its groups held."""
    out: dict[str, dict[str, list[float]]] = {}
    for fit in fits:
        kind = out.setdefault(fit.key.partition(".")[0], {})
        for name, (low, high) in fit.ranges.items():
            before = kind.get(name, [low, high])
            kind[name] = [_short(min(before[0], low), 12), _short(max(before[1], high), 12)]
    return out


def _short(value: float, digits: int = 4) -> float:
    number = float(f"{value:.{digits}g}")
    return int(number) if number == int(number) else number
