"""A page as HTML: one self-contained file, or one beside a shared `plotly.min.js`; never anything from another host."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, NamedTuple

from .. import __version__
from ..errors import InputError
from ..result import Figure
from . import theme
from .page import Page, figure_cells, span_of, split_value
from .tables import interval_text

PLOTLY = "plotly.min.js"
MISSING = "report: {0} is not installed. Type: pip install 'gambrel[report]'"


class Html(NamedTuple):
    """What to write. plotly: the script that the page loads from beside it, None where it is inside."""

    page: str
    plotly: str | None


def html(page: Page, shared: bool = False) -> Html:
    """Render a page. shared: the script of the charts is a file of its own, which pages of one folder share.

    Raises InputError if jinja2 or plotly is not installed."""
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ImportError:
        raise InputError(MISSING.format("Jinja2")) from None
    environment = Environment(
        loader=DictLoader({name: theme.template(name) for name in ("page.html", "parts.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = plotly_script()
    charts = [panel.chart for section in page.sections for panel in section.panels]
    text = environment.get_template("page.html").render(
        page=page,
        version=__version__,
        css=theme.css(),
        script=theme.script(),
        plotly=None if shared else script,
        plotly_file=PLOTLY,
        charts=embedded(charts),
        **HELP,
    )
    return Html(text, script if shared else None)


def plotly_script() -> str:
    """plotly.js as the installed package carries it. Raises InputError if it is not installed."""
    try:
        return (files("plotly") / "package_data" / PLOTLY).read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        raise InputError(MISSING.format("Plotly")) from None


def embedded(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it ends the element or opens a comment."""
    said = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return said.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _range(figure: Figure) -> str:
    return interval_text(figure)


HELP = {"figure_cells": figure_cells, "span_of": span_of, "split_value": split_value, "interval": _range}
