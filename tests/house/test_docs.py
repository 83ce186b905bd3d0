"""The documents are true: their commands run in order in an empty folder, their Python runs, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from sim.app.cli import COMMANDS, run

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))
WITH_COMMANDS = [path for path in DOCUMENTS if "\n$ gambrel" in path.read_text(encoding="utf-8")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name)
def test_the_commands_of_a_document_run_in_their_order(path, tmp_path, monkeypatch, capsys):
    """Files that the document shows lie in the folder."""
    text = path.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # as the command itself does
    for file, content in re.findall(r"^`([^`]+)`\n\n```(?:yaml|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (tmp_path / file).write_text(content, encoding="utf-8")
    for command in re.findall(r"^\$ gambrel (.*)$", text, re.MULTILINE):
        code = run(shlex.split(command))
        written = capsys.readouterr()
        assert code in (0, 1), f"{command}: {written.err}"
        assert written.out.strip(), command


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
