"""`validate whatif`: predicted ratios of pairs of runs against measured ones, with the new device left out."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..catalog.files import write_whole
from ..errors import InputError
from . import odds
from .compared import Compared, Ratio, gain, of_serving, of_training
from .context import Context
from .limits import scored_by
from .odds import Reliability
from .pairs import CONTRASTS, LAYOUT, TRAINING_LAYOUT, Pair, off
from .predictions import Progress, silent
from .tables import FloatArray, Table, known_tables, read_table

BARS = (0.10, 0.25)  # median and 90th percentile that a ratio of TPOT may be off
SHIPPED = ("workloads", "measured", "pairs")
_RUN = ("source", "model", "engine", "engine_version", "precision", "mode")
_NAMED = (*_RUN, "input_tokens", "output_tokens", "concurrency", "seq_len", "global_batch", "num_devices")
_VARY = ("device", "engine_version", "tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
_KINDS = {"serving": of_serving, "training": of_training}


class Off(NamedTuple):
    """How far ratios are off in one group of n pairs: median and 90th percentile of the model, of no change, of bandwidth."""

    contrast: str
    metric: str
    grouping: str
    group: str
    n: int
    median: float
    p90: float
    none_median: float
    none_p90: float
    bandwidth_median: float
    bandwidth_p90: float

    @property
    def holds(self) -> bool:
        """Both figures are within BARS."""
        return self.median <= BARS[0] and self.p90 <= BARS[1]


class _Chances(NamedTuple):
    """Of each pair: chance that the second row is better, and half the width of the interval on the log."""

    chance: FloatArray
    width: FloatArray


@dataclass(frozen=True)
class Ratios:
    """One table: pairs by contrast, rows in them that could not be predicted and why, how far off, how sure."""

    name: str
    rows: int
    pairs: dict[str, int]
    skipped: dict[str, int]
    lines: tuple[Off, ...]
    reliability: dict[tuple[str, str], Reliability]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null."""
        return {
            "name": self.name,
            "rows": self.rows,
            "pairs": self.pairs,
            "skipped": self.skipped,
            "errors": [_plain(line) for line in self.lines],
            "reliability": [
                {"contrast": contrast, "metric": metric, **_plain(each), "curve": [_plain(b) for b in each.curve]}
                for (contrast, metric), each in self.reliability.items()
            ],
        }

    def line(self, contrast: str, metric: str) -> Off:
        """The line of all pairs. Raises KeyError if there is none."""
        for line in self.lines:
            if (line.contrast, line.metric, line.grouping) == (contrast, metric, "all"):
                return line
        raise KeyError((contrast, metric))


def _plain(line: NamedTuple) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in line._asdict().items()}


def validate_ratios(
    path: Path | None, *, rows: Path | None = None, context: Context | None = None, progress: Progress = silent
) -> tuple[Ratios, ...]:
    """Score the pairs of the tables of serving and training runs in a file or folder, and write a line for each pair to `rows`.

    path None: the pairs that the catalogue ships. Raises InputError where no table has a pair, and for a malformed table.
    """
    context = context or Context()
    tables = tables_of_runs(path, context)
    if rows is not None and len(tables) > 1:
        raise InputError(f"--rows {rows}: {path} holds {len(tables)} tables of runs. Give one of them.")
    found = []
    for table in tables:
        report, text = _scored(table, context, progress)
        found.append(report)
        if rows is not None:
            try:
                write_whole(rows, text)
            except OSError as error:
                raise InputError(f"--rows {rows}: {error.strerror}. Give a place that can be written.") from error
    if not any(sum(each.pairs.values()) for each in found):
        raise InputError(
            f"{path}: no two rows that count are equal in all but the device or the layout. Give runs of the same model, "
            "engine, formats, lengths and clients, or of the same training job."
        )
    return tuple(found)


def tables_of_runs(path: Path | None, context: Context) -> list[Table]:
    """Tables of serving and training runs; path None: those of the shipped pairs. Raises InputError if there is none."""
    if path is not None and not path.is_dir():
        table = read_table(path, context.library)
        if table.kind.verb not in _KINDS:
            raise InputError(f"{path}: this is a table of {table.kind.name}. Give one of serving or training runs.")
        return [table]
    folders = [path] if path is not None else [root.joinpath(*SHIPPED) for root, _ in context.library.roots]
    for folder in folders:
        tables = [table for table in known_tables(folder) if table.kind.name in _KINDS]
        if tables:
            return tables
    if path is None:
        raise InputError("validate whatif: the catalogue ships no pairs. Give a PATH.")
    raise InputError(f"{path}: no CSV file in this folder holds serving or training runs. Give the file itself.")


def compared(table: Table, context: Context, progress: Progress = silent) -> Compared:
    """The pairs of a table of serving or training runs, measured and predicted."""
    excluded = scored_by(table, context)
    return _KINDS[table.kind.verb](table, excluded, context, progress)


