"""One contract over every file of devices/, every label of the measured tables, and the look-up of names."""

from __future__ import annotations

import os

import pytest

from sim.catalog.chips import DTYPES
from sim.catalog.clusters import sliced
from sim.catalog.library import FOLDERS, Library, cluster_of, normal, package_root
from sim.errors import InputError, UnknownFigure

LIBRARY = Library(package_root())
IDS = {kind: [entry.id for entry in LIBRARY.entries(kind)] for kind in ("chip", "cluster", "family", "stack")}

# every device label of the measured tables, as their sources spell them -> chip
LABELS = {
    # training
    "A100-SXM-40GB": "a100-sxm-40gb",
    "A100-SXM-80GB": "a100-sxm-80gb",
    "B200": "b200",
    "B200 (power limited)": "b200",
    "B300": "b300",
    "GB200": "gb200",
    "GB300": "gb300",
    "Gaudi2": "gaudi2",
    "H100-96GB-HBM2e-500W": "h100-96gb-hbm2e-500w",
    "H100-SXM-80GB": "h100-sxm",
    "H200-SXM-141GB": "h200-sxm",
    "H800-SXM": "h800",
    "L40S": "l40s",
    "MI300X": "mi300x",
    "MI325X": "mi325x",
    "MI350X": "mi350x",
    "MI355X": "mi355x",
    "TPU-v3": "tpu-v3",
    "TPU-v4": "tpu-v4",
    "TPU-v5e": "tpu-v5e",
    "TPU-v5p": "tpu-v5p",
    "TPU-v6e": "tpu-v6e",
    "TPU-v7(Ironwood)": "tpu-v7x",
    "Trainium1 (trn1.32xlarge)": "trainium1",
    "V100-32GB": "v100-sxm2-32gb",
    "V100-SXM2-32GB": "v100-sxm2-32gb",
    # inference
    "a100-pcie-80gb": "a100-pcie-80gb",
    "a100-sxm-40gb": "a100-sxm-40gb",
    "a100-sxm-80gb": "a100-sxm-80gb",
    "b200-sxm-180gb": "b200",
    "b300-sxm-270gb": "b300",
    "gh200-144gb": "gh200-144gb",
    "gh200-96gb": "gh200",
    "h100-nvl-94gb": "h100-nvl",
    "h100-pcie-80gb": "h100-pcie",
    "h100-sxm-80gb": "h100-sxm",
    "h20-96gb": "h20",
    "h200-nvl-141gb": "h200-nvl",
    "h200-sxm-141gb": "h200-sxm",
    "h800-sxm-80gb": "h800",
    "inferentia1": "inferentia1",
    "inferentia2": "inferentia2",
    "intel-arc-pro-b60-dual": "arc-pro-b60-dual",
    "intel-max-1550": "intel-max-1550",
    "mi250": "mi250",
    "mtia-1": "mtia-1",
    "mtia-2i": "mtia-2i",
    "mtia-300": "mtia-300",
    "rtx-pro-6000-blackwell-se": "rtx-pro-6000",
    "tpu-v7x": "tpu-v7x",
    "trainium1": "trainium1",
    "trainium2": "trainium2",
    # kernels, closed-loop serving
    "h100-sxm": "h100-sxm",
    "h200": "h200-sxm",
    "rtx-pro-6000": "rtx-pro-6000",
    "arc-pro-b60": "arc-pro-b60",
    # power, collectives over several nodes, campaigns
    "B200-SXM-180GB": "b200",
    "a100_sxm_80gb": "a100-sxm-80gb",
    "a100_sxm_40gb": "a100-sxm-40gb",
    "h100_sxm": "h100-sxm",
    "h800": "h800",
    "tpu_v7": "tpu-v7x",
    "Trainium1": "trainium1",
    "H800": "h800",
}
SHORT = {
    "h100": "h100-sxm",
    "a100": "a100-sxm-80gb",
    "v100": "v100-sxm2-32gb",
    "trn1": "trainium1",
    "trn2": "trainium2",
    "trn3": "trainium3",
    "inf1": "inferentia1",
    "inf2": "inferentia2",
    "v5e": "tpu-v5e",
    "v5p": "tpu-v5p",
    "v6e": "tpu-v6e",
    "trillium": "tpu-v6e",
    "ironwood": "tpu-v7x",
    "mtia-200": "mtia-2i",
    "gaudi-3": "gaudi3",
}
CLUSTERS = {
    "dgx-h100": "dgx-h100",
    "h100": "dgx-h100",
    "H100-SXM-80GB": "dgx-h100",
    "a100": "dgx-a100",
    "h200": "hgx-h200",
    "b200-sxm-180gb": "dgx-b200",
    "gb200": "gb200-nvl72",
    "GB300_NVL72": "gb300-nvl72",
    "p5.48xlarge": "p5-48xlarge",
    "mi300x": "mi300x-8x-oam",
    "tpu-v5p": "tpu-v5p-pod",
    "v5e": "tpu-v5e-pod",
    "TPU-v7(Ironwood)": "ironwood-pod",
    "trn1": "trn1-32xlarge",
    "trn2": "trn2-48xlarge",
    "trn3": "trn3-ultraserver-gen2",
    "inf2": "inf2-48xlarge",
    "mtia-2i": "mtia-2i-chassis",
    "gaudi2": "hls-gaudi2",
    "l40s": "l40s",
    "mi355x": "mi355x",
}
# dense bf16 (or fp16) FLOP of one unit in one clock; a held-down or differently clocked part is left out
FLOP_PER_UNIT_CLOCK = {
    "volta": 1024,
    "hopper": 4096,
    "blackwell": 8192,
    "cdna2": 1024,
    "cdna3": 2048,
    "cdna4": 4096,
    "xe2": 2048,
    "xe-hpc": 4096,
    "ada": 1024,
    "mtia-1": 1024,
    "mtia-2": 2048,
}
EXCEPTIONS = {"a10g": 512, "rtx-pro-6000": 1024, "a100-sxm-80gb": 2048, "a100-sxm-40gb": 2048, "a100-pcie-80gb": 2048}
RATES_ONLY = {"h20": "held down for export", "tpu-v6e": "printed arrays", "tpu-v7x": "printed arrays"}


