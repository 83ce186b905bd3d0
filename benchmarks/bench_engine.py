"""How fast the engine runs: rows a second of process CPU time on one core, beside bare SimPy timeouts of the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import simpy

from sim.engine import Schedule, one_f_one_b_many, one_f_one_b_schedule, run
from sim.engine.compiled import sweep_rows
from sim.engine.leap import leap


def rate(work: Callable[[], Any], items: int, repeats: int = 5) -> float:
    """Items a second of CPU time, the best of some repeats after one that compiles and warms up."""
    work()
    best_s = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - begin)
    return items / best_s


def bare_timeouts(rows: int) -> None:
    env = simpy.Environment()

    def live() -> Any:
        for _ in range(rows):
            yield env.timeout(1.0)

    env.process(live())
    env.run()


def simple_table(rows: int, queues: int) -> Schedule:
    """Rows dealt to the queues in turn, without dependencies."""
    stream = np.random.default_rng(0)
    return Schedule.of(list(np.arange(rows) % queues), stream.random(rows))


def chained_table(rows: int, queues: int) -> Schedule:
    """As above, and every fourth row waits for two earlier ones."""
    stream = np.random.default_rng(0)
    after = [stream.integers(0, i, 2).tolist() if i % 4 == 3 else [] for i in range(rows)]
    return Schedule.of(list(np.arange(rows) % queues), stream.random(rows), after)


def sweep_once(table: Schedule) -> Callable[[], float]:
    start_end, free_s = np.empty((2, len(table))), np.zeros(len(table.queue_names))

    def work() -> float:
        free_s[:] = 0.0
        return sweep_rows(table.queue, table.seconds, table.after_ptr, table.after, free_s, start_end)

    return work


def pipelines(count: int, p: int, m: int, v: int) -> tuple[Callable[[], Any], int]:
    """A batch of equal-shaped pipelines with stage times of their own, and how many rows they hold."""
    stream = np.random.default_rng(0)
    forward_s, backward_s = stream.random(count * p * v), stream.random(count * p * v)
    shape = [np.full(count, x) for x in (p, m, v)]
    rows = 2 * m * v * p + 2 * m * (p * v - 1)
    return lambda: one_f_one_b_many(*shape, forward_s, backward_s, np.full(count, 0.01)), rows * count


def measured() -> list[tuple[str, float]]:
    """(what, items a second), bare SimPy first."""
    real = one_f_one_b_schedule(8, 512, 1, np.ones((8, 1)), 2 * np.ones((8, 1)), 0.01)
    simple, chained = simple_table(100_000, 16), chained_table(100_000, 16)
    rates = [("bare SimPy: one process, timeouts", rate(lambda: bare_timeouts(200_000), 200_000))]
    for name, table in (
        ("16 queues, no waiting", simple),
        ("16 queues, a quarter waits", chained),
        ("1F1B, 8 stages", real),
    ):
        rates.append((f"SimPy rows: {name}", rate(lambda t=table: run(t, executor="simpy"), len(table), 3)))
    rates.append(
        ("SimPy rows: watched (or faults, hosts)", rate(lambda: run(simple, watch=(object(),)), len(simple), 3))
    )
    for name, table in (
        ("16 queues", simple_table(1_000_000, 16)),
        ("a quarter waits", chained),
        ("1F1B, 8 stages", real),
    ):
        rates.append((f"compiled sweep rows: {name}", rate(sweep_once(table), len(table), 20)))
    rates.append(("run(auto) rows, check and all: 1F1B, 8 stages", rate(lambda: run(real), len(real), 20)))
    for p, m, v in ((8, 64, 1), (8, 64, 4), (64, 4096, 1)):
        work, rows = pipelines(max(1, 2_000_000 // (4 * p * m * v)), p, m, v)
        rates.append((f"1F1B rows, built and swept: p={p} m={m} v={v}", rate(work, rows)))
    work, _ = pipelines(1000, 8, 64, 1)
    rates.append(("1F1B plans: p=8 m=64 v=1", rate(work, 1000)))
    rates.append(("leap iterations", rate(lambda: leap(0.0, 1e30, 1e-3, 1e-9, 10_000_000), 10_000_000)))
    return rates


def main() -> None:
    """Print each rate and how many times bare SimPy it is."""
    rates = measured()
    bare = rates[0][1]
    for name, per_s in rates:
        print(f"{name:52s} {per_s:15,.0f} /s {per_s / bare:10.2f} x bare SimPy")


if __name__ == "__main__":
    main()
