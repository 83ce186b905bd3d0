"""Build the site of the documents into build/site: `make site`. Also writes docs/llms.txt, the same contents for language models."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BUILD = ROOT / "build"
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+\.md)(#[^)]*)?\)")
TOP = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}  # pages that lie beside docs/
SECTIONS = {  # what is not a how-to; pages in reading order
    "Reference": ("reference.md", "parameters.md", "training-numbers.md", "serving-numbers.md"),
    "How right": ("accuracy.md", "how-wrong.md", "claims.md", "reliability.md"),
    "How it works": ("cost.md", "training.md", "other-families.md", "why.md", "data-sources/README.md"),
}
API = {  # what a program calls, by page
    "verbs": "sim.api",
    "results": "sim.result",
    "errors": "sim.errors",
    "scenarios": "sim.catalog.scenarios",
    "plans": "sim.catalog.plans",
    "models": "sim.catalog.models",
    "chips": "sim.catalog.chips",
    "clusters": "sim.catalog.clusters",
    "library": "sim.catalog.library",
    "kernels": "sim.lowering.kinds",
    "cost": "sim.cost.core",
    "schedules": "sim.engine.schedule",
    "timelines": "sim.engine.timeline",
    "schedulers": "sim.serving.schedulers",
    "routers": "sim.serving.routers",
}


def how_tos() -> list[str]:
    """The how-to pages in the order of docs/index.md, then those that it does not name."""
    named = [target for _, target, _ in LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))]
    rest = sorted(f"how-to/{path.name}" for path in (DOCS / "how-to").glob("*.md"))
    return list(dict.fromkeys([target for target in named if target.startswith("how-to/")] + rest))


def title(page: Path) -> str:
    """A page's first heading."""
    return next(line[2:].strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))


def present(pages: tuple[str, ...]) -> list[str]:
    return [page for page in pages if (DOCS / page).exists()]


def navigation() -> list[dict[str, object]]:
    """What the site lists, in order."""
    entries: list[dict[str, object]] = [{"Gambrel": "index.md"}, {"Tutorial": "tutorial.md"}]
    entries.append({"How to": [{title(DOCS / page): page} for page in how_tos()]})
    entries += [{name: [{title(DOCS / page): page} for page in present(pages)]} for name, pages in SECTIONS.items()]
    entries.append({"Python": [{name.capitalize(): f"python/{name}.md"} for name in API]})
    entries.append({"The project": [{"Contributing": "contributing.md"}, {"Changelog": "changelog.md"}]})
    return entries


def linked(text: str, origin: Path, page: Path) -> str:
    """The text of a page with links that lead inside the site; links to other files of the repository become names.

    origin: where the page lies in the repository; page: where it lies in the site's pages.
    """

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], (origin.parent / match[2]).resolve(), match[3] or ""
        if target.is_relative_to(DOCS):
            place = BUILD / "pages" / target.relative_to(DOCS)
        elif target.name in TOP and target.parent == ROOT:
            place = BUILD / "pages" / TOP[target.name]
        else:
            return f"{label} (`{match[2]}`)"
        return f"[{label}]({Path(os.path.relpath(place, page.parent)).as_posix()}{anchor})"

    text = re.sub(r"\[([^\]]*)\]\(((?:\.\./)+(?:NOTICE|LICENSE))\)", r"\1 (`\2`)", text)
    return LINK.sub(link, text)


def gather() -> None:
    """Put every page into build/pages."""
    pages = BUILD / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.json", "licences"))
    for origin in [*DOCS.rglob("*.md"), *(ROOT / name for name in TOP)]:
        page = pages / (TOP[origin.name] if origin.parent == ROOT else origin.relative_to(DOCS))
        page.write_text(linked(origin.read_text(encoding="utf-8"), origin, page), encoding="utf-8")
    (pages / "python").mkdir()
    for name, module in API.items():
        (pages / "python" / f"{name}.md").write_text(f"# `{module}`\n\n::: {module}\n", encoding="utf-8")


def llms() -> str:
    """The documents' table of contents in the form of llmstxt.org: title, summary, sections of links."""
    lines = ["# Gambrel", "", "> " + " ".join(summary()), ""]
    sections = {"Start": ("tutorial.md",), "How to": tuple(how_tos()), **SECTIONS}
    for name, pages in sections.items():
        lines += [f"## {name}", "", *(f"- [{title(DOCS / page)}]({page})" for page in present(pages)), ""]
    return "\n".join(lines)


def summary() -> list[str]:
    """The first paragraph of docs/index.md."""
    paragraphs = (DOCS / "index.md").read_text(encoding="utf-8").split("\n\n")
    return paragraphs[1].split("\n")


def build() -> Path:
    """Build the site; a broken link or an unknown name stops it. Returns its first page. Raises RuntimeError."""
    gather()
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    settings["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    settings["nav"] = navigation()
    configured = BUILD / "mkdocs.yml"
    configured.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(configured)]
    built = subprocess.run(command, cwd=BUILD, capture_output=True, text=True)
    if built.returncode != 0:
        raise RuntimeError(built.stdout[-4000:] + built.stderr[-4000:])
    return BUILD / "site" / "index.html"


def main() -> None:
    """Write docs/llms.txt and build the site."""
    (DOCS / "llms.txt").write_text(llms(), encoding="utf-8")
    print(build())


if __name__ == "__main__":
    main()
