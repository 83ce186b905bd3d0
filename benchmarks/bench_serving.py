"""Requests a second of process CPU that the serving wing simulates, on one core: `python benchmarks/bench_serving.py [TRACE]`.

One H200 replica at tp 4 of Llama 3.1 70B, at an hour of chat traffic; without a trace file, as many Poisson arrivals of
comparable lengths. The first run fills the price tables, and is said apart.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
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
from sim.serving.stream import stream


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


PIECE = 50_000


def pieces(n: int, rate: float, prompt: int, answer: int) -> Iterator[Requests]:
    """n Poisson arrivals, made a piece at a time."""
    for first in range(0, n, PIECE):
        count = min(PIECE, n - first)
        piece = poisson(rate, count, prompt, answer, spread=1.0, seed=first)
        yield replace(piece, arrival_s=piece.arrival_s + first / rate)


def scale(setup: Setup, largest: int) -> None:
    """Cost by number of requests and replicas at the same load of each; memory of the process after each run."""
    print("requests  replicas  CPU s  requests/s  rows held  peak MiB")
    for replicas in (1, 10, 100):
        for n in (10**4, 10**5, 10**6):
            if n > largest:
                continue
            sample = next(pieces(PIECE, 5.0 * replicas, 2300, 420))
            pack = packed(setup, sample)[0]
            stream(pack, [sample], replicas)  # fills the tables
            start_s = time.process_time()
            out = stream(pack, ordered(pieces(n, 5.0 * replicas, 2300, 420)), replicas)
            spent_s = time.process_time() - start_s
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
            print(f"{n:8,} {replicas:9} {spent_s:6.1f} {n / spent_s:11,.0f} {out.rows:10,} {peak_mib:9,.0f}")


def ordered(drawn: Iterator[Requests]) -> Iterator[Requests]:
    """A piece that would begin before the one before it has ended begins there."""
    last_s = 0.0
    for piece in drawn:
        shift_s = max(0.0, last_s - float(piece.arrival_s[0]))
        last_s = float(piece.arrival_s[-1]) + shift_s
        yield replace(piece, arrival_s=piece.arrival_s + shift_s)


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
    many = poisson(320.0, 10**6, 2300, 420, spread=1.0)
    start_s = time.process_time()
    simulate(packed(setup, many)[0], many, Fleet(64))
    print(f"a million on 64 replicas: {time.process_time() - start_s:.1f} s CPU")
    scale(setup, 10**6)


if __name__ == "__main__":
    main()
