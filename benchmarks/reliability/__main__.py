"""Runs everything of docs/reliability.md and writes the page: `make reliability`, or with --fast few runs into out/reliability.

What was done is kept in out/reliability; --fresh starts again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import guided, kill, page, same, soak
from .fuzz import fuzz, slug
from .kept import ROOT, cache, once
from .readers import READERS


def main() -> int:
    """1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="few runs of each kind; the page goes to out/reliability")
    parser.add_argument("--fresh", action="store_true", help="keep nothing of earlier runs")
    parser.add_argument("--inputs", type=int, default=0, help="for each reader (10,000; fast: 100)")
    parser.add_argument("--strikes", type=int, default=0, help="kills and full disks for each command (25; fast: 3)")
    parser.add_argument(
        "--guided", type=int, default=-1, help="coverage-guided runs for each reader (a tenth of the inputs); 0: none"
    )
    asked = parser.parse_args()
    if asked.fresh:
        shutil.rmtree(cache())
    inputs = asked.inputs or (100 if asked.fast else 10_000)
    several = inputs // 10 if asked.guided < 0 else asked.guided
    found = runs((inputs, several, asked.strikes or (3 if asked.fast else 25)), asked.fast)
    page.write(found, cache() / "reliability.md" if asked.fast else ROOT / "docs" / "reliability.md")
    wrong = _wrong(found)
    print(f"{len(wrong)} wrong" + "".join(f"\n{each}" for each in wrong[:20]))
    return 1 if wrong else 0


def runs(counts: tuple[int, int, int], fast: bool) -> dict[str, Any]:
    """Every part by name. counts: inputs and coverage-guided runs for each reader, strikes for each command."""
    inputs, several, times = counts
    served = 20_000 if fast else 1_000_000
    found: dict[str, Any] = {"fuzz": {}, "guided": {}, "kill": {}}
    for name in READERS:
        _say(f"fuzz {name}")
        found["fuzz"][name] = fuzz(name, inputs)
        if several and guided.installed() and not name.startswith(guided.COMPILED):
            found["guided"][name] = once(f"guided-{slug(name)}-{several}", partial(guided.guided, name, several))
    with TemporaryDirectory() as folder:
        for case in kill.cases(Path(folder)):
            _say(f"kill {case.name}")
            found["kill"][case.name] = {
                part: once(f"{part}-{slug(case.name)}-{times}", partial(_struck, run, case, Path(folder) / part, times))
                for part, run in (("killed", kill.killed), ("filled", kill.filled))
            }
    _say("together, workers, executors, Pythons")
    found["together"] = once("together", same.together)
    found["workers"] = once("workers", same.workers)
    found["executors"] = once(f"executors-{times}", partial(same.executors, 4 * times))
    found["pythons"] = once(
        f"pythons-{fast}-{slug(same.OTHER)}", partial(same.pythons, same.FEW if fast else same.COMMANDS)
    )
    _say(f"soak of {served:,} requests")
    found["stream"] = once(f"soak-stream-{2 * served}", partial(soak.streamed, 2 * served))
    found["fleet"] = once(f"soak-fleet-{served}", partial(soak.fleet, served))
    return {**found, **_machine()}


def _struck(run: Any, case: kill.Case, place: Path, times: int) -> dict[str, Any]:
    struck: dict[str, Any] = run(case, place, times, random.Random(case.name))
    return struck


def _machine() -> dict[str, Any]:
    from sim import __version__

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "cores": os.cpu_count(),
        "memory_gib": memory,
    }


def _wrong(found: dict[str, Any]) -> list[str]:
    kills = [part for each in found["kill"].values() for part in each.values()]
    parts = [*kills, *(found[name] for name in ("together", "workers", "executors", "pythons", "stream", "fleet"))]
    broken = [
        f"{name}: {each[0]}"
        for kind in ("fuzz", "guided")
        for name, part in found[kind].items()
        for each in part["broken"]
    ]
    return broken + [each for part in parts for each in part["wrong"]]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
