"""Results of serving benchmarks: one run a record, means as clients saw them, every field accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.imports import csv_of
from sim.catalog.served import HEADER, Served
from sim.catalog.serving_results import KINDS, kind_of, runs_of
from sim.errors import InputError

SAMPLES = Path(__file__).parent / "samples" / "served"
GOLDEN = sorted(SAMPLES.glob("*_golden.*"))


def runs(name: str) -> list[Served]:
    return runs_of((SAMPLES / name).read_text(encoding="utf-8"), name)


def test_a_closed_loop_of_vllm_s_client_is_read_with_what_was_passed_along() -> None:
    (run,) = runs("vllm_golden.json")
    assert (run.engine, run.model) == ("vllm", "meta-llama/Llama-3.1-8B-Instruct")
    assert (run.input_tokens, run.output_tokens, run.concurrency) == (1024, 256, 32)
    assert dict(run.layout) == {"tp_size": 1}
    assert (run.ttft_ms, run.tpot_ms) == (310.5, 12.25)
    assert run.assumed == ()


def test_an_open_loop_becomes_the_closed_loop_that_keeps_as_many_requests_in_flight() -> None:
    closed, opened = runs("sglang_golden.jsonl")
    assert (closed.concurrency, closed.assumed) == (16, ())
    assert opened.concurrency == 10, "2 requests a second times 5 s"
    assert [note.name for note in opened.assumed] == ["concurrency"]
    assert dict(opened.layout) == {"tp_size": 4} and opened.model == "meta-llama/Llama-3.1-70B-Instruct"


def test_aiperf_s_summary_and_its_single_requests() -> None:
    (summary,) = runs("aiperf_golden.json")
    assert (summary.model, summary.input_tokens, summary.output_tokens) == ("Qwen/Qwen3-32B", 1000, 250)
    assert (summary.concurrency, summary.ttft_ms, summary.tpot_ms) == (8, 151.0, 18.5)
    (single,) = runs("aiperf_requests_golden.jsonl")
    assert (single.input_tokens, single.output_tokens) == (600, 100)
    assert (single.ttft_ms, single.tpot_ms) == (150.0, 20.0)
    assert single.concurrency == round((2.0 + 3.0) / 4.0), "request-seconds over the span"


def test_inferencex_s_workers_aggregated_and_apart() -> None:
    whole, apart = runs("inferencex_golden.json")
    assert (whole.device, whole.engine, whole.precision, whole.mode) == ("h200", "sglang", "fp8", "agg")
    assert dict(whole.layout) == {
        "tp_size": 8, "pp_size": 1, "attention_dp_size": 1, "moe_ep_size": 1, "moe_tp_size": 8
    }  # fmt: skip
    assert whole.ttft_ms == pytest.approx(420.0) and whole.tpot_ms == pytest.approx(18.5)
    held = dict(apart.layout)
    assert (apart.mode, apart.engine, apart.device) == ("disagg", "trtllm", "gb200")
    assert (held["prefill_num_workers"], held["prefill_attention_dp_size"], held["prefill_moe_ep_size"]) == (2, 4, 4)
    assert (held["decode_num_workers"], held["decode_attention_dp_size"], held["decode_tp_size"]) == (1, 8, 1)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_every_field_of_a_record_is_read_or_said_not_to_be(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert kind_of(text) in KINDS
    for run in runs_of(text, path.name):
        assert set(run.cells()) == set(HEADER)
    if "vllm" in path.name:
        keys = set(json.loads(text))
        (run,) = runs_of(text, path.name)
        read = {"backend", "model_id", "request_rate", "max_concurrency", "completed", "tensor_parallel_size"}
        read |= {"total_input_tokens", "total_output_tokens", "mean_ttft_ms", "mean_tpot_ms"}
        assert {note.name for note in run.ignored} == keys - read


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vllm_broken.json", r"completed = 'many' is not a number"),
        ("sglang_broken.jsonl", r"sglang_broken.jsonl:2: mean_ttft_ms = -3"),
        ("aiperf_broken.json", r"inter_token_latency: unit = 'furlongs' is not known"),
        ("aiperf_requests_broken.jsonl", r":2: metrics.input_sequence_length.value is missing"),
        ("inferencex_broken.json", r"record 2: isl = 0.0 must be a number above 0"),
    ],
)  # fmt: skip
def test_a_broken_record_is_named_with_its_place_and_key(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        runs(name)


def test_what_the_user_says_fills_in_and_never_overrides() -> None:
    (run,) = runs("aiperf_golden.json")
    told = run.at("h100-sxm").under("vllm").in_format("fp8").spread(tp=2, pp=None)
    assert (told.device, told.engine, told.precision, dict(told.layout)) == ("h100-sxm", "vllm", "fp8", {"tp_size": 2})
    assert "tp" not in {note.name for note in told.assumed}
    with pytest.raises(InputError, match=r"--engine = sglang: .* says vllm"):
        told.under("sglang")
    with pytest.raises(InputError, match=r"--tp = 4: .* says 2"):
        told.spread(tp=4)
    with pytest.raises(InputError, match="--precision = 'fp7' is not known"):
        run.in_format("fp7")
    assert csv_of([told]).count("\n") == 2


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=200) | st.sampled_from([p.read_text() for p in GOLDEN]).flatmap(
    lambda whole: st.tuples(st.just(whole), st.integers(0, len(whole)), st.text(max_size=4)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + 1 :]
    )
))  # fmt: skip
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    if kind_of(text) is None:
        return
    try:
        runs_of(text, "any.json")
    except InputError as error:
        assert "\n" not in str(error)
