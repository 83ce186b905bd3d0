"""docs/accuracy.md: every measured table, how far the predictions are off, and what a floor with one constant reaches."""

from __future__ import annotations

from collections.abc import Sequence

from .score import Line
from .validate import Report, TableReport
from .verdicts import Verdict

MOST_REASONS = 8
_HEAD = """# Accuracy

How far Gambrel's predictions are from measurements. The error of a row is |predicted / measured - 1|; for training it is that
of the step time, whichever figure a source publishes. `rows` counts the rows that a prediction was made for, of those that
count. `within` is the 90th percentile. The floor is the plainest model with at most one constant a family (plain roofline for
kernels; a share of peak for training; a multiple of the roofline for serving and inference; a share of the power limit), its
constant fitted to these very rows. Errors of fitted tables are errors on rows that the fit has seen, unless a heading says
what was left out. Every figure is printed by `gambrel validate KIND PATH`.
"""


def accuracy_page(reports: Sequence[Report]) -> str:
    """The page as Markdown: one section for each verb, one table for each measured table."""
    parts = [_HEAD]
    for report in reports:
        parts.append(f"\n## {report.verb.capitalize()}\n\nCalibrations: {report.level}.\n")
        parts += [_table(table) for table in report.tables]
    return "".join(parts)


def _table(table: TableReport) -> str:
    lines = [line for line in table.lines if line.counted]
    out = [f"\n### {table.name} ({table.predicted:,} of {table.rows:,} rows predicted)\n"]
    for grouping in dict.fromkeys(line.grouping for line in lines):
        if grouping in ("all", "over sources", "device", "source"):
            out.append(_grid(grouping, [line for line in lines if line.grouping == grouping]))
    out += _verdicts(table.verdicts)
    for contrast in table.contrasts:
        out.append(f"\n{contrast.name.capitalize()}: {contrast.value:.3f} (mean of {contrast.groups:,} groups).\n")
    for title, counts in (("Not scored", table.excluded), ("Not predicted", table.skipped)):
        if counts:
            out.append(f"\n{title}: {_listed(counts)}.\n")
    return "".join(out)


def _listed(counts: dict[str, int]) -> str:
    """The most frequent reasons, and how many rows the others took."""
    first = list(counts.items())[:MOST_REASONS]
    rest = sum(counts.values()) - sum(count for _, count in first)
    return "; ".join([f"{count:,} {reason.rstrip('.')}" for reason, count in first] + [f"{rest:,} others"] * (rest > 0))


def _grid(grouping: str, lines: Sequence[Line]) -> str:
    label = "group" if grouping in ("all", "over sources") else grouping
    rows = [
        f"\n| metric | {label} | rows | median | mean | within | floor median | floor mean |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        shares = (line.median, line.mean, line.p90, line.floor_median, line.floor_mean)
        group = {"all": "all rows", "over sources": "mean over sources"}.get(grouping, line.group)
        count = f"{line.n:,}" if line.n == line.counted else f"{line.n:,} of {line.counted:,}"
        rows.append(f"| {line.metric} | {group} | {count} | " + " | ".join(_share(share) for share in shares) + " |")
    return "\n".join(rows) + "\n"


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    """Operator figures one by one."""
    if not verdicts:
        return []
    rows = [
        f"| {v.device} | {v.what} | {v.metric} | {v.measured} | {_figure(v.predicted)} | {v.verdict} |" for v in verdicts
    ]
    return ["\n| device | operator | metric | measured | predicted | |\n|---|---|---|--:|--:|---|\n", *(f"{r}\n" for r in rows)]


def _figure(value: float) -> str:
    return "" if value != value else f"{value:.4g}"


def _share(value: float) -> str:
    return "" if value != value else f"{value:.1%}"
