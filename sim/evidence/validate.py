"""`validate`: predict every row of measured tables, score what counts, write the rows with what was predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog.library import Library
from ..errors import InputError
from . import (
    campaign_rows,
    collective_rows,
    inference_rows,
    kernel_rows,
    operator_rows,
    power_rows,
    serving_rows,
    training_rows,
)
from .assumed import said, with_lengths
from .bars import Behind, behind
from .beside import Beside, beside
from .bounds import bounds
from .context import Context
from .contrasts import Contrast, contrasts
from .coverage import Coverage, coverage
from .floors import floor_errors
from .inference_fit import leave_out as predict_inference_left_out
from .least_times import LeastTime, least_times
from .leave_out import leave_out as predict_left_out
from .limits import scored_by
from .power_fit import leave_out as predict_power_left_out
from .predictions import Predictions, Progress, silent
from .score import Line, errors_of, summarise
from .serving_fit import leave_out as predict_serving_left_out
from .splits import check_split
from .tables import VERBS, Table, find_tables, known_tables, places_of_rows, write_rows
from .training_fit import leave_out as predict_training_left_out
from .verdicts import Verdict, verdicts

Predict = Callable[[Table, Context, Progress], Predictions]
PREDICT: dict[str, Predict] = {
    "kernels": kernel_rows.predict,
    "training": training_rows.predict,
    "serving": serving_rows.predict,
    "inference": lambda table, context, progress: inference_rows.predict(with_lengths(table)[0], context, progress),
    "power": power_rows.predict,
    "collectives": collective_rows.predict,
    "campaigns": campaign_rows.predict,
    "operators": operator_rows.predict,
}
# predictions of rows by refits that have not seen them, of numbers that are not those of kernels
REFIT: dict[str, Callable[[Table, str, Context, Progress], Predictions]] = {
    "power": predict_power_left_out,
    "training": predict_training_left_out,
    "serving": predict_serving_left_out,
    "inference": lambda table, split, context, progress: predict_inference_left_out(
        with_lengths(table)[0], split, context, progress
    ),
}


@dataclass(frozen=True)
class TableReport:
    """One table: how many rows, which were skipped and excluded and why, and the error statistics.

    coverage: of the intervals; behind: groups of kernels that are far worse than their table may be; beside: what plainer
    answers reach on the rows that a refit left out; assumed: what rows do not state, in words.
    """

    name: str
    kind: str
    rows: int
    skipped: dict[str, int]
    excluded: dict[str, int]
    lines: tuple[Line, ...]
    contrasts: tuple[Contrast, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    behind: tuple[Behind, ...] = ()
    beside: tuple[Beside, ...] = ()
    least_time: LeastTime | None = None
    assumed: tuple[str, ...] = ()

    @property
    def predicted(self) -> int:
        return self.rows - sum(self.skipped.values())


@dataclass(frozen=True)
class Report:
    """What `validate` says of one verb. tables: one each; written: the files of rows; level: calibrations used; left_out: the
    split whose refits predicted, or None."""

    verb: str
    level: str
    tables: tuple[TableReport, ...]
    written: tuple[str, ...] = ()
    left_out: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null."""
        return {
            "schema": "gambrel.validate/1",
            "verb": self.verb,
            "calibration": self.level,
            "left_out": self.left_out,
            "written": list(self.written),
            "tables": [
                {
                    "name": table.name,
                    "kind": table.kind,
                    "rows": table.rows,
                    "predicted": table.predicted,
                    "skipped": table.skipped,
                    "excluded": table.excluded,
                    "errors": [_plain(line) for line in table.lines],
                    "contrasts": [contrast._asdict() for contrast in table.contrasts],
                    "rows_one_by_one": [_plain(each) for each in table.verdicts],
                    "coverage": [each._asdict() for each in table.coverage],
                    "behind": [each._asdict() for each in table.behind],
                    "beside": [each._asdict() for each in table.beside],
                    "assumed": list(table.assumed),
                    "least_time": table.least_time._asdict() if table.least_time else None,
                }
                for table in self.tables
            ],
        }

    def line(self, table: str, metric: str, grouping: str = "all", group: str = "all") -> Line:
        """One line of the statistics. Raises KeyError if there is none."""
        for report in self.tables:
            for line in report.lines:
                if (report.name, line.metric, line.grouping, line.group) == (table, metric, grouping, group):
                    return line
        raise KeyError((table, metric, grouping, group))