def ports(chip):
    return [port for port in (chip.scale_up, chip.scale_out, chip.host) if port is not None]


def blocks(chip):
    return [chip.matrix, chip.memory, chip.power, *ports(chip), *filter(None, (chip.vector, chip.sram))]


@pytest.mark.parametrize("name", IDS["chip"])
def test_every_chip_keeps_the_contract(name):
    chip = LIBRARY.chip(name)
    assert chip.id == name
    assert chip.family in IDS["family"]
    assert all(block.source.strip() for block in blocks(chip)) and chip.sources
    assert 1e9 < chip.memory.capacity_bytes < 1e12
    assert 1e10 < chip.memory.bandwidth_bytes_per_s < 1e14
    assert chip.matmul_flops_per_s("bf16") > 1e13
    if chip.sram and chip.sram.bandwidth_bytes_per_s:
        assert chip.sram.bandwidth_bytes_per_s > chip.memory.bandwidth_bytes_per_s


@pytest.mark.parametrize("name", IDS["chip"])
def test_narrower_formats_are_never_slower_except_where_the_vendor_cut_int8(name):
    matrix = LIBRARY.chip(name).matrix
    rates = [matrix.fp32_flops_per_s, matrix.tf32_flops_per_s, matrix.bf16_flops_per_s, matrix.fp8_flops_per_s]
    rates = [rate for rate in [*rates, matrix.fp4_flops_per_s] if rate is not None]
    assert rates == sorted(rates)
    if matrix.int8_flops_per_s and name not in ("b300", "gb300", "rubin"):
        assert matrix.int8_flops_per_s >= (matrix.bf16_flops_per_s or 0.0)


