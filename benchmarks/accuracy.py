"""Score every measured table of a folder and write the summary that `gambrel demo` shows first.

    python benchmarks/accuracy.py FOLDER [OUT]

FOLDER holds measured tables; OUT is workloads/measured/accuracy.json unless it is given.
"""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

from sim.catalog.files import write_whole
from sim.errors import InputError
from sim.evidence.tables import VERBS
from sim.evidence.validate import validate

OUT = Path(__file__).resolve().parent.parent / "workloads" / "measured" / "accuracy.json"
SHOWN_LEAST = 20  # rows below which a median says little


def lines(folder: Path) -> list[dict[str, Any]]:
    """One line for each metric of each table that the folder holds: rows, median and 90th percentile of the error."""
    found = []
    for verb in VERBS:
        try:
            report = validate(verb, folder)
        except InputError:
            continue  # the folder holds no table of this kind
        for table in report.tables:
            for line in table.lines:
                if line.grouping == "all" and line.n >= SHOWN_LEAST and "apart" not in line.metric:
                    found.append(_line(verb, table.kind, line))
    return found


def _line(verb: str, kind: str, line: Any) -> dict[str, Any]:
    what = kind.replace("_", " ") if verb == "kernels" else verb
    floor = None if line.floor_median != line.floor_median else round(line.floor_median, 4)
    metric = line.metric.replace("_", " ")
    return {
        "what": f"{what}: {metric}",
        "rows": line.n,
        "median": round(line.median, 4),
        "p90": round(line.p90, 4),
        "floor_median": floor,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else OUT
    document = {
        "date": datetime.date.today().isoformat(),
        "command": "python benchmarks/accuracy.py FOLDER",
        "lines": lines(folder),
    }
    write_whole(out, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
