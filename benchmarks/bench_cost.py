"""How fast kernels are priced: rows a second of process CPU time on one core, by kind, and the cost of one call of one row."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from sim.catalog.library import default_library
from sim.cost import Machine, machine, seconds_of_rows
from sim.lowering.kernels import DTYPE_IDS
from sim.lowering.kinds import KIND_IDS

SHAPES: dict[
    str, list[tuple[float, float]]
] = {  # smallest and largest value of each dim, drawn evenly in its logarithm
    "gemm": [(1, 16384), (128, 16384), (128, 16384), (1, 1)],
    "attention_prefill": [(1, 16), (16, 8192), (16, 8192), (8, 64), (1, 8), (64, 128), (1, 1)],
    "attention_decode": [(1, 256), (16, 65536), (8, 64), (1, 8), (128, 128), (128, 128), (256, 256)],
    "moe": [(1, 65536), (2048, 8192), (512, 4096), (8, 256), (1e-9, 1e-9), (3, 3), (8, 8), (1, 1)],
    "moe, busiest of 8 ranks": [
        (1, 65536),
        (2048, 8192),
        (512, 4096),
        (8, 256),
        (1.01, 1.2),
        (3, 3),
        (8, 8),
        (0.125, 0.125),
    ],
    "memory": [(1e3, 1e9), (1, 1), (1, 4)],
    "gather": [(1, 1e6), (64, 1024), (1e6, 1e11), (0.8, 1.2)],
    "optimizer": [(1e6, 1e10), (16, 16), (1e-9, 1e-9)],
    "all_reduce": [(1e2, 1e9), (2, 512), (1, 8), (1, 1)],
    "all_to_all": [(1e2, 1e9), (2, 512), (1, 8), (1, 1)],
}


def best_s(work: Callable[[], Any], repeats: int = 5) -> float:
    """CPU time of the fastest of some repeats, after one that compiles and warms up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def usual_machine(chip: str) -> Machine:
    library = default_library()
    found = library.chip(chip)
    family = library.family(found.family)
    return machine(
        found, family, library.calibration(found, library.stack(family.default_stack)), library.cluster(chip)
    )


def rows_of(kind: str, n: int) -> tuple[Any, ...]:
    """Rows of a kind whose dims are drawn evenly in their logarithm."""
    stream = np.random.default_rng(0)
    dims = np.zeros((n, 8))
    for column, (low, high) in enumerate(SHAPES[kind]):
        drawn = np.exp(stream.uniform(np.log(low), np.log(high), n))
        dims[:, column] = np.round(drawn) if high > 2.0 else drawn
    dims[:, 4:5] = np.where(dims[:, 4:5] < 1e-6, 0.0, dims[:, 4:5])
    if kind == "optimizer":
        dims[:, 2] = 0.0
    if kind == "attention_prefill":
        dims[:, 2] += dims[:, 1]
    ids = [
        np.full(n, value, np.int16)
        for value in (KIND_IDS[kind.partition(",")[0]], DTYPE_IDS["bf16"], DTYPE_IDS["bf16"])
    ]
    return (*ids, dims)


def priced(rows: tuple[Any, ...], packed: Machine) -> Any:
    kind, dtype, stored, dims = rows
    return seconds_of_rows(kind, dtype, stored, dims, packed)


def threads_gain(packed: Machine, n: int = 1_000_000) -> float:
    """How many times sooner two threads price a million products than one: wall-clock time, so on an idle machine."""
    halves = [tuple(column[part] for column in rows_of("gemm", n)) for part in (slice(0, n // 2), slice(n // 2, n))]

    def wall_s(threads: int) -> float:
        begin = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda half: priced(half, packed), halves))
        return time.perf_counter() - begin

    wall_s(1)
    return min(wall_s(1) for _ in range(3)) / min(wall_s(2) for _ in range(3))


def main() -> None:
    print(f"two threads, products {threads_gain(usual_machine('h100-sxm')):.2f} times one")
    for chip in ("h100-sxm", "tpu-v5p", "mtia-2i"):
        packed = usual_machine(chip)
        for kind in SHAPES:
            n = 1_000_000 if kind in ("memory", "gather", "optimizer") else 100_000
            rows = rows_of(kind, n)
            took = best_s(lambda rows=rows, packed=packed: priced(rows, packed))  # type: ignore[misc]
            print(f"{chip:10s} {kind:18s} {n / took / 1e6:7.2f} million/s  {took / n * 1e9:7.1f} ns each")
        one = rows_of("gemm", 1)
        calls = best_s(lambda one=one, packed=packed: [priced(one, packed) for _ in range(10_000)])  # type: ignore[misc]
        print(f"{chip:10s} {'one call, one gemm':18s} {calls / 10_000 * 1e6:7.2f} us")


if __name__ == "__main__":
    main()
