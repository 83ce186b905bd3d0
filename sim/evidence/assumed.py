"""Lengths that a published row does not state but its data set has: such rows are answered at them, and not scored."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from .tables import Table


class Lengths(NamedTuple):
    """Mean tokens in and out of the requests of a data set, and where they are printed."""

    mark: str
    input_tokens: float
    output_tokens: float
    source: str


DATA_SETS = (
    Lengths(
        "ShareGPT", 161.31, 337.99, "Kwon et al. 2023, section 6.1 and figure 11, https://arxiv.org/abs/2309.06180"
    ),
)


def with_lengths(table: Table) -> tuple[Table, dict[Lengths, list[int]]]:
    """The table with the lengths of known data sets where a row's notes name one and its cells are blank, and which rows those
    are. A rule of the score that asks for stated lengths still reads the table as it was."""
    rows: dict[Lengths, list[int]] = {}
    names = ("input_tokens", "output_tokens")
    if not {*names, "notes"} <= set(table.header):
        return table, rows
    at = [table.header.index(name) for name in names]
    cells = [list(row) for row in table.cells]
    for index, notes in enumerate(table.column("notes")):
        found = next((each for each in DATA_SETS if each.mark in notes), None)
        if found is None or any(cells[index][place].strip() for place in at):
            continue
        for place, tokens in zip(at, (found.input_tokens, found.output_tokens), strict=True):
            cells[index][place] = f"{tokens:g}"
        rows.setdefault(found, []).append(index)
    return replace(table, cells=tuple(tuple(row) for row in cells)), rows


def said(table: Table) -> tuple[str, ...]:
    """A line for each data set whose lengths were assumed."""
    return tuple(
        f"{len(rows):,} rows of {found.mark} state no lengths: answered at {found.input_tokens:g} tokens in and "
        f"{found.output_tokens:g} out ({found.source}), not scored"
        for found, rows in with_lengths(table)[1].items()
    )
