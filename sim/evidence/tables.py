"""Measured tables: CSV files recognised by their columns, read as text and written back unchanged with what was predicted.

A number is read from a cell only where it is used; a blank cell is "not stated". Errors name file, line, column and value.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog import imports, serving_results
from ..catalog.files import write_whole
from ..catalog.library import Library, default_library
from ..errors import InputError, did_you_mean
from .nccl_tests import csv_of

FloatArray = NDArray[np.float64]
MOST_COUNT = 10**12  # as in every file of the catalogue
MOST = 1e200  # of a measured value: what is larger, or smaller than its inverse, no instrument reads


class TableKind(NamedTuple):
    """One kind of table. `needs`: columns that tell it apart; `measured`: columns that are predicted, the first one first;
    `observed`: further columns that only a measurement can fill, so that no prediction may read them."""

    name: str
    verb: str
    needs: tuple[str, ...]
    measured: tuple[str, ...]
    observed: tuple[str, ...] = ()


_TRAINED = ("step_time_s", "tokens_per_s_per_device", "tflops_per_device", "mfu_pct", "memory_gb_per_device")
_SERVED = (
    "prefill_latency_ms",
    "decode_latency_ms_per_token",
    "ttft_ms_p50",
    "tpot_ms_p50",
    "output_tokens_per_s",
    "input_tokens_per_s",
    "requests_per_s",
    "mfu_pct",
    "other_value",
)
_ATTENTION = ("device", "dtype", "kv_dtype", "batch", "heads", "kv_heads", "head_dim")
TABLE_KINDS: tuple[TableKind, ...] = (
    TableKind("gemm", "kernels", ("device", "dtype", "m", "n", "k"), ("time_us",)),
    TableKind("attention_prefill", "kernels", (*_ATTENTION, "seq_q", "seq_kv"), ("time_us",)),
    TableKind("attention_decode", "kernels", (*_ATTENTION, "kv_len"), ("time_us",)),
    TableKind(
        "moe",
        "kernels",
        ("device", "dtype", "tokens", "hidden", "inter", "topk", "experts", "tp", "ep", "routing"),
        ("time_us",),
    ),
    TableKind("collective", "kernels", ("device", "op", "num_devices", "dtype", "elements"), ("time_us",)),
    TableKind(
        "training",
        "training",
        ("model", "layers", "hidden", "seq_len", "device", "num_devices", "TP", "PP", "DP"),
        _TRAINED,
        ("time_to_train_h", "derived"),
    ),
    TableKind(
        "serving",
        "serving",
        ("model", "device", "engine", "precision", "mode", "input_tokens", "output_tokens", "concurrency"),
        ("ttft_ms", "tpot_ms"),
    ),
    TableKind(
        "inference",
        "inference",
        ("model", "layers", "hidden", "device", "device_family", "phase", "batch_or_concurrency", "input_tokens"),
        _SERVED,
        ("derived_fields",),
    ),
    TableKind(
        "power",
        "power",
        ("device", "num_devices", "model", "phase", "precision", "batch_or_concurrency", "scope"),
        ("measured_power_w", "energy_j_per_token"),
        ("energy_kwh_total", "tokens_per_s", "duration_s", "derived"),
    ),
    TableKind(
        "collectives",
        "collectives",
        ("system", "device", "num_devices", "nodes", "op", "bytes"),
        ("busbw_gb_s", "time_us"),
    ),
    TableKind(
        "operators",
        "operators",
        ("device", "what", "metric", "bound", "value", "value_high"),
        ("value",),
        ("value_high",),
    ),
    TableKind(
        "campaigns",
        "campaigns",
        ("model", "device", "num_devices", "planned_or_effective_fraction", "mtbf_h"),
        ("planned_or_effective_fraction", "mtbf_h"),
        ("interruptions", "days", "device_hours", "derived"),
    ),
)
VERBS = tuple(dict.fromkeys(kind.verb for kind in TABLE_KINDS))


class Row:
    """One line of a table: cells as text; numbers are read where they are used."""

    def __init__(self, cells: dict[str, str], place: str) -> None:
        self.cells = cells
        self.place = place

    def text(self, column: str) -> str:
        """The cell without surrounding blanks; "" where the column is missing or the cell empty."""
        return self.cells.get(column, "").strip()

    def number(self, column: str) -> float | None:
        """The cell as a finite number, None where it is blank. Raises InputError for other text."""
        text = self.text(column)
        return None if not text else parse_number(text, column, self.place)

    def count(self, column: str) -> int | None:
        """The cell as a whole number of at least 1; blank and 0 are "not stated". Raises InputError for anything else."""
        value = self.number(column)
        if value is None or value == 0:
            return None
        if not 0 < value <= MOST_COUNT or value != int(value):
            raise InputError(f"{self.place}: {column} = {self.text(column)!r} is not a whole number above 0. Mend it.")
        return int(value)

    def need(self, column: str) -> int:
        """`count` of a cell that must be there. Raises Skip where it is not."""
        value = self.count(column)
        if value is None:
            raise Skip(f"{column} is not stated")
        return value


class UnknownTable(InputError):
    """Columns that make no known table."""


class Skip(Exception):
    """A row that cannot be predicted, and why; it becomes a `skipped` line, never an error."""


def parse_number(text: str, column: str, place: str) -> float:
    """A finite number. Raises InputError naming place, column and text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: {column} = {text!r} is not a number. Write a number or leave the cell blank.")
    return value