def _plain(line: Line | Verdict) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in line._asdict().items()}


def validate(
    verb: str,
    path: Path | None,
    *,
    rows: Path | None = None,
    context: Context | None = None,
    leave_out: str | None = None,
    progress: Progress = silent,
) -> Report:
    """Predict and score the tables of a verb in a file or folder, and write the rows to `rows` if it is given.

    verb: one of VERBS. path None: the tables that the catalogue ships. Several tables are written into a folder, one file
    each, of the same names. leave_out: a split of splits.OF_KERNELS: refits that have not seen a row predict it.
    Raises InputError for an unknown verb or split, a malformed table, a path that holds no table of the verb, or a place that
    rows cannot be written to.
    """
    if verb not in PREDICT:
        raise InputError(f"validate {verb}: not a kind of measurement. Use one of {', '.join(VERBS)}.")
    if leave_out is not None:
        check_split(verb, leave_out)
    context = context or Context()
    tables = find_tables(path, verb, context.library) if path is not None else shipped_tables(context.library, verb)
    written = [] if rows is None else places_of_rows(tables, rows, path is not None and not path.is_dir())
    reports = []
    for place, table in enumerate(tables):
        excluded = scored_by(table, context)
        plainer: tuple[Beside, ...] = ()
        if leave_out is None:
            predictions = PREDICT[verb](table.configuration(), context, progress)
        elif verb in REFIT:
            predictions = REFIT[verb](table, leave_out, context, progress)
        else:
            found = predict_left_out(table, leave_out, excluded, context, progress)
            predictions, plainer = found.predictions, beside(table, found, excluded, context)
        reports.append(report_of(table, predictions, excluded, context, plainer))
        if written:
            write_rows(written[place], table, predictions.columns(excluded))
    return Report(verb, context.level, tuple(reports), tuple(str(target) for target in written), leave_out)


def shipped_tables(library: Library, verb: str) -> list[Table]:
    """The measured tables of a verb that the catalogue ships. Raises InputError if there are none."""
    for root, _ in library.roots:
        folders = [root / place / "measured" for place in ("devices", "workloads")]
        tables = [table for folder in folders for table in known_tables(folder) if table.kind.verb == verb]
        if tables:
            return tables
    raise InputError(f"validate {verb}: the catalogue ships no such table. Give a PATH.")


def report_of(
    table: Table, predictions: Predictions, excluded: list[str], context: Context, plainer: tuple[Beside, ...] = ()
) -> TableReport:
    """Statistics of one predicted table; plainer: what other answers reach on its rows."""
    name = Path(table.path).stem
    lines: list[Line] = []
    floors = floor_errors(table, excluded, context)
    for errors, floor in zip(errors_of(table, predictions, excluded), floors, strict=True):
        lines += summarise(name, errors, floor)
    return TableReport(
        name,
        table.kind.name,
        len(table),
        dict(Counter(reason for reason in predictions.reason if reason).most_common()),
        dict(Counter(rule for rule in excluded if rule).most_common()),
        tuple(lines),
        contrasts(table, predictions, excluded),
        (*verdicts(table, predictions), *bounds(table, predictions, context)),
        coverage(table, predictions, excluded, context),
        behind(table.kind.name, lines),
        plainer,
        least_times(table, predictions, context),
        said(table) if table.kind.name == "inference" else (),
    )
