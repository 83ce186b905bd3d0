"""One contract over every file of the catalogue: it loads, it is named by its id, what it names exists."""

from __future__ import annotations

import pytest

from sim.catalog.library import FOLDERS, Library, package_root
from sim.catalog.prices import prices_of, read_prices
from sim.catalog.scenarios import read_scenario

LIBRARY = Library(package_root())
READERS = {
    "chip": LIBRARY.chip,
    "family": LIBRARY.family,
    "stack": LIBRARY.stack,
    "cluster": LIBRARY.cluster,
    "model": LIBRARY.model,
}
ENTRIES = [(kind, entry) for kind in READERS for entry in LIBRARY.entries(kind)]


def test_the_catalogue_is_not_empty():
    assert len(LIBRARY.entries("chip")) >= 50


@pytest.mark.parametrize(("kind", "entry"), ENTRIES, ids=lambda value: value if isinstance(value, str) else value.id)
def test_an_entry_loads_under_its_id_and_every_alias(kind, entry):
    value = READERS[kind](entry.id)
    assert value.id == entry.path.stem
    for name in entry.names:
        assert READERS[kind](name) is value


@pytest.mark.parametrize("entry", LIBRARY.entries("chip"), ids=lambda entry: entry.id)
def test_a_chip_has_a_family_and_is_a_cluster_of_its_own_ports(entry):
    chip = LIBRARY.chip(entry.id)
    family = LIBRARY.family(chip.family)
    assert LIBRARY.stack(family.default_stack).role in ("serve", "both")
    assert LIBRARY.stack(family.default_training_stack).role in ("train", "both")
    assert LIBRARY.cluster(entry.id).tiers


@pytest.mark.parametrize("entry", LIBRARY.entries("chip"), ids=lambda entry: entry.id)
def test_a_chip_finds_a_calibration_for_its_default_stacks(entry):
    chip = LIBRARY.chip(entry.id)
    family = LIBRARY.family(chip.family)
    for stack in {family.default_stack, family.default_training_stack}:
        calibration = LIBRARY.calibration(chip, LIBRARY.stack(stack))
        assert calibration.parameters


@pytest.mark.parametrize("entry", LIBRARY.entries("cluster"), ids=lambda entry: entry.id)
def test_a_cluster_names_chips_of_the_catalogue(entry):
    for pool in LIBRARY.cluster(entry.id).pools:
        assert LIBRARY.chip(pool.chip).id == pool.chip


@pytest.mark.parametrize("entry", LIBRARY.entries("stack"), ids=lambda entry: entry.id)
def test_a_stack_takes_its_kernels_from_one_that_exists(entry):
    stack = LIBRARY.stack(entry.id)
    if stack.kernels_from is not None:
        assert LIBRARY.stack(stack.kernels_from).id == stack.kernels_from


@pytest.mark.parametrize("entry", LIBRARY.entries("calibration"), ids=lambda entry: entry.id)
def test_a_calibration_is_of_a_subject_and_a_stack_that_exist(entry):
    from sim.catalog.calibrations import Calibration
    from sim.catalog.records import read

    calibration = read(Calibration, entry.path)
    subjects = {each.id for kind in ("family", "chip") for each in LIBRARY.entries(kind)}
    chips = [LIBRARY.chip(each.id) for each in LIBRARY.entries("chip")]
    subjects |= {f"{chip.family}-{chip.generation}" for chip in chips}
    stacks = {each.id for each in LIBRARY.entries("stack")} | {"any"}
    assert calibration.subject in subjects
    assert calibration.stack in stacks
    assert entry.id == f"{calibration.subject}--{calibration.stack}"


@pytest.mark.parametrize("entry", LIBRARY.entries("scenario"), ids=lambda entry: entry.id)
def test_a_scenario_names_models_and_clusters_of_the_catalogue(entry):
    for group in read_scenario(entry.path).groups:
        assert LIBRARY.model(group.model)
        assert LIBRARY.cluster(group.cluster)


def test_every_price_is_of_a_chip_of_the_catalogue():
    path = package_root() / "devices" / "prices.csv"
    for price in read_prices(path):
        assert LIBRARY.chip(price.chip).id == price.chip
        assert price.source and price.date
    assert prices_of(LIBRARY, "h100-sxm")


def test_every_folder_of_the_catalogue_holds_only_data():
    for folder in FOLDERS.values():
        for path in (package_root() / folder).glob("*"):
            assert path.suffix in (".yaml", ".csv", ".gz", ".json", ".md"), path
