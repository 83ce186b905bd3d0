"""Experts: closed forms, loads against draws, limits, monotony, and the properties that stacks and kernels have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.library import default_library
from sim.cost import Machine, machine, seconds, seconds_of
from sim.cost.experts import FLAT_RANGE, QUANTILES, SETTLED, Loads, loads_of, power_law_at
from sim.cost.machine import MEMORY_RATE as MEMORY_RATE_COLUMN
from sim.lowering.kernels import DTYPE_IDS, ELEMENT_BYTES, Kernels
from sim.lowering.kinds import KIND_IDS, experts_touched

from .machines import CLOCK, MEMORY_RATE, PEAK, build
from .machines import kernels as rows_of

PARAMETERS = {
    "launch_clocks": 4000.0,
    "experts_clocks": 0.0,
    "efficiency": 0.7,
    "memory_efficiency": 0.8,
    "norm": 6.0,
    "quantum": 1.0,
    "unit_bytes_per_clock": 1000.0,
    "sort_clocks": 0.0,
    "step_clocks": 0.0,
}
FIXED_S = 4000.0 / CLOCK


def machine_of(mechanism: str = "tiles", **changes: float) -> Machine:
    return build(mechanism, {"moe": {**PARAMETERS, **changes}})


def moe(
    machine: Machine,
    rows: float,
    experts: float,
    skew: float = 0.0,
    share: float = 1.0,
    stored: str = "bf16",
    topk: float = 1.0,
) -> float:
    return seconds_of("moe", rows, 4096, 2048, experts, skew, 3, topk, share, machine=machine, stored=stored)


def found(rows: float, experts: float, skew: float, share: float, topk: float = 8.0) -> Loads:
    return loads_of(np.array([rows, 1.0, 1.0, experts, skew, 3.0, topk, share]), np.empty(QUANTILES))


def drawn(tokens: int, topk: int, experts: int, ranks: int, skew: float) -> tuple[float, float]:
    """(rows, experts with a row) of the busiest rank: mean of draws of popularities, rounded to whole rows."""
    stream, pairs = np.random.default_rng(0), tokens * topk
    low, high = (1.0, 0.8 * tokens) if pairs > experts else (0.01, 2.0)
    e, totals = 1.0 - skew, np.zeros(2)
    for _ in range(200):
        x = ((high**e - low**e) * stream.random(experts) + low**e) ** (1.0 / e)
        loads = x / x.sum() * pairs
        for _ in range(30):  # an expert gets at most a row of every token, others what is left
            loads = np.minimum(loads, tokens)
            free = loads[loads < tokens].sum()
            loads[loads < tokens] *= 1.0 + (pairs - loads.sum()) / max(free, 1e-9)
        loads = np.round(loads).astype(int)
        missing = pairs - loads.sum()
        if missing > 0:
            loads[np.argsort(loads + stream.random(experts) * 0.5)[:missing]] += 1
        groups = loads.reshape(ranks, -1)
        busiest = groups[np.argmax(groups.sum(axis=1))]
        totals += (busiest.sum(), (busiest > 0).sum())
    return totals[0] / 200, totals[1] / 200


def test_many_rows_on_few_experts_take_their_flops_over_the_reached_peak() -> None:
    flops = 2 * 262144 * 4096 * 2048 * 3
    alone = machine_of(row_passes=0.0, up_passes=0.0)
    assert moe(alone, 262144, 8) == pytest.approx(flops / (PEAK * 0.7), rel=0.15)


def test_passes_over_activations_add_to_the_products() -> None:
    passes = 2 * 262144 * (4 * 4096 + 2 * 2 * 2048)  # bytes, by the default passes over hidden and up values
    more = moe(machine_of(), 262144, 8) - moe(machine_of(row_passes=0.0, up_passes=0.0), 262144, 8)
    assert more == pytest.approx(passes / (MEMORY_RATE * 0.8), rel=0.01)


def test_a_lone_tile_waits_for_every_step_along_k() -> None:
    slow = machine_of(step_clocks=1000.0)
    assert moe(slow, 1, 1) == pytest.approx(FIXED_S + 1000.0 * (4096 + 2048) / CLOCK, rel=0.05)


def test_few_rows_read_the_weights_of_the_experts_that_they_touch() -> None:
    machine = machine_of()
    expert = 3 * 4096 * 2048 * 2 / (MEMORY_RATE * 0.8)
    touched = 256 * (1 - math.exp(-64 / 256))
    assert moe(machine, 64, 256) == pytest.approx(touched * expert, rel=0.1)
    assert moe(machine, 2048, 256) == pytest.approx(256 * expert, rel=0.1)


def test_rows_that_are_dealt_out_touch_an_expert_each_until_all_have_one() -> None:
    expert = 3 * 4096 * 2048 * 2 / (MEMORY_RATE * 0.8)
    times = [moe(machine_of(), rows, 64, -1.0) - FIXED_S for rows in (0.25, 1, 16, 64, 128)]
    assert times == pytest.approx([expert, expert, 16 * expert, 64 * expert, 64 * expert], rel=0.03)


def test_two_matrices_take_two_thirds_of_three() -> None:
    machine = machine_of()
    plain = seconds_of("moe", 2048, 4096, 2048, 256, 0, 2, 1, 1, machine=machine)
    assert plain == pytest.approx(moe(machine, 2048, 256) * 2 / 3, rel=0.05)


def test_experts_in_four_bits_are_read_four_times_as_fast() -> None:
    machine = machine_of()
    assert moe(machine, 512, 256, stored="fp4") < 0.35 * moe(machine, 512, 256)


@pytest.mark.parametrize(
    ("tokens", "topk", "experts", "ranks", "skew"),
    [
        (4096, 8, 256, 8, 1.01),
        (4096, 8, 256, 8, 1.2),
        (16384, 8, 128, 32, 1.01),
        (2048, 8, 128, 1, 1.2),
        (1024, 8, 256, 256, 1.01),
        (512, 10, 512, 16, 1.2),
        (128, 8, 128, 4, 1.01),
        (8, 8, 128, 4, 1.01),
        (16384, 2, 8, 4, 1.2),
        (8192, 2, 8, 8, 1.2),
        (16384, 1, 16, 2, 1.2),
    ],
)
def test_loads_of_the_busiest_rank_are_those_of_draws(
    tokens: int, topk: int, experts: int, ranks: int, skew: float
) -> None:
    rows, touched = drawn(tokens, topk, experts, ranks, skew)
    loads = found(tokens * topk / ranks, experts / ranks, skew, 1 / ranks, topk)
    assert loads.rows == pytest.approx(rows, rel=0.2)
    assert loads.heavy + loads.single == pytest.approx(touched, rel=0.2)


def test_rows_of_a_rank_that_has_all_experts_are_all_rows() -> None:
    for rows in (1.0, 100.0, 1000.0, 100000.0):
        assert found(rows, 256, 1.2, 1.0).rows == pytest.approx(rows, rel=0.02)


def test_a_skewed_load_makes_the_busiest_rank_slower_the_more_ranks_there_are() -> None:
    machine = machine_of()
    balanced = moe(machine, 65536, 8, share=1 / 32)
    few, many = moe(machine, 65536, 8, 1.2, 1 / 4), moe(machine, 65536, 8, 1.2, 1 / 32)
    assert balanced < few < many


def test_pairs_of_other_ranks_cost_their_share_of_the_passes() -> None:
    dims = (512, 4096, 2048, 32, -1.0, 3)
    own = seconds_of("moe", *dims, 8, 1 / 128, machine=machine_of(absent_share=1.0))
    none = seconds_of("moe", *dims, -8, 1 / 128, machine=machine_of(absent_share=0.0))
    every = seconds_of("moe", *dims, -8, 1 / 128, machine=machine_of(absent_share=1.0))
    passes = 2 * (65536 - 512) * (4 * 4096 + 2 * 2 * 2048)  # bytes, by the default passes over hidden and up values
    assert none == own
    assert every - own == pytest.approx(passes / (MEMORY_RATE * 0.8), rel=0.05)


def test_more_experts_than_the_dispatch_rule_allows_run_the_plainer_kernel() -> None:
    bare = {"row_passes": 0.0, "up_passes": 0.0}
    usual, machine = (
        machine_of(**bare),
        machine_of(fallback_above=128.0, fallback_rate=0.5, fallback_clocks=0.0, **bare),
    )
    assert moe(machine, 262144, 128) == moe(usual, 262144, 128)
    assert moe(machine, 262144, 16, share=1 / 16) == pytest.approx(2 * moe(usual, 262144, 16, share=1 / 16), rel=0.05)
    slow = machine_of(fallback_above=128.0, fallback_bytes_per_clock=2.0)
    weights = 256 * 3 * 4096 * 2048 * 2
    assert moe(slow, 2048, 256) == pytest.approx(weights / (2.0 * 100 * CLOCK), rel=0.05)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 100000),
    experts=st.sampled_from([1, 2, 8, 64, 256]),
    more=st.integers(1, 5000),
    skew=st.sampled_from([-1.0, 0.0, 1.01, 1.2]),
    ranks=st.sampled_from([1, 8, 32]),
    topk=st.sampled_from([1, 2, 8]),
)
@pytest.mark.parametrize("mechanism", ["tiles", "systolic", "pe_grid"])
def test_time_never_falls_when_rows_grow(
    mechanism: str, rows: int, experts: int, more: int, skew: float, ranks: int, topk: int
) -> None:
    machine = machine_of(mechanism)
    slack = 1e-12 if skew <= 0.0 else 3e-5
    before = moe(machine, rows, experts, skew, 1 / ranks, topk=topk)
    assert moe(machine, rows + more, experts, skew, 1 / ranks, topk=topk) >= before * (1 - slack)


@pytest.mark.parametrize("topk", [1, 2, 8, -8])
@pytest.mark.parametrize("skew", [1.01, 1.2])
def test_up_to_48_pairs_an_expert_neither_rows_nor_experts_touched_fall_as_rows_grow(skew: float, topk: int) -> None:
    for everywhere, ranks in ((8, 1), (64, 8), (128, 8), (128, 1), (256, 32), (512, 64), (512, 1)):
        experts = everywhere / ranks
        loads = [found(rows, experts, skew, 1 / ranks, topk) for rows in np.geomspace(1.0, 48.0 * experts, 400)]
        touched = np.array([each.heavy + each.single for each in loads])
        assert np.all(np.diff(touched) >= -1e-5 * touched[1:])
        assert np.all(np.diff([each.rows for each in loads]) >= -1e-9)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 100000),
    hidden=st.integers(64, 8192),
    width=st.integers(16, 16384),
    experts=st.integers(1, 256),
    skew=st.sampled_from([0.0, 1.2]),
    grown=st.sampled_from([1, 2, 3]),
    factor=st.floats(1.0, 3.0),
)
@pytest.mark.parametrize("mechanism", ["tiles", "systolic", "pe_grid"])
def test_time_never_falls_when_hidden_width_or_random_experts_grow(
    mechanism: str, rows: int, hidden: int, width: int, experts: int, skew: float, grown: int, factor: float
) -> None:
    machine = machine_of(mechanism)
    dims = [rows, hidden, width, experts, 0.0 if grown == 3 else skew, 3, 8, 1.0]
    before = seconds_of("moe", *dims, machine=machine)
    dims[grown] *= factor
    assert seconds_of("moe", *dims, machine=machine) >= before * (1 - 1e-12)


def every_shape(n: int) -> np.ndarray:
    stream = np.random.default_rng(3)
    low, high = np.log([1, 512, 32, 1]), np.log([65536, 8192, 16384, 256])
    dims = np.zeros((n, 8))
    dims[:, :4] = np.round(np.exp(stream.uniform(low, high, (n, 4))))
    dims[:, 4] = stream.choice([0.0, 1.01, 1.2], n)
    dims[:, 5] = stream.choice([2.0, 3.0], n)
    dims[:, 7] = 1.0 / stream.choice([1, 2, 8, 64], n)
    dims[:, 6] = stream.choice([1.0, 8.0, -8.0], n)
    return dims


def test_no_kernel_of_any_chip_beats_its_flops_or_the_weights_that_it_must_read() -> None:
    library, dims = default_library(), every_shape(10_000)
    table: Kernels = rows_of("moe", dims)
    flops = 2.0 * dims[:, 0] * dims[:, 1] * dims[:, 2] * dims[:, 5]
    uniform = dims[:, 4] == 0.0
    touched = np.maximum(dims[:, 3] * (1.0 - np.exp(-dims[:, 0] / dims[:, 3])), 1.0)
    assert np.all(touched <= experts_touched(dims[:, 0], dims[:, 3]) * 1.001 + 1.0)
    weights = ELEMENT_BYTES[DTYPE_IDS["bf16"]] * touched * dims[:, 1] * dims[:, 2] * dims[:, 5]
    for entry in library.entries("chip"):
        chip = library.chip(entry.id)
        kin = library.family(chip.family)
        calibration = library.calibration(chip, library.stack(kin.default_stack))
        packed = machine(chip, kin, calibration, library.cluster(chip.id))
        times = seconds(table, packed)
        assert np.all(times >= flops / packed.rates[DTYPE_IDS["bf16"]]), entry.id
        floor = weights / packed.chip_values[MEMORY_RATE_COLUMN]
        assert np.all(times[uniform] >= floor[uniform]), entry.id


def test_slower_rates_never_make_experts_faster() -> None:
    table, packed = rows_of("moe", every_shape(10_000)), machine_of()
    times = seconds(table, packed)
    slow = packed.chip_values.copy()
    slow[MEMORY_RATE_COLUMN] /= 2.0
    assert np.all(seconds(table, packed._replace(chip_values=slow)) >= times)
    assert np.all(seconds(table, packed._replace(rates=packed.rates / 2.0)) >= times)
    later = packed.parameters.copy()
    later[KIND_IDS["moe"], ..., 0] *= 2.0
    assert np.all(seconds(table, packed._replace(parameters=later)) > times)


@given(st.integers(1, 512), st.integers(0, 9), st.floats(0.01, 3.0), st.integers(1, 64), st.floats(SETTLED, 1e4))
def test_the_busiest_rank_has_less_of_nothing_than_at_one_pair_an_expert(
    experts: int, doublings: int, skew: float, topk: int, more: float
) -> None:
    ranks = 2.0**doublings
    d = np.array([1.0, 1.0, 1.0, experts, skew, 3.0, topk, 1.0 / ranks])
    many, one = np.empty(QUANTILES), np.empty(QUANTILES)
    heavy, single, rows = power_law_at(more * experts * ranks, d, many)
    least = power_law_at(experts * ranks, d, one)
    if 0.8 * experts * ranks / topk < FLAT_RANGE:
        assert heavy >= least[0] and rows >= least[2] and (many >= one).all()
        assert heavy + single >= least[0] + least[1] - 2e-5
