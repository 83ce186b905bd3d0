"""Attention and experts: limits, monotony, and the properties that the mechanisms and kernels have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cost import Machine, seconds_of
from sim.cost.attention import pairs
from sim.lowering.kinds import attention_pairs

from .machines import CLOCK, MEMORY_RATE, PEAK, build

ATTENTION = {"efficiency": 0.6, "memory_efficiency": 0.8, "norm": 4.0, "head_exponent": 0.5}
PARAMETERS = {
    "attention_prefill": ATTENTION,
    "attention_backward": ATTENTION,
    "attention_decode": {**ATTENTION, "cache_share": 0.01, "unit_bytes_per_clock": 200.0},
    "moe": {"efficiency": 0.7, "memory_efficiency": 0.8, "norm": 6.0, "quantum": 1.0, "unit_bytes_per_clock": 1000.0},
}


def machine_of(mechanism: str = "tiles", **changes: dict[str, float]) -> Machine:
    return build(mechanism, {**PARAMETERS, **changes})


@settings(max_examples=100, deadline=None)
@given(
    query=st.integers(1, 5000),
    before=st.integers(0, 5000),
    causal=st.sampled_from([0.0, 1.0]),
    limit=st.sampled_from([0.0, 1.0, 128.0, 4000.0]),
)
def test_pairs_are_those_that_lowering_counts(query: int, before: int, causal: float, limit: float) -> None:
    row = np.array([[1.0, query, query + before, 1.0, 1.0, 1.0, causal, limit]])
    assert pairs(float(query), float(query + before), causal, limit) == pytest.approx(float(attention_pairs(row)[0]))


@pytest.mark.parametrize("mechanism", ["tiles", "pe_grid"])
def test_long_prefill_takes_its_flops_and_exponentials_over_their_rates(mechanism: str) -> None:
    query, heads = 65536, 32
    work = query * query / 2 * heads
    flops, exponentials = 4 * work * 128 / (PEAK * 0.6), work / 2e12
    expected = (flops**2.5 + exponentials**2.5) ** 0.4
    found = seconds_of("attention_prefill", 1, query, query, heads, 8, 128, 1, machine=machine_of(mechanism))
    assert found == pytest.approx(expected, rel=0.02)


def test_causal_prefill_takes_half_of_full_attention_on_long_sequences() -> None:
    machine = machine_of()
    full = seconds_of("attention_prefill", 1, 32768, 32768, 32, 8, 128, 0, machine=machine)
    assert seconds_of("attention_prefill", 1, 32768, 32768, 32, 8, 128, 1, machine=machine) == pytest.approx(
        full / 2, rel=0.02
    )


def test_a_window_makes_prefill_linear_in_the_sequence() -> None:
    machine = machine_of()
    once = seconds_of("attention_prefill", 1, 65536, 65536, 32, 8, 128, 1, 1024, machine=machine)
    twice = seconds_of("attention_prefill", 1, 131072, 131072, 32, 8, 128, 1, 1024, machine=machine)
    assert twice == pytest.approx(2 * once, rel=0.05)


def test_heads_narrower_than_a_systolic_array_waste_its_lanes() -> None:
    systolic, tiles = machine_of("systolic"), machine_of()
    shapes = [(1, 16384, 16384, 64, 64, 64, 1), (1, 16384, 16384, 32, 32, 128, 1)]
    padded = [seconds_of("attention_prefill", *shape, machine=systolic) for shape in shapes]
    dense = [seconds_of("attention_prefill", *shape, machine=tiles) for shape in shapes]
    assert padded[0] == pytest.approx(2 * padded[1], rel=0.05)
    assert dense[0] < 1.6 * dense[1]


def test_long_decode_takes_its_kv_bytes_over_the_memory_rate() -> None:
    held = 64 * 65536 * 8 * 256 * 2
    found = seconds_of("attention_decode", 64, 65536, 32, 8, 128, 128, 256, machine=machine_of())
    assert found == pytest.approx(held / (MEMORY_RATE * 0.8), rel=0.05)


def test_fp8_keys_and_values_halve_a_long_decode() -> None:
    shape = (64, 65536, 32, 8, 128, 128, 256)
    wide = seconds_of("attention_decode", *shape, machine=machine_of())
    assert seconds_of("attention_decode", *shape, machine=machine_of(), stored="fp8") == pytest.approx(
        wide / 2, rel=0.1
    )


def test_one_long_sequence_is_split_over_the_units() -> None:
    machine = machine_of()
    alone = seconds_of("attention_decode", 1, 131072, 8, 1, 128, 128, 256, machine=machine)
    many = seconds_of("attention_decode", 64, 131072, 8, 1, 128, 128, 256, machine=machine)
    assert alone < many / 8
    per_unit = 131072 * 256 * 2 / (200.0 * CLOCK)
    assert alone < per_unit / 4


def test_heads_that_a_kernel_does_not_pack_are_worked_on_alone() -> None:
    packs = machine_of()
    alone = machine_of(attention_decode={**PARAMETERS["attention_decode"], "query_tile": 32.0})
    shape = (16, 4096, 96, 1, 128, 128, 256)
    assert seconds_of("attention_decode", *shape, machine=alone) > 2 * seconds_of(
        "attention_decode", *shape, machine=packs
    )


PREFILL = st.tuples(*(st.integers(1, n) for n in (64, 4096, 4096, 16, 8, 256)))


@settings(max_examples=80, deadline=None)
@given(shape=PREFILL, axis=st.sampled_from([0, 1, 2, 3]), more=st.integers(1, 512), limit=st.sampled_from([0, 256]))
@pytest.mark.parametrize("kind", ["attention_prefill", "attention_backward"])
def test_time_of_prefill_never_falls_when_it_grows(
    kind: str, shape: tuple[int, ...], axis: int, more: int, limit: int
) -> None:
    machine = machine_of()
    batch, query, before, heads, kv_heads, size = shape
    grown = [batch, query, before, heads, kv_heads, size]
    grown[axis] += more

    def time(b: int, q: int, old: int, h: int, k: int, s: int) -> float:
        return seconds_of(kind, b, q, q + old, h * k, k, s, 1, limit, machine=machine)

    assert time(*grown) >= time(*shape) * (1 - 1e-12)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 600), st.integers(1, 9000), st.integers(1, 16), st.integers(1, 8)),
    axis=st.integers(0, 2),
    more=st.integers(1, 300),
)
def test_time_of_decode_never_falls_when_it_grows(shape: tuple[int, ...], axis: int, more: int) -> None:
    machine = machine_of()
    grown = list(shape)
    grown[axis] += more

    def time(batch: int, kv: int, group: int, kv_heads: int) -> float:
        return seconds_of("attention_decode", batch, kv, group * kv_heads, kv_heads, 128, 128, 256, machine=machine)

    assert time(*grown) >= time(*shape) * (1 - 1e-12)


def test_linear_attention_is_linear_in_the_sequence() -> None:
    machine = build("tiles")
    once = seconds_of("linear_attention", 8, 32768, 32, 128, 128, machine=machine)
    assert seconds_of("linear_attention", 8, 65536, 32, 128, 128, machine=machine) == pytest.approx(2 * once, rel=0.02)


def moe(
    machine: Machine, rows: float, experts: float, skew: float = 0.0, share: float = 1.0, stored: str = "bf16"
) -> float:
    return seconds_of("moe", rows, 4096, 2048, experts, skew, 3, rows, share, machine=machine, stored=stored)


def test_many_rows_on_few_experts_take_their_flops_over_the_reached_peak() -> None:
    flops = 2 * 262144 * 4096 * 2048 * 3
    assert moe(machine_of(), 262144, 8) == pytest.approx(flops / (PEAK * 0.7), rel=0.15)


def test_few_rows_read_the_weights_of_the_experts_that_they_touch() -> None:
    machine = machine_of()
    expert = 3 * 4096 * 2048 * 2 / (MEMORY_RATE * 0.8)
    touched = 256 * (1 - math.exp(-64 / 256))
    assert moe(machine, 64, 256) == pytest.approx(touched * expert, rel=0.1)
    assert moe(machine, 2048, 256) == pytest.approx(256 * expert, rel=0.1)


def test_two_matrices_take_two_thirds_of_three() -> None:
    machine = machine_of()
    plain = seconds_of("moe", 2048, 4096, 2048, 256, 0, 2, 2048, 1, machine=machine)
    assert plain == pytest.approx(moe(machine, 2048, 256) * 2 / 3, rel=0.05)


def test_experts_in_four_bits_are_read_four_times_as_fast() -> None:
    machine = machine_of()
    assert moe(machine, 512, 256, stored="fp4") < 0.35 * moe(machine, 512, 256)


def test_a_skewed_load_makes_the_busiest_rank_slower_the_more_ranks_there_are() -> None:
    machine = machine_of()
    balanced = moe(machine, 65536, 8, share=1 / 32)
    few, many = moe(machine, 65536, 8, 1.2, 1 / 4), moe(machine, 65536, 8, 1.2, 1 / 32)
    assert balanced < few < many


@settings(max_examples=80, deadline=None)
@given(rows=st.integers(1, 100000), experts=st.sampled_from([1, 8, 64, 256]), more=st.integers(1, 2000))
@pytest.mark.parametrize("mechanism", ["tiles", "systolic", "pe_grid"])
def test_time_of_experts_never_falls_when_rows_grow(mechanism: str, rows: int, experts: int, more: int) -> None:
    machine = machine_of(mechanism)
    assert moe(machine, rows + more, experts) >= moe(machine, rows, experts) * (1 - 1e-12)