@pytest.mark.parametrize("name", IDS["chip"])
def test_the_dense_peak_follows_from_units_and_clock(name):
    chip = LIBRARY.chip(name)
    matrix = chip.matrix
    if matrix.units is None or matrix.clock_hz is None or name in RATES_ONLY:
        return
    per_unit = EXCEPTIONS.get(name) or FLOP_PER_UNIT_CLOCK.get(chip.generation)
    if matrix.array is not None:
        per_unit = 2 * matrix.array**2
    assert per_unit is not None, f"say what a unit of {name} does in a clock"
    # vendors round clocks and peaks; Trainium prints 6% more than its arrays do at the printed clock
    tolerance = 0.065 if chip.family == "neuron" else 0.025
    assert matrix.units * per_unit * matrix.clock_hz == pytest.approx(chip.matmul_flops_per_s("bf16"), rel=tolerance)


def test_published_peaks_of_well_known_chips_are_dense():
    peaks = {"a100-sxm-80gb": 312, "h100-sxm": 989.4, "b200": 2250, "gb200": 2500, "mi300x": 1307.4, "tpu-v5p": 459}
    peaks |= {
        "tpu-v5e": 197,
        "tpu-v6e": 918,
        "tpu-v7x": 2307,
        "trainium1": 190,
        "trainium2": 667,
        "gaudi3": 1677,
        "mtia-2i": 177,
    }
    assert {name: LIBRARY.chip(name).matmul_flops_per_s("bf16") / 1e12 for name in peaks} == pytest.approx(peaks)


def test_a_dtype_that_a_chip_lacks_runs_at_a_wider_one():
    a100 = LIBRARY.chip("a100")
    assert a100.matmul_flops_per_s("fp8") == a100.matrix.bf16_flops_per_s
    assert LIBRARY.chip("v100").matmul_flops_per_s("bf16") == LIBRARY.chip("v100").matrix.fp16_flops_per_s
    for name in IDS["chip"]:
        for dtype in DTYPES:
            assert LIBRARY.chip(name).matmul_flops_per_s(dtype) > 0
    bare = a100.with_(matrix={"source": "nothing is published"})
    with pytest.raises(UnknownFigure, match="bf16"):
        bare.matmul_flops_per_s("bf16")


@pytest.mark.parametrize(("label", "chip"), [*LABELS.items(), *SHORT.items()])
def test_every_label_of_the_measured_tables_and_every_usual_name_resolves(label, chip):
    assert LIBRARY.chip(label).id == LIBRARY.chip(label.lower()).id == chip


@pytest.mark.parametrize("name", IDS["family"])
def test_every_family_has_a_mechanism_and_default_stacks_that_exist(name):
    family = LIBRARY.family(name)
    assert family.id == name
    assert LIBRARY.stack(family.default_stack).role in ("serve", "both")
    assert LIBRARY.stack(family.default_training_stack).role in ("train", "both")


@pytest.mark.parametrize("name", IDS["stack"])
def test_every_stack_keeps_the_contract(name):
    stack = LIBRARY.stack(name)
    assert stack.id == name and stack.source
    assert stack.host_launch_s < 1e-4 and stack.step_host_s < 0.1
    if stack.kernels_from is not None:
        assert stack.kernels_from in IDS["stack"]
    if stack.role != "serve":
        assert {"tp_passes", "ep_passes", "dp_exposed", "fsdp_exposed"} <= set(stack.factors)
        assert all(0 <= value <= 1 for key, value in stack.factors.items() if key.endswith("_exposed"))
    if stack.role != "train":
        assert stack.engine.scheduler and stack.engine.max_num_seqs and stack.engine.kv_fraction


