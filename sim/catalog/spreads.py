"""How far predicted ratios of two runs were from measured ones: devices/comparisons.yaml, from which a comparison's odds are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..errors import InputError
from .library import Library
from .records import Count, NotNegative, Positive, Record, Share, Text, read

FILE = ("devices", "comparisons.yaml")


class CurvePoint(Record):
    """Pairs whose stated chances lay from `low` to `high`: how many, their mean, and how often the predicted side won."""

    low: Share
    high: Share
    pairs: Count
    stated: Share
    happened: Share


class Spread(Record):
    """Of pairs that differ in one thing, by one metric: sizes of ln(measured / predicted) of the ratio, and how sure they were."""

    role: Literal["train", "serve"]
    differs: Text
    metric: Text
    pairs: Count
    groups: Count = Field(description="models, or models of a source, each of which weighs the same")
    right: Share = Field(description="share of pairs whose predicted side won")
    brier: Share = Field(
        description="score of the chances, each pair without its own group; 0 is best, 0.25 says one half"
    )
    within: Positive = Field(description="factor that is to hold 80% of the ratios")
    held: Share = Field(description="share that it holds of groups that it has not seen")
    curve: tuple[CurvePoint, ...]
    sizes: tuple[NotNegative, ...] = Field(
        min_length=9, description="evenly spaced quantiles of |ln(measured / predicted)|"
    )

    def happened(self, chance: float) -> CurvePoint | None:
        """The point of the curve that a chance lies in, whichever side it favours."""
        sure = max(chance, 1.0 - chance)
        return next((each for each in self.curve if each.low <= sure < each.high or sure == each.high == 1.0), None)


class Comparisons(Record):
    """Every spread, and where they come from."""

    data: Text
    date: Text
    command: Text
    spreads: tuple[Spread, ...]

    def of(self, role: str, differs: str, metric: str) -> Spread | None:
        """None where no such pairs were measured."""
        key = (role, differs, metric)
        return next((each for each in self.spreads if (each.role, each.differs, each.metric) == key), None)


def comparisons(library: Library) -> Comparisons:
    """Those of the catalogue's first root that has them. Raises InputError if none has."""
    for root, _ in library.roots:
        path = root.joinpath(*FILE)
        if path.is_file():
            return read(Comparisons, path)
    raise InputError(f"{'/'.join(FILE)}: not in the catalogue. Install the package anew.")
