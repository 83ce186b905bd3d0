"""`validate whatif`: ratios of pairs of runs, predicted against measured, and how sure a comparison is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..evidence.context import Context
    from ..evidence.ratios import Ratios

WHATIF = "whatif"


def whatif(
    call: Call, path: Path | None, rows: Path | None, context: Context, asked: tuple[str | None, bool, bool]
) -> int:
    """Score pairs and print. asked: --leave-out, which has no sense here, --brief and --by."""
    from ..evidence.ratios import validate_ratios

    leave_out, brief, by = asked
    if leave_out:
        raise InputError("validate whatif leaves the new device of each pair out by itself. Leave --leave-out out.")
    with Progress() as progress:
        found = validate_ratios(
            path,
            rows=rows,
            context=context,
            progress=lambda done, total: progress(done / max(total, 1), "rows"),
        )
    document = {
        "schema": "gambrel.validate-whatif/1",
        "calibration": context.level,
        "written": [str(rows)] if rows else [],
        "tables": [each.to_dict() for each in found],
    }
    emit(call, document, screen(found, () if by else ("all",) if brief else ("all", "device"), rows))
    return 0


def screen(found: Sequence[Ratios], groupings: tuple[str, ...], rows: Path | None) -> RenderableType:
    """How far the ratios of each contrast and metric are off, beside no change and bandwidth alone; then the chances.

    groupings: of the ratios of TPOT, none named: every one, of every metric."""
    from rich.console import Group
    from rich.text import Text

    from ..evidence.pairs import METRICS, TRAINED, VERSION
    from ..evidence.ratios import BARS
    from ..report.tables import columns

    parts: list[RenderableType] = []
    for table in found:
        counts = ", ".join(f"{count:,} of {name}" for name, count in table.pairs.items() if count)
        parts.append(Text(f"{table.name}: pairs that differ in one thing: {counts}", style="bold"))
        grid = columns("differs in", "ratio of", "pairs of", ">pairs", ">off", ">no change", ">bandwidth", "")
        for line in table.lines:
            main = line.metric in (METRICS[0], TRAINED)
            if groupings and line.grouping != "all" and (not main or line.grouping not in groupings):
                continue
            answers = [(line.median, line.p90), (line.none_median, line.none_p90)]
            answers.append((line.bandwidth_median, line.bandwidth_p90))
            bar = line.grouping == "all" and line.metric == METRICS[0] and line.contrast != VERSION
            held = ("holds" if line.holds else "missed") + f" {BARS[0]:.0%} / {BARS[1]:.0%}" if bar else ""
            grid.add_row(
                line.contrast, line.metric, line.group, f"{line.n:,}", *(_share(*pair) for pair in answers), held
            )
        parts += [grid, _chances(table)]
        parts += [Text(f"{count:,} skipped: {reason}", style="dim") for reason, count in table.skipped.items()]
    if rows:
        parts.append(Text(f"pairs written to {rows}"))
    return Group(*parts)


def _share(median: float, p90: float) -> str:
    return "" if median != median else f"{median:.1%} / {p90:.0%}"


def _chances(table: Ratios) -> RenderableType:
    """How sure the comparisons were and how often they were right; the curve as stated chance -> what happened (pairs)."""
    from ..report.tables import columns

    grid = columns("differs in", "ratio of", ">right", ">Brier", ">80% within", ">inside", "said: happened (pairs)")
    for (contrast, metric), each in table.reliability.items():
        if each.n:
            curve = ", ".join(f"{bin.stated:.0%}: {bin.happened:.0%} ({bin.n:,})" for bin in each.curve)
            grid.add_row(
                contrast,
                metric,
                f"{each.right:.1%}",
                f"{each.brier:.3f}",
                f"x {each.factor:.2f}",
                f"{each.inside:.0%}",
                curve,
            )
    return grid
