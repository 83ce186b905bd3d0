"""Records: units in keys, and errors that name file, line, key, value and remedy."""

from __future__ import annotations

import pytest

from sim.catalog.calibrations import Stack
from sim.catalog.chips import Chip
from sim.catalog.clusters import Cluster
from sim.catalog.files import parse_yaml
from sim.catalog.records import parse
from sim.errors import InputError
from sim.units import UNITS, split_unit

CHIP = """\
id: my-chip
name: My chip
vendor: me
family: gpu
generation: one
matrix: {bf16_tflop_per_s: 100, units: 64, clock_ghz: 1.5, source: datasheet}
memory:
  kind: HBM
  capacity_gib: 80
  bandwidth_gb_per_s: 2000
  source: datasheet
power: {tdp_w: 300, source: datasheet}
sources: [datasheet]
"""


def chip(old="", new=""):
    assert old in CHIP
    return parse(Chip, parse_yaml(CHIP.replace(old, new, 1), "my-chip.yaml"))


def test_a_file_may_use_any_unit_and_comes_out_in_si():
    read = chip()
    assert read.matrix.bf16_flops_per_s == 100e12
    assert read.matrix.clock_hz == 1.5e9
    assert read.memory.capacity_bytes == 80 * 2**30
    assert read.memory.bandwidth_bytes_per_s == 2e12
    assert chip("bandwidth_gb_per_s: 2000", "bandwidth_tb_per_s: 2").memory == read.memory
    assert chip("capacity_gib: 80", "capacity_gb: 80").memory.capacity_bytes == 80e9
    assert chip("tdp_w: 300", "tdp_kw: 0.3").power == read.power


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_every_unit_is_split_off_its_key_whole(unit):
    assert split_unit(f"peak_bandwidth_{unit}") == ("peak_bandwidth", *UNITS[unit])


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("vendor: me", "vendro: me", 3, r"unknown key vendro\. Did you mean vendor"),
        ("  kind: HBM", "  type: HBM", 8, r"unknown key memory\.type"),
        ("capacity_gib: 80", "capacity_gib: -80", 9, r"memory\.capacity_gib = -80: must be greater than 0"),
        ("capacity_gib: 80", "capacity_gib: 0", 9, "must be greater than 0"),
        ("capacity_gib: 80", "capacity_gib: .nan", 9, "finite"),
        ("capacity_gib: 80", "capacity_gib: .inf", 9, "finite"),
        ("capacity_gib: 80", "capacity_gib: 1e999", 9, "finite"),
        ("capacity_gib: 80", "capacity_gib: 80 GB", 9, r"memory\.capacity_gib = '80 GB' is not a number"),
        ("capacity_gib: 80", "capacity_gib: true", 9, "not a number"),
        ("capacity_gib: 80", "capacity_gib: [80]", 9, "not a number"),
        ("capacity_gib: 80", "capacity_gib: " + "9" * 400, 9, "too large"),
        ("capacity_gib: 80", "capacity_w: 80", 9, r"wrong unit\. Use one of .*capacity_gib"),
        ("capacity_gib: 80", "capacity: 80", 9, "unknown key memory.capacity"),
        ("capacity_gib: 80", "capacity_gib: 80\n  capacity_gb: 80", 10, "a second time"),
        ("capacity_gib: 80", "capacity_gib: 80\n  capacity_gib: 90", 10, "stands twice"),
        ("  source: datasheet", "", 7, r"memory\.source is missing"),
        ("units: 64", "units: 64.5", 6, r"matrix\.units = 64\.5"),
        ("units: 64", "units: '64'", 6, r"matrix\.units = '64'"),
        ("id: my-chip", "id: My Chip", 1, r"id = 'My Chip'"),
        ("sources: [datasheet]", "sources: []", 13, "sources"),
        ("power: {tdp_w: 300, source: datasheet}", "power: 300", 12, "power = 300"),
    ],
)
def test_an_error_names_file_line_key_and_remedy(old, new, line, words):
    with pytest.raises(InputError, match=rf"^my-chip\.yaml:{line}: .*{words}") as caught:
        chip(old, new)
    assert "\n" not in str(caught.value)


def test_a_list_where_a_mapping_belongs_is_refused():
    with pytest.raises(InputError, match="mapping of keys"):
        parse(Chip, parse_yaml("- 1\n", "my-chip.yaml"))


def test_a_number_for_each_name_is_converted_too():
    text = "id: c\nname: C\npools: [{chip: x, chips_per_node: 8}]\ntiers: [{name: a, kind: switch, bandwidth_gb_per_s: 1}]\n"
    text += "sources: [s]\nreliability: {mtbf_h: {node: 2}, source: s}\n"
    assert parse(Cluster, parse_yaml(text, "c.yaml")).reliability.mtbf_s == {"node": 7200.0}
    with pytest.raises(InputError, match=r"^c\.yaml:6: reliability\.mtbf_h\.node = 'two' is not a number"):
        parse(Cluster, parse_yaml(text.replace("node: 2", "node: two"), "c.yaml"))


def test_an_error_inside_a_list_counts_from_its_place():
    text = "id: c\nname: C\npools: [{chip: x, chips_per_node: 8}]\ntiers:\n  - {name: a, kind: switch, bandwidth_gb_per_s: 1}\n"
    text += "  - {name: b, kind: hub, bandwidth_gb_per_s: 1}\nsources: [s]\n"
    with pytest.raises(InputError, match=r"^c\.yaml:6: tiers\.1\.kind = 'hub'"):
        parse(Cluster, parse_yaml(text, "c.yaml"))


def test_records_are_frozen_and_changed_by_copies():
    read = chip()
    with pytest.raises(ValueError, match="frozen"):
        read.name = "other"
    assert read.with_(name="other").name == "other"
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        read.with_(ranks=0)


def test_share_of_more_than_one_is_refused():
    text = "id: s\nname: S\nversion: '1'\nrole: serve\nlaunch: eager\nhost_launch_us: 5\nstep_host_s: 0\nsource: s\n"
    assert parse(Stack, parse_yaml(text, "s.yaml")).host_launch_s == pytest.approx(5e-6)
    with pytest.raises(InputError, match=r"engine\.kv_fraction = 1\.5"):
        parse(Stack, parse_yaml(text + "engine: {kv_fraction: 1.5}\n", "s.yaml"))