@pytest.mark.parametrize("name", IDS["cluster"])
def test_every_cluster_keeps_the_contract(name):
    cluster = LIBRARY.cluster(name)
    assert cluster.id == name
    chip = LIBRARY.chip(cluster.chip)
    sizes = [tier.size for tier in cluster.tiers if tier.size is not None]
    assert sizes == sorted(sizes), "tiers stand from inner to outer"
    assert all(tier.size is not None for tier in cluster.tiers[:-1])
    rates = [tier.bandwidth_bytes_per_s / tier.oversubscription for tier in cluster.tiers]
    assert rates == sorted(rates, reverse=True), "a wider tier is not faster"
    assert cluster.tiers[0].bandwidth_bytes_per_s <= (chip.scale_up or chip.host).bandwidth_bytes_per_s * 1.001
    assert (cluster.pue == 1.0) == (cluster.pue_source is None)
    if cluster.server_w is not None and chip.power.tdp_w is not None:
        host = cluster.server_w - cluster.chips_per_node * chip.power.tdp_w
        assert cluster.host.power_w == pytest.approx(host, rel=0.01), "what is left for the host"


@pytest.mark.parametrize(("name", "cluster"), CLUSTERS.items())
def test_a_chips_name_stands_for_the_usual_system_or_its_own_ports(name, cluster):
    assert LIBRARY.cluster(name).id == cluster


@pytest.mark.parametrize("name", IDS["chip"])
def test_every_chip_is_a_cluster_built_from_its_own_ports(name):
    cluster = cluster_of(LIBRARY.chip(name))
    assert cluster.chip == name
    sizes = [tier.size for tier in cluster.tiers if tier.size is not None]
    assert sizes == sorted(set(sizes))


def test_a_chip_without_any_published_port_stands_alone():
    cluster = cluster_of(LIBRARY.chip("mtia-400"))
    assert [tier.size for tier in cluster.tiers] == [1]


def test_cards_with_a_bridge_meet_in_pairs_then_over_pcie():
    cluster = cluster_of(LIBRARY.chip("h100-nvl"))
    assert [(tier.kind, tier.size) for tier in cluster.tiers] == [("mesh", 2), ("host", 8)]


def test_shapes_that_are_easy_to_get_wrong():
    teton = LIBRARY.cluster("grand-teton-24k")
    assert [(tier.size, tier.oversubscription) for tier in teton.tiers] == [(8, 1), (3072, 1), (24576, 7)]
    ultra = LIBRARY.cluster("trn2-ultraserver").tiers
    assert ultra[1].bandwidth_bytes_per_s == ultra[0].bandwidth_bytes_per_s / 4
    rack = LIBRARY.cluster("gb200-nvl72")
    assert (rack.tiers[0].size, rack.tiers[0].used, rack.chips_per_node) == (72, 64, 4)
    v5p = LIBRARY.cluster("tpu-v5p-pod")
    assert [dim.size for dim in v5p.tiers[0].dims] == [16, 20, 28]
    assert {dim.wrap_multiple for dim in v5p.tiers[0].dims} == {4}
    assert {dim.wrap_multiple for dim in LIBRARY.cluster("tpu-v5e-pod").tiers[0].dims} == {None}


def test_spares_are_paid_in_proportion():
    rack = LIBRARY.cluster("gb200-nvl72")
    assert [rack.paid(devices) for devices in (8, 64, 128)] == [9, 72, 144]
    assert LIBRARY.cluster("dgx-h100").paid(8) == 8


def test_failure_rates_add_up_to_the_published_419_interruptions():
    mtbf_s = LIBRARY.cluster("grand-teton-24k").reliability.mtbf_s
    chips, nodes, window_s = 16384, 2048, 54 * 86400
    units = {name: chips if name in ("chip", "silent_corruption", "nic", "network") else nodes for name in mtbf_s}
    assert sum(units[name] * window_s / mtbf_s[name] for name in mtbf_s) == pytest.approx(419, abs=0.5)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"chip 'h1000' is not in the catalogue\. Did you mean .*h100"):
        LIBRARY.chip("h1000")
    with pytest.raises(InputError, match=r"cluster 'dgx-h1000'.*dgx-h100"):
        LIBRARY.cluster("dgx-h1000")


