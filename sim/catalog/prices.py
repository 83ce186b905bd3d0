"""Prices: one row for each offer, with provider, term, region, date and source."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, UnknownFigure, did_you_mean
from .files import read_text
from .library import Library, normal

COLUMNS = ("chip", "provider", "instance", "term", "region", "date", "usd_per_device_hour", "confidence", "source")
TERMS = ("on_demand", "spot", "1yr_commit", "3yr_commit", "capacity_block", "capacity_block_or_reserved", "owned")

ANYWHERE = ("all", "global")  # regions of an offer that holds everywhere


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
    reader = csv.DictReader(io.StringIO(read_text(path)))
    try:
        missing = set(COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{path}:1: the column {sorted(missing)[0]} is missing. Columns: {', '.join(COLUMNS)}.")
        return [_price(row, path, reader.line_num) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV: {error}. Mend the line.") from None


def _price(row: dict[str, str | None], path: Path, line: int) -> Price:
    empty = next((name for name in ("chip", "provider", "term", "date", "source") if not row[name]), None)
    if empty is not None:
        raise InputError(f"{path}:{line}: {empty} is empty. Fill it in.")
    text = row["usd_per_device_hour"]
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(
            f"{path}:{line}: usd_per_device_hour = {text!r} is not a positive number. Write dollars an hour."
        )
    if row["term"] not in TERMS:
        raise InputError(f"{path}:{line}: term = {row['term']!r} is not known. Use one of {', '.join(TERMS)}.")
    return Price(**{name: (value if name == "usd_per_device_hour" else row[name] or "") for name in COLUMNS})  # type: ignore[arg-type]


def prices_of(library: Library, chip: str) -> list[Price]:
    """Every offer of a chip (by id), from the first folder of the search order whose price table has one."""
    ids = {normal(name): entry.id for entry in library.entries("chip") for name in entry.names}
    for root, _ in library.roots:
        path = root / "devices" / "prices.csv"
        if path.exists():
            offers = [price for price in read_prices(path) if ids.get(normal(price.chip)) == chip]
            if offers:
                return offers
    return []


def _regions(library: Library) -> list[str]:
    """Every region that a price row of any chip names."""
    paths = (root / "devices" / "prices.csv" for root, _ in library.roots)
    return sorted({price.region for path in paths if path.exists() for price in read_prices(path) if price.region})


def price_of(library: Library, chip: str, term: str | None = None, region: str | None = None) -> Price:
    """The cheapest offer of a chip under a term; without one on demand, else the first of TERMS that is offered.

    Raises InputError for a term that is none and a region in which nothing is offered, UnknownFigure if no price is known.
    """
    if term is not None and term not in TERMS:
        raise InputError(f"term = {term!r} is not known. Use one of {', '.join(TERMS)}.")
    known = prices_of(library, chip)
    if region is not None and known:
        everywhere = _regions(library)
        if normal(region) not in {normal(each) for each in everywhere}:
            hint = did_you_mean(region, everywhere) or f"Use one of {', '.join(everywhere)}."
            raise InputError(f"region = {region!r} is in no price row. {hint}")
        regions = sorted({price.region for price in known if price.region})
        known = [price for price in known if normal(price.region) in (normal(region), *ANYWHERE)]
        if not known:
            raise InputError(f"region = {region!r}: no offer of {chip} there. Offers: {', '.join(regions)}.")
    for wanted in (term,) if term is not None else TERMS:
        offers = [price for price in known if price.term == wanted]
        if offers:
            return min(offers, key=lambda price: (price.usd_per_device_hour, price.provider))
    raise UnknownFigure(
        f"price.{chip}.{term or 'any'}", "Give --usd-per-device-hour, or add a row to devices/prices.csv."
    )
