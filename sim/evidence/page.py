"""docs/accuracy.md: every measured table, how far the predictions are off, and what a floor with one constant reaches."""

from __future__ import annotations

from collections.abc import Sequence

from .page_ratios import COMPARISONS, comparisons_section
from .ratios import Ratios
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
what was left out. Every figure is printed by `gambrel validate KIND PATH`, with `--leave-out` where something was left out.
"""
_LEFT_OUT = """
## Kernels that the fit has not seen

Each row is predicted by a refit of its kind and format that has not seen it; the refit starts from the defaults of
sim/cost/parameters. Median / 90th percentile of the error. *Family*: the same refit without what differs by generation and
chip. *Datasheet*: the values of no stack, some of which have seen these rows. *Neighbours*: interpolation of the measured
table, the four nearest shapes in logs. *Constant*: the roofline times one constant. Left out are random fifths; the largest
quarter of the shapes of each device, stack and format; each device; each generation; each stack (its rows are priced as
another stack's are, else by the values of no stack).
"""
_TITLES = {
    "random": "Random fifths left out",
    "shapes": "The largest quarter of the shapes left out",
    "device": "Each device left out",
    "generation": "Each generation left out",
    "stack": "Each stack left out",
    "source": "Each source left out",
    "model": "Each model left out",
}

_REFITTED = "Each row is predicted by a refit of the numbers that measured runs influence which has not seen it."


def accuracy_page(
    reports: Sequence[Report],
    left_out: Sequence[Report] = (),
    images: Sequence[tuple[str, str]] = (),
    ratios: Sequence[Ratios] = (),
) -> str:
    """The page as Markdown: one section for each verb, one table for each measured table.

    left_out: reports of `--leave-out`; images: (path, what it shows), in the order of the page; ratios: of `validate whatif`.
    """
    parts = [_HEAD]
    parts += [f"\n![{text}]({path})\n" for path, text in images]
    if left_out:
        parts.append(_LEFT_OUT)
        parts += [_left_out(report) for report in left_out]
    for report in reports:
        title = report.verb.capitalize()
        if report.left_out:
            parts.append(f"\n## {title}: {_TITLES[report.left_out].lower()}\n\n{_REFITTED}\n")
        else:
            parts.append(f"\n## {title}\n\nCalibrations: {report.level}.\n")
        parts += [_table(table, short=report.left_out is not None) for table in report.tables]
    parts += [COMPARISONS, *(comparisons_section(each) for each in ratios)] if ratios else []
    return "".join(parts)


def _left_out(report: Report) -> str:
    """One split: all tables side by side, then their devices, the coverage of the intervals and what is behind."""
    out = [f"\n### {_TITLES[report.left_out or 'random']}\n"]
    for grouping in ("all", "device"):
        lines = [(table.name, line) for table in report.tables for line in table.beside if line.grouping == grouping]
        if not lines:
            continue
        names = list(lines[0][1].median)
        label = "" if grouping == "all" else " device |"
        out.append(
            f"\n| table |{label} rows | {' | '.join(names)} |\n|---|{'---|' * bool(label)}--:|{'--:|' * len(names)}\n"
        )
        for name, line in lines:
            cells = [_pair(line.median[answer], line.p90[answer]) for answer in names]
            where = "" if grouping == "all" else f" {line.group} |"
            out.append(f"| {name} |{where} {line.n:,} | {' | '.join(cells)} |\n")
    out += [_standing(table, f"{table.name}: ") for table in report.tables]
    return "".join(out)


def _pair(median: float | None, p90: float | None) -> str:
    return "" if median is None or p90 is None else f"{median:.1%} / {p90:.0%}"


def _standing(table: TableReport, name: str = "") -> str:
    """Coverage of the intervals, and the groups that are behind."""
    out = []
    shares = [f"{each.group} {each.share:.0%}" for each in table.coverage if each.grouping in ("all", "size")]
    if shares:
        out.append(f"\n{name}measured inside the interval that is to hold 80%: {', '.join(shares)}.\n")
    if table.behind:
        groups = ", ".join(f"{each.group} {each.median:.1%}" for each in table.behind)
        limit = table.behind[0].limit
        out.append(f"\n{name}groups whose median is over {limit:.0%}, twice what the table may have: {groups}.\n")
    return "".join(out)


def _table(table: TableReport, short: bool = False) -> str:
    """One measured table; short: without its devices and sources, and what was not scored."""
    lines = [line for line in table.lines if line.counted]
    if short:
        lines = [line for line in lines if line.grouping in ("all", "over sources")]
        out = [
            f"\n### {table.name}\n",
            *(_grid(g, [each for each in lines if each.grouping == g]) for g in ("all", "over sources")),
        ]
        return "".join([*out, _standing(table)]) if lines else ""
    out = [f"\n### {table.name} ({table.predicted:,} of {table.rows:,} rows predicted)\n"]
    for grouping in dict.fromkeys(line.grouping for line in lines):
        if grouping in ("all", "over sources", "device", "source"):
            out.append(_grid(grouping, [line for line in lines if line.grouping == grouping]))
    out += _verdicts(table.verdicts)
    for contrast in table.contrasts:
        out.append(f"\n{contrast.name.capitalize()}: {contrast.value:.3f} (of {contrast.groups:,}).\n")
    out.append(_standing(table))
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
        f"| {v.device} | {v.what} | {v.metric} | {v.measured} | {_figure(v.predicted)} | {v.verdict} |"
        for v in verdicts
    ]
    return [
        "\n| device | operator | metric | measured | predicted | |\n|---|---|---|--:|--:|---|\n",
        *(f"{r}\n" for r in rows),
    ]


def _figure(value: float) -> str:
    return "" if value != value else f"{value:.4g}"


def _share(value: float) -> str:
    return "" if value != value else f"{value:.1%}"
