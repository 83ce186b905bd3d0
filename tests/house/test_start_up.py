"""Starting costs little: what a command does not need, it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numba", "llvmlite", "scipy", "perfetto", "polars", "plotly", "jinja2")


def loaded_by(*arguments: str) -> set[str]:
    """Modules of the heavy ones that one command line leaves loaded."""
    code = (
        "import sys, io, contextlib\n"
        "from sim.app.cli import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    code = run({list(arguments)!r})\n"
        "assert code == 0, code\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["devices"], ["schema", "plan"]], ids=" ".join)
def test_help_and_lists_load_nothing_heavy(arguments):
    assert loaded_by(*arguments) == set()


def test_fit_loads_no_numba():
    plan = ["--cluster", "h100", "--devices", "64", "--tp", "8"]
    assert loaded_by("fit", "llama-3.1-70b", *plan) == set()
