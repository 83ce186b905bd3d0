"""How sure the comparison of two answers is, in words: A beats B with 87%, and what says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.library import Library
    from ..catalog.scenarios import Scenario
    from ..evidence.comparisons import Odds
    from ..result import Result


def odds_lines(
    library: Library, asked: tuple[Scenario, Scenario], answers: tuple[Result, Result], document: dict[str, Any]
) -> list[RenderableType]:
    """A line for each main figure that moves; the same into the document."""
    from rich.text import Text

    from ..evidence.comparisons import odds_of

    found = odds_of(library, asked, answers[0].figures, answers[1].figures)
    document["odds"] = [each.to_dict() for each in found]
    sides = _names(asked)
    return [Text(_line(each, sides), style="bold" if place == 0 else "") for place, each in enumerate(found)]


def _names(asked: tuple[Scenario, Scenario]) -> tuple[str, str]:
    """Each side by its cluster, where that differs."""
    one, other = (scenario.groups[0].cluster for scenario in asked)
    return (one, other) if one != other else ("the baseline", "the change")


def _line(odds: Odds, sides: tuple[str, str]) -> str:
    first, second = (sides[1], sides[0]) if odds.chance >= 0.5 else sides
    said = f"odds  {odds.figure.replace('_', ' ')}: {first} beats {second} with"
    if odds.spread is None:
        return f"{said} certainty: both take the same time, and prices are as given."
    chance = max(odds.chance, 1.0 - odds.chance)
    of = odds.spread
    why = f"{of.pairs} measured pairs that differ in the {of.differs}"
    if not odds.like:
        why = f"no pair that differs so was measured; as sure as of {of.pairs} pairs that differ in the {of.differs}"
    point = of.happened(odds.chance)
    held = f"; of {point.pairs} that were about as sure {point.happened:.0%} came true" if point is not None else ""
    return f"{said} {chance:.0%} ({why}{held})"
