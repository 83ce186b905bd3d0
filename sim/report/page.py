"""What a page holds, whatever answers it: sections of charts and tables, as plain values that HTML and terminal both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..result import Figure
from .tables import interval_text, value_text
from .theme import Chart


class Table(NamedTuple):
    """Rows of text. head: a heading that begins with `>` is right-aligned; first: how many first rows stand out."""

    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    title: str = ""
    first: int = 0


class Panel(NamedTuple):
    """A chart with what it shows in words, for those who cannot see it and for its heading."""

    title: str
    chart: Chart


class Section(NamedTuple):
    """A part of a page. more: figures that a page folds away; values: tables that
    it folds away, because charts show them too."""

    id: str
    title: str
    lede: str = ""
    panels: tuple[Panel, ...] = ()
    figures: Mapping[str, Figure] = {}
    more: Mapping[str, Figure] = {}
    tables: tuple[Table, ...] = ()
    values: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


class Page(NamedTuple):
    """Everything that a page says. kind: train, serve, search ...; facts: what it was made from, name and value."""

    kind: str
    title: str
    verdict: str
    sections: tuple[Section, ...]
    good: bool = True
    why: str = ""
    tiles: Mapping[str, Figure] = {}
    warnings: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


class Span(NamedTuple):
    """Where value and interval lie on a track from 0 to 1, for a small picture beside a figure."""

    low: float
    value: float
    high: float


WIDEST = 0.6  # of a value: how far a span reaches to either side


def span_of(figure: Figure) -> Span | None:
    """The interval of a figure around its value, cut at 60% of it to either side; None without one."""
    if not figure.value or figure.low is None or figure.high is None:
        return None
    low, high = (max(-1.0, min(1.0, (end / figure.value - 1.0) / WIDEST)) for end in (figure.low, figure.high))
    return Span(0.5 + 0.5 * low, 0.5, 0.5 + 0.5 * high)


def figure_cells(name: str, figure: Figure) -> tuple[str, str, str, str]:
    """Name, value, interval, basis of a figure as text; of an unknown one what is missing stands for the interval."""
    shown = figure.note if figure.value is None else interval_text(figure)
    return (name.replace("_", " "), value_text(figure), shown, figure.basis)


def split_value(figure: Figure) -> tuple[str, str]:
    """Number and unit of a figure apart: ("71.2", "days")."""
    number, _, unit = value_text(figure).partition(" ")
    return number, unit
