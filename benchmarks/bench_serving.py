"""Requests a second of process CPU that the serving wing simulates, on one core: `python benchmarks/bench_serving.py [TRACE]`.

One H200 replica at tp 4 of Llama 3.1 70B, at an hour of chat traffic; without a trace file, as many Poisson arrivals of
comparable lengths. The first run fills the price tables, and is said apart.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sim.catalog.library import default_library
from sim.catalog.plans import Engine, Plan
from sim.catalog.targets import target
from sim.catalog.traffic import Requests, closed_loop, poisson, read_trace
from sim.serving import state
from sim.serving.answer import Setup, packed
from sim.serving.fleet import Fleet
from sim.serving.pack import Pack
from sim.serving.run import simulate


def measured(label: str, pack: Pack, requests: Requests, fleet: Fleet) -> None:
    """Print the first run and the best of three more."""
    spent_s = []
    for _ in range(4):
        start_s = time.process_time()
        served = simulate(pack, requests, fleet)
        spent_s.append(time.process_time() - start_s)
    n, iterations = len(requests), int(served.counters[:, state.ITERATIONS].sum())
    first, best = n / spent_s[0], n / min(spent_s[1:])
    print(f"{label:34} {n:7,} requests {iterations:10,} iterations   first {first:9,.0f}/s   then {best:9,.0f}/s")


def main() -> None:
    library = default_library()
    hour = read_trace(Path(sys.argv[1])) if len(sys.argv) > 1 else poisson(5.5, 19_366, 2300, 420, spread=1.0)
    setup = Setup(library.model("llama-3.1-70b"), Plan(tp=4), target(library, "h200", None, "serve"), Engine())
    simulate(packed(setup, hour)[0], closed_loop(2, 4, 16, 4))  # compiles
    measured("an hour of chat, 1 replica", packed(setup, hour)[0], hour, Fleet())
    busy = poisson(320.0, 19_366, 2300, 420, spread=1.0)
    measured("64 replicas in turn", packed(setup, busy)[0], busy, Fleet(64))
    measured("64 replicas, least loaded", packed(setup, busy)[0], busy, Fleet(64, "least_loaded"))
    loop = closed_loop(64, 6_400, 1024, 256, spread=0.2)
    measured("closed loop of 64 clients", packed(setup, loop)[0], loop, Fleet())


if __name__ == "__main__":
    main()
