"""Every benchmark of this folder, one after another, each in a process of its own: `make bench`."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numba
import numpy
import simpy

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Print where this runs, then the output of each benchmark; the number of those that failed."""
    versions = f"numpy {numpy.__version__}, numba {numba.__version__}, simpy {simpy.__version__}"
    print(f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores, {platform.machine()}", flush=True)
    failed = 0
    for path in sorted(HERE.glob("bench_*.py")):
        print(f"\n== {path.stem.removeprefix('bench_').replace('_', ' ')} ==", flush=True)
        failed += subprocess.run([sys.executable, str(path)], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
