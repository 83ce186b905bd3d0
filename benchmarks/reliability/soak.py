"""A million requests through a fleet whose replicas fail and come and go: memory stays flat, and nothing is lost on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sim.catalog.library import default_library
from sim.catalog.plans import Engine, Plan
from sim.catalog.targets import target
from sim.catalog.traffic import Requests, poisson
from sim.serving import state as at
from sim.serving.answer import Setup, packed
from sim.serving.fleet import Fleet, Pool, Run
from sim.serving.pools import Scaling
from sim.serving.replica import CONTROL, UP, Moment
from sim.serving.stream import stream

RATE, PROMPT, ANSWER = 60.0, 900, 220
PERIOD_S, SWING = 3600.0, 0.6  # of demand
SAMPLE_S = 4.37  # no multiple of when replicas come up: a queue is longest just before


def rss_bytes() -> int:
    """Memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096


class Watch:
    """Counts how often each request ends, and looks at memory, KV and who is here every SAMPLE_S of simulated time."""

    def __init__(self, n: int) -> None:
        self.ends = np.zeros(n, dtype=np.int8)
        self.last = 0
        self.memory: list[int] = []
        self.here: list[int] = []
        self.up: list[int] = []
        self.over_full = 0

    def finished(self, request: int, replica: int, now: float) -> None:
        self.ends[request] += 1

    def live(self, run: Run) -> Iterator[Any]:
        """Look again and again until the run is over."""
        looks = 0
        while True:
            looks += 1
            yield Moment(run.env, looks * SAMPLE_S, CONTROL)
            here = len(run.gate)
            for each in run.replicas:
                each.executor.advance(run.env.now, False)
                count = each.executor.core.counts
                here += int(count[at.N_RUNNING] + count[at.N_WAITING])
                self.over_full += not 0 <= count[at.FREE] <= run.pools[0].pack.tables.whole[at.BLOCKS]
            self.here.append(here)
            self.up.append(len(run.roster.of(0, UP)))
            if looks % 20 == 0:
                self.memory.append(rss_bytes())
            if run.over():
                return


def demand(n: int) -> Requests:
    """Poisson arrivals whose rate swings once an hour."""
    drawn = poisson(RATE, n, PROMPT, ANSWER, spread=0.8, seed=1)
    turn = 2.0 * math.pi / PERIOD_S
    return replace(drawn, arrival_s=drawn.arrival_s + SWING / turn * np.sin(turn * drawn.arrival_s))


def fleet(n: int) -> dict[str, Any]:
    """Serve n requests; figures, and what was wrong."""
    library = default_library()
    setup = Setup(library.model("llama-3.1-8b"), Plan(), target(library, "h100", None, "serve"), Engine())
    requests = demand(n)
    pack = packed(setup, requests)[0]
    rule = Scaling(least=2, most=24, target=48.0, every_s=15.0, cooldown_s=60.0)
    pool = Pool(pack, 4, start_s=45.0, mtbf_s=3600.0, repair_s=180.0, scaling=rule)
    run, watch = Run([pool], requests, Fleet(router="least_loaded"), seed=3), Watch(n)
    for column in (
        *run.columns,
        run.cached_tokens,
        run.retries,
        run.moved_s,
        watch.ends,
    ):  # so that memory that is only touched later does not look like growth
        column += 0
    begin_s = time.process_time()
    run.env.process(watch.live(run))
    run.go(watch=[watch])
    spent_s = time.process_time() - begin_s
    return {
        **_figures(run, watch, requests),
        "cpu_s": round(spent_s, 1),
        **_memory(watch.memory),
        "wrong": _wrong(run, watch, requests),
    }


