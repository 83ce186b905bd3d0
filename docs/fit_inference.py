"""Refits the numbers of published inference results: `make inference-fit DATA=file` takes the tables of such results in the file or
folder, writes the numbers into devices/ and their list into docs/serving-numbers.md, and prints each number and the errors on
what was left out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sim.catalog.files import write_whole
from sim.catalog.library import Library
from sim.evidence.context import Context
from sim.evidence.inference_files import write_inference_numbers
from sim.evidence.inference_fit import InferenceFit, left_out_errors
from sim.evidence.inference_numbers import INFERENCE_NUMBERS
from sim.evidence.serving_page import numbers_page
from sim.evidence.splits import OF_INFERENCE
from sim.evidence.tables import find_tables

ROOT = Path(__file__).parents[1]
ROUNDS = 2  # slopes differ where the numbers end up


def main(path: Path) -> None:
    for _ in range(ROUNDS):
        library = Library()
        fit = InferenceFit(find_tables(path, "inference", library)[0], Context(library))
        values = {name: value for family in fit.slopes for name, value in fit.fit(family).items()}
        write_inference_numbers(ROOT, values)
    fit = InferenceFit(fit.table, Context(Library()))
    for split in ("", *OF_INFERENCE):
        for family, errors in left_out_errors(fit, split).items():
            said = f"{np.nanmedian(errors):6.1%} {np.nanquantile(errors, 0.9):6.1%}"
            print(f"{split + ' left out' if split else 'seen':18} {family:22} {len(errors):5} {said}")
    write_whole(ROOT / "docs" / "serving-numbers.md", numbers_page(Library()))
    for number in INFERENCE_NUMBERS:
        if number.name in values:
            print(f"{number.name:64} {number.prior:9.4g} {values[number.name]:9.4g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
