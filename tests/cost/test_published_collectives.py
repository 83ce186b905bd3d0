"""Published collectives, none of them a row that a calibration was fitted to. Address: see docs/cost.md section 6."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sim.catalog.library import cluster_of, default_library
from sim.cost import Machine, machine, seconds_of
from sim.cost.parameters import COLLECTIVE, column
from sim.lowering.kinds import KIND_IDS

GIB = 2.0**30


@dataclass(frozen=True)
class Published:
    """Bus bandwidth [GB/s] of an all-reduce of so many bytes among so many chips."""

    chip: str
    chips: int
    size: float
    busbw_gb_per_s: float
    in_switch: bool = True


# https://github.com/stas00/ml-engineering/blob/744d01e/network/benchmarks/README.md
PUBLISHED = (
    Published("mi300x", 2, 4 * GIB, 47.671),
    Published("mi300x", 8, 4 * GIB, 312.912),
    Published("h200-sxm", 8, 16 * GIB, 367.61, in_switch=False),
    Published("h200-sxm", 8, 16 * GIB, 482.26),
    Published("h100-sxm", 8, 4 * GIB, 480.0),
    Published("a100-sxm-80gb", 8, 16 * GIB, 234.89),
    Published("b200", 8, 16 * GIB, 845.67),
    Published("b200", 32, 16 * GIB, 381.8),
)


def packed(chip_id: str, in_switch: bool = True) -> Machine:
    library = default_library()
    chip = library.chip(chip_id)
    family = library.family(chip.family)
    calibration = library.calibration(chip, library.stack(family.default_training_stack))
    found = machine(chip, family, calibration, cluster_of(chip))
    if not in_switch:
        found.parameters[KIND_IDS["all_reduce"], ..., column(COLLECTIVE, "reduce_efficiency")] = 0.0
    return found


def busbw_gb_per_s(row: Published) -> float:
    seconds = seconds_of("all_reduce", row.size, row.chips, 1, 1, machine=packed(row.chip, row.in_switch))
    return 2 * (row.chips - 1) / row.chips * row.size / seconds / 1e9


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.chip} x {row.chips} {row.busbw_gb_per_s}")
def test_bus_bandwidth_is_within_15_percent_of_what_was_published(row: Published) -> None:
    assert busbw_gb_per_s(row) == pytest.approx(row.busbw_gb_per_s, rel=0.15)


@pytest.mark.parametrize(("pod", "chips", "tb_per_s"), [("tpu-v5e", 256, 51.2), ("tpu-v6e", 256, 102.4)])
def test_a_pod_reduces_at_the_rate_of_its_data_sheet(pod: str, chips: int, tb_per_s: float) -> None:
    """Sum over the chips, as Google states it (https://docs.cloud.google.com/tpu/docs/v5e, .../v6e)."""
    library = default_library()
    chip = library.chip(pod)
    family = library.family(chip.family)
    calibration = library.calibration(chip, library.stack(family.default_training_stack))
    whole = machine(chip, family, calibration, library.cluster(f"{pod}-pod"))
    seconds = seconds_of("all_reduce", 64 * GIB, chips, 1, 1, machine=whole)
    assert 2 * (chips - 1) / chips * 64 * GIB / seconds * chips / 1e12 == pytest.approx(tb_per_s, rel=0.15)
