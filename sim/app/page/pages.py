"""The pages and their assets: a fixed set of files by name, so that no path leads elsewhere."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from ... import __version__

HERE = Path(__file__).parent
STYLES = HERE.parent.parent / "report" / "templates"
KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


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
def assets() -> dict[str, Path]:
    """Every file that may be fetched, by name."""
    import plotly

    own = {path.name: path for path in (HERE / "static").iterdir() if path.suffix in KINDS}
    shared = {path.name: path for path in STYLES.glob("*.css")}
    return {**shared, **own, "plotly.min.js": Path(plotly.__file__).parent / "package_data" / "plotly.min.js"}


@cache
def stamp() -> str:
    """Changes with any asset, so that a browser may keep them for ever."""
    digest = hashlib.blake2b(digest_size=6)
    for name, path in sorted(assets().items()):
        said = path.stat()
        digest.update(f"{name} {said.st_size} {said.st_mtime_ns}".encode())
    return digest.hexdigest()


@cache
def render(name: str) -> str:
    """The HTML of a page."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True)
    page = PAGES[name]
    return environment.get_template(page.template).render(
        name=name, title=page.title, pages=PAGES, version=__version__, stamp=stamp()
    )


def add_pages(app: FastAPI) -> None:
    """The pages below / and the assets below /assets."""

    @app.get("/", include_in_schema=False)
    async def start() -> Response:
        return RedirectResponse("/train")

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        path = assets().get(name)
        if path is None:
            raise HTTPException(404, "There is no such file")
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return FileResponse(path, media_type=KINDS[path.suffix], headers=headers)

    @app.get("/{name}", include_in_schema=False)
    async def page(name: str) -> Response:
        if name not in PAGES:
            raise HTTPException(404, "There is no such page")
        return HTMLResponse(render(name), headers={"cache-control": "no-cache"})
