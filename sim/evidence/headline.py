"""The headline errors of the shipped tables, few enough to be kept in a file and compared with those of today."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..catalog.files import read_text, write_whole
from ..errors import InputError
from .context import Context
from .limits import scored_by
from .predictions import silent
from .score import errors_of, summarise
from .tables import VERBS, Table
from .validate import PREDICT, shipped_tables

SCHEMA = "gambrel.accuracy/1"
REGENERATE = "make headline"
GROWTH = 1.1  # an error that grows by more than a tenth is worth a word
NOISE = 0.002  # and by more than this, for errors that are next to nothing
FEWEST = 10  # rows of a headline
CLIENTS = 16  # closed loops of more take minutes to serve again
Figures = dict[str, dict[str, float]]


def headline_tables(context: Context) -> list[Table]:
    """The shipped tables, of closed loops only those of few clients."""
    found = []
    for verb in VERBS:
        for table in shipped_tables(context.library, verb):
            if table.kind.name == "serving":
                clients = table.numbers("concurrency")
                table = table.select([i for i in range(len(table)) if clients[i] <= CLIENTS])
            found.append(table)
    return found


def headline(context: Context) -> Figures:
    """Rows, median and 90th percentile of the error of each metric of the shipped tables, predicted now."""
    figures: Figures = {}
    for table in headline_tables(context):
        predictions = PREDICT[table.kind.verb](table.configuration(), context, silent)
        for errors in errors_of(table, predictions, scored_by(table, context)):
            line = summarise(Path(table.path).stem, errors)[0]
            if line.n >= FEWEST:
                values = {"n": line.n, "median": round(line.median, 4), "p90": round(line.p90, 4)}
                figures[f"{line.table}: {line.metric}"] = values
    return figures


def grown(before: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What has become worse since, a line each: an error that grew by more than a tenth, rows that are no more answered."""
    lines = []
    for name, old in before.items():
        new = now.get(name)
        if new is None or new["n"] < old["n"]:
            lines.append(f"{name}: {0 if new is None else new['n']:.0f} rows are answered, {old['n']:.0f} were.")
            continue
        for field in ("median", "p90"):
            if new[field] > GROWTH * old[field] + NOISE:
                lines.append(f"{name}: the {field} error is {new[field]:.1%}, it was {old[field]:.1%}.")
    return lines


def write_headline(path: Path, figures: Figures) -> None:
    """Write the file that `read_headline` reads, whole or not at all."""
    document: dict[str, Any] = {"schema": SCHEMA, "command": REGENERATE, "errors": figures}
    write_whole(path, json.dumps(document, indent=1) + "\n")


def read_headline(path: Path) -> Figures:
    """The figures of a file. Raises InputError for one that is none."""
    document = json.loads(read_text(path))
    if document.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema = {document.get('schema')!r} is not {SCHEMA}. Write it by `{REGENERATE}`.")
    figures: Figures = document["errors"]
    return figures
