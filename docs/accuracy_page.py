"""Writes accuracy.md beside this file from measured tables: `make accuracy` (the shipped ones), `make accuracy DATA=folder`.

A folder may hold tables of every kind, each recognised by its columns; it is searched with its subfolders.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sim.catalog.files import write_whole
from sim.catalog.library import default_library
from sim.errors import InputError
from sim.evidence.context import Context
from sim.evidence.page import accuracy_page
from sim.evidence.tables import VERBS
from sim.evidence.validate import Report, validate


def reports(folder: Path | None) -> list[Report]:
    """A report for each kind of which there is a table."""
    context = Context(default_library())
    places = [None] if folder is None else [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = []
    for verb in VERBS:
        for place in places:
            try:
                found.append(validate(verb, place, context=context))
            except InputError as error:
                if folder is None:  # in a folder most places hold no table of a kind
                    print(f"{verb}: {error}", file=sys.stderr)
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    write_whole(Path(__file__).parent / "accuracy.md", accuracy_page(reports(folder)))


if __name__ == "__main__":
    main()