def folder(root, kind, **files):
    place = root / FOLDERS[kind]
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / f"{name}.yaml").write_text(text)
    return root


def test_an_id_or_alias_that_two_files_claim_is_refused(tmp_path):
    folder(tmp_path, "chip", one="id: one\naliases: [Same Name]\n", two="id: two\naliases:\n  - same_name\n")
    with pytest.raises(InputError, match=r"'same-name' already names .*one\.yaml"):
        Library(tmp_path).entries("chip")


def test_an_alias_that_is_another_files_id_is_refused(tmp_path):
    folder(tmp_path, "chip", one="id: one\n", two="id: two\naliases: [one]\n")
    with pytest.raises(InputError, match="'one' already names"):
        Library(tmp_path).find("chip", "one")


def test_an_id_that_differs_from_its_file_is_refused(tmp_path):
    text = (package_root() / FOLDERS["family"] / "gpu.yaml").read_text()
    folder(tmp_path, "family", mine=text)
    with pytest.raises(InputError, match=r"id = 'gpu' differs from the file's name"):
        Library(tmp_path).family("mine")


def test_a_users_file_replaces_the_packages_under_all_its_names(tmp_path):
    text = (package_root() / FOLDERS["chip"] / "h100-sxm.yaml").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("aliases"))
    folder(tmp_path, "chip", **{"h100-sxm": text.replace("bandwidth_gb_per_s: 3350", "bandwidth_gb_per_s: 6700")})
    library = Library(tmp_path)
    for name in ("h100-sxm", "h100", "H100-SXM-80GB"):
        assert library.chip(name).memory.bandwidth_bytes_per_s == 6.7e12
    assert {entry.origin for entry in library.entries("chip") if entry.id == "h100-sxm"} == {"--catalog"}
    assert [entry.id for entry in library.entries("chip")] == IDS["chip"]


def test_a_catalogue_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Library(tmp_path / "nowhere")


def test_a_path_is_read_as_it_stands(tmp_path):
    path = tmp_path / "my own.yaml"
    path.write_text((package_root() / FOLDERS["chip"] / "l4.yaml").read_text())
    assert LIBRARY.chip(os.fspath(path)).id == "l4"


def test_case_blanks_and_underscores_do_not_matter():
    assert normal(" TPU_v5p ") == normal("tpu v5P") == "tpu-v5p"


@pytest.mark.parametrize(
    ("cluster", "devices", "slices", "shape", "wraps"),
    [
        ("tpu-v5p-pod", 16384, 4, (16, 16, 16), (True, True, True)),
        ("tpu-v5p-pod", 512, 1, (8, 8, 8), (True, True, True)),
        ("tpu-v5p-pod", 8, 1, (2, 2, 2), (False, False, False)),
        ("tpu-v5e-pod", 512, 2, (16, 16), (True, True)),
        ("tpu-v5e-pod", 64, 1, (8, 8), (False, False)),
        ("tpu-v6e-pod", 32, 1, (4, 8), (False, False)),
    ],
)
def test_a_job_gets_equal_slices_near_to_a_cube(
    cluster: str, devices: int, slices: int, shape: tuple[int, ...], wraps: tuple[bool, ...]
) -> None:
    cut, count = sliced(LIBRARY.cluster(cluster), devices)
    assert count == slices
    assert tuple(dim.size for dim in cut.tiers[0].dims) == shape
    assert tuple(dim.wrap for dim in cut.tiers[0].dims) == wraps


def test_a_cluster_without_slices_is_left_as_it_is() -> None:
    h100 = LIBRARY.cluster("dgx-h100")
    assert sliced(h100, 4096) == (h100, 1)
