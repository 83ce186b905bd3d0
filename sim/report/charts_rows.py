"""Charts of many rows: kernels under a roofline, a tornado, a front, predictions beside measurements, two sides compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..units import text
from .charts import SYMBOLS, WRITTEN, Scale, height_of, label, scale_of, titled, words
from .theme import BLUE, FAMILY_NAMES, GREY, ORANGE, SERIES, Chart, axis, bar_trace, escaped, layout, part_ink, row_axis

MOST_BARS = 14
MOST_MARKS = 1500


class Kernel(NamedTuple):
    """A kernel of a pass: its name and part, compulsory FLOPs and bytes, seconds alone, and its share of the time."""

    name: str
    part: str
    flops: float
    bytes: float
    seconds: float
    share: float


class Roof(NamedTuple):
    """What a rank of a chip does at most by its data sheet: FLOP/s by format, bytes/s of its memory."""

    flops_per_s: Mapping[str, float]
    memory_bytes_per_s: float


def roofline(kernels: Sequence[Kernel], roof: Roof) -> Chart:
    """Kernels by intensity and speed, as large as their share of the time, under the roofs of the chip. Kernels without FLOPs
    or bytes have no place on it."""
    shown = [each for each in kernels if each.flops > 0.0 and each.bytes > 0.0 and each.seconds > 0.0]
    xs = [each.flops / each.bytes for each in shown]
    ridge = max(roof.flops_per_s.values()) / roof.memory_bytes_per_s
    low, high = min([*xs, ridge / 10.0]) / 2.0, max([*xs, ridge * 4.0]) * 2.0
    data: list[dict[str, Any]] = [_roof_line(name, peak, roof, (low, high)) for name, peak in roof.flops_per_s.items()]
    for ink, family in FAMILY_NAMES.items():
        marks = [(each, x) for each, x in zip(shown, xs, strict=True) if part_ink(each.part) == ink]
        if marks:
            data.append(_kernel_marks(family, ink, marks))
    speeds = [each.flops / each.seconds for each in shown]
    bottom, top = min([*speeds, low * roof.memory_bytes_per_s]), max([*speeds, *roof.flops_per_s.values()])
    return {
        "data": data,
        "layout": layout(
            420,
            showlegend=True,
            margin={"l": 8, "r": 16, "t": 40, "b": 8, "pad": 4},
            xaxis=axis("intensity [FLOP per byte]", type="log", range=[math.log10(low), math.log10(high)])
            | _decades(low, high, ""),
            yaxis=axis("speed [FLOP/s]", type="log", range=[math.log10(bottom) - 0.2, math.log10(top) + 0.45])
            | _decades(bottom, top * 2.0, "flops_per_s"),
            annotations=_roof_names(roof, (low, high)),
        ),
    }


def _roof_line(name: str, peak: float, roof: Roof, ends: tuple[float, float]) -> dict[str, Any]:
    ridge = peak / roof.memory_bytes_per_s
    xs = [ends[0], min(max(ridge, ends[0]), ends[1]), ends[1]]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{escaped(name)} roof",
        "x": xs,
        "y": [min(peak, x * roof.memory_bytes_per_s) for x in xs],
        "line": {"color": GREY, "width": 2},
        "hovertemplate": f"{escaped(name)}: {text(peak, 'flops_per_s')}<extra></extra>",
        "showlegend": False,
    }


def _decades(low: float, high: float, unit: str) -> dict[str, Any]:
    """Ticks at powers of ten, in words."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    said = [f"{power:,.10g}" if not unit else text(power, unit).removesuffix("FLOP/s").strip() for power in powers]
    return {"tickvals": powers, "ticktext": said}


def _roof_names(roof: Roof, ends: tuple[float, float]) -> list[dict[str, Any]]:
    """What each roof is: above its right end, and beside the slope."""
    low, high = ends
    ridge = min(roof.flops_per_s.values()) / roof.memory_bytes_per_s
    middle = math.sqrt(low * max(ridge, low))
    slope = {
        "x": math.log10(middle),
        "y": math.log10(middle * roof.memory_bytes_per_s),
        "xanchor": "right",
        "yanchor": "bottom",
        "xshift": -6,
        "text": f"memory {text(roof.memory_bytes_per_s, 'bytes_per_s')}",
        "showarrow": False,
    }
    return [
        slope,
        *_peak_names(roof, high),
    ]


def _peak_names(roof: Roof, high: float) -> list[dict[str, Any]]:
    return [
        {
            "x": math.log10(high),
            "y": math.log10(peak),
            "xanchor": "right",
            "yanchor": "bottom",
            "text": f"{escaped(name)} {text(peak, 'flops_per_s')}",
            "showarrow": False,
        }
        for name, peak in roof.flops_per_s.items()
    ]


