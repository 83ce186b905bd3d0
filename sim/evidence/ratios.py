"""`validate whatif`: predicted ratios of pairs of serving runs against measured ones, with the new device left out.

Of a pair that differs in the device, the first row is priced as its chip is calibrated and the second by its family's and
generation's values alone: what one knows of a device that one does not have. Pairs of layouts are priced as calibrated.
"""

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
from . import odds, serving_rows
from .context import Context
from .limits import scored_by
from .odds import Reliability
from .pairs import CONTRASTS, LAYOUT, METRICS, Pair, bandwidth_ratios, figures, log_ratios, off, pairs
from .predictions import Predictions, Progress, silent
from .score import warming_up
from .tables import FloatArray, Table, find_tables, known_tables

BARS = (0.10, 0.25)  # median and 90th percentile that a ratio of TPOT may be off
SHIPPED = ("workloads", "measured", "pairs")
_NAMED = ("model", "engine", "engine_version", "precision", "mode", "input_tokens", "output_tokens", "concurrency")


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


class _Metric(NamedTuple):
    """ln of the ratios of each pair: measured, predicted, by bandwidth; chance that the second row is better, and half the width
    of the interval on the log."""

    measured: FloatArray
    predicted: FloatArray
    bandwidth: FloatArray
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
    """Score the pairs of the tables of serving runs in a file or folder, and write a line for each pair to `rows`.

    path None: the pairs that the catalogue ships. Raises InputError where no table has a pair, and for a malformed table.
    """
    context = context or Context()
    tables = find_tables(path, "serving", context.library) if path is not None else _shipped(context)
    if rows is not None and len(tables) > 1:
        raise InputError(f"--rows {rows}: {path} holds {len(tables)} tables of serving runs. Give one of them.")
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
            "engine, formats, lengths and clients."
        )
    return tuple(found)


def _shipped(context: Context) -> list[Table]:
    for root, _ in context.library.roots:
        tables = [table for table in known_tables(root.joinpath(*SHIPPED)) if table.kind.verb == "serving"]
        if tables:
            return tables
    raise InputError("validate whatif: the catalogue ships no pairs. Give a PATH.")


def _scored(table: Table, context: Context, progress: Progress) -> tuple[Ratios, str]:
    """The report of a table, and its pairs as CSV."""
    excluded = scored_by(table, context)
    found = pairs(table, excluded)
    known, unseen = _ends(table, found, context, progress)
    warm = warming_up(table, np.array([rule == "" for rule in excluded], bool))
    metrics = _metrics(table, found, (known, unseen), warm, context)
    groups = _groups(table, found)
    lines, sure = [], {}
    for contrast in CONTRASTS:
        of = [i for i, pair in enumerate(found) if pair.contrast == contrast]
        for name, metric in metrics.items():
            if not np.isfinite((metric.measured - metric.predicted)[of]).any():
                continue
            lines += [_off(contrast, name, key, metric, rows) for key, rows in groups.items() if key[0] == contrast]
            residual = (metric.measured - metric.predicted)[of]
            gain = _gain(name, metric.measured[of])
            sure[contrast, name] = odds.reliability(gain, residual, metric.chance[of], metric.width[of])
    reasons = [known.reason[row] or unseen.reason[row] for row in sorted({row for pair in found for row in pair[1:]})]
    report = Ratios(
        Path(table.path).stem,
        len(table),
        {name: sum(pair.contrast == name for pair in found) for name in CONTRASTS},
        dict(Counter(reason for reason in reasons if reason).most_common()),
        tuple(lines),
        sure,
    )
    return report, _csv(table, found, metrics)


def _ends(table: Table, found: Sequence[Pair], context: Context, progress: Progress) -> tuple[Predictions, Predictions]:
    """Every row as its chip is calibrated, and as its family alone would have it; rows that no pair needs are skipped."""
    unseen = Context(context.library, "family" if context.level == "fitted" else context.level, context.given)
    targets = sorted({pair.second for pair in found if pair.contrast != LAYOUT})
    others = sorted({pair.first for pair in found} | {pair.second for pair in found if pair.contrast == LAYOUT})
    count = len(targets) + len(others)
    return (
        _some(table, others, context, lambda done, total: progress(done, count)),
        _some(table, targets, unseen, lambda done, total: progress(len(others) + done, count)),
    )


