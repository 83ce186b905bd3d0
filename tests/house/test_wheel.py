"""What is installed is what is here: the wheel carries the catalogue and finds it, and the documented commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The wheel, built and unpacked outside the checkout."""
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def run(site: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("GAMBREL_CATALOG", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=site.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_every_file_of_the_catalogue(unpacked):
    for part in ("devices", "workloads"):
        here = {path.relative_to(ROOT) for path in (ROOT / part).rglob("*") if path.is_file()}
        there = {
            path.relative_to(unpacked / "sim" / "_data") for path in (unpacked / "sim" / "_data" / part).rglob("*")
        }
        assert here <= there


def test_the_wheel_finds_its_own_catalogue(unpacked):
    root = run(unpacked, "from sim.catalog.library import package_root; print(package_root())").strip()
    assert Path(root) == (unpacked / "sim" / "_data").resolve()
    shown = run(unpacked, "from sim.app.cli import run; run(['devices', 'h100', '--json'])")
    assert str(unpacked.resolve()) in shown


def test_the_wheel_carries_the_templates_of_reports(unpacked):
    here = {path.relative_to(ROOT) for path in (ROOT / "sim" / "report" / "templates").iterdir()}
    assert here and all((unpacked / path).is_file() for path in here)


def test_the_wheel_carries_licence_and_notices(unpacked):
    (folder,) = unpacked.glob("gambrel-*.dist-info")
    names = {path.name for path in (folder / "licenses").rglob("*")}
    assert {"LICENSE", "NOTICE"} <= names


def test_a_checkout_reads_its_own_folders():
    from sim.catalog.library import package_root

    assert package_root() == ROOT


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_of_a_document_is_a_target(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    commands = set(
        re.findall(r"(?:^\$ |`)make ([a-z]+)\b", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert commands & {"test"}
    assert commands <= targets
