"""Hourly carbon intensity of a grid, from a user's CSV."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .files import read_text

COLUMNS = ("datetime", "kg_co2_per_kwh")
HOUR = timedelta(hours=1)


class Grid(NamedTuple):
    """kg CO2 a kWh of every hour from `start` (UTC) on; what lies beyond the file repeats it from its beginning."""

    start: datetime
    kg_per_kwh: tuple[float, ...]
    name: str

    def mean(self, begin: datetime, seconds: float) -> float:
        """Mean over a span at constant power. Whole turns of the file count by their sum, so that years cost no more than a day.

        Raises InputError for a begin before the file's first hour.
        """
        first = (begin - self.start) / HOUR
        if first < 0.0:
            raise InputError(
                f"{self.name}: begins at {self.start:%Y-%m-%dT%H:%M}, after {begin:%Y-%m-%dT%H:%M}. Begin later."
            )
        hours = seconds / 3600.0
        if hours <= 0.0:
            return self.kg_per_kwh[int(first) % len(self.kg_per_kwh)]
        return (self._sum_until(first + hours) - self._sum_until(first)) / hours

    def _sum_until(self, hours: float) -> float:
        """Sum of the intensity over the hours from the file's first one."""
        turns, rest = divmod(hours, len(self.kg_per_kwh))
        whole = int(rest)
        part = (rest - whole) * self.kg_per_kwh[whole] if rest > whole else 0.0
        return turns * math.fsum(self.kg_per_kwh) + math.fsum(self.kg_per_kwh[:whole]) + part


def read_grid(path: Path) -> Grid:
    """Read a CSV with the columns datetime (ISO, UTC unless it says) and kg_co2_per_kwh, one row an hour without gaps.

    Raises InputError with file, line, value and remedy.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    try:
        return _grid(reader, path)
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV: {error}. Mend the line.") from None
    except OverflowError:
        raise InputError(f"{path}:{reader.line_num}: the hours leave the years 1 to 9999. Mend the dates.") from None


def _grid(reader: csv.DictReader[str], path: Path) -> Grid:
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{path}:1: the column {sorted(missing)[0]} is missing. Columns: {', '.join(COLUMNS)}.")
    start: datetime | None = None
    values: list[float] = []
    for row in reader:
        place = f"{path}:{reader.line_num}"
        at = instant(row["datetime"] or "", place)
        start = start or at
        if at != start + len(values) * HOUR:
            raise InputError(
                f"{place}: datetime = {row['datetime']!r} is not an hour after the row before. Fill the gap."
            )
        values.append(_intensity(row["kg_co2_per_kwh"], place))
    if start is None:
        raise InputError(f"{path}: no hour is given. Add rows.")
    return Grid(start, tuple(values), str(path))


def instant(text: str, place: str) -> datetime:
    """A moment in ISO form, UTC unless it says otherwise. Raises InputError naming the place."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{place}: datetime = {text!r} is not a date. Write it as 2026-03-01T08:00.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _intensity(text: str | None, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0.0):
        raise InputError(f"{place}: kg_co2_per_kwh = {text!r} is not a number of 0 or more. Write kg CO2 a kWh.")
    return value
