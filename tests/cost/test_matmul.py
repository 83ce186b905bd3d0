"""Matrix products: limits of the roofline, the twins in plain Python, and what only one mechanism does."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cost import Machine, seconds_of

from .machines import CLOCK, MEMORY_RATE, PEAK, build

GEMM = {
    "launch_clocks": 2000.0,
    "efficiency": 0.8,
    "memory_efficiency": 0.9,
    "cache_share": 0.1,
    "norm": 3.0,
    "fill_clocks": 500.0,
    "step_clocks": 1.0,
    "quantum": 0.5,
    "split_us": 1.7,
    "unit_bytes_per_clock": 100.0,
    "ramp_clocks": 100.0,
    "granule": 64.0,
    "store_clocks_per_byte": 0.02,
    "small_tile": 0.3,
    "flop_pj": 2.0,
}
MECHANISMS = ("tiles", "systolic", "pe_grid")
SIZES = st.integers(1, 20000)


def machine_of(mechanism: str, **changes: float) -> Machine:
    return build(mechanism, {"gemm": {**GEMM, **changes}})


def gemm(machine: Machine, m: float, n: float, k: float, dtype: str = "bf16", stored: str | None = None) -> float:
    return seconds_of("gemm", m, n, k, 1, machine=machine, dtype=dtype, stored=stored)


def norm3(a: float, b: float) -> float:
    return float((a**3 + b**3) ** (1 / 3))


TILES = [(16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (128, 64), (64, 128), (64, 256), (256, 128), (128, 128)]
TILES += [(128, 256)]
SMALLER = {
    3: 2,
    4: 3,
    6: 4,
    8: 6,
    12: 8,
    16: 12,
}  # a split is tried while the one before it leaves fewer than eight waves


def waves_twin(m: int, n: int, k: int) -> float:
    """Every tile with every split, nothing passed over; A, B, C of two bytes."""
    best = math.inf
    for (a, b), split in product(TILES, (1, 2, 3, 4, 6, 8, 12, 16)):
        waves = math.ceil(m / a) * math.ceil(n / b) * split / 100
        if split > 2 and waves / split * SMALLER[split] >= 8:
            continue
        arithmetic = 2 * (a * b + 0.3 * 64 * 64) * 100 / (PEAK * 0.8)
        operands = 2 * (min(a, m) + min(b, n)) / (100 * CLOCK)
        step = math.sqrt(arithmetic**2 + operands**2 + (1 / CLOCK) ** 2)
        paid = max(1.0, waves + 0.5 * (math.ceil(waves) - waves))
        adding = 0.0 if split == 1 else 1.7e-6 + 4 * split * m * n / 2e13
        stored = (500 + 0.02 * 2 * min(a, m) * min(b, n)) / CLOCK
        best = min(best, paid * (k / split * step + stored) + adding)
    return best


def tiles_twin(m: int, n: int, k: int) -> float:
    waves = waves_twin(m, n, k)
    drawn = 2e-12 * 2 * m * n * k / waves  # 2 pJ a FLOP, where 900 W are left
    slower = math.sqrt(max(1.0, drawn / 900)) - 1.0
    waves *= 1.0 + slower * waves**2 / (waves**2 + 1e-6)
    weights, activations = 2 * n * k, 2 * (m * k + m * n)
    cold = 1 / (1 + (0.1 * 5e7 / activations) ** 4)
    moved = max((weights + activations * cold) / (MEMORY_RATE * 0.9), (weights + activations) / 2e13)
    return 2000 / CLOCK + norm3(waves, moved + 100 / CLOCK)


def systolic_twin(m: int, n: int, k: int) -> float:
    passes = math.ceil(k / 128) * math.ceil(n / 128)
    rows = max(passes * max(m, 64) / 100, m / 100, 64)
    compute = rows * 2 * 128 * 128 / (PEAK / 100 * 0.8) + 500 / CLOCK
    activations = 2 * (m * k + m * n)
    cold = 1 / (1 + (0.1 * 5e7 / activations) ** 4)
    by_rows = n * k * math.ceil(m / max(0.1 * 5e7 / (2 * k), 128)) + m * k * cold
    side = max(math.sqrt(0.1 * 5e7 / 4), 128)
    by_squares = n * k * math.ceil(m / side) + m * k * cold * math.ceil(n / side)
    moved = 2 * (min(by_rows, by_squares) + m * n * cold) / (MEMORY_RATE * 0.9)
    moved = max(moved, 2 * (n * k + m * k + m * n) / 2e13)
    return 2000 / CLOCK + norm3(compute, moved + 100 / CLOCK)


def pe_grid_twin(m: int, n: int, k: int) -> float:
    waves = math.ceil(m / 64) * math.ceil(n / 64) / 100
    waves = max(1.0, waves + 0.5 * (math.ceil(waves) - waves))
    compute = waves * 2 * 64 * 64 * k * 100 / (PEAK * 0.8) + 500 / CLOCK
    weights, others, room = 2 * n * k, 2 * (m * k + m * n), 0.1 * 5e7
    near = weights + others <= room
    rates = [2e13 if near and weights <= 0.1 * room else MEMORY_RATE, 2e13 if near else MEMORY_RATE]
    return 2000 / CLOCK + norm3(compute, (weights / rates[0] + others / rates[1]) / 0.9 + 100 / CLOCK)


TWINS = {"tiles": tiles_twin, "systolic": systolic_twin, "pe_grid": pe_grid_twin}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=60, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES)
def test_a_product_takes_as_long_as_its_plain_twin_says(mechanism: str, m: int, n: int, k: int) -> None:
    assert gemm(machine_of(mechanism), m, n, k) == pytest.approx(TWINS[mechanism](m, n, k), rel=2e-5)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_huge_product_takes_its_flops_over_the_reached_peak(mechanism: str) -> None:
    free = {"flop_pj": 0.0, "small_tile": 0.0, "cache_share": 0.9}
    machine = machine_of(mechanism, unit_bytes_per_clock=1e4, step_clocks=1e-3, norm=12.0, **free)
    assert gemm(machine, 51200, 51200, 51200) == pytest.approx(2 * 51200**3 / (PEAK * 0.8), rel=0.02)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_thin_product_takes_its_weights_over_the_memory_rate(mechanism: str) -> None:
    machine = machine_of(mechanism, norm=12.0)
    weights = 2 * 65536 * 16384
    assert gemm(machine, 1, 65536, 16384) == pytest.approx(weights / (MEMORY_RATE * 0.9), rel=0.02)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=60, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES, axis=st.integers(0, 2), more=st.integers(1, 3000))
def test_time_never_falls_when_a_dimension_grows(mechanism: str, m: int, n: int, k: int, axis: int, more: int) -> None:
    machine = machine_of(mechanism)
    grown = [m, n, k]
    grown[axis] += more
    assert gemm(machine, grown[0], grown[1], grown[2]) >= gemm(machine, m, n, k) * (1 - 1e-12)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("shape", [(1, 4096, 4096), (64, 1024, 8192), (4096, 4096, 4096), (16, 16, 16)])
def test_a_higher_clock_moves_every_product(mechanism: str, shape: tuple[int, int, int]) -> None:
    matrix = {"bf16_flops_per_s": PEAK, "units": 100, "array": 128, "clock_hz": CLOCK, "source": "made up"}
    faster = {**matrix, "bf16_flops_per_s": 1.1 * PEAK, "clock_hz": 1.1 * CLOCK}
    before = gemm(build(mechanism, {"gemm": GEMM}, matrix=matrix), *shape)
    assert gemm(build(mechanism, {"gemm": GEMM}, matrix=faster), *shape) < before


def test_one_tile_more_than_there_are_units_costs_a_wave_of_tiles() -> None:
    machine = machine_of("tiles", quantum=1.0, unit_bytes_per_clock=1e4, norm=12.0)
    full, over = gemm(machine, 1280, 2560, 65536), gemm(machine, 1281, 2560, 65536)
    assert over > 1.08 * full  # 100 tiles of 128 x 256, then a few more of any size
    spread = machine_of("tiles", quantum=0.01, unit_bytes_per_clock=1e4, norm=12.0)
    assert gemm(spread, 1281, 2560, 65536) < over


@pytest.mark.parametrize("name", ["memory_efficiency", "unit_bytes_per_clock", "efficiency"])
@settings(max_examples=60, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES, share=st.floats(0.3, 1.0))
def test_a_lower_rate_never_makes_a_product_faster(name: str, m: int, n: int, k: int, share: float) -> None:
    slower = machine_of("tiles", **{name: GEMM[name] * share})
    assert gemm(slower, m, n, k) >= gemm(machine_of("tiles"), m, n, k) * (1 - 1e-12)


LATENCIES = ["launch_clocks", "fill_clocks", "step_clocks", "split_us", "ramp_clocks", "store_clocks_per_byte"]


@pytest.mark.parametrize("name", [*LATENCIES, "small_tile", "flop_pj", "quantum"])
@settings(max_examples=40, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES, share=st.floats(0.0, 1.0))
def test_a_lower_cost_never_makes_a_product_slower(name: str, m: int, n: int, k: int, share: float) -> None:
    cheaper = machine_of("tiles", **{name: GEMM[name] * share})
    assert gemm(cheaper, m, n, k) <= gemm(machine_of("tiles"), m, n, k) * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES, name=st.sampled_from(sorted({*LATENCIES, "efficiency", "norm", "cache_share"})))
def test_time_changes_little_with_a_parameter_that_changes_little(m: int, n: int, k: int, name: str) -> None:
    near = machine_of("tiles", **{name: GEMM[name] * 1.0001})
    assert gemm(near, m, n, k) == pytest.approx(gemm(machine_of("tiles"), m, n, k), rel=3e-4)


@settings(max_examples=100, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES)
def test_no_product_beats_the_rates_that_its_machine_reaches(m: int, n: int, k: int) -> None:
    took = gemm(machine_of("tiles", cache_share=0.0), m, n, k)
    moved = 2 * (n * k + m * k + m * n)
    assert took >= max(2 * m * n * k / (PEAK * 0.8), moved / (MEMORY_RATE * 0.9)) + 2000 / CLOCK


def test_a_long_product_runs_at_the_clock_that_the_power_limit_leaves() -> None:
    free = machine_of("tiles", flop_pj=0.0)
    short, long = (256, 4096, 4096), (32768, 32768, 32768)
    assert gemm(machine_of("tiles"), *short) == pytest.approx(gemm(free, *short), rel=1e-3)
    drawn = 2e-12 * 2 * 32768**3 / gemm(free, *long)
    assert drawn > 1.2 * 900
    assert gemm(machine_of("tiles"), *long) == pytest.approx(math.sqrt(drawn / 900) * gemm(free, *long), rel=1e-2)


def test_a_kernel_of_fixed_tiles_pays_whole_ones_and_never_splits() -> None:
    fixed = machine_of("tiles", blocks=64.0)
    assert gemm(fixed, 129, 512, 65536) > 2 * gemm(machine_of("tiles"), 129, 512, 65536)
    assert gemm(fixed, 129, 128, 65536) == pytest.approx(gemm(fixed, 256, 128, 65536), rel=0.02)
    assert gemm(fixed, 64, 128, 65536) < gemm(fixed, 129, 128, 65536)
    assert gemm(fixed, 1, 128, 128) < gemm(machine_of("tiles", blocks=64.0, single_clocks=9e3), 1, 128, 128)


def test_a_long_inner_dimension_is_split_over_idle_units() -> None:
    whole = machine_of("tiles", split_us=1e6)
    assert gemm(machine_of("tiles"), 64, 256, 65536) < 0.5 * gemm(whole, 64, 256, 65536)


def test_a_systolic_array_pads_to_its_side_and_takes_a_minimum_of_rows() -> None:
    machine = machine_of("systolic", norm=12.0, launch_clocks=0.0)
    assert gemm(machine, 8192, 8192, 8192 + 1) == pytest.approx(gemm(machine, 8192, 8192, 8192 + 128), rel=2e-3)
    wide = machine_of("systolic", norm=12.0, memory_efficiency=1.0, granule=4096.0)
    assert gemm(wide, 8, 8192, 8192) == pytest.approx(gemm(wide, 4096, 8192, 8192), rel=0.15)


def test_a_systolic_chip_reads_its_weights_again_for_each_block_of_rows() -> None:
    small = machine_of("systolic", cache_share=0.001, efficiency=1.0)
    large = machine_of("systolic", cache_share=1.0, efficiency=1.0)
    assert gemm(small, 16384, 8192, 8192) > 2 * gemm(large, 16384, 8192, 8192)


def test_a_grid_falls_off_a_cliff_when_its_operands_no_longer_fit_in_sram() -> None:
    machine = machine_of("pe_grid", cache_share=1.0)
    fits, spills = gemm(machine, 190_000, 64, 64), gemm(machine, 200_000, 64, 64)
    assert spills > 2 * fits
    assert gemm(machine_of("tiles"), 200_000, 64, 64) < 1.2 * gemm(machine_of("tiles"), 190_000, 64, 64)


def test_a_grid_streams_the_matrices_of_a_large_model_however_empty_its_sram_is() -> None:
    machine = machine_of("pe_grid", cache_share=1.0)
    assert gemm(machine, 8, 4096, 4096) > 2 * 4096**2 / MEMORY_RATE
    resident = machine_of("pe_grid", cache_share=1.0, resident_share=1.0)
    assert gemm(resident, 8, 4096, 4096) < gemm(machine, 8, 4096, 4096)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_weights_stored_in_four_bits_make_a_thin_product_faster_and_leave_a_huge_one(mechanism: str) -> None:
    machine = machine_of(mechanism, norm=8.0, unit_bytes_per_clock=400.0)
    assert gemm(machine, 8, 16384, 16384, stored="int4") < 0.4 * gemm(machine, 8, 16384, 16384)
    assert gemm(machine, 16384, 16384, 16384, stored="int4") > 0.9 * gemm(machine, 16384, 16384, 16384)


def test_narrow_activations_pay_for_their_quantisation() -> None:
    machine = build("tiles", {"gemm": GEMM, "gemm.fp8": {"quantise_clocks": 1000.0, "quantise_bytes": 4.0}})
    bare = build("tiles", {"gemm": GEMM})
    extra = gemm(machine, 4096, 128, 16384, "fp8") - gemm(bare, 4096, 128, 16384, "fp8")
    assert extra == pytest.approx(1000 / CLOCK + 4 * 4096 * 16384 / MEMORY_RATE)
    assert gemm(machine, 4096, 128, 16384) == gemm(bare, 4096, 128, 16384)


def test_a_unit_that_quantises_whole_rows_takes_them_one_after_another() -> None:
    rows = {"quantise_row_clocks": 2000.0, "quantise_value_clocks": 0.5}
    machine, bare = build("tiles", {"gemm": {**GEMM, **rows}}), build("tiles", {"gemm": GEMM})
    for m, k, clocks in ((1, 512, 2000), (100, 512, 2000), (101, 512, 4000), (1, 8192, 4096), (250, 8192, 3 * 4096)):
        assert gemm(machine, m, 64, k) - gemm(bare, m, 64, k) == pytest.approx(clocks / CLOCK, rel=1e-9)


def test_a_rank_that_is_a_quarter_of_a_chip_has_a_quarter_of_everything() -> None:
    fits = {"gemm": {**GEMM, "cache_share": 1.0}}
    whole, part = build("systolic", fits), build("systolic", fits, ranks=4)
    assert part.rates == pytest.approx(whole.rates / 4, nan_ok=True)
    assert gemm(part, 16384, 16384, 16384) == pytest.approx(4 * gemm(whole, 16384, 16384, 16384), rel=0.1)
