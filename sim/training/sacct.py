"""What a job scheduler remembers: an export of `sacct -P` -> device-hours a failure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..catalog.imports import csv_rows, text_of
from ..errors import InputError

COLUMNS = ("JobID", "Elapsed", "State", "AllocTRES")
_ELAPSED = re.compile(r"(?:(\d{1,6})-)?(?:(\d{1,6}):)?(\d{1,6}):(\d{1,6})(?:\.\d+)?")
_DEVICES = re.compile(r"gres/[a-z_]+(?::[^=,]+)?=(\d{1,9})\b")


class Record(NamedTuple):
    """Device-hours of all jobs, and how many ended because a node failed or because the job itself did."""

    device_hours: float
    node_fail: int
    failed: int

    def mtbf_s(self) -> dict[str, float]:
        """Time between failures of one chip by cause [s]; a cause that never struck is left out."""
        counts = {"node_fail": self.node_fail, "failed": self.failed}
        return {name: self.device_hours * 3600.0 / count for name, count in counts.items() if count}


def read_sacct(path: Path) -> Record:
    """Read `sacct -P -o JobID,Elapsed,State,AllocTRES`; steps of a job (1234.0, 1234.batch) and jobs without chips do not count.

    Raises InputError for a missing column, a malformed Elapsed, or a file without device-hours.
    """
    text = text_of(path)
    rows = csv_rows(text, str(path), "|")
    names = [name.strip() for name in next(rows, ("", []))[1]]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InputError(f"{path}:1: no column {missing[0]}. Export with sacct -P -o {','.join(COLUMNS)}.")
    hours, node_fail, failed = 0.0, 0, 0
    for place, cells in rows:
        row = dict(zip(names, cells, strict=False))
        if "." in row.get("JobID", "."):
            continue
        found = _DEVICES.search(row.get("AllocTRES", ""))
        if found is None:
            continue
        hours += int(found[1]) * _hours(row.get("Elapsed", ""), place)
        state = row.get("State", "").split(" ")[0]
        node_fail += state == "NODE_FAIL"
        failed += state == "FAILED"
    if hours <= 0:
        raise InputError(f"{path}: no job with chips (gres/gpu=N in AllocTRES) that ran. Export more days.")
    return Record(hours, node_fail, failed)


def _hours(elapsed: str, place: str) -> float:
    """`[days-]hours:minutes:seconds` in hours."""
    found = _ELAPSED.fullmatch(elapsed.strip())
    if found is None:
        raise InputError(f"{place}: Elapsed = {elapsed!r} is not [days-]hh:mm:ss. Export with sacct -P.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 24.0 + hours + minutes / 60.0 + seconds / 3600.0
