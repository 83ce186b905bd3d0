"""The page of parameters names every one of them, and is that of the calibrations that ship."""

from __future__ import annotations

import runpy
from pathlib import Path

from sim.cost.parameters import TABLES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "parameters.md").read_text(encoding="utf-8")


def test_the_page_of_parameters_is_current():
    written = runpy.run_path(str(DOCS / "parameters_page.py"))["page"]()
    assert written == PAGE, "run `make parameters`"


def test_every_parameter_stands_on_the_page_with_its_meaning():
    for table in TABLES.values():
        for parameter in table:
            assert f"| `{parameter.name}` |" in PAGE and parameter.meaning in PAGE
