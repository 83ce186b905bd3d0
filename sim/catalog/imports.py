"""Users' files of training runs, recognised by what is in them: MLPerf mllog, Megatron-LM, torchtitan, MaxText."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import InputError
from . import maxtext, megatron_arguments, megatron_text, mllog, torchtitan
from .imported import Imported
from .library import Library
from .served import Served

KINDS = ("megatron", "mllog", "torchtitan", "maxtext")


def kind_of(text: str) -> str | None:
    """Name of the kind of file that a text is, None for one that is of no known kind."""
    if mllog.looks_like(text):
        return "mllog"
    if megatron_text.looks_like(text):
        return "megatron"
    if torchtitan.looks_like(text):
        return "torchtitan"
    return "maxtext" if maxtext.looks_like(text) else None


def read_run(
    path: Path, library: Library, kind: str | None = None, model: str | None = None, devices: int | None = None
) -> Imported:
    """`run_of` of a file; kind: one of KINDS, None: recognised. Raises InputError for a file of no known kind."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"--kind = {kind!r} is not known. Use {' or '.join(KINDS)}.")
    text = text_of(path)
    found = kind or kind_of(text)
    if found is None:
        raise InputError(f"{path}: no training run of {', '.join(KINDS)}. Say which with --kind NAME.")
    return run_of(text, str(path), library, found, model, devices)


def run_of(
    text: str, name: str, library: Library, kind: str, model: str | None = None, devices: int | None = None
) -> Imported:
    """One training run of a user's text of a known kind; `name` stands for the file in errors; model: its catalogue name where
    the file does not say it; devices: chips in all, where degrees leave one open.

    Raises InputError, naming file, line and value, for a malformed one.
    """
    if kind == "mllog":
        return mllog.imported_from(text, name, library, model)
    if kind == "torchtitan":
        return torchtitan.imported_from(text, name, library, model)
    if kind == "maxtext":
        return maxtext.imported_from(text, name, library, model, devices)
    if model is not None:
        raise InputError(f"--model = {model!r}: {name} gives the dimensions of its model. Leave --model out.")
    return megatron_arguments.imported_from(text, name, library)


def text_of(path: Path) -> str:
    """The text of a file, however long a log is. Raises InputError for one that is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text. Save the file as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None


def csv_rows(text: str, name: str, delimiter: str = ",") -> Iterator[tuple[str, list[str]]]:
    """(file:line, cells) of CSV; blank lines are left out. Raises InputError for what is no CSV."""
    rows = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                yield f"{name}:{rows.line_num}", row
    except csv.Error as error:
        raise InputError(f"{name}:{rows.line_num}: not valid CSV ({error}). Mend the line.") from None


def csv_of(runs: Sequence[Imported] | Sequence[Served]) -> str:
    """Runs as CSV in the columns of a table of training or of serving runs."""
    out = io.StringIO(newline="")
    rows = [run.cells() for run in runs]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
