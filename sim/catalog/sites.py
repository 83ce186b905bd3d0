"""What runs at one site take over what is predicted: four factors of a chip under a stack, fitted to its serving benchmarks."""

from __future__ import annotations

from pydantic import Field

from .records import Count, Identifier, NotNegative, Positive, Record, Text

FACTORS = ("device", "collectives", "host", "request")


class SiteError(Record):
    """Median of |predicted / measured - 1| over all rows, of TPOT and TTFT (null: none measured)."""

    tpot: NotNegative | None
    ttft: NotNegative | None


class SiteFactors(Record):
    """Factors on predicted times; 1 is what the catalogue says without them."""

    device: Positive = Field(1.0, description="on the time of every kernel but collectives")
    collectives: Positive = Field(1.0, description="on the time of every collective")
    host: Positive = Field(1.0, description="on the host's time of an iteration, of its sequences, of launches")
    request: Positive = Field(1.0, description="on the time of a request before and after the engine")

    @property
    def factors(self) -> dict[str, float]:
        """By name, in the order of FACTORS."""
        return {name: float(getattr(self, name)) for name in FACTORS}


class Site(SiteFactors):
    """The factors of a chip under a stack and where they come from. `untold`: what the rows could not tell, left at 1."""

    id: Identifier
    chip: Identifier
    stack: Identifier
    untold: tuple[Text, ...] = ()
    rows: Count = Field(description="measured runs")
    without: SiteError = Field(description="without the factors")
    fitted: SiteError = Field(description="with them, on the rows of the fit")
    left_out: SiteError = Field(description="of rows that the fit did not see")
    data: Text
    date: Text
    command: Text
    source: Text
