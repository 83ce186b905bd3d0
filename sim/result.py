"""Results: figures with unit, interval and basis; where the time went; what the answer was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

BASES = ("measured", "calibrated", "extrapolated", "datasheet-only")


@dataclass(frozen=True)
class Figure:
    """One figure. `value` None = unknown, then `note` names the missing key and how to supply it."""

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    basis: str = "datasheet-only"
    note: str = ""

    @staticmethod
    def unknown(unit: str, note: str) -> Figure:
        """A figure that needs a fact nobody published; never a default zero."""
        return Figure(None, unit, basis="unknown", note=note)

    def scaled(self, factor: float, unit: str) -> Figure:
        """The figure times an exact factor, in another unit; its interval scales with it."""
        value, low, high = (None if x is None else x * factor for x in (self.value, self.low, self.high))
        return Figure(value, unit, low, high, self.basis, self.note)

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "value": self.value,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "basis": self.basis,
        }
        return {**out, "note": self.note} if self.note else out

    @staticmethod
    def of(plain: dict[str, Any]) -> Figure:
        """The figure of such a dict. Raises KeyError or TypeError for what is none."""
        ends = (None if plain[key] is None else float(plain[key]) for key in ("value", "low", "high"))
        value, low, high = ends
        return Figure(value, str(plain["unit"]), low, high, str(plain["basis"]), str(plain.get("note", "")))


def weakest(parts: list[tuple[float, str]], threshold: float = 0.05) -> str:
    """Basis of a sum: its weakest part above 5% of the whole. parts: (share or seconds, basis)."""
    total = math.fsum(part for part, _ in parts)
    counted = [basis for part, basis in parts if total <= 0 or part > threshold * total]
    return max(counted, key=BASES.index, default="datasheet-only")


def total(figures: list[Figure]) -> Figure:
    """The sum of figures of one unit, their errors going the same way; unknown as soon as one of them is."""
    missing = next((figure for figure in figures if figure.value is None), None)
    if missing is not None or len(figures) == 1:
        return missing or figures[0]
    values = [figure.value or 0.0 for figure in figures]
    basis = weakest([(value, figure.basis) for value, figure in zip(values, figures, strict=True)])
    notes = dict.fromkeys(figure.note for figure in figures if figure.note)
    low = high = None
    if any(figure.low is not None for figure in figures):
        low = math.fsum(value if f.low is None else f.low for value, f in zip(values, figures, strict=True))
        high = math.fsum(value if f.high is None else f.high for value, f in zip(values, figures, strict=True))
    return Figure(math.fsum(values), figures[0].unit, low, high, basis, "; ".join(notes))


@dataclass(frozen=True)
class Result:
    """The answer to a scenario.

    figures: by name. breakdown: (part, phase) -> device seconds. provenance: version, catalogue hash, calibrations, stack,
    seed. timeline: for traces and plots, not part of the JSON. requests: per-request columns of a
    serving run, tables: columns by name; neither is part of the JSON.
    """

    schema: str
    verdict: str
    scenario: dict[str, Any]
    figures: dict[str, Figure]
    breakdown: dict[tuple[str, str], float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    why: str = ""
    next_commands: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fits: bool = True
    timeline: Any = None
    requests: Any = None
    tables: Any = None

    def __getitem__(self, name: str) -> Figure:
        return self.figures[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `schema` names and versions the layout."""
        return {
            "schema": self.schema,
            "verdict": self.verdict,
            "fits": self.fits,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "breakdown": [
                {"part": part, "phase": phase, "seconds": seconds} for (part, phase), seconds in self.breakdown.items()
            ],
            "memory_bytes": self.memory,
            "why": self.why,
            "next": list(self.next_commands),
            "warnings": list(self.warnings),
            "scenario": self.scenario,
            "provenance": self.provenance,
        }

    @staticmethod
    def of(plain: dict[str, Any]) -> Result:
        """The result whose `to_dict` this is. Raises KeyError, TypeError or ValueError for what is none."""
        return Result(
            schema=str(plain["schema"]),
            verdict=str(plain["verdict"]),
            scenario=dict(plain["scenario"]),
            figures={str(name): Figure.of(each) for name, each in plain["figures"].items()},
            breakdown={(str(b["part"]), str(b["phase"])): float(b["seconds"]) for b in plain["breakdown"]},
            memory={str(name): float(size) for name, size in plain["memory_bytes"].items()},
            why=str(plain["why"]),
            next_commands=tuple(map(str, plain["next"])),
            provenance=dict(plain["provenance"]),
            warnings=tuple(map(str, plain["warnings"])),
            fits=bool(plain["fits"]),
        )

    def _repr_html_(self) -> str:
        """The first screen as a table, for notebooks."""
        return str(_notebook().table_of(self))

    def plot(self, kind: str | None = None) -> Any:
        """A Plotly figure of this result; needs the extra `report`. kind: waterfall, memory, figures, and where the run has
        them latency, series, campaigns, power; None: the first that it has. Raises InputError for another."""
        return _notebook().plot(self, kind)

    def to_polars(self, name: str | None = None) -> Any:
        """A table of this result as a Polars DataFrame; needs the extra `sweep`. name: figures, requests, or one of `tables`;
        None: requests, else the first of the tables, else figures. Raises InputError for another."""
        return _notebook().to_polars(self, name)


def _notebook() -> Any:
    """What draws results lies in a lower room of the house and is loaded by name, so that a result needs none of it."""
    from importlib import import_module

    return import_module(".report.notebook", __package__)
