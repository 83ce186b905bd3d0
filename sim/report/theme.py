"""How pages and charts look: one palette that colour-blind people can tell apart, one type scale, light and dark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

Chart = dict[str, Any]  # what Plotly calls a figure: {"data": [...], "layout": {...}}, plain JSON values


class Ink(NamedTuple):
    """A colour on a light and on a dark page."""

    light: str
    dark: str


# Hues of Okabe and Ito (2008); light and dark were moved apart until all pairs differ under protan-, deuter- and tritanopia,
# each with a contrast of 3 to its page. tests/report/test_theme.py holds both.
INKS = {
    "blue": Ink("#1742B0", "#A5CBF5"),
    "orange": Ink("#D07008", "#D9702F"),
    "green": Ink("#1F9E6E", "#4FD3A2"),
    "violet": Ink("#C452DB", "#D858DF"),
    "brown": Ink("#6A5510", "#F0E189"),
    "wine": Ink("#6B0F2E", "#E63E73"),
    "grey": Ink("#7A828C", "#8B949E"),
}
# neutrals of a page: CSS variables of these names
PAGE = {
    "page": Ink("#FFFFFF", "#15181D"),
    "panel": Ink("#F5F6F8", "#1D2128"),
    "line": Ink("#DDE1E6", "#343B45"),
    "text": Ink("#171B21", "#E8EBEF"),
    "quiet": Ink("#555D68", "#A3ACB8"),
    "link": Ink("#1742B0", "#A5CBF5"),
    "good": Ink("#14724F", "#4FD3A2"),
    "warn": Ink("#8A4B00", "#EFB36B"),
    "bad": Ink("#A3123F", "#FF7A9E"),
}
SERIES = tuple(INKS[name].light for name in ("blue", "orange", "green", "violet", "brown", "wine"))
BLUE, ORANGE, GREEN, VIOLET, BROWN, WINE = SERIES
GREY = INKS["grey"].light

# sizes in px, each 1.2 times the one before, rounded
SIZES = {"tiny": 12, "small": 14, "body": 16, "lead": 19, "title": 23, "head": 28}
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif'
MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'

# what a part is: products, attention, passes over memory, traffic, the optimizer, waiting
_FAMILIES = {
    BLUE: ("projection", "ffn", "experts", "logits", "draft"),
    GREEN: ("attention",),
    BROWN: ("norm", "embedding", "router", "loss", "casts", "gradients"),
    ORANGE: ("tp_traffic", "cp_traffic", "ep_traffic", "dp_traffic", "pp_traffic", "kv_traffic"),
    VIOLET: ("optimizer",),
    GREY: ("bubble", "host"),
}
PART_INK = {part: ink for ink, parts in _FAMILIES.items() for part in parts}
FAMILY_NAMES = {
    BLUE: "products",
    GREEN: "attention",
    BROWN: "passes over memory",
    ORANGE: "traffic",
    VIOLET: "optimizer",
    GREY: "waiting",
}
PHASE_INK = {
    "forward": BLUE,
    "backward": ORANGE,
    "recompute": VIOLET,
    "weights": GREEN,
    "optimizer": BROWN,
    "prefill": BLUE,
    "decode": ORANGE,
    "mixed": GREEN,
}
MEMORY_INK = {
    "weights": BLUE,
    "gradients": ORANGE,
    "optimizer": VIOLET,
    "activations": GREEN,
    "kv_cache": GREEN,
    "workspace": BROWN,
    "states": VIOLET,
    "buffers": WINE,
    "draft": WINE,
}


def part_ink(part: str) -> str:
    """Colour of a part of the time or of the memory."""
    return PART_INK.get(part, GREY)


def phase_ink(phase: str) -> str:
    """Colour of a phase."""
    return PHASE_INK.get(phase, GREY)


def escaped(value: str) -> str:
    """Text that Plotly shows as it is: it reads some tags of HTML in labels."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def layout(height: int, **more: Any) -> dict[str, Any]:
    """A chart's layout: no background and no neutral colours of its own, so that it stands on a light and on a dark page."""
    plain: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 28, "b": 8, "pad": 4},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": SIZES["tiny"] + 1},
        "colorway": [*SERIES, GREY],
        "hovermode": "closest",
        "showlegend": False,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "bargap": 0.28,
    }
    return {**plain, **more}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis that makes room for its labels."""
    return {"title": {"text": escaped(title), "standoff": 10}, "automargin": True, "zeroline": False, **more}


def row_axis(names: Sequence[str]) -> dict[str, Any]:
    """A category axis that reads from the top in the order given."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(names),
        "autorange": "reversed",
        "automargin": True,
        "fixedrange": True,
        "showgrid": False,
    }


def bar_trace(name: str, x: Sequence[float | None], y: Sequence[str], ink: Any, **more: Any) -> dict[str, Any]:
    """A trace of horizontal bars. more: `said` is what each says under the pointer, the rest goes to Plotly."""
    said = {}
    if "said" in more:
        said = {"hovertext": more.pop("said"), "hovertemplate": "%{y}: %{hovertext}<extra></extra>"}
    marker = {"color": ink, **more.pop("marker", {})}
    plain = {"type": "bar", "orientation": "h", "name": escaped(name), "x": list(x), "y": list(y), "marker": marker}
    return {**plain, **said, **more}


def upright(x: float, words: str, ink: str = "", anchor: str = "right") -> tuple[dict[str, Any], dict[str, Any]]:
    """(shape, annotation) of a dashed line at x over the whole height, with its words on top."""
    line = {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    note = {"x": x, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": anchor, "text": words, "showarrow": False}
    return {**line, "line": {"color": ink or GREY, "width": 1.5, "dash": "dash"}}, note


@cache
def css() -> str:
    """The style sheet of a page: variables of both themes and the type scale, then `templates/page.css`."""
    inks = {**{f"ink-{name}": ink for name, ink in INKS.items()}, **PAGE}
    light, dark = (" ".join(f"--{name}: {ink[side]};" for name, ink in inks.items()) for side in (0, 1))
    sizes = " ".join(f"--{name}-size: {size / SIZES['body']:g}rem;" for name, size in SIZES.items())
    head = (
        f":root {{ color-scheme: light; {light} {sizes} --font: {FONT}; --mono: {MONO}; }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ color-scheme: dark; {dark} }} }}\n"
        f"@media screen {{ :root[data-theme=dark] {{ color-scheme: dark; {dark} }} }}\n"
    )
    return head + template("page.css")


@cache
def script() -> str:
    """The script of a page: `Gambrel.draw(element, chart)` shows a chart and redraws it when the theme or the paper changes."""
    pairs = {ink.light: ink.dark for ink in INKS.values()}
    return f"const GAMBREL_INKS = {json.dumps(pairs)};\n" + template("charts.js")


@cache
def template(name: str) -> str:
    """A file of `templates`."""
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def dark(chart: Chart) -> Chart:
    """A chart with the colours of a dark page."""
    text = json.dumps(chart)
    for ink in INKS.values():
        text = text.replace(ink.light, ink.dark)
    made: Chart = json.loads(text)
    return made
