"""A page on the terminal: its verdict, and the tables of every section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .page import Page, Section, Table
from .tables import columns, figure_table

if TYPE_CHECKING:
    from rich.console import RenderableType


def screen(page: Page) -> RenderableType:
    """Everything that a page says in words and numbers, as something that rich prints."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(page.verdict, style="bold" if page.good else "bold red")]
    if page.why:
        parts.append(Text(f"why  {page.why}"))
    parts += [Text(f"note  {warning}", style="yellow") for warning in page.warnings]
    for section in page.sections:
        parts += _section(section)
    if page.commands:
        parts.append(Text("\nnext", style="dim"))
        parts += [Text(f"  {each}", no_wrap=True, overflow="ignore") for each in page.commands]
    return Group(*parts)


def _section(section: Section) -> list[RenderableType]:
    """A section that has tables; one of charts alone is for the page."""
    from rich.text import Text

    tables = [*section.tables, *section.values]
    if not tables and not section.figures:
        return []
    parts: list[RenderableType] = [Text(f"\n{section.title}", style="bold")]
    if section.figures:
        parts.append(figure_table({**section.figures, **section.more}))
    for each in tables:
        if each.title:
            parts.append(Text(each.title, style="dim"))
        parts.append(_table(each))
    return [*parts, *(Text(note, style="dim") for note in section.notes)]


def _table(each: Table) -> RenderableType:
    from rich.text import Text

    grid = columns(*each.head)
    for place, row in enumerate(each.rows):
        grid.add_row(*(Text(cell) for cell in row), style="bold" if place < each.first else "")
    return grid
