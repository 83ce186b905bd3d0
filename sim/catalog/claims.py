"""Public claims: what was said, where, and the arithmetic that is asked of it. No result stands in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from .files import Document
from .library import Library
from .records import Identifier, Number, Positive, Record, Text, parse, read
from .scenarios import Scenario, nested


class Term(Record):
    """One named step. Exactly one of value, formula, figure, price, chip, model says where it comes from.

    value: a fact from outside, with its source, and low and high where it is a range. formula: over other names, columns
    (`table.column`), and the functions of `sim.studies.arithmetic`. figure: of the scenario `of` (in a table: of the row).
    price: dollars an hour of a chip. chip: `key` of its file. model: its parameters, or those that a token meets (key: active).
    """

    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    source: Text | None = None
    formula: Text | None = None
    figure: Text | None = None
    of: Text | None = None
    price: Text | None = None
    term: Text | None = None
    chip: Text | None = None
    model: Text | None = None
    key: Text | None = None
    unit: str = ""
    says: Text | None = Field(None, description="what the step is, in words")

    @model_validator(mode="after")
    def _one_origin(self) -> Term:
        given = [name for name in ORIGINS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(ORIGINS)}; {len(given)} are given")
        if self.value is not None and self.source is None:
            raise ValueError("a value needs its source")
        if self.chip is not None and self.key is None:
            raise ValueError("a chip needs the key that is read")
        return self


ORIGINS = ("value", "formula", "figure", "price", "chip", "model")


class Row(Record):
    """One row of a table: changes of the table's scenario (a mapping that is laid over it)."""

    label: Text
    changes: dict[str, Any] = Field(default_factory=dict)


class Table(Record):
    """A scenario answered many times. every: `price` makes a row of each chip that has a price, with its cheapest cluster plan.

    tries: changes that are each laid over every row; of those that fit, the one with the least `least` is the row's answer.
    """

    of: Text
    rows: tuple[Row, ...] = ()
    every: Text | None = None
    tries: tuple[dict[str, Any], ...] = ()
    least: Text = "device_hours"
    columns: dict[str, Term] = Field(min_length=1)
    plot: Text | None = Field(None, description="the column that the page of claims draws")


class Under(Record):
    """A condition under which the claim holds, and the figure that says so."""

    condition: Text
    figure: Text


class Asked(Record):
    """The figure that is asked, and what is claimed of it: about a value, at least, at most, or between both; all with slack."""

    figure: Text
    about: Number | None = Field(
        None, description="a round figure: within a quarter of it counts, of every claim alike"
    )
    at_least: Number | None = None
    at_most: Number | None = None
    under: tuple[Under, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Asked:
        if self.about is None and self.at_least is None and self.at_most is None:
            raise ValueError("say what is claimed: about, at_least or at_most")
        return self


class Claim(Record):
    """One public claim. outside: why the model cannot say; then there is nothing asked."""

    id: Identifier
    statement: Text
    source: Text
    scenarios: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tables: dict[str, Table] = Field(default_factory=dict)
    steps: dict[str, Term] = Field(default_factory=dict)
    asked: Asked | None = None
    outside: Text | None = None
    note: Text | None = Field(None, description="words beside the verdict; {step} stands for its figure")

    @model_validator(mode="after")
    def _verdict(self) -> Claim:
        if (self.asked is None) == (self.outside is None):
            raise ValueError("give either asked or outside")
        return self

    def scenario(self, name: str, changes: dict[str, Any] | None = None) -> Scenario:
        """One of its scenarios, with changes laid over it, checked as a scenario file is."""
        data = overlaid(self.scenarios[name], changes or {})
        return parse(Scenario, nested(Document(data, {}, f"claim {self.id}, scenario {name}")))


class ScalingLaw(Record):
    """loss = e + a / parameters^alpha + b / tokens^beta."""

    id: Identifier
    e: Positive
    a: Positive
    b: Positive
    alpha: Positive
    beta: Positive
    source: Text


def overlaid(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A mapping with another laid over it; mappings inside are merged."""
    out = dict(base)
    for key, value in changes.items():
        inner = out.get(key)
        out[key] = overlaid(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return out


def claims(library: Library) -> list[str]:
    """Ids of all claims of the catalogue."""
    return [entry.id for entry in library.entries("claim")]


def claim(library: Library, name: str) -> Claim:
    """A claim by id or by its file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else library.find("claim", name).path
    return read(Claim, path)


def scaling_law(library: Library, name: str) -> ScalingLaw:
    """A scaling law by id or by its file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else library.find("law", name).path
    return read(ScalingLaw, path)
