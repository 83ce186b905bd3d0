"""Calibration files: a fit replaces its groups and nothing else; the next command reads what was written; bad input is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sim.app.cli import run
from sim.catalog.calibrations import Calibration
from sim.catalog.library import Library
from sim.catalog.records import read
from sim.cost import BASES, SIZES, basis, machine, seconds
from sim.cost.parameters import TABLES
from sim.errors import InputError
from sim.evidence.calibrate import Asked, calibrate
from sim.evidence.context import Context
from sim.evidence.fit import good_start
from sim.evidence.fit_files import Entry, Shelf, merge
from sim.evidence.groups import groups_of
from sim.evidence.kernel_rows import predict
from sim.evidence.predictions import silent
from sim.evidence.tables import parse_table

from .all_gathers import HEADER, MADE, group, known, rows, slower

CHIP = "h100-sxm"


def text(count: int, times: np.ndarray) -> str:
    """The rows of `rows` with measured times [s]."""
    head, *lines = rows(count).splitlines()
    return "\n".join(
        [head, *(line.replace(",1,nccl", f",{t * 1e6:.6g},nccl") for line, t in zip(lines, times, strict=True))]
    )


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    given = known(120)
    path = tmp_path / "mine.csv"
    path.write_text(text(120, slower(given, 2.0, 0.5)) + "\n", encoding="utf-8")
    return path


def test_the_command_writes_what_the_next_command_reads(mine, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["calibrate", str(mine), "--chip", "h100"]) == 0
    said = capsys.readouterr().out
    assert "all_gather" in said and "left out" in said
    library = Library()
    chip = library.chip("h100")
    merged = library.calibration(chip, library.stack("megatron"))
    packed = machine(chip, library.family(chip.family), merged, library.cluster(chip.id))
    kernels = known(120).members[0].kernels
    assert np.median(np.abs(seconds(kernels, packed) / slower(known(120), 2.0, 0.5) - 1.0)) < 0.03
    assert {BASES[i] for i in basis(kernels, packed)} == {"calibrated"}
    fit = merged.fits["all_gather"]
    assert (fit.rows, fit.data) == (120, "mine.csv") and fit.command == "gambrel calibrate mine.csv --chip h100"
    assert {f"{size}_p10" for size in SIZES} & set(merged.residuals["all_gather"])
    assert library.find("calibration", f"{CHIP}--any").origin == "this folder"


def test_a_new_file_holds_all_that_the_one_it_replaces_held(mine, tmp_path):
    before = Library().find("calibration", f"{CHIP}--any")
    calibrate([mine], Asked(chip="h100", catalog=tmp_path), MADE)
    old = read(Calibration, before.path)
    new = read(Calibration, tmp_path / "devices" / "calibrations" / f"{CHIP}--any.yaml")
    assert {k: v for k, v in new.parameters.items() if k != "all_gather"} == {
        k: v for k, v in old.parameters.items() if k != "all_gather"
    }
    assert new.source == old.source


def test_a_fit_replaces_its_values_and_keeps_choices_and_other_groups_and_in_a_family_what_it_left_alone(tmp_path):
    folder = tmp_path / "devices" / "calibrations"
    folder.mkdir(parents=True)
    (folder / "gpu--vllm.yaml").write_text(
        "id: gpu--vllm\nsubject: gpu\nstack: vllm\nbasis: extrapolated\n"
        "parameters:\n  attention_decode.bf16: {pack: 8, efficiency: 0.5, norm: 2}\n  attention_decode.bf16.bf16: {efficiency: 0.4}\n"
        "  power: {busy_share: 0.3}\nsource: by hand\n",
        encoding="utf-8",
    )
    entry = Entry("attention_decode.bf16.bf16", {"efficiency": 0.123456}, {"priors": {"chip": 0.1}})
    path = merge(Shelf(tmp_path, {}), "gpu", "vllm", [entry], MADE)
    found = read(Calibration, path)
    assert found.parameters == {
        "attention_decode.bf16": {"pack": 8, "efficiency": 0.1235},
        "power": {"busy_share": 0.3},
    }
    assert found.priors == {"attention_decode.bf16": {"chip": 0.1}} and found.source == "by hand"


def test_two_that_write_at_once_lose_nothing(tmp_path):
    keys = [f"gemm.{dtype}.{stored}" for dtype in ("bf16", "fp8") for stored in ("int8", "int4", "fp4")]

    def write(key: str) -> Path:
        return merge(Shelf(tmp_path, {}), "gpu", "vllm", [Entry(key, {"efficiency": 0.5}, {})], MADE)

    with ThreadPoolExecutor(6) as pool:
        paths = set(pool.map(write, keys))
    assert set(read(Calibration, paths.pop()).parameters) == set(keys)


def test_a_start_at_a_bound_or_far_from_the_default_is_none():
    table = TABLES["gemm"]
    default = {parameter.name: parameter.default for parameter in table}
    odd = {**default, "efficiency": 1.0, "launch_clocks": 90.0 * default["launch_clocks"], "granule": 7.0}
    assert good_start(odd, table, fresh=False) == {**default, "granule": 7.0}
    near = {**default, "efficiency": 0.7}
    assert good_start(near, table, fresh=False) == near
    assert good_start(near, table, fresh=True) == default


def test_a_call_that_the_host_launches_alone_takes_longer_and_is_not_fitted():
    lines = [
        f"h100-sxm,all_reduce,8,bfloat16,{4096 * size},{10.0 + size},vllm,vLLM_custom_{how}"
        for how in ("eager", "graph")
        for size in (1, 64)
    ]
    table = parse_table(
        "device,op,num_devices,dtype,elements,time_us,stack,kernel\n" + "\n".join(lines) + "\n", "c.csv"
    )
    context = Context(level="family")
    times = predict(table.configuration(), context, silent).values["time_us"]
    assert (times[:2] > times[2:]).all()
    found = groups_of([table], lambda chip: chip.id == CHIP, None, (), context)
    assert [(each.stack, each.rows) for each in found] == [("vllm", 2)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEADER.replace("elements,", "") + "h100,all_gather,2,half,9,nccl\n", "which needs 'elements'"),
        (HEADER.replace("time_us,", "") + "h100,all_gather,2,half,9,nccl\n", "no column time_us"),
        (HEADER + "h100,all_gather,2,half,512,fast,nccl\n", r"mine\.csv:2: time_us = 'fast' is not a number"),
        (HEADER + "h100,all_gather,2,half,512,-3,nccl\n", r"mine\.csv:2: time_us = '-3' is no time of a kernel"),
        (HEADER + "h100,all_gather,2,half,512,0,nccl\n", r"mine\.csv:2: time_us = '0' is no time of a kernel"),
        (HEADER + "h100,all_gather,2,half,many,3,nccl\n", r"mine\.csv:2: elements = 'many' is not a number"),
        (HEADER + "h100,all_gather,-2,half,512,3,nccl\n", r"mine\.csv:2: num_devices = '-2' is not a size"),
        (HEADER + "h100,all_gather,2,half,512,3,\n", r"mine\.csv:2: the row names no stack"),
        (HEADER + "b200,all_gather,2,half,512,3,nccl\n", "no row of 'h100-sxm' that counts"),
        (HEADER + "h100,all_gather,2,half,512,,nccl\n", "no row of 'h100-sxm' that counts"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(content, says, tmp_path):
    (tmp_path / "mine.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        calibrate([tmp_path / "mine.csv"], Asked(chip="h100", catalog=tmp_path), MADE)
    assert not (tmp_path / "devices").exists()


def test_one_row_is_told_to_be_too_few_and_nothing_is_written(tmp_path):
    (tmp_path / "mine.csv").write_text(HEADER + "h100,all_gather,2,half,512,30,nccl\n", encoding="utf-8")
    found = calibrate([tmp_path / "mine.csv"], Asked(chip="h100", catalog=tmp_path), MADE)
    assert [fit.refused for fit in found.fits] == ["1 rows, fewer than 24"]
    assert not found.paths and not (tmp_path / "devices").exists()


@pytest.mark.parametrize("given", [{}, {"chip": "h100", "family": "gpu"}], ids=["neither", "both"])
def test_either_a_chip_or_a_family_is_named(given, mine):
    with pytest.raises(InputError, match="either --chip ID or --family ID"):
        calibrate([mine], Asked(**given), MADE)


def test_an_unknown_kind_is_an_input_error(mine):
    with pytest.raises(InputError, match="'gem' is no kernel kind"):
        calibrate([mine], Asked(chip="h100", kinds=("gem",)), MADE)


def test_a_run_of_nccl_tests_is_of_the_chip_that_is_named(tmp_path):
    """The driver's name of a device need not be known."""
    sample = (Path(__file__).parent / "nccl" / "all_reduce_perf.txt").read_text(encoding="utf-8")
    path = tmp_path / "run.txt"
    path.write_text(sample.replace("H100 80GB HBM3", "Made Up 9000"), encoding="utf-8")
    found = calibrate([path], Asked(chip="b200", catalog=tmp_path), MADE)
    assert [(fit.key, fit.stack, fit.rows) for fit in found.fits] == [("all_reduce", "any", 3)]


def test_the_groups_of_a_family_hold_all_its_chips():
    both = rows(30) + rows(30, "b200").partition("\n")[2]
    assert [member.chip for member in group(both).members] == ["b200", CHIP]
