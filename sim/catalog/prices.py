"""Prices: one row for each offer, with provider, term, region, date and source."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, UnknownFigure
from .library import Library, normal

COLUMNS = ("chip", "provider", "instance", "term", "region", "date", "usd_per_device_hour", "confidence", "source")
TERMS = ("on_demand", "spot", "1yr_commit", "3yr_commit", "capacity_block", "capacity_block_or_reserved", "owned")


class Price(NamedTuple):
    """One offer. `usd_per_device_hour` is the instance's price divided by its chips."""

    chip: str
    provider: str
    instance: str
    term: str
    region: str
    date: str
    usd_per_device_hour: float
    confidence: str
    source: str


def read_prices(path: Path) -> list[Price]:
    """Rows of a price table. Raises InputError with file, line, value and remedy for a malformed one."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}:1: the column {sorted(missing)[0]} is missing. Columns: {', '.join(COLUMNS)}."
                )
            return [_price(row, path, reader.line_num) for row in reader]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None


def _price(row: dict[str, str], path: Path, line: int) -> Price:
    text = row["usd_per_device_hour"]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(
            f"{path}:{line}: usd_per_device_hour = {text!r} is not a positive number. Write dollars an hour."
        )
    if row["term"] not in TERMS:
        raise InputError(f"{path}:{line}: term = {row['term']!r} is not known. Use one of {', '.join(TERMS)}.")
    return Price(**{name: (value if name == "usd_per_device_hour" else row[name]) for name in COLUMNS})  # type: ignore[arg-type]


def prices_of(library: Library, chip: str) -> list[Price]:
    """Every offer of a chip, from the first folder of the search order that holds a price table."""
    for root, _ in library.roots:
        path = root / "devices" / "prices.csv"
        if path.exists():
            return [price for price in read_prices(path) if normal(price.chip) == chip]
    return []


def price_of(library: Library, chip: str, term: str = "on_demand") -> Price:
    """The cheapest offer of a chip under a term. Raises UnknownFigure if none is known."""
    offers = [price for price in prices_of(library, chip) if price.term == term]
    if not offers:
        raise UnknownFigure(f"price.{chip}.{term}", "Give --usd-per-device-hour, or add a row to devices/prices.csv.")
    return min(offers, key=lambda price: (price.usd_per_device_hour, price.provider))
