"""How long the command line takes: `--help`, a warm `train`, and the very first run with compilation, beside bare Python."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

TRAIN = [
    "train",
    "--model",
    "llama-3.1-405b",
    "--cluster",
    "dgx-h100",
    "--devices",
    "16384",
    "--tp",
    "8",
    "--pp",
    "16",
    "--global-batch",
    "2048",
    "--seq-len",
    "8192",
    "--tokens",
    "15.6e12",
    "--json",
]
COMMAND = [sys.executable, "-c", "from sim.app.cli import main; main()"]


def seconds(command: list[str], cache: str, repeats: int = 3) -> float:
    """Least wall-clock time of some runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "GAMBREL_CACHE": cache})
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        bare = seconds([sys.executable, "-c", "pass"], cache)
        numba = seconds([sys.executable, "-c", "import numba"], cache)
        first = seconds([*COMMAND, *TRAIN], cache, repeats=1)
        rows = [
            ("gambrel --help", seconds([*COMMAND, "--help"], cache)),
            ("warm gambrel train", seconds([*COMMAND, *TRAIN], cache)),
            ("very first gambrel train, compiling", first),
        ]
    for name, value in rows:
        print(f"{name:<38} {value:>7.2f} s   {value / bare:>6.1f} x bare Python   {value / numba:>5.1f} x import numba")


if __name__ == "__main__":
    main()
