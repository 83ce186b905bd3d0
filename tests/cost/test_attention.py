"""Attention: limits, monotony, and the properties that the mechanisms and kernels have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim.catalog.library import Library
from sim.cost import Machine, machine, seconds_of, seconds_of_rows
from sim.cost.attention import pairs
from sim.cost.machine import MEMORY_RATE as MEMORY
from sim.cost.parameters import TABLES
from sim.lowering.kernels import DTYPE_IDS
from sim.lowering.kinds import KIND_IDS, attention_pairs

from .machines import CLOCK, MEMORY_RATE, PEAK, build

ATTENTION = {"efficiency": 0.6, "memory_efficiency": 0.8, "norm": 4.0}
PARAMETERS = {
    "attention_prefill": {**ATTENTION, "head_exponent": 0.5},
    "attention_backward": {**ATTENTION, "head_exponent": 0.5},
    "attention_decode": {**ATTENTION, "cache_share": 0.01, "unit_bytes_per_clock": 200.0},
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
    alone = machine_of(attention_decode={**PARAMETERS["attention_decode"], "most_heads": 32.0})
    shape = (16, 4096, 96, 1, 128, 128, 256)
    assert seconds_of("attention_decode", *shape, machine=alone) > 2 * seconds_of(
        "attention_decode", *shape, machine=packs
    )


def test_writing_keys_and_values_costs_each_new_token_but_not_those_in_the_cache() -> None:
    prefill = {**PARAMETERS["attention_prefill"], "token_clocks": 100.0, "store_clocks": 50.0}
    plain, writes = machine_of(), machine_of(attention_prefill=prefill)

    def added(query: int, kv: int) -> float:
        shape = (8, query, kv, 32, 8, 128, 1)
        return seconds_of("attention_prefill", *shape, machine=writes) - seconds_of(
            "attention_prefill", *shape, machine=plain
        )

    a_token = 100.0 + 16.0 / 1.5 * 50.0  # 16 vectors of a width of 32 take two thirds of their slope
    assert added(512, 512) == pytest.approx(8 * 512 * a_token / 100 / CLOCK)
    assert added(512, 4096) == pytest.approx(added(512, 512))


def test_packed_tiles_save_what_many_heads_of_few_queries_cost() -> None:
    prefill = {**PARAMETERS["attention_prefill"], "tile_clocks": 4000.0}
    apart, packed = machine_of(attention_prefill=prefill), machine_of(attention_prefill={**prefill, "packed": 1.0})
    shape = (64, 16, 16, 64, 8, 128, 1)
    tiles = 64 * (64 - 8) * 4000.0 / 100 / CLOCK
    saved = seconds_of("attention_prefill", *shape, machine=apart) - seconds_of(
        "attention_prefill", *shape, machine=packed
    )
    assert saved == pytest.approx(tiles, rel=0.1)


def test_one_new_token_runs_on_the_decode_kernel_where_the_stack_does_so() -> None:
    rule = machine_of(attention_prefill={**PARAMETERS["attention_prefill"], "decode_query": 1.0})
    assert seconds_of("attention_prefill", 64, 1, 4096, 32, 8, 128, 1, machine=rule) == seconds_of(
        "attention_decode", 64, 4096, 32, 8, 128, 128, 256, machine=rule
    )


def test_eight_bit_keys_multiply_at_the_eight_bit_rate_where_the_stack_does_so() -> None:
    narrow = machine_of(attention_prefill={**PARAMETERS["attention_prefill"], "narrow": 1.0})
    shape = (1, 65536, 65536, 32, 8, 128, 1)
    eight = seconds_of("attention_prefill", *shape, machine=narrow, stored="fp8")
    assert eight < 0.75 * seconds_of("attention_prefill", *shape, machine=narrow)
    assert seconds_of("attention_prefill", *shape, machine=narrow, dtype="fp8") == pytest.approx(eight, rel=0.01)


def test_heads_that_are_regrouped_cost_copies_only_with_several_sequences_and_groups() -> None:
    copies = machine_of(attention_decode={**PARAMETERS["attention_decode"], "regroup_clocks": 8000.0})
    plain = machine_of()
    for batch, kv_heads, clocks in ((1, 4, 0.0), (4, 1, 0.0), (4, 4, 8000.0)):
        shape = (batch, 512, 8 * kv_heads, kv_heads, 128, 128, 256)
        added = seconds_of("attention_decode", *shape, machine=copies) - seconds_of(
            "attention_decode", *shape, machine=plain
        )
        assert added == pytest.approx(clocks / CLOCK)


CHIPS = ("a100-sxm-80gb", "h100-sxm", "b200", "mi300x", "tpu-v5p", "gaudi3", "trainium2", "mtia-2i")
DRAWN = 10_000


def shipped(chip: str, stack: str | None = None) -> Machine:
    library = Library()
    found = library.chip(chip)
    family = library.family(found.family)
    chosen = library.stack(stack or family.default_stack)
    return machine(found, family, library.calibration(found, chosen), library.cluster(chip))


def drawn(kind: str) -> np.ndarray:
    """Shapes spread evenly over magnitudes: 2 to 8 query heads share a KV head."""
    stream = np.random.default_rng(3)

    def size(low: float, high: float) -> np.ndarray:
        return np.round(np.exp(stream.uniform(np.log(low), np.log(high), DRAWN)))

    rows = np.zeros((DRAWN, 8))
    kv_heads, group, head = size(1, 16), 2.0 ** stream.integers(1, 4, DRAWN), 2.0 ** stream.integers(6, 9, DRAWN)
    if kind == "attention_decode":
        columns = (size(1, 512), size(1, 1e6), kv_heads * group, kv_heads, head, head, 2 * head)
    else:
        query = size(2, 32768)
        columns = (size(1, 256), query, query + size(1, 65536), kv_heads * group, kv_heads, head, 1 + 0 * head)
    for column, values in enumerate(columns):
        rows[:, column] = values
    return rows


def priced(kind: str, rows: np.ndarray, found: Machine) -> np.ndarray:
    ids = [np.full(DRAWN, value, np.int16) for value in (KIND_IDS[kind], DTYPE_IDS["bf16"], DTYPE_IDS["bf16"])]
    return np.asarray(seconds_of_rows(*ids, rows, found))


@pytest.mark.parametrize("kind", ["attention_prefill", "attention_backward", "attention_decode"])
@pytest.mark.parametrize("chip", CHIPS)
def test_shipped_attention_keeps_the_roofline_and_grows_with_every_size(kind: str, chip: str) -> None:
    found, rows = shipped(chip), drawn(kind)
    times = priced(kind, rows, found)
    if kind == "attention_decode":
        flops = 2 * rows[:, 0] * rows[:, 1] * rows[:, 2] * (rows[:, 4] + rows[:, 5])
    else:
        flops = 4 * rows[:, 0] * attention_pairs(rows) * rows[:, 3] * rows[:, 5]
    assert np.all(times > flops / found.rates[DTYPE_IDS["bf16"]])
    sizes = ((0,), (1,), (2, 3)) if kind == "attention_decode" else ((0,), (1, 2), (2,), (3, 4), (5,))
    for columns in sizes:
        grown = rows.copy()
        grown[:, columns] *= 2
        assert np.all(priced(kind, grown, found) >= times * (1 - 1e-9)), columns


@pytest.mark.parametrize("kind", ["attention_prefill", "attention_decode"])
@pytest.mark.parametrize("chip", CHIPS)
def test_shipped_attention_is_no_slower_with_more_bandwidth_or_rate(kind: str, chip: str) -> None:
    found, rows = shipped(chip), drawn(kind)
    times = priced(kind, rows, found)
    values = found.chip_values.copy()
    values[MEMORY] *= 1.3
    assert np.all(priced(kind, rows, found._replace(chip_values=values)) <= times * (1 + 1e-9))
    assert np.all(priced(kind, rows, found._replace(rates=found.rates * 1.3)) <= times * (1 + 1e-9))


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


@pytest.mark.parametrize("stack", ["vllm", "trtllm"])
@pytest.mark.parametrize("chip_id", ["a100-sxm-80gb", "h100-sxm", "b200"])
def test_decode_is_continuous_in_the_tokens_of_the_cache(chip_id: str, stack: str) -> None:
    library, random = Library(), np.random.default_rng(0)
    chip = library.chip(chip_id)
    found = machine(
        chip, library.family(chip.family), library.calibration(chip, library.stack(stack)), library.cluster(chip_id)
    )
    rows = np.zeros((10_000, 8))
    rows[:, 0], rows[:, 1] = np.exp(random.uniform(0, 7, 10_000)).round(), np.exp(random.uniform(3, 12, 10_000))
    rows[:, 3] = random.choice([1, 2, 4, 8], 10_000)
    rows[:, 2] = rows[:, 3] * random.choice([1, 4, 8, 16, 64], 10_000)
    rows[:, 4] = rows[:, 5] = random.choice([64, 128, 192, 256], 10_000)
    rows[:, 6] = 2 * rows[:, 4]
    column = [parameter.name for parameter in TABLES["attention_decode"]].index("alone_below")
    found.parameters[KIND_IDS["attention_decode"], ..., column] = 0.0  # a rule of dispatch: times may jump there
    longer = rows.copy()
    longer[:, 1] *= 1.001
    for stored in ("bf16", "fp8"):
        grows = decoded(longer, found, stored) / decoded(rows, found, stored)
        assert np.all((grows > 0.99) & (grows < 1.01))


def decoded(rows: NDArray[np.float64], found: Machine, stored: str) -> NDArray[np.float64]:
    ids = [np.full(len(rows), value, np.int16) for value in (KIND_IDS["attention_decode"], DTYPE_IDS["bf16"])]
    return np.asarray(seconds_of_rows(*ids, np.full(len(rows), DTYPE_IDS[stored], np.int16), rows, found))


def test_launches_of_decode_take_their_own_clock_and_no_chip_s() -> None:
    decode = {**PARAMETERS["attention_decode"], "launch_clocks": 18000.0}
    shape = (1, 1, 1, 1, 64, 64, 128)
    own = machine_of(attention_decode={**decode, "front_ghz": 1.8})
    none = machine_of(attention_decode={**decode, "front_ghz": 1.8, "launch_clocks": 0.0})
    added = seconds_of("attention_decode", *shape, machine=own) - seconds_of("attention_decode", *shape, machine=none)
    assert added == pytest.approx(10e-6)


def test_a_plainer_decode_kernel_costs_each_sequence_of_a_small_batch_and_splits_into_few_parts() -> None:
    decode = PARAMETERS["attention_decode"]
    usual = machine_of(attention_decode=decode)
    plain = {"plain_size": 512.0, "plain_sequence_clocks": 5000.0, "plain_batch": 1024.0}
    slow = machine_of(attention_decode={**decode, **plain})

    def added(batch: int, size: int) -> float:
        shape = (batch, 64, 8, 1, size, size, 2 * size)
        return seconds_of("attention_decode", *shape, machine=slow) - seconds_of(
            "attention_decode", *shape, machine=usual
        )

    assert added(512, 512) == pytest.approx(512 * 5000 / CLOCK)
    assert added(1024, 512) == added(512, 256) == 0.0
    few = machine_of(attention_decode={**decode, "plain_size": 128.0, "plain_parts": 2.0, "split_clocks": 0.0})
    shape = (1, 1048576, 64, 1, 128, 128, 256)
    assert seconds_of("attention_decode", *shape, machine=few) > 10 * seconds_of(
        "attention_decode", *shape, machine=usual
    )
