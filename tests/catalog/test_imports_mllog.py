"""Results of MLPerf Training: step time by its best evidence, ranks that log alike, layouts, chips by the platform's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.imported import Imported
from sim.catalog.imports import read_run, run_of
from sim.catalog.library import default_library
from sim.catalog.plans import Dtypes, Plan
from sim.errors import InputError

SAMPLE = Path(__file__).parent / "samples" / "runs" / "mllog_golden.txt"
LIBRARY = default_library()
START_MS = 1_700_000_000_000
SETTINGS: dict[str, Any] = {
    "submission_benchmark": "llama31_8b",
    "submission_platform": "1xMI325X",
    "global_batch_size": 32,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "tensor_parallelism": 1,
    "pipeline_parallelism": 1,
}


def event(seconds: float, key: str, value: object = None, prefix: str = "", **metadata: object) -> str:
    told = {"key": key, "value": value, "time_ms": round(START_MS + 1e3 * seconds), "metadata": metadata}
    return f"{prefix}:::MLLOG {json.dumps(told)}"


def configured(**changes: object) -> list[str]:
    return [event(0, key, value) for key, value in {**SETTINGS, **changes}.items() if value is not None]


def clock(blocks: int = 3, block_s: float = 100.0, samples: int = 3200, idle_s: float = 50.0) -> list[str]:
    lines, now = [event(1, "run_start")], 1.0
    for index in range(blocks):
        lines.append(event(now, "block_start", samples_count=index * samples))
        now += block_s
        lines.append(event(now, "block_stop", samples_count=(index + 1) * samples))
        now += idle_s
    return [*lines, event(now, "run_stop", status="success", samples_count=blocks * samples)]


def read(lines: list[str]) -> Imported:
    return run_of("\n".join(lines), "result_0.txt", LIBRARY, "mllog")


def test_a_result_with_two_ranks_is_one_run():
    run = read_run(SAMPLE, LIBRARY)
    assert (run.kind, run.model.id, run.device, run.devices, run.seq_len) == (
        "mllog",
        "llama-3.1-8b",
        "h100-sxm",
        64,
        8192,
    )
    assert run.plan == Plan(tp=2, dp=32, global_batch=128, dtypes=Dtypes(weights="fp8"))
    assert run.precision == "fp8"  # of config_fp8_n8.sh
    assert run.step_time_s == pytest.approx(2.0)  # the first throughput, 2.5 s a step, is left out
    assert {note.name for note in run.assumed} == {"sharding", "recompute", "devices"}


def test_blocks_between_evaluations_give_the_step_where_no_throughput_is_logged():
    run = read([*configured(), *clock()])
    assert run.step_time_s == pytest.approx(100.0 * 32 / 3200)
    assert run.measured_as == "median of 2 blocks between evaluations, in samples a second"
    assert (run.device, run.devices, run.plan.dp) == ("mi325x", 8, 8)


def test_the_whole_run_gives_a_bound_and_says_so():
    lines = [each for each in clock() if "block" not in each]
    run = read([*configured(), lines[0], event(2, "eval_start", samples_count=0), *lines[1:]])
    assert run.step_time_s == pytest.approx(450.0 * 32 / 9600)
    assert any("evaluations are in it" in note.meaning for note in run.assumed)


@pytest.mark.parametrize("per_sample", [1, 8192])
def test_throughput_in_samples_or_in_tokens_gives_one_step_time(per_sample):
    stats = [event(50 + n, "tracked_stats", {"throughput": 32.0 * per_sample}, step=n) for n in range(3)]
    run = read([*configured(), *clock(), *stats])
    assert run.step_time_s == pytest.approx(1.0)
    assert ("in tokens" in run.measured_as) == (per_sample > 1)


def test_blocks_that_count_tokens_or_epochs_are_told_apart():
    assert read([*configured(), *clock(samples=3200 * 8192)]).step_time_s == pytest.approx(1.0)
    assert read([*configured(), *clock(samples=1)]).step_time_s is None


def test_logged_step_times_count_before_all_else():
    stats = [
        event(50 + n, "tracked_stats", {"train_step_time": 0.9 - 0.1 * n, "throughput": 1.0}, step=n) for n in range(3)
    ]
    assert read([*configured(), *clock(), *stats]).step_time_s == pytest.approx(0.75)


@settings(max_examples=25, deadline=None)
@given(ranks=st.integers(1, 4), skew_ms=st.integers(0, 900), data=st.data())
def test_logs_of_more_ranks_change_nothing_whatever_the_order_of_lines(ranks, skew_ms, data):
    alone = [*configured(), *clock()]
    many = [f"{rank}: {line}" for rank in range(ranks) for line in alone]
    many += [
        event(skew_ms / 1e3, "submission_benchmark", "llama31_8b", prefix="[9] ", lineno=7),
        event(1 + skew_ms / 1e3, "run_start", prefix="[9] ", rank=9),
    ]
    shuffled = data.draw(st.permutations(many))
    one, other = read(alone), read(shuffled)
    assert (one.step_time_s, one.plan, one.devices) == (other.step_time_s, other.plan, other.devices)


def test_lora_trains_the_adapters_alone():
    run = read([*configured(submission_benchmark="llama2_70b_lora", submission_platform="DGX-B200"), *clock()])
    assert (run.plan.trainable, run.plan.lora_rank, run.model.id) == ("lora", 16, "llama-2-70b")
    assert run.cells()["id"].endswith("-lora")
    assert run.device == "b200"


@pytest.mark.parametrize(
    ("platform", "chip"),
    [
        ("SRS-GB200-NVL72_n16", "gb200"),
        ("DGXH100_n64", "h100-sxm"),
        ("8xMI355X", "mi355x"),
        ("tpu-v5p-4096", "tpu-v5p"),
        ("HLS-Gaudi2-N48", "gaudi2"),
        ("rivanna", ""),
    ],
)
def test_the_chip_is_the_longest_name_in_the_platforms(platform, chip):
    run = read([*configured(submission_platform=platform), *clock()])
    assert run.device == chip
    assert any(note.name == "device" for note in run.assumed) == (chip == "")


def test_what_mllog_does_not_say_is_listed_or_given():
    run = read([*configured(gradient_accumulation_steps=None), *clock()])
    assert run.devices is None and run.precision == "unknown"
    assert {"devices", "precision", "max_sequence_length"} <= {note.name for note in run.assumed}
    whole = run.at("mi325x").on(8).in_format("mxfp8")
    assert (whole.devices, whole.plan.dp, whole.plan.dtypes.weights) == (8, 8, "fp8")
    assert "precision" not in {note.name for note in whole.assumed}
    with pytest.raises(InputError, match="--cluster: its chip is b200"):
        run.at("b200")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([":::MLLOG {"], "result_0.txt:1: '{' is no JSON object"),
        ([':::MLLOG {"key": 3, "time_ms": 1}'], "result_0.txt:1: key = 3"),
        (
            [*configured(), event(1, "tensor_parallelism", 2)],
            "result_0.txt:8: tensor_parallelism = 2, but 1 in line 6: two runs",
        ),
        ([*configured(global_batch_size=None)], "global_batch_size is not logged"),
        ([*configured(global_batch_size="many")], "global_batch_size = 'many' is not a whole number"),
        ([*configured(submission_benchmark="resnet")], "submission_benchmark = 'resnet' names no transformer.*--model"),
        ([*configured(gradient_accumulation_steps=3)], "does not divide global_batch_size = 32"),
        ([*configured(tensor_parallelism=3, number_of_ranks=8)], "does not divide 8 ranks"),
        ([*configured(), *clock(), event(999, "run_start")], "a second run starts after the first stopped"),
        ([*configured(), event(5, "tracked_stats", {"throughput": "fast"})], "throughput = 'fast' is not a number"),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(lines, message):
    with pytest.raises(InputError, match=message):
        read(lines)