def _scored(table: Table, context: Context, progress: Progress) -> tuple[Ratios, str]:
    """The report of a table, and its pairs as CSV."""
    of = compared(table, context, progress)
    return ratios_of(table, of), _csv(table, of, _chances(of))


def ratios_of(table: Table, of: Compared) -> Ratios:
    """How far off the ratios of a table's pairs are, and how sure."""
    chances = _chances(of)
    groups = _groups(table, of.pairs)
    lines, sure = [], {}
    for contrast in CONTRASTS:
        at = [i for i, pair in enumerate(of.pairs) if pair.contrast == contrast]
        for name, ratio in of.ratios.items():
            residual = (ratio.measured - ratio.predicted)[at]
            if not np.isfinite(residual).any():
                continue
            lines += [_off(contrast, name, key, ratio, rows) for key, rows in groups.items() if key[0] == contrast]
            told = chances[name]
            sure[contrast, name] = odds.reliability(
                gain(name, ratio.measured[at]), residual, told.chance[at], told.width[at]
            )
    return Ratios(
        Path(table.path).stem,
        len(table),
        {name: sum(pair.contrast == name for pair in of.pairs) for name in CONTRASTS},
        dict(Counter(of.reasons).most_common()),
        tuple(lines),
        sure,
    )


def _chances(of: Compared) -> dict[str, _Chances]:
    """Of each metric, from the residuals of the pairs of the same contrast under other labels."""
    out = {}
    for name, ratio in of.ratios.items():
        residual = ratio.measured - ratio.predicted
        chances, widths = np.full(len(of.pairs), math.nan), np.full(len(of.pairs), math.nan)
        for contrast in CONTRASTS:
            at = [i for i, pair in enumerate(of.pairs) if pair.contrast == contrast]
            told = gain(name, ratio.predicted[at]), residual[at], [of.labels[i] for i in at]
            chances[at], widths[at] = odds.left_out(*told)
        out[name] = _Chances(chances, widths)
    return out


def _groups(table: Table, found: Sequence[Pair]) -> dict[tuple[str, str, str], list[int]]:
    """Pairs by contrast, and within it by devices and by model."""
    devices, models = table.column("device"), table.column("model")
    out: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, (contrast, first, second) in enumerate(found):
        between = f"{devices[first]} to {devices[second]}" if contrast != LAYOUT else devices[first]
        for grouping, group in (("all", "all"), ("device", between), ("model", models[first])):
            out[contrast, grouping, group].append(index)
    return dict(sorted(out.items(), key=lambda item: (item[0][1] != "all", item[0])))


def _off(contrast: str, name: str, key: tuple[str, str, str], metric: Ratio, rows: list[int]) -> Off:
    errors = [
        off((metric.measured - other)[rows])
        for other in (metric.predicted, np.zeros(len(metric.measured)), metric.bandwidth)
    ]
    answered = np.isfinite(errors[0])
    pairs_of = [_middle_and_tail(error[answered]) for error in errors]
    return Off(contrast, name, key[1], key[2], int(answered.sum()), *pairs_of[0], *pairs_of[1], *pairs_of[2])


def _middle_and_tail(errors: FloatArray) -> tuple[float, float]:
    known = errors[np.isfinite(errors)]
    return (float(np.median(known)), float(np.quantile(known, 0.9))) if known.size else (math.nan, math.nan)


def _csv(table: Table, of: Compared, chances: dict[str, _Chances]) -> str:
    """A line for each pair: what is equal, what differs, and of each metric the ratios, the interval and the chance."""
    varies = [name for name in (*_VARY, *TRAINING_LAYOUT) if name in table.header]
    named = [name for name in _NAMED if name in table.header]
    parts = ("measured", "predicted", "low", "high", "bandwidth", "chance_second_is_better")
    header = ["contrast", "first_line", "second_line", *named]
    header += [f"{end}_{name}" for name in varies for end in ("first", "second")]
    header += [f"{part}_{name.replace(' ', '_')}" for name in of.ratios for part in parts]
    columns = {name: table.column(name) for name in {*named, *varies}}
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for index, (contrast, *ends) in enumerate(of.pairs):
        cells = [contrast, *(str(table.lines[row]) for row in ends), *(columns[name][ends[0]] for name in named)]
        cells += [columns[name][row] for name in varies for row in ends]
        for name, ratio in of.ratios.items():
            chance, width = (column[index] for column in chances[name])
            logs = [ratio.measured[index], *(ratio.predicted[index] + w for w in (0.0, -width, width))]
            values = [*(math.exp(log) for log in (*logs, ratio.bandwidth[index])), chance]
            cells += ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        writer.writerow(cells)
    return out.getvalue()