@dataclass(frozen=True)
class Table:
    """A table as read: text cells [rows][columns], the line of each row in its file."""

    path: str
    kind: TableKind
    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.cells)

    def place(self, index: int) -> str:
        """`file:line` of a row."""
        return f"{self.path}:{self.lines[index]}"

    def column(self, name: str) -> list[str]:
        """Text of one column, stripped; all blank where the table lacks it."""
        if name not in self.header:
            return [""] * len(self.cells)
        at = self.header.index(name)
        return [row[at].strip() for row in self.cells]

    def numbers(self, name: str) -> FloatArray:
        """One column as numbers, NaN where blank. Raises InputError for other text."""
        return np.array(
            [parse_number(text, name, self.place(i)) if text else math.nan for i, text in enumerate(self.column(name))]
        )

    def measured(self, name: str) -> FloatArray:
        """One measured column as numbers; blanks and what is not a plain number (a bound such as `>0.90`) are NaN."""
        return np.array([_number_or_nan(text) for text in self.column(name)])

    def rows(self) -> Iterator[Row]:
        for index, cells in enumerate(self.cells):
            yield Row(dict(zip(self.header, cells, strict=True)), self.place(index))

    def configuration(self) -> Table:
        """The same table with every measured cell emptied: all that a prediction may read."""
        hidden = {*self.kind.measured, *self.kind.observed}
        keep = [name not in hidden for name in self.header]
        cells = tuple(tuple(c if k else "" for c, k in zip(row, keep, strict=True)) for row in self.cells)
        return Table(self.path, self.kind, self.header, cells, self.lines)

    def select(self, indices: Sequence[int]) -> Table:
        """Some rows, in the order given."""
        return Table(
            self.path,
            self.kind,
            self.header,
            tuple(self.cells[i] for i in indices),
            tuple(self.lines[i] for i in indices),
        )


