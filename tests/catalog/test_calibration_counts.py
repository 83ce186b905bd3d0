"""How many numbers a kernel class may be fitted with: 15 a class, stack and format, 6 of them different by generation or chip."""

from __future__ import annotations

from collections import defaultdict

import pytest

from sim.catalog.calibrations import Calibration
from sim.catalog.library import default_library
from sim.cost.parameters import TABLES

LIBRARY = default_library()
FILES = {entry.id: LIBRARY._get(Calibration, "calibration", entry.id) for entry in LIBRARY.entries("calibration")}
FITTED = sorted(id for id, file in FILES.items() if file.fits)
MOST, MOST_OF_A_CHIP = 15, 6
NO_KERNELS = ("power", "chip")


def fitted_names(file):
    """Group -> names that a fit may move (a choice of a kernel is no fitted number)."""
    out = defaultdict(set)
    for group, values in file.parameters.items():
        kind = group.partition(".")[0]
        if kind not in NO_KERNELS:
            scopes = {parameter.name: parameter.scope for parameter in TABLES[kind]}
            out[group] |= {name for name in values if scopes[name] != "choice"}
    return out


@pytest.mark.parametrize("name", FITTED)
def test_a_group_has_at_most_fifteen_fitted_values(name):
    for group, names in fitted_names(FILES[name]).items():
        assert len(names) <= MOST, f"{name}: {group} has {len(names)} values: {sorted(names)}"


@pytest.mark.parametrize("chip", ["a100-sxm-80gb", "h100-sxm", "h200-sxm", "b200", "gb200"])
def test_a_chip_differs_from_its_family_in_at_most_six_values_of_a_group(chip):
    """Generation and chip together, and only in what the tables declare to be the hardware's."""
    record = LIBRARY.chip(chip)
    generation = f"{record.family}-{record.generation}"
    for stack in ("any", "trtllm", "vllm"):
        differing = defaultdict(set)
        for subject in (generation, chip):
            file = FILES.get(f"{subject}--{stack}")
            for group, names in (fitted_names(file) if file else {}).items():
                differing[group] |= names
        for group, names in differing.items():
            allowed = {p.name for p in TABLES[group.partition(".")[0]] if p.scope == "chip"}
            assert names <= allowed, f"{chip} under {stack}: {group} changes {sorted(names - allowed)}"
            assert len(names) <= MOST_OF_A_CHIP, f"{chip} under {stack}: {group} changes {sorted(names)}"
