"""Refits the numbers of serving: `make serving-fit DATA=folder` takes the tables of closed-loop runs in the folder (or one file),
writes the numbers and the intervals of runs into devices/stacks and their list into docs/serving-numbers.md, and prints each
number and the errors on what was left out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sim.catalog.files import write_whole
from sim.catalog.library import Library
from sim.evidence.context import Context
from sim.evidence.serving_files import write_numbers
from sim.evidence.serving_fit import Runs, ServingFit, residuals_of, runs_of
from sim.evidence.serving_numbers import NUMBERS
from sim.evidence.serving_page import numbers_page
from sim.evidence.tables import find_tables

ROOT = Path(__file__).parents[1]
SPLITS = ("random", "model", "device", "stack")


def say(name: str, runs: Runs, times: tuple[np.ndarray, np.ndarray]) -> None:
    """Median and 90th percentile of the errors of one split."""
    errors = [np.abs(times[0] / runs.measured_tpot_s - 1.0), np.abs(times[1] / runs.measured_ttft_s - 1.0)[runs.first]]
    said = [
        f"{label} {np.median(e):6.1%} {np.quantile(e, 0.9):6.1%}"
        for label, e in zip(("TPOT", "TTFT"), errors, strict=True)
    ]
    print(f"{name:16} {len(runs.rows):5} {'   '.join(said)}")


def main(path: Path) -> None:
    library = Library()
    tables = find_tables(path, "serving", library)
    runs = runs_of(tables[0], Context(library))
    fit = ServingFit(runs, library)
    say("as shipped", runs, (runs.tpot_s, runs.ttft_s))
    values = fit.fit()
    say("seen", runs, fit.predicted(values))
    for split in SPLITS:
        unseen = fit.left_out(split)
        say(f"{split} left out", runs, unseen)
        if split == "model":
            residuals = residuals_of(runs, unseen)
    write_numbers(ROOT, values, residuals)
    write_whole(ROOT / "docs" / "serving-numbers.md", numbers_page(Library()))
    for number in NUMBERS:
        print(f"{number.name:64} {number.prior:9.4g} {values[number.name]:9.4g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
