"""The pages and their assets: a fixed set of files by name, so that no path leads elsewhere."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from ... import __version__
from ...errors import InputError
from ...report.theme import css, script

HERE = Path(__file__).parent
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Page(NamedTuple):
    """One page: its template, title and what it says of itself."""

    template: str
    title: str


PAGES = {
    "train": Page("ask.html", "Train"),
    "serve": Page("ask.html", "Serve"),
    "catalogue": Page("catalogue.html", "Catalogue"),
    "accuracy": Page("accuracy.html", "Accuracy"),
}


@cache
def assets() -> dict[str, bytes]:
    """Every file that may be fetched, by name: the page's own, the report's theme, and plotly.js out of its package."""
    own = {path.name: path.read_bytes() for path in (HERE / "static").iterdir() if path.suffix in KINDS}
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise InputError("ui: plotly is not installed. Run: pip install 'gambrel[ui]'")
    drawing = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    theme = {"theme.css": css().encode(), "theme.js": script().encode()}
    return {**own, **theme, "plotly.min.js": drawing.read_bytes()}


@cache
def style_ids() -> tuple[str, ...]:
    """Ids of style elements that plotly.js makes where none of the id is there; the page's policy refuses them, so they are there."""
    text = assets()["plotly.min.js"].decode()
    return tuple(dict.fromkeys(re.findall(r'document\.getElementById\("([0-9a-f]{64})"\)', text)))


@cache
def stamp() -> str:
    """Changes with any asset, so that a browser may keep them for ever."""
    digest = hashlib.blake2b(digest_size=6)
    for name, content in sorted(assets().items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()


@cache
def render(name: str) -> str:
    """The HTML of a page."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True)
    page = PAGES[name]
    return environment.get_template(page.template).render(
        name=name, title=page.title, pages=PAGES, version=__version__, stamp=stamp(), styled=style_ids()
    )


def add_pages(app: FastAPI) -> None:
    """The pages below / and the assets below /assets."""

    @app.get("/", include_in_schema=False)
    async def start() -> Response:
        return RedirectResponse("/train")

    @app.get("/assets/{version}/{name}", include_in_schema=False)
    async def asset(version: str, name: str) -> Response:
        content = assets().get(name)
        if content is None or version != stamp():
            raise HTTPException(404, "There is no such file")
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(content, media_type=KINDS[Path(name).suffix], headers=headers)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(assets()["icon.svg"], media_type=KINDS[".svg"])

    @app.get("/{name}", include_in_schema=False)
    async def page(name: str) -> Response:
        if name not in PAGES:
            raise HTTPException(404, "There is no such page")
        return HTMLResponse(render(name), headers={"cache-control": "no-cache"})
