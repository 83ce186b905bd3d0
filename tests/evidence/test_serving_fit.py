"""Numbers of serving: what a fit finds again, what it writes, and what a refit may not see."""

from pathlib import Path

import numpy as np
import pytest

from sim.catalog.library import Library
from sim.evidence.context import Context
from sim.evidence.inference_numbers import INFERENCE_NUMBERS
from sim.evidence.serving_files import write_numbers
from sim.evidence.serving_fit import ServingFit, residuals_of, runs_of, value_now
from sim.evidence.serving_numbers import BESIDE, MOST, NUMBERS
from sim.evidence.serving_page import numbers_page
from sim.evidence.serving_stacks import serving_stack
from sim.evidence.tables import find_tables

ROOT = Path(__file__).parents[2]
CLIENTS = 16


@pytest.fixture(scope="module")
def runs():
    """Shipped runs of few clients, whose measured times are those of known numbers."""
    library = Library()
    table = next(
        t for t in find_tables(ROOT / "workloads" / "measured", "serving", library) if t.kind.name == "serving"
    )
    clients = table.numbers("concurrency")
    table = table.select([i for i in range(len(table)) if clients[i] <= CLIENTS][:40])
    return runs_of(table, Context(library))


def test_the_numbers_of_the_catalogue_move_no_run(runs):
    fit = ServingFit(runs, Library())
    tpot, ttft = fit.predicted(fit.now)
    assert tpot == pytest.approx(runs.tpot_s)
    assert ttft == pytest.approx(runs.ttft_s, rel=0.3)  # a queue is never shorter than a fifth of a prompt's pass


def test_a_fit_finds_times_again_that_its_own_numbers_made(runs):
    fit = ServingFit(runs, Library())
    truth = {number.name: number.prior * 1.1 for number in NUMBERS}
    tpot, ttft = fit.predicted(truth)
    again = ServingFit(runs._replace(measured_tpot_s=tpot, measured_ttft_s=ttft), Library())
    found = again.predicted(again.fit())
    assert np.median(np.abs(found[0] / tpot - 1.0)) < 0.02


def test_every_run_is_left_out_once_and_residuals_stand_around_the_fit(runs):
    fit = ServingFit(runs, Library())
    tpot, ttft = fit.left_out("random")
    assert np.isfinite(tpot).all() and np.isfinite(ttft).all()
    for quantiles in residuals_of(runs, (tpot, ttft)).values():
        assert quantiles["tpot_p10"] < quantiles["tpot_p90"]


def test_what_is_written_is_what_the_catalogue_says(tmp_path):
    stacks = tmp_path / "devices" / "stacks"
    stacks.mkdir(parents=True)
    for number in NUMBERS:
        for stack in number.stacks:
            text = (ROOT / "devices" / "stacks" / f"{stack}.yaml").read_text(encoding="utf-8")
            (stacks / f"{stack}.yaml").write_text(text, encoding="utf-8")
    library = Library()
    values = {number.name: value_now(number, library) for number in NUMBERS}
    assert write_numbers(tmp_path, {**values, NUMBERS[1].name: 0.5}, {"vllm": {"tpot_p10": -0.1, "tpot_p90": 0.1}})
    text = (stacks / "vllm.yaml").read_text(encoding="utf-8")
    assert "  gemm_passes: 0.5\n" in text and "residuals: {tpot_p10: -0.1, tpot_p90: 0.1}\n" in text


def test_the_list_of_numbers_is_the_one_that_ships():
    library = Library()
    assert len(NUMBERS) + len(BESIDE) + len(INFERENCE_NUMBERS) <= MOST
    text = (ROOT / "docs" / "serving-numbers.md").read_text(encoding="utf-8")
    assert text == numbers_page(library)
    for each in BESIDE:
        assert (ROOT / "devices" / f"{each.file}.yaml").exists()


@pytest.mark.parametrize(
    ("chip", "engine", "version", "stack"),
    [
        ("h100-sxm", "vLLM", "2024", "vllm-2024"),
        ("h100-sxm", "vLLM", "0.19.0", "vllm"),
        ("h100-sxm", "TensorRT-LLM", "2024", "trtllm-2024"),
        ("mi300x", "vLLM", "2024", "vllm-rocm-2024"),
        ("tpu-v6e", "vLLM TPU", "", "vllm-tpu"),
    ],
)
def test_a_version_that_is_a_year_is_the_stack_as_it_was_then(chip, engine, version, stack):
    context = Context()
    assert serving_stack(context, context.chip(chip), engine, version).id == stack
