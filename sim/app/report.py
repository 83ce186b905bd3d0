"""`report`: what a result says on one page, for the terminal or for a browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .command import command
from .output import Call, Progress, emit, write_files

if TYPE_CHECKING:
    from ..catalog.scenarios import Scenario
    from ..report.page import Page
    from ..result import Result

RESULT_FILE = "result.json"
ANSWERS = ("train", "serve", "fit")
SCHEMA = "gambrel.report/1"
MALFORMED = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
)  # of plain values that are not what the schema says

Given = Annotated[
    str, typer.Argument(metavar="RESULT", help="What --json or --out wrote, its folder, or a scenario to answer.")
]
AsHtml = Annotated[bool, typer.Option("--html", metavar=" ", help="Write one self-contained page.")]
InFolder = Annotated[
    bool,
    typer.Option("--folder", metavar=" ", help="Write the page beside a plotly.min.js that pages of a folder share."),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="The page (default: report.html, in --out if given)."),
]


@command()
def report(call: Call, result: Given, html: AsHtml = False, folder: InFolder = False, output: Output = None) -> None:
    """Show a result on one page."""
    from ..report.terminal import screen

    page = page_of(call, result)
    if not (html or folder or output):
        emit(call, _document(page, None), screen(page))
        return
    from ..report.html import PLOTLY
    from ..report.html import html as rendered

    path = (call.out or Path()) / (output or "report.html")
    made = rendered(page, shared=folder)
    files: dict[str, str | bytes] = {path.name: made.page}
    if made.plotly is not None:
        files = {PLOTLY: made.plotly, **files}
    write_files(path.parent, files)
    beside = f" beside {PLOTLY}" if folder else ""
    size = f"{len(made.page.encode()) / 1e6:.1f} MB{beside}"
    shown = f"{path}: {len(page.sections)} sections, {size}. Open it in a browser; it needs no network."
    emit(call._replace(out=None), _document(page, path), shown)


def _document(page: Page, path: Path | None) -> dict[str, Any]:
    """Plain JSON values of a page: what it shows, not how."""
    return {
        "schema": SCHEMA,
        "kind": page.kind,
        "title": page.title,
        "verdict": page.verdict,
        "good": page.good,
        "file": None if path is None else str(path),
        "sections": [
            {
                "id": section.id,
                "title": section.title,
                "charts": [panel.title for panel in section.panels],
                "figures": {name: figure.to_dict() for name, figure in {**section.figures, **section.more}.items()},
                "tables": [[list(row) for row in table.rows] for table in (*section.tables, *section.values)],
                "notes": list(section.notes),
            }
            for section in page.sections
        ],
        "warnings": list(page.warnings),
    }


def page_of(call: Call, given: str) -> Page:
    """The page of a result's file or folder, or of a scenario, which is answered first.

    Raises InputError for what is neither, and for a result that is not what its schema says."""
    path = Path(given)
    path = path / RESULT_FILE if path.is_dir() else path
    if path.suffix != ".json":
        return _answered(call, _scenario(call, given), None)
    from ..catalog.files import read_json

    plain = read_json(path)
    name = str(plain.get("schema", "")) if isinstance(plain, dict) else ""
    kind, _, version = name.removeprefix("gambrel.").partition("/")
    if version != "1" or kind not in (*ANSWERS, *_STUDIES):
        known = ", ".join((*ANSWERS, *_STUDIES))
        raise InputError(f"{path}: schema = {name!r} has no page. Give what --json or --out of {known} wrote.")
    try:
        return _stored(call, plain) if kind in ANSWERS else _STUDIES[kind](call, plain, path)
    except MALFORMED as error:
        raise InputError(f"{path}: is no {name} ({type(error).__name__}: {error}). Write it again.") from None


def _scenario(call: Call, given: str) -> Scenario:
    from ..catalog.library import normal
    from ..catalog.scenarios import read_scenario

    if given.endswith((".yaml", ".yml")) or os.path.exists(given):
        return read_scenario(Path(given))
    known = [name for entry in call.library().entries("scenario") for name in entry.names]
    if normal(given) not in map(normal, known):
        raise InputError(f"{given}: no file, folder or scenario is named so. Give what --json or --out wrote.")
    return read_scenario(call.library().find("scenario", given).path)


def _stored(call: Call, plain: Mapping[str, Any]) -> Page:
    """A result as it was stored; what its file does not hold is made again from its scenario."""
    from ..catalog.recorded import scenario_of
    from ..result import Result

    kept = Result.of(dict(plain))
    return _answered(call, scenario_of(kept.scenario), kept)


def _answered(call: Call, asked: Scenario, kept: Result | None) -> Page:
    """The page of a scenario's answer; kept: the answer as it was stored, whose figures are shown."""
    from dataclasses import replace

    from .. import api
    from ..report.behind import behind
    from ..report.sections_result import page_of as page

    library = call.library()
    if call.seed is not None and kept is None:
        asked = asked.with_(seed=call.seed)
    if kept is not None and kept.schema.startswith("gambrel.fit/"):
        return page(kept)
    training = asked.groups[0].role == "train"
    with Progress() as progress:
        again = (api.train if training else api.serve)(asked, library, progress=progress)
    shown = again if kept is None else replace(kept, requests=again.requests, tables=again.tables)
    if not again.breakdown:  # it does not fit: nothing ran
        return page(shown)
    moved = () if kept is None else _moved(kept, again)
    timeline = api.trace(asked, library)
    return page(replace(shown, warnings=(*shown.warnings, *moved)), behind(asked, library, again), timeline)


def _moved(kept: Result, again: Result) -> tuple[str, ...]:
    """A warning where a stored answer is answered otherwise now, so that charts and figures may not agree."""
    from ..studies.provenance import ends_of, moved

    found = moved(ends_of(kept.to_dict()), ends_of(again.to_dict()))
    if not found:
        return ()
    return (
        f"{len(found)} values are answered otherwise now. Figures, time and memory are those of the file; kernels, timeline, "
        "requests and power are made again. `gambrel rerun` names what has changed.",
    )


def _whatif(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_studies import whatif

    return whatif(plain)


def _search(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_search import search

    return search(plain)


def _search_serve(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_search import search_serve

    return search_serve(plain)


def _capacity(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_studies import capacity

    return capacity(plain, _stored(call, plain["result"]))


def _claims(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_evidence import claims

    return claims(plain)


def _validate(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_evidence import rows_of, validate

    return validate(plain, rows_of(plain, path.parent))


def _lifetime(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_curves import lifetime

    return lifetime(plain)


def _sweep(call: Call, plain: Mapping[str, Any], path: Path) -> Page:
    from ..report.sections_curves import sweep

    tables = (path.parent / "results.parquet", Path(str(plain["table"])))
    found = next((table for table in tables if table.is_file()), None)
    if found is None:
        return sweep(plain, {})
    from ..studies.sweep import need_polars

    return sweep(plain, need_polars().read_parquet(found).to_dict(as_series=False))


_STUDIES: dict[str, Callable[[Call, Mapping[str, Any], Path], Page]] = {
    "whatif": _whatif,
    "search": _search,
    "search-serve": _search_serve,
    "capacity": _capacity,
    "sweep": _sweep,
    "claims": _claims,
    "lifetime": _lifetime,
    "validate": _validate,
}
