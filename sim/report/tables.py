"""Result -> the first screen: verdict, figures with their intervals and basis, where time and memory go, what to type next."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .. import units
from ..result import Figure, Result

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

EIGHTHS = " ▏▎▍▌▋▊▉█"
BASIS_STYLE = {
    "measured": "green",
    "calibrated": "green",
    "extrapolated": "yellow",
    "datasheet-only": "red",
    "unknown": "dim",
}


# what the first screen shows, in this order, where a result has it; `--all` shows every figure
KEY_FIGURES = (
    "step_time",
    "mfu",
    "mfu_causal",
    "tokens_per_s",
    "days",
    "days_with_faults",
    "productive_share",
    "interruptions",
    "mtbf",
    "device_hours",
    "ttft_p50",
    "ttft_p95",
    "tpot_p50",
    "tpot_p95",
    "output_tokens_per_s",
    "goodput_rps",
    "slo_attainment",
    "requests_finished",
    "kv_move_p95",
    "failures",
    "replica_starts",
    "usd_per_million_tokens",
    "joules_per_token",
    "memory_per_device",
    "devices",
    "devices_paid",
    "slices",
    "cost",
    "energy",
    "carbon",
    "power",
    "clock",
)


def first_screen(result: Result, everything: bool = False) -> RenderableType:
    """What a result says at a glance, as something that rich prints; with `everything`, every figure of it."""
    from rich.console import Group
    from rich.text import Text

    shown = result.figures if everything else key_figures(result.figures)
    parts: list[RenderableType] = [
        Text(result.verdict, style="bold" if result.fits else "bold red"),
        figure_table(shown),
    ]
    if len(shown) < len(result.figures):
        parts.append(Text(f"{len(result.figures) - len(shown)} more figures with --all or --json", style="dim"))
    if result.why:
        parts.append(Text(f"why  {result.why}"))
    if result.breakdown:
        parts += [Text("where the time goes", style="dim"), share_table(by_part(result.breakdown), "s")]
    if result.memory:
        parts += [Text("memory of one device, fullest stage", style="dim"), share_table(result.memory, "bytes")]
    parts += [Text(f"note  {warning}", style="yellow") for warning in result.warnings]
    if result.next_commands:
        parts.append(Text("next", style="dim"))
        parts += [Text(f"  {command}", no_wrap=True, overflow="ignore") for command in result.next_commands]
    return Group(*parts)


def key_figures(figures: Mapping[str, Figure]) -> Mapping[str, Figure]:
    """Those of the first screen in their order; all of them if none is known. Chips paid for only where there are spares."""
    shown = {name: figures[name] for name in KEY_FIGURES if name in figures}
    if "devices" in shown and "devices_paid" in shown and shown["devices"].value == shown["devices_paid"].value:
        del shown["devices_paid"]
    if "slices" in shown and shown["slices"].value == 1:
        del shown["slices"]
    return shown or figures


def plain(result: Result, width: int = 100) -> str:
    """Everything that a result says, as plain text."""
    return to_text(first_screen(result, everything=True), width)


def to_text(screen: RenderableType, width: int = 100) -> str:
    """Anything that rich prints, as plain text without colour."""
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=width, highlight=False, color_system=None, force_terminal=False).print(screen)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def columns(*headings: str) -> Table:
    """An empty table in the style of the house; a heading that begins with `>` is right-aligned."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", collapse_padding=True)
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


def figure_table(figures: Mapping[str, Figure]) -> Table:
    """One row a figure: name, value, interval, basis. Unknown ones say what is missing."""
    from rich.text import Text

    table = columns("figure", ">value", "range", "basis")
    for name, figure in figures.items():
        style = BASIS_STYLE.get(figure.basis, "")
        label = name.replace("_", " ")
        if figure.value is None:
            table.add_row(label, "unknown", Text(figure.note, style="dim"), Text("unknown", style=style))
        else:
            table.add_row(label, value_text(figure), interval_text(figure), Text(figure.basis, style=style))
    return table


def value_text(figure: Figure) -> str:
    """`71.2 days`, `38.4%`, `$2.13`; `unknown` without a value."""
    if figure.value is None:
        return "unknown"
    return _number(figure.value, figure.unit)


def interval_text(figure: Figure) -> str:
    """`±8%` when both sides are equal within a tenth, else `lowest to highest`; empty without an interval."""
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    below, above = figure.value - figure.low, figure.high - figure.value
    if figure.value > 0 and abs(above - below) <= 0.1 * max(above, below):
        return f"±{max(above, below) / figure.value:.0%}"
    return f"{_number(figure.low, figure.unit)} to {_number(figure.high, figure.unit)}"


_WRITTEN = {
    "tokens_per_s": "tokens/s",
    "requests_per_s": "requests/s",
    "usd_per_device_hour": "$/device-hour",
    "kg": "kg CO2e",
}


def _number(value: float, unit: str) -> str:
    if unit == "fraction":
        return f"{value:.1%}"
    if unit == "kwh":
        scale, prefix = next(
            (pair for pair in ((1e6, "G"), (1e3, "M"), (1.0, "k")) if abs(value) >= pair[0]), (1e-3, "")
        )
        return f"{value / scale:,.3g} {prefix}Wh"
    return units.text(value, _WRITTEN.get(unit, unit))


def by_part(breakdown: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Seconds of each part over all phases, the longest first."""
    total: dict[str, float] = {}
    for (part, _), seconds in breakdown.items():
        total[part] = total.get(part, 0.0) + seconds
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def share_table(amounts: Mapping[str, float], unit: str, least: float = 0.005) -> Table:
    """One row a part with its share as a bar; parts below `least` of the whole are added up as `other`."""
    from rich import box
    from rich.table import Table

    whole = math.fsum(amounts.values())
    shown = {name: amount for name, amount in amounts.items() if whole > 0 and amount >= least * whole}
    rest = whole - math.fsum(shown.values())
    if whole > 0 and rest > 0.0005 * whole:
        shown["other"] = rest
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, show_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    largest = max(shown.values(), default=1.0)
    for name, amount in shown.items():
        label = name.replace("_", " ")
        table.add_row(f"  {label}", _number(amount, unit), f"{amount / whole:.1%}", bar(amount / largest, 30))
    return table


def bar(share: float, width: int) -> str:
    """A bar of `width` cells at share 1, to an eighth of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
