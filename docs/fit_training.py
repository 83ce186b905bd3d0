"""Refits the numbers of training: `make training-fit DATA=folder` takes every table of training runs in the folder, writes the
numbers and the intervals of steps into devices/ and their list into docs/training-numbers.md, and prints each number and the
errors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sim.catalog.files import write_whole
from sim.catalog.library import Library
from sim.evidence.context import Context
from sim.evidence.tables import find_tables
from sim.evidence.training_files import write_numbers
from sim.evidence.training_fit import Steps, residuals_of, value_now
from sim.evidence.training_numbers import NUMBERS, page

ROOT = Path(__file__).parents[1]
LEFT_OUT = (("random", "fifths left out"), ("source", "sources left out"))
ROUNDS = 3  # a share of the peak is not the time's inverse: once written, its kernels are priced anew


def main(folder: Path) -> None:
    tables = [table for table in find_tables(folder, "training") if "out_of_memory" not in table.path]
    start = None
    for _ in range(ROUNDS):
        steps = Steps(tables, Context(Library()))
        found = steps.fit(start=start)
        start = found.values
        write_numbers(ROOT, found.values, {})
    residuals = {"seen": found.residual}
    for split, name in LEFT_OUT:
        residuals[name] = np.log(steps.measured_s / steps.left_out(split, found))
    write_numbers(ROOT, found.values, residuals_of(steps, [residuals[name] for _, name in LEFT_OUT]))
    written = Context(Library())
    text = page({number.name: value_now(number, written) for number in NUMBERS})
    write_whole(ROOT / "docs" / "training-numbers.md", text)
    for number in NUMBERS:
        print(f"{number.name:64} {number.prior:9.4g} {found.values[number.name]:9.4g}")
    for name, residual in residuals.items():
        error = np.abs(np.exp(-residual) - 1.0)
        for tier in sorted(set(steps.tiers)):
            rows = np.array([each == tier for each in steps.tiers])
            print(f"{name:17} {tier:3} {rows.sum():5} {error[rows].mean():7.1%} {np.median(error[rows]):7.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
