"""Charts over time: the pipeline of a step, latencies of requests, a fleet window by window, a campaign and its power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..units import text
from .charts import height_of, label, scale_of, words
from .theme import (
    BLUE,
    GREEN,
    ORANGE,
    SERIES,
    WINE,
    Chart,
    axis,
    bar_trace,
    escaped,
    layout,
    phase_ink,
    row_axis,
    upright,
)

if TYPE_CHECKING:
    from ..engine.timeline import Timeline

FloatArray = NDArray[np.float64]
WORKING = ("stage", "replica")  # queues that compute; others send what those made
MOST_SLICES = 3000
MOST_QUEUES = 24
MOST_POINTS = 400
FAR = 2.0  # times the largest value: a limit beyond would squeeze the curve
DAY_S = 86400.0


def timeline(made: Timeline) -> Chart:
    """A row a queue, a bar a stretch of work, coloured by phase; of a long timeline its first 3,000 slices, of many queues
    the first 24."""
    table = made.schedule
    queues = _shown_queues(made)
    place = np.isin(table.queue, queues) & (made.end_s > made.start_s)
    rows = np.flatnonzero(place)
    rows = rows[np.argsort(made.start_s[rows], kind="stable")][:MOST_SLICES]
    end_s = float(made.end_s[rows].max()) if len(rows) else 0.0
    scale = scale_of(end_s, "s")
    names = [label(words(table.queue_names[queue])) for queue in queues]
    name_of = dict(zip(queues.tolist(), names, strict=True))
    data = [_slices(made, rows[table.phase[rows] == phase], name_of, scale.factor) for phase in _phases(made, rows)]
    return {
        "data": data,
        "layout": layout(
            height_of(len(names)) + 10,
            barmode="overlay",
            showlegend=True,
            bargap=0.12,
            xaxis=axis(f"time [{scale.label}]", rangemode="tozero", range=[0.0, end_s / scale.factor]),
            yaxis=row_axis(names),
        ),
    }


def _phases(made: Timeline, rows: NDArray[np.int64]) -> list[int]:
    """Phases of some rows in order of their first appearance."""
    return list(dict.fromkeys(made.schedule.phase[rows].tolist()))


def _slices(made: Timeline, rows: NDArray[np.int64], name_of: dict[int, str], factor: float) -> dict[str, Any]:
    """The bars of rows of one phase."""
    table = made.schedule
    phase = table.phase_names[table.phase[rows[0]]]
    seconds, begins = made.end_s[rows] - made.start_s[rows], made.start_s[rows] / factor
    parts = [words(table.part_names[part]) for part in table.part[rows].tolist()]
    said = [
        escaped(f"{words(phase)}{'' if part == words(phase) else ', ' + part} {text(s, 's')}")
        for part, s in zip(parts, seconds.tolist(), strict=True)
    ]
    places = [name_of[queue] for queue in table.queue[rows].tolist()]
    return bar_trace(
        words(phase), (seconds / factor).tolist(), places, phase_ink(phase), base=begins.tolist(), said=said
    )


def _shown_queues(made: Timeline) -> NDArray[np.int64]:
    """Stages and replicas; where there are none, all; of many the first ones."""
    used = np.unique(made.schedule.queue[made.end_s > made.start_s]).astype(np.int64)
    names = [made.schedule.queue_names[queue] for queue in used.tolist()]
    working = np.array([name.startswith(WORKING) for name in names], dtype=bool)
    return (used[working] if working.any() else used)[:MOST_QUEUES]


def slices_left_out(made: Timeline) -> int:
    """How many slices of a timeline its chart does not show."""
    inside = np.isin(made.schedule.queue, _shown_queues(made)) & (made.end_s > made.start_s)
    return max(0, int(inside.sum()) - MOST_SLICES)


class Limit(NamedTuple):
    """A line that values should stay below: its words and value [s]."""

    name: str
    value_s: float


def distribution(values_s: FloatArray, title: str, limit: Limit | None = None, ink: str = BLUE) -> Chart:
    """Cumulative distribution of times, with its median, 95th and 99th percentile, and a limit. values_s: float64[n] seconds,
    NaN left out."""
    known = np.sort(values_s[np.isfinite(values_s)])
    last = float(known[-1]) if len(known) else 0.0
    near = limit is not None and limit.value_s <= FAR * last
    end = max(last, limit.value_s) if limit is not None and near else last
    scale = scale_of(end, "s")
    kept = _thinned(len(known))
    curve = {
        "type": "scatter",
        "mode": "lines",
        "x": (known[kept] / scale.factor).tolist(),
        "y": ((kept + 1.0) / max(len(known), 1)).tolist(),
        "line": {"color": ink, "width": 2, "shape": "hv"},
        "hovertemplate": f"%{{y:.1%}} of requests within %{{x:.4g}} {scale.label}<extra></extra>",
    }
    lines, notes = _limit(limit, near, scale.factor)
    return {
        "data": [curve, _percentile_marks(known, scale.factor, end, ink)],
        "layout": layout(
            300,
            xaxis=axis(f"{title} [{scale.label}]", range=[0.0, 1.08 * end / scale.factor]),
            yaxis=axis("share of requests", tickformat=".0%", range=[0, 1.06], fixedrange=True),
            shapes=lines,
            annotations=notes,
        ),
    }


def _limit(limit: Limit | None, near: bool, factor: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The line of a limit and its words; one that is far off is only named."""
    if limit is None:
        return [], []
    if near:
        line, note = upright(limit.value_s / factor, escaped(limit.name), WINE)
        return [line], [note]
    said = {"x": 1, "xref": "paper", "xanchor": "right", "y": 0.02, "yref": "paper", "yanchor": "bottom"}
    return [], [{**said, "text": f"{escaped(limit.name)}, far to the right", "showarrow": False}]


