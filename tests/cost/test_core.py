"""The machine, the calibration that fills it, intervals and basis."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import sim.cost
from sim.catalog.library import default_library
from sim.cost import (
    BASES,
    attention,
    basis,
    collectives,
    experts,
    interval,
    machine,
    matmul,
    memory,
    power,
    seconds,
    seconds_of,
)
from sim.cost.machine import CHIP_COLUMNS, CLOCK_HZ, LEVEL_COLUMNS
from sim.cost.parameters import COLLECTIVE, COLUMNS, DECODE, LINEAR, MATMUL, MEMORY, POWER, PREFILL, TABLES
from sim.errors import InputError, UnknownFigure
from sim.lowering.kinds import KINDS

from .machines import build, calibration, chip, cluster, family, kernels


def test_every_kind_has_a_table_of_parameters_and_every_name_a_column() -> None:
    assert {kind.name for kind in KINDS} <= set(TABLES)
    for table in TABLES.values():
        assert len({parameter.name for parameter in table}) == len(table) <= COLUMNS


def test_the_columns_that_the_code_reads_are_those_of_the_tables() -> None:
    def names(table: tuple[object, ...]) -> list[str]:
        return [parameter.name for parameter in table]  # type: ignore[attr-defined]

    assert names(MATMUL)[matmul.STORE : matmul.SMALL_TILE + 1] == ["store_clocks_per_byte", "small_tile"]
    assert names(MATMUL)[matmul.FLOP_PJ] == "flop_pj"
    assert names(MATMUL)[matmul.SINGLE] == "single_clocks"
    assert names(MATMUL)[matmul.QUANTUM] == "quantum"
    assert names(MATMUL)[matmul.EXPERTS] == names(TABLES["moe"])[experts.EXPERT] == "experts_clocks"
    assert names(TABLES["moe"])[experts.FALLBACK_BYTES] == "fallback_bytes_per_clock"
    assert names(PREFILL)[attention.STORE_WIDTH] == "store_width"
    assert names(DECODE)[attention.REACH] == "reach"
    assert names(LINEAR)[attention.CHUNK_CLOCKS] == "chunk_clocks"
    assert names(MEMORY)[memory.HOST_EFFICIENCY] == "host_efficiency"
    assert names(COLLECTIVE)[collectives.REDUCE_CLOCKS] == "reduce_clocks"
    assert names(COLLECTIVE)[collectives.DIRECT_CLOCKS] == "direct_clocks"
    assert names(POWER)[power.LINK_BYTE_PJ] == "link_byte_pj"


def test_an_unknown_parameter_names_file_and_nearest_name() -> None:
    with pytest.raises(InputError, match=r"round--any\.yaml.*gemm\.eficiency.*efficiency"):
        build(parameters={"gemm": {"eficiency": 0.5}})


@pytest.mark.parametrize("key", ["gem", "gemm.bf17", "gemm.bf16.int5"])
def test_an_unknown_kind_or_dtype_is_an_input_error(key: str) -> None:
    with pytest.raises(InputError, match="names no kernel kind"):
        build(parameters={key: {"efficiency": 0.5}})


def test_the_narrower_parameter_wins_whatever_the_order() -> None:
    given = {
        "gemm.bf16.int4": {"launch_clocks": 3e6},
        "gemm.bf16": {"launch_clocks": 2e6},
        "gemm": {"launch_clocks": 1e6},
    }
    packed = build(parameters=given)
    times = [
        seconds_of("gemm", 1, 1, 1, 1, machine=packed, dtype=dtype, stored=stored)
        for dtype, stored in (("fp8", "fp8"), ("bf16", "bf16"), ("bf16", "int4"))
    ]
    assert times == pytest.approx([1e-3, 2e-3, 3e-3], rel=1e-2)


def test_a_rate_that_the_chip_lacks_is_an_unknown_figure_that_names_it() -> None:
    matrix = {"bf16_flops_per_s": 1e15, "units": 100, "source": "made up"}
    packed = build(matrix=matrix, host=None)
    assert seconds(kernels("gemm", [[64, 64, 64, 1]], "fp8"), packed)[0] > 0  # runs at the next wider rate
    with pytest.raises(UnknownFigure, match=r"chip\.host"):
        seconds(kernels("optimizer", [[1e9, 16, 1]]), packed)


def test_a_clock_that_is_not_printed_follows_from_peak_and_units() -> None:
    matrix = {"bf16_flops_per_s": 132 * 4096 * 1.83e9, "units": 132, "source": "made up"}
    assert build(matrix=matrix).chip_values[CLOCK_HZ] == pytest.approx(1.83e9)


def test_units_that_are_not_published_come_from_the_calibration() -> None:
    matrix = {"bf16_flops_per_s": 1e15, "source": "made up"}
    with pytest.raises(UnknownFigure, match="units"):
        build(matrix=matrix)
    assert build(matrix=matrix, parameters={"chip": {"units": 64.0}}).chip_values[0] == 64


def test_the_interval_is_that_of_the_residuals_and_holds_the_value() -> None:
    residuals = {"gemm": {"p10": -0.1, "p90": 0.3}, "gemm.fp8": {"p10": 0.1, "p90": 0.2}}
    packed = machine(chip(), family(), calibration(residuals=residuals), cluster())
    rows = kernels("gemm", [[512, 512, 512, 1]])
    time, (low, high) = seconds(rows, packed), interval(rows, packed)
    assert low[0] == pytest.approx(time[0] * math.exp(-0.1))
    assert high[0] == pytest.approx(time[0] * math.exp(0.3))
    narrow = kernels("gemm", [[512, 512, 512, 1]], "fp8")
    assert interval(narrow, packed)[0][0] == seconds(narrow, packed)[0]
    unknown = kernels("memory", [[1e9, 0, 1]])
    assert interval(unknown, packed)[1][0] == pytest.approx(2 * seconds(unknown, packed)[0], rel=0.01)


def test_outside_the_fitted_range_a_time_is_at_best_extrapolated() -> None:
    packed = machine(chip(), family(), calibration(ranges={"gemm": {"m": (1.0, 1000.0)}}), cluster())
    found = basis(kernels("gemm", [[512, 512, 512, 1], [2048, 512, 512, 1]]), packed)
    assert [BASES[index] for index in found] == ["calibrated", "extrapolated"]
    guessed = machine(
        chip(), family(), calibration(basis="datasheet-only", ranges={"gemm": {"m": (1.0, 1000.0)}}), cluster()
    )
    assert {BASES[index] for index in basis(kernels("gemm", [[512, 512, 512, 1], [2048, 8, 8, 1]]), guessed)} == {
        "datasheet-only"
    }


def test_a_range_of_an_unknown_kind_or_dim_is_an_input_error() -> None:
    for ranges in ({"gem": {"m": (1.0, 2.0)}}, {"gemm": {"x": (1.0, 2.0)}}):
        with pytest.raises(InputError, match="round--any"):
            machine(chip(), family(), calibration(ranges=ranges), cluster())


def test_no_family_vendor_or_product_is_named_in_the_room() -> None:
    folder = Path(sim.cost.__file__).parent
    text = "\n".join(path.read_text() for path in folder.glob("*.py")).lower()
    library = default_library()
    chips = [library.chip(entry.id) for entry in library.entries("chip")]
    names = (
        {entry.id for entry in library.entries("family")}
        | {each.vendor for each in chips}
        | {each.id for each in chips}
    )
    words = set("".join(letter if letter.isalnum() or letter == "-" else " " for letter in text).split())
    assert not {name.lower() for name in names} & words


def test_every_chip_of_the_catalogue_prices_every_kind() -> None:
    library = default_library()
    dims = {
        "gemm": [256, 4096, 4096, 1],
        "attention_prefill": [1, 2048, 2048, 32, 8, 128, 1, 0],
        "attention_backward": [1, 2048, 2048, 32, 8, 128, 1, 0],
        "attention_decode": [16, 2048, 32, 8, 128, 128, 256],
        "linear_attention": [2, 1024, 32, 128, 128],
        "moe": [512, 4096, 1536, 64, 1.2, 3, 8, 0.5],
        "memory": [1e8, 1e8, 2],
        "gather": [1e5, 128, 1e10, 0.9],
        "optimizer": [1e8, 16, 0],
    }
    for entry in library.entries("chip"):
        found = library.chip(entry.id)
        kin = library.family(found.family)
        packed = machine(
            found, kin, library.calibration(found, library.stack(kin.default_stack)), library.cluster(found.id)
        )
        assert packed.levels.shape[1] == LEVEL_COLUMNS and packed.chip_values.size == CHIP_COLUMNS
        for kind in KINDS:
            row = dims.get(kind.name, [1e7, 8, 1, 1])
            time = seconds(kernels(kind.name, [row]), packed)
            assert np.isfinite(time).all() and 1e-7 < time[0] < 10, (entry.id, kind.name, time)


def test_kinds_that_only_move_bytes_stand_side_by_side() -> None:
    names = [kind.name for kind in KINDS]
    assert names[names.index("memory") : names.index("optimizer") + 1] == ["memory", "gather", "optimizer"]
    assert [kind.collective for kind in KINDS] == sorted(kind.collective for kind in KINDS)
