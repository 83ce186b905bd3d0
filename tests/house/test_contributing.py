"""CONTRIBUTING.md works as it stands: its files are written into an empty folder, its commands run there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from sim.app.cli import run

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([^`]+)`\n\n```(?:yaml|python)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^\$ (gambrel .*)$", TEXT, re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the document's files in it, the working folder of the command."""
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # as the command itself does
    return tmp_path


def test_the_document_has_the_three_journeys():
    assert [Path(name).suffix for name in FILES] == [".yaml", ".yaml", ".py"]
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_document_answers(folder, capsys, command):
    code = run(shlex.split(command)[1:])
    written = capsys.readouterr()
    assert code == 0, written.err
    assert written.out.strip()


def test_the_users_chip_is_found_in_the_users_catalogue(folder, capsys):
    run(["devices", "kite", "--catalog", "mine"])
    assert "--catalog" in capsys.readouterr().out


def test_a_wrong_unit_names_file_line_and_remedy(folder, capsys):
    path = folder / "mine" / "devices" / "chips" / "kite-1.yaml"
    path.write_text(path.read_text().replace("bandwidth_tb_per_s: 5.2", "bandwidth_gib: 5.2"))
    assert run(["devices", "kite", "--catalog", "mine"]) == 2
    line = capsys.readouterr().err
    assert "kite-1.yaml:" in line
    assert "bandwidth_gb_per_s" in line
    assert line.count("\n") == 1