def _figures(run: Run, watch: Watch, requests: Requests) -> dict[str, Any]:
    times_s, tokens = run.columns
    done = tokens[:, at.STATUS] == at.FINISHED
    mean_s = float((times_s[done, at.FINISH] - times_s[done, at.ARRIVAL]).mean())
    span_s = float(np.nanmax(times_s[:, at.FINISH]))
    return {
        "requests": len(requests),
        "finished": int(done.sum()),
        "simulated_s": round(span_s),
        "failures": run.failures,
        "starts": run.roster.starts,
        "sent_again": int(run.retries.sum()),
        "least_up": min(watch.up),
        "most_up": max(watch.up),
        "tokens": int(tokens[:, at.MADE].sum()),
        "in_flight_seen": float(np.mean(watch.here[: int(span_s / SAMPLE_S)])),
        "in_flight_by_little": len(requests) / span_s * mean_s,
    }


def _wrong(run: Run, watch: Watch, requests: Requests) -> list[str]:
    """Invariants that do not hold."""
    times_s, tokens = run.columns
    order = times_s[:, [at.ARRIVAL, at.ADMITTED, at.FIRST, at.FINISH]]
    cores = [each.executor.core for each in run.replicas]
    blocks = run.pools[0].pack.tables.whole[at.BLOCKS]
    figures = _figures(run, watch, requests)
    checks = {
        "a request did not end exactly once": bool((watch.ends != 1).any()),
        "a request was not served whole": bool((tokens[:, at.MADE] != requests.output_tokens).any()),
        "a request ended before it began": bool((np.diff(order[:, [0, 1, 3]], axis=1) < 0).any()),
        "more KV than there is": bool(watch.over_full) or any(core.counts[at.PEAK_BLOCKS] > blocks for core in cores),
        "KV did not come back": any(core.counts[at.FREE] != blocks or core.counts[at.KV_TOKENS] for core in cores),
        "somebody is left": any(core.counts[at.N_RUNNING] + core.counts[at.N_WAITING] for core in cores),
        "fewer tokens computed than made": sum(int(core.counts[at.DECODED]) for core in cores)
        < int((requests.output_tokens - 1).sum()) - int(run.retries.sum()),
        "Little's law is off by more than 1%": not math.isclose(
            figures["in_flight_seen"], figures["in_flight_by_little"], rel_tol=0.01
        ),
        "nothing failed, or nothing was scaled": not (run.failures and run.roster.starts > run.failures),
    }
    return [name for name, broken in checks.items() if broken]


def _memory(samples: list[int]) -> dict[str, Any]:
    """After a tenth, at the end, and growth over the second half by a straight line, in bytes."""
    second = np.array(samples[len(samples) // 2 :], dtype=np.float64)
    slope = float(np.polyfit(np.arange(len(second)), second, 1)[0]) * len(second) if len(second) > 2 else 0.0
    return {
        "memory_samples": len(samples),
        "memory_first": samples[len(samples) // 10],
        "memory_last": samples[-1],
        "grown_second_half": round(slope),
    }


def streamed(n: int) -> dict[str, Any]:
    """n requests in pieces through `stream`, whose rows are used again: memory does not know how many there are."""
    library = default_library()
    setup = Setup(library.model("llama-3.1-8b"), Plan(), target(library, "h100", None, "serve"), Engine())
    size, samples, given, last_s = 20_000, [], 0, 0.0
    pack = packed(setup, poisson(RATE, 10, PROMPT, ANSWER))[0]  # of the longest requests

    def pieces() -> Iterator[Requests]:
        nonlocal given, last_s
        for number in range(n // size):
            samples.append(rss_bytes())
            piece = poisson(RATE, size, PROMPT, ANSWER, spread=0.8, seed=number)
            piece = replace(piece, arrival_s=piece.arrival_s + last_s)
            last_s, given = float(piece.arrival_s[-1]), given + int(piece.output_tokens.sum())
            yield piece

    out = stream(pack, pieces(), 10, router="least_loaded")
    wrong = (
        []
        if (out.finished, out.output_tokens) == (n, given)
        else [f"{out.finished} of {n} requests, {out.output_tokens} of {given} tokens"]
    )
    return {"requests": out.requests, "finished": out.finished, "rows": out.rows, **_memory(samples), "wrong": wrong}
