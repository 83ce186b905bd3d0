"""The documents are true: their commands run in order in an empty folder, their Python runs, their links lead somewhere."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sim.app.cli import COMMANDS


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))
examples, site = (_module(ROOT / "docs" / f"{script}.py") for script in ("examples", "site"))
PAGES = examples.pages()


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_commands_of_a_document_print_what_it_shows(path, tmp_path, monkeypatch):
    """In their order, in a folder with the files that the document shows; `make examples` writes the output anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(examples.WIDTH))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # as the command itself does
    for block, now in examples.rewritten(path.read_text(encoding="utf-8")):
        assert examples.alike(block[3], now), f"{name(path)} shows\n{block[3]}\nnow it is\n{now}"


def test_no_command_of_a_document_stands_outside_an_example():
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        inside = sum(block[3].count("$ gambrel ") for block in examples.BLOCK.finditer(text))
        assert text.count("\n$ gambrel ") == inside, name(path)


@pytest.mark.parametrize(
    ("shown", "now", "same"),
    [
        ("step 8.39 s ██▍ 52%", "step  8.40 s ██▌  52%", True),
        ("step 8.39 s", "step 8.79 s", False),
        ("fits: yes", "fits: no", False),
        ("12 plans in 0.81 s", "12 plans in 2.3 s", True),
        ("12 plans", "13 plans", False),
        ("1,024 chips", "1,024 chips more", False),
    ],
)
def test_outputs_are_compared_by_words_and_numbers(shown, now, same):
    assert examples.alike(shown, now) is same


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "README.md"], ids=name)
def test_the_python_of_a_document_runs(path, capsys):
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(path), "exec"), {})


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name)
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{name(path)} links to {target}"


def test_the_reference_names_every_command():
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert all(f"`gambrel {command}" in text or f"`{command} " in text for command in COMMANDS)


def test_every_page_is_reached_from_the_first_one():
    linked = {(ROOT / "docs" / target).resolve() for _, target, _ in site.LINK.findall(site_text("index.md"))}
    assert {path for path in DOCUMENTS if path.name not in ("index.md", "measured.md")} <= linked


def site_text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_the_contents_for_language_models_are_those_of_the_documents():
    assert site_text("llms.txt") == site.llms()


def test_the_site_builds_without_a_broken_link_and_asks_no_other_host(tmp_path, monkeypatch):
    pytest.importorskip("zensical", reason="the site needs zensical, of the extra `docs`")
    monkeypatch.setattr(site, "BUILD", tmp_path)
    monkeypatch.setattr(site, "DOCS", ROOT / "docs")
    site.build()
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(https?:[^\"' >]+)", page.read_text("utf-8")
        )
        assert not loaded, page
    assert (tmp_path / "site" / "python" / "verbs" / "index.html").exists()


def test_the_counts_of_measured_rows_are_those_of_the_files():
    table = re.findall(r"^\| (`[^|]*\.csv`[^|]*) \| ([\d,]+) \|", site_text("data-sources/measured.md"), re.MULTILINE)
    assert table
    for files, said in table:
        names = re.findall(r"`([^`]+)`", files)
        folder = Path(names[0]).parent
        paths = [ROOT / (name if "/" in name else folder / name) for name in names]
        assert sum(len(list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))) for path in paths) == int(
            said.replace(",", "")
        )
