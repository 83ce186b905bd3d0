"""Writes accuracy.md, accuracy.json and images/ beside this file: `make accuracy` (the shipped tables), `make accuracy DATA=folder`.

A folder may hold tables of every kind, each recognised by its columns; it is searched with its subfolders. The kernels are
also predicted by refits that leave rows out, which takes minutes. accuracy.json always holds the shipped tables; with
`--headline` (`make headline`) nothing else is written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from accuracy_plots import FITTED, draw

from sim.catalog.files import write_whole
from sim.catalog.library import default_library
from sim.evidence.context import Context
from sim.evidence.headline import headline, write_headline
from sim.evidence.page import accuracy_page
from sim.evidence.predictions import Progress
from sim.evidence.ratios import validate_ratios
from sim.evidence.splits import OF_KERNELS
from sim.evidence.tables import VERBS, known_tables
from sim.evidence.validate import Report, validate

HERE = Path(__file__).parent


def reports(folder: Path | None, rows: Path, context: Context) -> list[Report]:
    """A report for each kind of which there is a table; the predictions go into `rows`."""
    return [
        validate(verb, place, rows=rows / FITTED, context=context, progress=told(verb))
        for verb in VERBS
        for place in places(folder, verb)
    ]


def left_out(folder: Path | None, rows: Path, context: Context) -> list[Report]:
    """A report of the kernels for each split; the predictions of each go into a folder of `rows`."""
    return [
        validate(
            "kernels", place, rows=rows / split, context=context, leave_out=split, progress=told(f"without {split}")
        )
        for split in OF_KERNELS
        for place in places(folder, "kernels")
    ]


def refitted(folder: Path | None, context: Context) -> list[Report]:
    """Reports of the other verbs whose numbers are refitted without what is left out; a folder's tables only."""
    splits = [("training", split) for split in ("random", "source", "device")] if folder else []
    splits += [("power", split) for split in ("model", "device")] if folder else []
    return [
        validate(verb, place, context=context, leave_out=split, progress=told(f"{verb} without {split}"))
        for verb, split in splits
        for place in places(folder, verb)
    ]


def places(folder: Path | None, verb: str) -> list[Path | None]:
    """The folder and its subfolders that hold tables of a verb; None stands for the shipped ones."""
    if folder is None:
        return [None]
    inside = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return [path for path in inside if any(table.kind.verb == verb for table in known_tables(path))]


def of_runs(folder: Path | None) -> list[Path | None]:
    """Where `validate whatif` finds runs to pair: the shipped pairs, or every folder with tables of serving or training runs."""
    return list(dict.fromkeys([*places(folder, "serving"), *places(folder, "training")]))


def told(what: str) -> Progress:
    """Says on one line how far it is, where a person watches."""

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(
                f"\r\x1b[K{what}: {done:,} of {total:,}", end="\n" if done == total else "", file=sys.stderr, flush=True
            )

    return tell


def main() -> None:
    """See the module."""
    context = Context(default_library())
    write_headline(HERE / "accuracy.json", headline(context))
    if "--headline" in sys.argv:
        return
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with TemporaryDirectory() as scratch:
        rows = Path(scratch)
        unseen, seen = left_out(folder, rows, context), reports(folder, rows, context)
        seen += refitted(folder, context)
        ratios = [each for place in of_runs(folder) for each in validate_ratios(place, context=context)]
        images = draw(rows, unseen, HERE / "images")
    shown = [(f"images/{name}", text) for name, text in images]
    write_whole(HERE / "accuracy.md", accuracy_page(seen, unseen, shown, ratios))


if __name__ == "__main__":
    main()
