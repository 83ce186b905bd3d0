"""Ten thousand random kernels of every kind on every chip of the catalogue: the roofline, growth, rates, latencies, continuity."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.catalog.library import default_library
from sim.cost import Machine, machine, seconds_of_rows
from sim.cost.machine import BYTES_PER_S, CLOCK_HZ, LATENCY_S, MECHANISMS, MEMORY_RATE, PEAK_RATE, SRAM_RATE
from sim.cost.parameters import TABLES
from sim.lowering.kernels import DTYPE_IDS
from sim.lowering.kinds import KIND_IDS, attention_pairs

Floats = NDArray[np.float64]
DRAWN = 10_000
FEW = 1_000
BF16 = DTYPE_IDS["bf16"]
MATRIX = ("gemm", "attention_prefill", "attention_decode", "moe")
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
KINDS = (*MATRIX, *COLLECTIVES, "memory")
# columns that double together, for each size of a kind
GROWN: dict[str, tuple[tuple[int, ...], ...]] = {
    "gemm": ((0,), (1,), (2,)),
    "attention_prefill": ((0,), (1, 2), (2,), (3, 4), (5,)),
    "attention_decode": ((0,), (1,), (2, 3)),
    "moe": ((0, 6), (1,), (2,)),
    **dict.fromkeys((*COLLECTIVES, "memory"), ((0,),)),
}
CHIPS = [entry.id for entry in default_library().entries("chip")]


@cache
def packed(chip_id: str) -> Machine:
    library = default_library()
    chip = library.chip(chip_id)
    family = library.family(chip.family)
    calibration = library.calibration(chip, library.stack(family.default_stack))
    return machine(chip, family, calibration, library.cluster(chip_id))


@cache
def drawn(kind: str) -> Floats:
    """Shapes spread evenly over magnitudes [DRAWN, 8]."""
    stream = np.random.default_rng(5)

    def size(low: float, high: float) -> Floats:
        return np.round(np.exp(stream.uniform(np.log(low), np.log(high), DRAWN)))

    rows, one = np.zeros((DRAWN, 8)), np.ones(DRAWN)
    kv_heads, group, head = size(1, 16), 2.0 ** stream.integers(1, 4, DRAWN), 2.0 ** stream.integers(6, 9, DRAWN)
    columns: tuple[Floats, ...] = (size(512, 1e10), 2.0 ** stream.integers(1, 4, DRAWN), one, one)
    if kind == "gemm":
        columns = (size(1, 32768), size(16, 65536), size(16, 65536), one)
    elif kind == "attention_prefill":
        query = size(2, 32768)
        columns = (size(1, 256), query, query + size(1, 65536), kv_heads * group, kv_heads, head, one)
    elif kind == "attention_decode":
        columns = (size(1, 512), size(1, 1e6), kv_heads * group, kv_heads, head, head, 2 * head)
    elif kind == "moe":
        tokens = size(1, 65536)
        columns = (tokens, size(512, 8192), size(64, 16384), size(1, 256), 0 * one, 3 * one, tokens, one)
    elif kind == "memory":
        columns = (size(1, 1e11), 0 * one, one)
    for column, values in enumerate(columns):
        rows[:, column] = values
    return rows


def priced(kind: str, rows: Floats, found: Machine) -> Floats:
    ids = [np.full(len(rows), value, np.int16) for value in (KIND_IDS[kind], BF16, BF16)]
    return np.asarray(seconds_of_rows(*ids, rows, found))


def moved_s(found: Machine, every: Floats, weights: Floats) -> Floats:
    """Bytes of a kernel where the fastest memory holds them, or its weights from that which holds a model."""
    values = found.chip_values
    near = every / max(values[MEMORY_RATE], values[SRAM_RATE])
    return near if MECHANISMS[found.mechanism] == "pe_grid" else np.maximum(near, weights / values[MEMORY_RATE])


def floor_of(kind: str, d: Floats, found: Machine) -> Floats:
    """What no machine of those rates can undercut: arithmetic at the peak, compulsory bytes, bytes over all links."""
    rate, none = found.rates[BF16], np.zeros(len(d))
    if kind == "gemm":
        m, n, k = d[:, 0], d[:, 1], d[:, 2]
        return np.maximum(2 * m * n * k / rate, moved_s(found, 2 * (m * k + n * k + m * n), 2 * n * k))
    if kind == "attention_prefill":
        return 4 * d[:, 0] * attention_pairs(d) * d[:, 3] * d[:, 5] / rate
    if kind == "attention_decode":
        flops = 2 * d[:, 0] * d[:, 1] * d[:, 2] * (d[:, 4] + d[:, 5])
        return np.maximum(flops / rate, moved_s(found, 2 * d[:, 0] * d[:, 1] * d[:, 3] * d[:, 6], none))
    if kind == "moe":
        touched = np.maximum(d[:, 3] * (1.0 - np.exp(-d[:, 0] / d[:, 3])), 1.0)
        weights = 2 * touched * d[:, 1] * d[:, 2] * d[:, 5]
        return np.maximum(2 * d[:, 0] * d[:, 1] * d[:, 2] * d[:, 5] / rate, moved_s(found, weights, weights))
    if kind == "memory":
        return moved_s(found, d[:, 0], none)
    over = d[:, 0] * (d[:, 1] - 1.0) / d[:, 1]
    return over / (2.0 * float(np.sum(found.levels[:, BYTES_PER_S])) + found.chip_values[MEMORY_RATE])


def faster(found: Machine, *columns: int, rates: float = 1.0) -> Machine:
    values = found.chip_values.copy()
    for column in columns:
        values[column] *= 1.3
    return found._replace(chip_values=values, rates=found.rates * rates)


def linked(found: Machine, column: int, share: float) -> Machine:
    levels = found.levels.copy()
    levels[:, column] *= share
    return found._replace(levels=levels)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kernel_of_any_chip_undercuts_its_roofline(kind: str) -> None:
    rows = drawn(kind)
    for chip in CHIPS:
        found = packed(chip)
        assert np.all(priced(kind, rows, found) >= floor_of(kind, rows, found) * (1 - 1e-9)), chip


@pytest.mark.parametrize("kind", KINDS)
def test_time_never_falls_when_a_size_doubles(kind: str) -> None:
    rows = drawn(kind)[:FEW]
    for chip in CHIPS:
        found = packed(chip)
        times = priced(kind, rows, found)
        for columns in GROWN[kind]:
            grown = rows.copy()
            grown[:, columns] *= 2.0
            assert np.all(priced(kind, grown, found) >= times * (1 - 1e-9)), (chip, columns)


CHANGES: dict[str, Callable[[Machine], Machine]] = {
    "memory": lambda found: faster(found, MEMORY_RATE),
    "rate": lambda found: faster(found, PEAK_RATE, rates=1.3),
    "clock": lambda found: faster(found, CLOCK_HZ, PEAK_RATE, rates=1.3),
    "link": lambda found: linked(found, BYTES_PER_S, 1.3),
    "hop": lambda found: linked(found, LATENCY_S, 0.7),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_kernel_is_slower_with_more_bandwidth_rate_or_clock_or_less_latency(kind: str, change: str) -> None:
    rows = drawn(kind)[:FEW]
    slack = 1e-2 if kind == "attention_decode" else 1e-9  # into how many parts a decode is split follows its speed
    for chip in CHIPS:
        found = packed(chip)
        assert np.all(priced(kind, rows, CHANGES[change](found)) <= priced(kind, rows, found) * (1 + slack)), chip


@pytest.mark.parametrize("chip", ["a100-sxm-80gb", "h100-sxm", "b200", "mi300x", "tpu-v5p", "gaudi3", "mtia-2i"])
@pytest.mark.parametrize("kind", KINDS)
def test_time_changes_little_with_a_parameter_that_changes_little(kind: str, chip: str) -> None:
    """Across the switch from one tile, split, wave or algorithm to another; choices are rules and may jump."""
    rows, found = drawn(kind)[:FEW], packed(chip)
    times = priced(kind, rows, found)
    for column, parameter in enumerate(TABLES[kind]):
        if parameter.scope == "choice":
            continue
        near = found.parameters.copy()
        near[KIND_IDS[kind], ..., column] *= 1.0001
        change = np.abs(priced(kind, rows, found._replace(parameters=near)) / times - 1.0)
        assert np.all(change < 1e-3), parameter.name