def _percentile_marks(known: FloatArray, factor: float, end: float, ink: str) -> dict[str, Any]:
    ends = [float(np.percentile(known, p)) for p in (50, 95, 99)] if len(known) else []
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [each / factor for each in ends],
        "y": [0.5, 0.95, 0.99][: len(ends)],
        "text": [f" {name} {text(each, 's')} " for name, each in zip(("p50", "p95", "p99"), ends, strict=False)],
        "textposition": [_side(at, each, end) for at, each in zip(("middle", "middle", "top"), ends, strict=False)],
        "cliponaxis": False,
        "marker": {"color": ink, "size": 7},
        "hoverinfo": "skip",
    }


def _side(height: str, value: float, end: float) -> str:
    """Words stand left of a rising curve, where it leaves room for them."""
    return f"{height} {'left' if value > 0.35 * end else 'right'}"


def _thinned(n: int) -> NDArray[np.int64]:
    """Places of at most 400 of n sorted values: the ends always, and more of the upper tail."""
    if n <= MOST_POINTS:
        return np.arange(n)
    half = MOST_POINTS // 2
    body = np.linspace(0, n - 1, half)
    tail = np.linspace(0.95 * n, n - 1, half)
    return np.unique(np.concatenate([body, tail]).astype(np.int64))


# panels of a fleet's time series: title, unit, columns
PANELS = (
    ("requests", "requests", ("arrivals", "finished")),
    ("at the window's end", "requests", ("in_flight", "waiting", "running")),
    ("time to first token", "s", ("ttft_p50_s", "ttft_p99_s")),
    ("throughput", "tokens_per_s", ("output_tokens_per_s", "prompt_tokens_per_s")),
    ("utilisation and KV cache", "fraction", ("utilisation", "kv_occupancy")),
    ("replicas", "replicas", ("replicas",)),
)


