"""The part of docs/accuracy.md on comparisons: ratios of pairs of runs, Brier score and calibration curve of their chances."""

from __future__ import annotations

from .odds import Reliability
from .ratios import Off, Ratios

COMPARISONS = """
## Comparisons

Pairs of runs that are equal in all but the device, or in all but the layout: the ratio of the second to the first, predicted
against measured, median / 90th percentile of how far off. Of a pair of devices the second is priced by its family's values
alone. *No change* and *bandwidth* are what needs no simulator. `gambrel whatif` says with which chance one side beats the other
from how far the ratios of other models were off: *right* is the share of pairs whose predicted side won, Brier the mean square
of chance less outcome (0 is best, one half each time gives 0.25), *80% within* the factor that is to hold four fifths of the
ratios, and *said: happened* the calibration curve, mean stated chance against how often it came true (pairs).
"""


def comparisons_section(of: Ratios) -> str:
    """The ratios of one table by contrast and metric, then the chances."""
    lines = [line for line in of.lines if line.grouping == "all"]
    if not lines:
        return ""
    counts = ", ".join(f"{count:,} of {name}" for name, count in of.pairs.items() if count)
    rows = [
        f"\n### {of.name}: pairs that differ in one thing, {counts}\n",
        "| differs in | ratio of | pairs | off | no change | bandwidth |",
        "|---|---|--:|--:|--:|--:|",
        *map(_off, lines),
        "",
        "| differs in | ratio of | pairs | right | Brier | 80% within | held | said: happened (pairs) |",
        "|---|---|--:|--:|--:|--:|--:|---|",
        *(_sure(*key, each) for key, each in of.reliability.items() if each.n),
    ]
    return "\n".join(rows) + "\n"


def _off(line: Off) -> str:
    answers = [(line.median, line.p90), (line.none_median, line.none_p90), (line.bandwidth_median, line.bandwidth_p90)]
    cells = ["" if median != median else f"{median:.1%} / {p90:.0%}" for median, p90 in answers]
    return f"| {line.contrast} | {line.metric} | {line.n:,} | {' | '.join(cells)} |"


def _sure(contrast: str, metric: str, each: Reliability) -> str:
    curve = ", ".join(f"{point.stated:.0%}: {point.happened:.0%} ({point.n:,})" for point in each.curve)
    cells = (f"{each.right:.0%}", f"{each.brier:.3f}", f"x {each.factor:.2f}", f"{each.inside:.0%}", curve)
    return f"| {contrast} | {metric} | {each.n:,} | {' | '.join(cells)} |"