def _number_or_nan(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if value == 0.0 or 1.0 / MOST < abs(value) < MOST else math.nan


def read_table(path: Path, library: Library | None = None) -> Table:
    """Read one CSV file, output of nccl-tests, or a user's file that `gambrel import` knows (with the models of `library`).

    Raises InputError with file and line for one that is malformed or of no known kind.
    """
    text = imports.text_of(path)
    kind = None if path.suffix == ".csv" else imports.kind_of(text)
    if kind is None and path.suffix != ".csv" and serving_results.kind_of(text) is not None:
        return parse_table(imports.csv_of(serving_results.runs_of(text, str(path))), str(path))
    if kind is not None:
        run = imports.run_of(text, str(path), library or default_library(), kind)
        return parse_table(imports.csv_of([run]), str(path))
    return parse_table(csv_of(text, str(path)) or text, str(path))


def parse_table(text: str, name: str) -> Table:
    """Parse CSV text; `name` stands for the file in errors."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[int] = []
    records: list[tuple[str, ...]] = []
    try:
        for record in reader:
            if record:
                records.append(tuple(record))
                lines.append(reader.line_num - sum(cell.count("\n") for cell in record))
    except csv.Error as error:
        raise InputError(f"{name}:{reader.line_num}: not valid CSV: {error}. Mend the line.") from None
    if not records:
        raise InputError(f"{name}: the file is empty. The first line names the columns.")
    header = tuple(column.strip() for column in records[0])
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{name}:{lines[0]}: the column {column!r} stands twice. Remove one.")
    for cells, line in zip(records[1:], lines[1:], strict=True):
        if len(cells) != len(header):
            raise InputError(f"{name}:{line}: {len(cells)} cells where the header has {len(header)}. Mend the line.")
    return Table(name, recognise(header, f"{name}:{lines[0]}"), header, tuple(records[1:]), tuple(lines[1:]))


def recognise(header: Sequence[str], place: str) -> TableKind:
    """The kind of table that these columns make. Raises UnknownTable naming what the nearest kind lacks."""
    names = set(header)
    whole = [kind for kind in TABLE_KINDS if names.issuperset(kind.needs)]
    if whole:
        return max(reversed(whole), key=lambda kind: len(kind.needs))
    nearest = max(TABLE_KINDS, key=lambda kind: len(names & set(kind.needs)) / len(kind.needs))
    missing = next(column for column in nearest.needs if column not in names)
    raise UnknownTable(
        f"{place}: these columns make no known table; the nearest is {nearest.name}, which needs {missing!r}. "
        f"{did_you_mean(missing, header)}".rstrip()
    )


def known_tables(folder: Path) -> list[Table]:
    """Every CSV file of a folder that is a table of a known kind, by name."""
    tables = []
    for file in sorted(folder.glob("*.csv")):
        try:
            tables.append(read_table(file))
        except UnknownTable:
            continue
    return tables


def find_tables(path: Path, verb: str, library: Library | None = None) -> list[Table]:
    """The tables of a file, or of a folder, that belong to a verb of `validate`; in a folder others are left out.

    Raises InputError if there is none, or if a single file belongs to another verb.
    """
    if path.is_dir():
        tables = [table for table in known_tables(path) if table.kind.verb == verb]
        if not tables:
            raise InputError(f"{path}: no CSV file in this folder holds {verb}. Give the file itself.")
        return tables
    table = read_table(path, library)
    if table.kind.verb != verb:
        raise InputError(f"{path}: this is a table of {table.kind.name}. Use `gambrel validate {table.kind.verb}`.")
    return [table]


def places_of_rows(tables: Sequence[Table], out: Path, from_file: bool) -> list[Path]:
    """Where each table's rows are written: `out` itself for a table given as a file, else under its own name in the folder `out`.

    Raises InputError if `out` is the other of file and folder.
    """
    if from_file:
        if out.is_dir():
            raise InputError(
                f"--rows {out}: a folder stands there. Give the name of a file, such as {out / 'rows.csv'}."
            )
        return [out] * len(tables)
    if out.is_file() or out.suffix == ".csv":
        raise InputError(
            f"--rows {out}: rows of several tables go into a folder. Give a folder, or a PATH of one table."
        )
    return [out / Path(table.path).name for table in tables]


def write_rows(path: Path, table: Table, added: Mapping[str, Sequence[str]]) -> None:
    """Write a table with all its columns unchanged and further ones after them, whole or not at all.

    A column of the input that is to be added (a table that was written here before) is replaced.
    Raises InputError if the file cannot be written.
    """
    keep = [index for index, name in enumerate(table.header) if name not in added]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(table.header[i] for i in keep), *added])
    columns = list(added.values())
    for index, cells in enumerate(table.cells):
        writer.writerow([*(cells[i] for i in keep), *(column[index] for column in columns)])
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"--rows {path}: {error.strerror}. Give a place that can be written.") from error