def _kernel_marks(family: str, ink: str, marks: Sequence[tuple[Kernel, float]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": family,
        "x": [x for _, x in marks],
        "y": [each.flops / each.seconds for each, _ in marks],
        "text": [
            f"{escaped(each.name)}<br>{text(each.seconds, 's')}, {each.share:.1%} of the time" for each, _ in marks
        ],
        "hovertemplate": "%{text}<br>%{x:.3g} FLOP/byte, %{y:.3s}FLOP/s<extra></extra>",
        "marker": {
            "color": ink,
            "size": [max(6.0, 60.0 * math.sqrt(each.share)) for each, _ in marks],
            "opacity": 0.72,
            "line": {"width": 1, "color": ink},
        },
    }


class Swing(NamedTuple):
    """How a figure answers when a value is lowered and raised: changes as shares; not finite: it no longer fits."""

    key: str
    lowered: float
    raised: float


def tornado(swings: Sequence[Swing], figure: str, by: float | None = None) -> Chart:
    """Bars left and right of the baseline, the largest swing first; a side that no longer fits has no bar. by: the share that
    values were moved by, where it is known."""
    moved = [each for each in swings if max(_size(each.lowered), _size(each.raised)) >= 5e-5]
    moved = sorted(moved, key=lambda each: -max(_size(each.lowered), _size(each.raised)))[:MOST_BARS]
    names = [label(each.key, 32) for each in moved]
    data = []
    for name, ink, values in (
        ("value lowered" if by is None else f"value −{by:.0%}", ORANGE, [each.lowered for each in moved]),
        ("value raised" if by is None else f"value +{by:.0%}", BLUE, [each.raised for each in moved]),
    ):
        said = [f"{name} {value:+.2%}" if math.isfinite(value) else f"{name} does not fit" for value in values]
        data.append(bar_trace(name, [v if math.isfinite(v) else 0.0 for v in values], names, ink, said=said))
    return {
        "data": data,
        "layout": layout(
            height_of(len(names)) + 30,
            barmode="overlay",
            showlegend=True,
            xaxis=axis(f"change of {words(figure)}", tickformat="+.1~%", zeroline=True, fixedrange=True),
            yaxis=row_axis(names),
        ),
    }


def _size(value: float) -> float:
    return abs(value) if math.isfinite(value) else math.inf


class Mark(NamedTuple):
    """A point of a scatter: x and y in SI units, what it is, and which group it belongs to."""

    x: float
    y: float
    name: str
    group: str = ""


class Axes(NamedTuple):
    """(title, unit) of x and of y."""

    x: tuple[str, str]
    y: tuple[str, str]


def front(points: Sequence[Mark], best: Sequence[Mark], axes: Axes) -> Chart:
    """All points, and a line through those that nothing beats in both axes. The first of `best` is named as the choice."""
    scales = [
        scale_of(max(map(abs, values), default=0.0), unit)
        for values, (_, unit) in zip(
            ([each.x for each in (*points, *best)], [each.y for each in (*points, *best)]), axes, strict=True
        )
    ]
    data: list[dict[str, Any]] = []
    if points:
        data.append(_marks("others", points, scales, {"color": GREY, "size": 6, "opacity": 0.55}))
    on_line = sorted(best, key=lambda each: each.x)
    groups = list(dict.fromkeys(each.group for each in on_line))
    line = _marks("front", on_line, scales, {})
    data.append({**line, "mode": "lines", "line": {"color": BLUE, "width": 1.5, "dash": "dot"}, "hoverinfo": "skip"})
    data[-1].pop("hovertemplate")
    data[-1]["showlegend"] = len(groups) == 1 and bool(points)
    for place, group in enumerate(groups):
        ink, symbol = SERIES[place % len(SERIES)], SYMBOLS[place % len(SYMBOLS)]
        marks = [each for each in on_line if each.group == group]
        data.append(_marks(group or "on the front", marks, scales, {"color": ink, "size": 9, "symbol": symbol}))
    if best:
        chosen = {"symbol": "circle-open", "size": 17, "color": ORANGE, "line": {"width": 2.5}}
        data.append(_marks("the choice", best[:1], scales, chosen))
    titles = [titled(title, scale) for (title, _), scale in zip(axes, scales, strict=True)]
    return {
        "data": data,
        "layout": layout(400, showlegend=True, xaxis=axis(titles[0]), yaxis=axis(titles[1], rangemode="tozero")),
    }


def _marks(name: str, points: Sequence[Mark], scales: Sequence[Scale], marker: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escaped(name),
        "x": [each.x / scales[0].factor for each in points],
        "y": [each.y / scales[1].factor for each in points],
        "text": [escaped(each.name) for each in points],
        "hovertemplate": f"%{{text}}<br>%{{x:.4g}} {scales[0].label}, %{{y:.4g}} {scales[1].label}<extra></extra>",
        "marker": marker,
    }


def predicted(points: Sequence[Mark], title: str, unit: str) -> Chart:
    """Predictions against measurements on two logarithmic axes, with the lines of equality and of a quarter more and less.
    points: x measured, y predicted, group: the device or source."""
    kept = [each for each in points if each.x > 0.0 and each.y > 0.0 and math.isfinite(each.x * each.y)]
    if len(kept) > MOST_MARKS:
        kept = [kept[place] for place in np.linspace(0, len(kept) - 1, MOST_MARKS).astype(int).tolist()]
    scale = scale_of(float(np.median([each.x for each in kept])) if kept else 1.0, unit)
    ends = (
        [min(min(each.x, each.y) for each in kept) / 1.5, max(max(each.x, each.y) for each in kept) * 1.5]
        if kept
        else [1.0, 10.0]
    )
    groups = sorted({each.group for each in kept}, key=lambda name: -sum(each.group == name for each in kept))
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [end / scale.factor for end in ends],
            "y": [end * by / scale.factor for end in ends],
            "line": {"color": GREY, "width": 1.5 if by == 1.0 else 1, "dash": "solid" if by == 1.0 else "dot"},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for by in (1.0, 1.25, 0.8)
    ]
    named = groups[: len(SERIES)] if len(groups) <= len(SERIES) else groups[: len(SERIES) - 1]
    for place, group in enumerate([*named, *(["others"] if len(named) < len(groups) else [])]):
        marks = [each for each in kept if (each.group == group if group in named else each.group not in named)]
        style = {"color": SERIES[place], "symbol": SYMBOLS[place], "size": 6, "opacity": 0.6}
        data.append(_marks(group or "rows", marks, (scale, scale), style))
    span = [math.log10(end / scale.factor) for end in ends]
    return {
        "data": data,
        "layout": layout(
            440,
            showlegend=len(groups) > 1,
            xaxis=axis(titled(f"measured {title}", scale), type="log", range=span),
            yaxis=axis(titled(f"predicted {title}", scale), type="log", range=span),
        ),
    }


