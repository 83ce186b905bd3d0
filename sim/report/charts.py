"""Charts of what adds up: where the time goes, what fills the memory; and bars and lines of any values.

All functions here and in `charts_time` and `charts_rows` are pure: plain values in, a Plotly figure as plain JSON values out
(`theme.Chart`). Nothing here imports plotly. A chart has no title: the page, or `.plot()`, says what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..units import text
from .theme import (
    BLUE,
    FAMILY_NAMES,
    GREY,
    MEMORY_INK,
    SERIES,
    Chart,
    axis,
    bar_trace,
    escaped,
    layout,
    part_ink,
    phase_ink,
    row_axis,
    upright,
)

ROW_PX = 26  # height of a horizontal bar with its gap
FRAME_PX = 84  # axis, title and legend
WAITS, WAITING = ("bubble", "host"), "waiting"
LEAST_SHARE = 0.002  # smaller parts are added up as `other`
LABEL_CHARS = 22
WRITTEN = {"textposition": "auto", "constraintext": "none", "insidetextanchor": "end"}
SUM_LOOK = {"showlegend": False, "marker": {"opacity": 0.45}}
BELOW = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "traceorder": "normal"}

_STEPS = {
    "s": ((86400.0, "days"), (3600.0, "h"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "w": ((1e6, "MW"), (1e3, "kW"), (1.0, "W")),
    "j": ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ"), (1.0, "J")),
    "flops": ((1e24, "YFLOP"), (1e21, "ZFLOP"), (1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1.0, "FLOP")),
    "flops_per_s": ((1e18, "EFLOP/s"), (1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1.0, "FLOP/s")),
    "usd": ((1e9, "billion $"), (1e6, "million $"), (1e3, "thousand $"), (1.0, "$")),
}
_WORDS = {
    "fraction": "share",
    "tokens_per_s": "tokens/s",
    "requests_per_s": "requests/s",
    "usd_per_device_hour": "$ per device hour",
    "kg": "kg CO2e",
}


class Scale(NamedTuple):
    """How an axis shows SI values: value / factor, in `label`."""

    factor: float
    label: str


def scale_of(largest: float, unit: str) -> Scale:
    """The unit that shows values up to `largest` with few digits: scale_of(0.3, "s") -> ms. Others keep their unit."""
    for factor, label in _STEPS.get(unit, ()):
        if abs(largest) >= factor * (2.0 if label in ("days", "h") else 1.0):
            return Scale(factor, label)
    if unit in _STEPS:
        return Scale(*_STEPS[unit][-1])
    return Scale(1.0, _WORDS.get(unit, unit.replace("_per_", "/").replace("_", " ")))


def words(name: str) -> str:
    """A name of the code as people read it."""
    return name.replace("_", " ")


def percent(value: float) -> str:
    """A share with the digits that it needs: 43.7%, 0.12%."""
    return f"{value:.1%}" if abs(value) >= 0.01 or value == 0.0 else f"{value:.2%}"


def label(value: str, chars: int = LABEL_CHARS) -> str:
    """A label of at most a few lines of so many characters, broken at blanks, dots, commas and underscores; escaped."""
    lines, line = [], ""
    for piece in _pieces(value):
        if line and len(line) + len(piece.rstrip()) > chars:
            lines.append(line)
            line = ""
        line += piece
    return "<br>".join(escaped(each.rstrip()) for each in [*lines, line])


def _pieces(value: str) -> list[str]:
    out, piece = [], ""
    for letter in value:
        if letter == "." and piece:
            out.append(piece)
            piece = ""
        piece += letter
        if letter in " ,_/":
            out.append(piece)
            piece = ""
    return [*out, piece] if piece else out


def height_of(rows: int) -> int:
    """Height of a chart with so many horizontal bars [px]."""
    return FRAME_PX + ROW_PX * max(rows, 1)


def waterfall(breakdown: Mapping[tuple[str, str], float], unit: str = "s") -> Chart:
    """Where the time goes: a row a part, longest first, each (part, phase) a bar that begins where the one before ended; the
    last row is the sum. breakdown: (part, phase) -> seconds."""
    rows = _folded(breakdown)
    total = math.fsum(value for cells in rows.values() for value in cells.values())
    scale, begin = scale_of(total, unit), 0.0
    bars: dict[str, list[tuple[str, float, float, str]]] = {}  # phase, or waiting -> (row, length, begin, words)
    for part, cells in rows.items():
        for phase, value in cells.items():
            said = f"{words(phase)} {text(value, unit)}, {value / total:.1%} of all"
            bars.setdefault(WAITING if part in WAITS else phase, []).append((part, value, begin, escaped(said)))
            begin += value
    data = [_steps(phase, cells, scale.factor) for phase, cells in bars.items()]
    data.append(bar_trace("total", [total / scale.factor], ["total"], GREY, said=[text(total, unit)], **SUM_LOOK))
    sums = {**{part: math.fsum(cells.values()) for part, cells in rows.items()}, "total": total}
    return {
        "data": data,
        "layout": layout(
            height_of(len(sums)) + 20,
            barmode="overlay",
            showlegend=True,
            margin={"l": 8, "r": 60, "t": 28, "b": 8, "pad": 4},
            xaxis=axis(f"time [{scale.label}]", rangemode="tozero", fixedrange=True),
            yaxis=row_axis([label(words(name)) for name in sums]),
            annotations=[_share_mark(part, value, total) for part, value in sums.items()],
        ),
    }


def _steps(phase: str, cells: list[tuple[str, float, float, str]], factor: float) -> dict[str, object]:
    """The bars of a phase, each where those before it ended."""
    names = [label(words(part)) for part, _, _, _ in cells]
    lengths, begins = [length / factor for _, length, _, _ in cells], [begin / factor for _, _, begin, _ in cells]
    said = [cell[3] for cell in cells]
    return bar_trace(words(phase), lengths, names, phase_ink(phase), base=begins, said=said)


def _folded(breakdown: Mapping[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    """Part -> phase -> value, the largest part first; parts too small to see are one part, `other`."""
    sums: dict[str, float] = {}
    for (part, _), value in breakdown.items():
        sums[part] = sums.get(part, 0.0) + value
    least = LEAST_SHARE * math.fsum(sums.values())
    order = [name for name, value in sorted(sums.items(), key=lambda item: -item[1]) if value >= least and value > 0.0]
    rows: dict[str, dict[str, float]] = {name: {} for name in order}
    for (part, phase), value in breakdown.items():
        if value > 0.0:
            cells = rows.setdefault(part if part in order else "other", {})
            cells[phase] = cells.get(phase, 0.0) + value
    return rows


def _share_mark(part: str, value: float, total: float) -> dict[str, object]:
    """The share of a row, at the right edge."""
    return {
        "x": 1,
        "xref": "paper",
        "xanchor": "left",
        "xshift": 6,
        "y": label(words(part)),
        "yref": "y",
        "text": f"{value / total:.1%}" if total else "",
        "showarrow": False,
    }


def memory(
    devices: Mapping[str, Mapping[str, float]], capacity_bytes: float | None = None, least: float = LEAST_SHARE
) -> Chart:
    """What fills the memory: a bar a device or stage, stacked by part, and a line where it is full.

    devices: name -> part -> bytes, such as {"fullest stage": result.memory} or one entry for each pipeline stage."""
    sums = {name: math.fsum(parts.values()) for name, parts in devices.items()}
    scale = scale_of(max([*sums.values(), capacity_bytes or 0.0]), "bytes")
    parts = list(dict.fromkeys(part for each in devices.values() for part in each))
    largest = max(sums.values(), default=0.0)
    parts = [part for part in parts if max(each.get(part, 0.0) for each in devices.values()) >= least * largest]
    names = [label(name) for name in devices]
    data = [_memory_bar(part, (names, devices), scale) for part in parts]
    rest = [
        math.fsum(value for part, value in each.items() if part not in parts) / scale.factor
        for each in devices.values()
    ]
    if any(rest):
        data.append(bar_trace("other", rest, names, GREY))
    full = [] if capacity_bytes is None else [upright(capacity_bytes / scale.factor, "memory of a device")]
    return {
        "data": data,
        "layout": layout(
            max(190, height_of(len(names)) + 60),
            barmode="stack",
            showlegend=True,
            legend=BELOW,
            margin={"l": 8, "r": 16, "t": 28, "b": 96, "pad": 4},
            xaxis=axis(f"bytes held [{scale.label}]", rangemode="tozero", fixedrange=True),
            yaxis=row_axis(names),
            shapes=[shape for shape, _ in full],
            annotations=[note for _, note in full],
        ),
    }


def _memory_bar(
    part: str, rows: tuple[list[str], Mapping[str, Mapping[str, float]]], scale: Scale
) -> dict[str, object]:
    names, devices = rows
    values = [each.get(part, 0.0) for each in devices.values()]
    empty = part in ("free", "unused")
    ink = MEMORY_INK.get(part, GREY)
    look = {
        "opacity": 0.35 if empty else 1.0,
        "pattern": {"shape": "/" if part == "framework" else "", "solidity": 0.35},
    }
    said = [f"{escaped(words(part))} {text(value, 'bytes')}" for value in values]
    return bar_trace(words(part), [value / scale.factor for value in values], names, ink, said=said, marker=look)


def shares(breakdown: Mapping[tuple[str, str], float]) -> Chart:
    """One bar a phase, stacked by what kind of work it is: products, attention, passes over memory, traffic, waiting."""
    phases = list(dict.fromkeys(phase for _, phase in breakdown))
    sums = {phase: math.fsum(value for (_, other), value in breakdown.items() if other == phase) for phase in phases}
    total = math.fsum(sums.values()) or 1.0
    data = []
    for ink, family in FAMILY_NAMES.items():
        values = [
            math.fsum(v for (part, other), v in breakdown.items() if other == phase and part_ink(part) == ink) / total
            for phase in phases
        ]
        if any(values):
            said = [f"{family} {value:.1%}" for value in values]
            data.append(bar_trace(family, values, [words(phase) for phase in phases], ink, said=said))
    return {
        "data": data,
        "layout": layout(
            height_of(len(phases)) + 110,
            barmode="stack",
            showlegend=True,
            legend=BELOW,
            margin={"l": 8, "r": 16, "t": 28, "b": 120, "pad": 4},
            xaxis=axis("share of the time", tickformat=".0%", fixedrange=True),
            yaxis=row_axis([words(phase) for phase in phases]),
        ),
    }


def bars(values: Mapping[str, float], unit: str, ink: str = BLUE) -> Chart:
    """Horizontal bars of named values of one unit, in the order given."""
    shown = {name: value for name, value in values.items() if math.isfinite(value)}
    scale = scale_of(max(map(abs, shown.values()), default=0.0), unit)
    names = [label(words(name)) for name in shown]
    share = unit == "fraction"
    written = [percent(value) if share else text(value, unit) for value in shown.values()]
    lengths = [value / scale.factor for value in shown.values()]
    return {
        "data": [bar_trace("", lengths, names, ink, said=written, text=written, **WRITTEN)],
        "layout": layout(
            height_of(len(names)) - 20,
            xaxis=axis("" if share else scale.label, rangemode="tozero", fixedrange=True)
            | ({"tickformat": ".2~%"} if share else {}),
            yaxis=row_axis(names),
        ),
    }


class Line(NamedTuple):
    """One line of a chart: its name and points, in order of x."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def lines(each: Iterable[Line], x: tuple[str, str], y: tuple[str, str], log: bool = False) -> Chart:
    """Lines over one axis. x, y: (title, unit) of the axes; log: both in powers of ten."""
    drawn = list(each)
    largest = [
        max((abs(v) for values in side for v in values), default=0.0)
        for side in ([d.x for d in drawn], [d.y for d in drawn])
    ]
    sides = [Scale(1.0, "") if log else scale_of(most, unit) for most, (_, unit) in zip(largest, (x, y), strict=True)]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": escaped(words(line.name)),
            "x": [value / sides[0].factor for value in line.x],
            "y": [value / sides[1].factor for value in line.y],
            "line": {"color": SERIES[place % len(SERIES)], "width": 2},
            "marker": {"size": 6, "symbol": SYMBOLS[place % len(SYMBOLS)]},
        }
        for place, line in enumerate(drawn)
    ]
    kind = {"type": "log" if log else "linear"}
    return {
        "data": data,
        "layout": layout(
            360,
            showlegend=len(drawn) > 1,
            xaxis=axis(titled(x[0], sides[0]), **kind),
            yaxis=axis(titled(y[0], sides[1]), **kind, rangemode="normal" if log else "tozero"),
        ),
    }


def titled(title: str, scale: Scale) -> str:
    """The title of an axis with its unit."""
    return f"{title} [{scale.label}]" if scale.label else title


SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