def _some(table: Table, rows: list[int], context: Context, progress: Progress) -> Predictions:
    """Predictions of some rows, in their places of the table."""
    part = serving_rows.predict(table.select(rows).configuration(), context, progress)
    values = {name: np.full(len(table), math.nan) for name in part.values}
    reason, basis = [""] * len(table), [""] * len(table)
    for at, row in enumerate(rows):
        reason[row], basis[row] = part.reason[at], part.basis[at]
    for name, column in part.values.items():
        values[name][rows] = column
    blank = np.full(len(table), math.nan)
    return Predictions(values, tuple(reason), blank, blank, tuple(basis))


def _metrics(
    table: Table,
    found: Sequence[Pair],
    ends: tuple[Predictions, Predictions],
    warm: np.ndarray[Any, Any],
    context: Context,
) -> dict[str, _Metric]:
    ttft = np.where(warm, math.nan, table.measured("ttft_ms"))
    told = figures(table, table.measured("ttft_ms"), table.measured("tpot_ms"))
    told[METRICS[1]] = ttft
    known, unseen = (figures(table, end.values["ttft_ms"], end.values["tpot_ms"]) for end in ends)
    layout = np.array([pair.contrast == LAYOUT for pair in found], bool)
    contrasts = [pair.contrast for pair in found]
    labels = _labels(table, found)
    out = {}
    for name in METRICS:
        measured = log_ratios(found, told[name], told[name])
        predicted = np.where(
            layout, log_ratios(found, known[name], known[name]), log_ratios(found, known[name], unseen[name])
        )
        chances, widths = np.full(len(found), math.nan), np.full(len(found), math.nan)
        for contrast in set(contrasts):
            of = [i for i, each in enumerate(contrasts) if each == contrast]
            told_of = (_gain(name, predicted[of]), (measured - predicted)[of], [labels[i] for i in of])
            chances[of], widths[of] = odds.left_out(*told_of)
        out[name] = _Metric(measured, predicted, bandwidth_ratios(table, found, name, context), chances, widths)
    return out


def _gain(metric: str, log_ratio: FloatArray) -> FloatArray:
    """ln of how much better the second row is: less time, or a higher rate."""
    return log_ratio if metric == METRICS[2] else -log_ratio


def _labels(table: Table, found: Sequence[Pair]) -> list[str]:
    """What the chances of a pair must not have seen: its model, or, where there is only one, its lengths and clients."""
    names: tuple[str, ...] = ("model",)
    if len({table.column("model")[pair.first] for pair in found}) == 1:
        names = ("input_tokens", "output_tokens", "concurrency")
    columns = [table.column(name) for name in names]
    return ["|".join(column[pair.first] for column in columns) for pair in found]


def _groups(table: Table, found: Sequence[Pair]) -> dict[tuple[str, str, str], list[int]]:
    """Pairs by contrast, and within it by devices and by model."""
    devices, models = table.column("device"), table.column("model")
    out: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, (contrast, first, second) in enumerate(found):
        between = f"{devices[first]} to {devices[second]}" if contrast != LAYOUT else devices[first]
        for grouping, group in (("all", "all"), ("device", between), ("model", models[first])):
            out[contrast, grouping, group].append(index)
    return dict(sorted(out.items(), key=lambda item: (item[0][1] != "all", item[0])))


def _off(contrast: str, name: str, key: tuple[str, str, str], metric: _Metric, rows: list[int]) -> Off:
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


def _csv(table: Table, found: Sequence[Pair], metrics: dict[str, _Metric]) -> str:
    """A line for each pair: what is equal, what differs, and of each metric the ratios, the interval and the chance."""
    varies = ("device", "engine_version", "tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    names = [name.replace(" ", "_") for name in METRICS]
    parts = ("measured", "predicted", "low", "high", "bandwidth", "chance_second_is_better")
    header = ["contrast", "first_line", "second_line", *_NAMED]
    header += [f"{end}_{name}" for name in varies for end in ("first", "second")]
    header += [f"{part}_{name}" for name in names for part in parts]
    columns = {name: table.column(name) for name in {*_NAMED, *varies}}
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for index, (contrast, *ends) in enumerate(found):
        cells = [contrast, *(str(table.lines[row]) for row in ends), *(columns[name][ends[0]] for name in _NAMED)]
        cells += [columns[name][row] for name in varies for row in ends]
        for metric in metrics.values():
            ratios = (0.0, -metric.width[index], metric.width[index])
            logs = [metric.measured[index], *(metric.predicted[index] + width for width in ratios)]
            values = [*(math.exp(log) for log in (*logs, metric.bandwidth[index])), metric.chance[index]]
            cells += ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        writer.writerow(cells)
    return out.getvalue()
