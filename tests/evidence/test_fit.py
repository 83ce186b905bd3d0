"""Calibration from measured kernels: finds what made the times, refuses what does not generalise, writes what it found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sim.app.cli import run
from sim.catalog.calibrations import Fit
from sim.catalog.library import Library
from sim.cost import BASES, basis, machine, seconds
from sim.errors import InputError
from sim.evidence.context import Context
from sim.evidence.fit import LEAST_ROWS, Group, fit_group
from sim.evidence.fit_files import calibrate, groups_of
from sim.evidence.kernel_rows import kernels_of, predict, stack_of
from sim.evidence.predictions import silent
from sim.evidence.tables import parse_table

MADE = Fit(data="a test", date="2026-11-24", command="none")
HEADER = "device,dtype,m,n,k,time_us,stack\n"


def shapes(rows: int) -> list[tuple[int, int, int]]:
    random = np.random.default_rng(1)
    return [tuple(int(2 ** random.uniform(low, 13)) for low in (0, 7, 7)) for _ in range(rows)]  # type: ignore[misc]


def table(rows: int, times_us: np.ndarray | None = None) -> str:
    given = np.ones(rows) if times_us is None else times_us
    lines = [
        f"h100-sxm,bfloat16,{m},{n},{k},{t!r},vllm" for (m, n, k), t in zip(shapes(rows), given.tolist(), strict=True)
    ]
    return HEADER + "\n".join(lines) + "\n"


def group(rows: int) -> Group:
    context = Context(level="family")
    chip = context.chip("h100-sxm")
    packed = context.machine(chip, stack_of("vllm", chip, context))
    kernels, _ = kernels_of(parse_table(table(rows), "t.csv"))
    return Group("gemm.bf16.bf16", packed, kernels, seconds(kernels, packed))


def slower(given: Group, launch: float, efficiency: float) -> np.ndarray:
    """Times of the same kernels [s] where launches take `launch` times as long and the peak is reached less."""
    cells = given.machine.parameters.copy()
    at = int(given.kernels.kind[0])
    cells[at, ..., 0] *= launch
    cells[at, ..., 1] *= efficiency
    return seconds(given.kernels, given.machine._replace(parameters=cells))


def test_times_of_a_slower_chip_give_back_what_made_them():
    known = group(160)
    found = fit_group(known._replace(measured=slower(known, 1.8, 0.6)))
    kind = int(known.kernels.kind[0])
    family = known.machine.parameters[kind, known.kernels.dtype[0], known.kernels.stored[0]]
    assert not found.refused
    assert found.fitted.median < 0.01 < found.family.median
    assert found.left_out.fifths < found.left_out_family.fifths
    assert found.parameters["launch_clocks"] == pytest.approx(1.8 * family[0], rel=0.1)
    assert found.parameters["efficiency"] == pytest.approx(0.6 * family[1], rel=0.1)


def test_noise_around_the_familys_values_is_not_taken_for_a_fit():
    known = group(40)
    noise = np.exp(np.random.default_rng(3).normal(0.0, 0.3, 40))
    found = fit_group(known._replace(measured=known.measured * noise))
    assert found.refused or found.left_out.fifths <= found.left_out_family.fifths


def test_too_few_rows_leave_the_familys_values():
    known = group(LEAST_ROWS - 1)
    found = fit_group(known._replace(measured=2.0 * known.measured))
    assert "fewer than" in found.refused and not found.parameters


def test_the_interval_covers_rows_that_the_fit_did_not_see():
    known = group(160)
    noise = np.exp(np.random.default_rng(5).normal(0.0, 0.1, 160))
    found = fit_group(known._replace(measured=slower(known, 1.5, 0.7) * noise))
    assert -0.2 < found.residuals["p10"] < -0.08 and 0.08 < found.residuals["p90"] < 0.2


def test_without_scipy_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(InputError, match=r"gambrel\[fit\]"):
        fit_group(group(30))


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    known = group(120)
    path = tmp_path / "mine.csv"
    path.write_text(table(120, slower(known, 2.0, 0.5) * 1e6), encoding="utf-8")
    return path


def test_the_command_writes_what_the_next_command_reads(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["calibrate", str(measured), "--chip", "h100", "--stack", "vllm"]) == 0
    assert "gemm.bf16.bf16" in capsys.readouterr().out
    library = Library()
    chip, stack = library.chip("h100"), library.stack("vllm")
    merged = library.calibration(chip, stack)
    packed = machine(chip, library.family(chip.family), merged, library.cluster("h100-sxm"))
    known = group(120)
    assert np.median(np.abs(seconds(known.kernels, packed) / slower(known, 2.0, 0.5) - 1.0)) < 0.02
    assert {BASES[i] for i in basis(known.kernels, packed)} == {"calibrated"}
    assert library.find("calibration", "h100-sxm--vllm").origin == "this folder"


def test_a_fit_of_products_leaves_other_kinds_extrapolated(measured, tmp_path):
    calibrate([measured], "h100", stack="vllm", catalog=tmp_path, made=MADE)
    library = Library(tmp_path)
    chip = library.chip("h100")
    packed = machine(
        chip, library.family(chip.family), library.calibration(chip, library.stack("vllm")), library.cluster("h100-sxm")
    )
    known = group(8)
    other = known.kernels.take(np.arange(8), dtype=np.full(8, known.kernels.dtype[0] + 1, np.int16))
    assert {BASES[i] for i in basis(known.kernels, packed)} == {"calibrated"}
    assert {BASES[i] for i in basis(other, packed)} == {"extrapolated"}


def test_a_chip_without_rows_is_an_input_error(measured, tmp_path):
    with pytest.raises(InputError, match="no row of chip 'b200'"):
        calibrate([measured], "b200", catalog=tmp_path, made=MADE)
    assert not (tmp_path / "devices").exists()


def test_a_call_that_the_host_launches_alone_takes_longer_and_is_not_fitted(tmp_path):
    rows = [
        f"h100-sxm,all_reduce,8,bfloat16,{4096 * size},{10.0 + size},vllm,vLLM_custom_{how}"
        for how in ("eager", "graph")
        for size in (1, 64)
    ]
    text = "device,op,num_devices,dtype,elements,time_us,stack,kernel\n" + "\n".join(rows) + "\n"
    context = Context(level="family")
    times = predict(parse_table(text, "c.csv").configuration(), context, silent).values["time_us"]
    assert (times[:2] > times[2:] + 10.0).all()
    found = groups_of([parse_table(text, "c.csv")], context.chip("h100"), None, context)
    assert [group.measured.size for group in found["vllm"]] == [2]
