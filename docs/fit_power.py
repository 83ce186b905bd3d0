"""Refits what serving deployments draw: `make power DATA=file` prints a family's `power` and the host times of a stack."""

from __future__ import annotations

import sys
from pathlib import Path

from sim.evidence.context import Context
from sim.evidence.power_fit import fit, measured
from sim.evidence.predictions import answered
from sim.evidence.tables import find_tables


def main(path: Path) -> None:
    context = Context()
    found = [
        answered(row, lambda each: measured(each, context)) for t in find_tables(path, "power") for row in t.rows()
    ]
    rows = [each for each in found if not isinstance(each, str)]
    print(f"{len(rows)} of {len(found)} rows")
    for name, value in fit(rows).items():
        print(f"{name:16} {value:.4g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
