"""Writes devices/comparisons.yaml, how far predicted ratios of two runs are off: `make comparisons DATA=folder` takes the tables of
serving and training runs in the folder, and prints how sure comparisons are."""

from __future__ import annotations

import sys
from pathlib import Path

from sim.catalog.library import Library
from sim.evidence.comparisons import write_comparisons
from sim.evidence.context import Context

ROOT = Path(__file__).parents[1]
TABLES = ("serving_closed_loop.csv", "training_results.csv")


def main(folder: Path) -> None:
    paths = [folder / name for name in TABLES if (folder / name).is_file()]
    for each in write_comparisons(ROOT, paths, Context(Library()), "make comparisons DATA=folder"):
        print(
            f"{each.role:6} {each.differs:36} {each.metric:22} {each.pairs:4} pairs, {each.groups:2} groups: "
            f"right {each.right:.0%}, Brier {each.brier:.3f}, x {each.within:.2f} holds {each.held:.0%}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