def series(columns: Mapping[str, Any]) -> dict[str, Chart]:
    """What a fleet did window by window: a chart for each panel, by title. columns: the `series` table of a serving run. Panels
    that nothing moves in are left out."""
    start_s = np.asarray(columns["start_s"], dtype=np.float64)
    scale = scale_of(float(start_s.max(initial=0.0)), "s")
    out = {}
    for title, unit, names in PANELS:
        found = {name: np.asarray(columns[name], dtype=np.float64) for name in names if name in columns}
        moving = any(len(np.unique(values[np.isfinite(values)])) > 1 for values in found.values())
        if found and moving:
            out[title] = _panel(start_s / scale.factor, found, (f"time [{scale.label}]", unit))
    return out


def _panel(x: FloatArray, found: Mapping[str, FloatArray], words_of: tuple[str, str]) -> Chart:
    x_title, unit = words_of
    largest = max(float(np.nanmax(values, initial=0.0)) for values in found.values())
    scale = scale_of(largest, unit)
    share = unit == "fraction"
    data = []
    for place, (name, values) in enumerate(found.items()):
        y = [None if value != value else value / scale.factor for value in values.tolist()]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": words(name.removesuffix("_s").removesuffix("_per")) if unit == "s" else words(name),
                "x": x.tolist(),
                "y": y,
                "line": {"color": SERIES[place], "width": 2, "dash": ("solid", "dash", "dot")[place % 3]},
                "connectgaps": False,
            }
        )
    more = {"tickformat": ".0%"} if share else {}
    return {
        "data": data,
        "layout": layout(
            260,
            showlegend=len(data) > 1,
            xaxis=axis(x_title),
            yaxis=axis("" if share else scale.label, rangemode="tozero", **more),
        ),
    }


def power(columns: Mapping[str, Any]) -> Chart:
    """Power over a campaign: a step where its state changes. columns: time_s, power_w of one chip from then on."""
    time_s, watts = (np.asarray(columns[name], dtype=np.float64) for name in ("time_s", "power_w"))
    x_scale, y_scale = scale_of(float(time_s.max(initial=0.0)), "s"), scale_of(float(watts.max(initial=0.0)), "w")
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "x": (time_s / x_scale.factor).tolist(),
                "y": (watts / y_scale.factor).tolist(),
                "line": {"color": BLUE, "width": 1.5, "shape": "hv"},
                "hovertemplate": f"%{{x:.4g}} {x_scale.label}: %{{y:.4g}} {y_scale.label}<extra></extra>",
            }
        ],
        "layout": layout(
            280,
            xaxis=axis(f"time [{x_scale.label}]", rangemode="tozero"),
            yaxis=axis(f"a chip's power [{y_scale.label}]", rangemode="tozero", fixedrange=True),
        ),
    }


def campaigns(columns: Mapping[str, Any], undisturbed_days: float | None = None) -> Chart:
    """Campaigns drawn by chance: a dot each, days against interruptions, coloured by how much of the time was productive.
    columns: days, interruptions, productive_share."""
    days = [float(value) for value in columns["days"]]
    counts = [float(value) for value in columns["interruptions"]]
    shares = [f"{float(value):.2%} productive" for value in columns["productive_share"]]
    line = [] if undisturbed_days is None else [upright(undisturbed_days, "undisturbed", anchor="left")]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": days,
                "y": counts,
                "text": shares,
                "hovertemplate": "%{x:.4g} days, %{y} interruptions, %{text}<extra></extra>",
                "marker": {"color": ORANGE, "size": 8, "opacity": 0.75},
            }
        ],
        "layout": layout(
            300,
            xaxis=axis("days on the wall"),
            yaxis=axis("interruptions", rangemode="tozero", fixedrange=True),
            shapes=[shape for shape, _ in line],
            annotations=[note for _, note in line],
        ),
    }


def states(time_s: Sequence[float], values: Sequence[float], title: str, ink: str = GREEN) -> Chart:
    """A value that steps over time: replicas, links, whatever is counted."""
    scale = scale_of(max(time_s, default=0.0), "s")
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "x": [each / scale.factor for each in time_s],
                "y": list(values),
                "line": {"color": ink, "width": 2, "shape": "hv"},
            }
        ],
        "layout": layout(260, xaxis=axis(f"time [{scale.label}]"), yaxis=axis(title, rangemode="tozero")),
    }