class Change(NamedTuple):
    """A figure on two sides as a ratio, after / before."""

    name: str
    ratio: float
    said: str


def changes(rows: Sequence[Change]) -> Chart:
    """How figures moved: bars of after / before - 1, in the order given."""
    shown = [each for each in rows if math.isfinite(each.ratio) and abs(each.ratio - 1.0) >= 5e-5]
    names, deltas = [label(words(each.name)) for each in shown], [each.ratio - 1.0 for each in shown]
    inks = [BLUE if delta < 0.0 else ORANGE for delta in deltas]
    written = {"text": [f"{delta:+.1%}" for delta in deltas], **WRITTEN}
    return {
        "data": [bar_trace("", deltas, names, inks, said=[escaped(each.said) for each in shown], **written)],
        "layout": layout(
            height_of(len(names)) - 14,
            xaxis=axis("change against the baseline", tickformat="+.0%", zeroline=True, fixedrange=True),
            yaxis=row_axis(names),
        ),
    }


def errors(medians: Mapping[str, tuple[float, float]]) -> Chart:
    """How far predictions are off: a bar to the median and a mark at the 90th percentile, by group."""
    names, medians_of = [label(name, 30) for name in medians], [median for median, _ in medians.values()]
    return {
        "data": [
            bar_trace("median error", medians_of, names, BLUE, said=[f"median {each:.1%}" for each in medians_of]),
            {
                "type": "scatter",
                "mode": "markers",
                "name": "90% of rows within",
                "x": [p90 if p90 == p90 else None for _, p90 in medians.values()],
                "y": names,
                "hovertemplate": "%{y}: 90% within %{x:.1%}<extra></extra>",
                "marker": {"color": ORANGE, "symbol": "line-ns-open", "size": 13, "line": {"width": 2.5}},
            },
        ],
        "layout": layout(
            height_of(len(names)) + 20,
            showlegend=True,
            xaxis=axis("", tickformat=".0%", rangemode="tozero", fixedrange=True),
            yaxis=row_axis(names),
        ),
    }
