"""Figures of an inference table one by one: what a bound says, what has no answer, and lengths of known data sets."""

from __future__ import annotations

import math

import pytest

from sim.catalog.library import package_root
from sim.evidence.assumed import DATA_SETS, said, with_lengths
from sim.evidence.bounds import _bound_of, bounds
from sim.evidence.context import Context
from sim.evidence.predictions import silent
from sim.evidence.rules import excluded_by
from sim.evidence.tables import parse_table, read_table
from sim.evidence.validate import PREDICT, report_of

HEADER = (
    "model,layers,hidden,device,device_family,num_devices,phase,TP,EP,batch_or_concurrency,batch_policy,weight_dtype,"
)
HEADER += "engine,input_tokens,output_tokens,prefill_latency_ms,decode_latency_ms_per_token,output_tokens_per_s,"
HEADER += "other_metric,other_value,notes\n"
SHIPPED = package_root() / "workloads" / "measured" / "inference.csv"


def judged(*lines):
    table = parse_table(HEADER + "\n".join(lines) + "\n", "x.csv")
    context = Context()
    return bounds(table, PREDICT["inference"](table.configuration(), context, silent), context)


def bound_row(column, limit, note, batch=1):
    cells = {"prefill": ("600" if column == "prefill" else "", ""), "decode": ("", str(limit))}[column]
    return f"llama-2-7b,,,mtia-2i,mtia,1,{column},1,,{batch},,fp16,,,,{cells[0]},{cells[1]},,,,{note}"


def test_a_bound_is_met_where_the_prediction_keeps_or_misses_the_same_limit():
    prompt, token = judged(
        bound_row("prefill", 600, "UPPER BOUND: a requirement that is met"),
        bound_row("decode", 60, "LOWER BOUND: a requirement that is missed"),
    )
    assert (prompt.measured, prompt.verdict, prompt.error) == ("at most 600", "met", 0.0)
    assert token.measured == "at least 60" and token.verdict == "met" and token.predicted > 60
    assert token.what.endswith("misses a limit")


def test_a_bound_that_does_not_hold_is_missed_by_its_distance():
    (token,) = judged(bound_row("decode", 200, "LOWER BOUND: x"))
    assert token.error == pytest.approx(token.predicted / 200 - 1.0) and token.error < 0.0
    assert token.verdict == f"missed by {abs(token.error):.1%}"


@pytest.mark.parametrize(
    ("metric", "value", "least", "most"),
    [
        ("throughput_penalty_pct (10-15)", "12.5", 10, 15),
        ("kernel_latency_ms range", "0.399-8.090", 0.399, 8.09),
        ("gemm_fraction_of_peak_pct (lower bound)", "92", 92, math.inf),
        ("job_launch_us (upper bound)", "1.0", -math.inf, 1),
        ("relative throughput vs 8xH200", "> 1 overall; larger gap above concurrency 64", 1, math.inf),
        ("hbm_bandwidth_TB_s", "5.57", 5.57, 5.57),
    ],
)
def test_a_metric_and_its_cell_say_what_they_allow(metric, value, least, most):
    assert _bound_of(metric, value)[1:] == (least, most)


def test_two_figures_in_one_cell_are_no_bound():
    assert _bound_of("perf_per_tco_vs_gpu; perf_per_watt_vs_gpu", "1.80; 1.02") is None


def test_operators_are_judged_and_ratios_to_what_is_not_named_say_why_not():
    launch, mix = judged(
        "PE job launch,,,mtia-2i,mtia,1,op,,,,,,,,,,,,job_launch_us (upper bound),1.0,",
        "production mix,,,mtia-2i,mtia,1,e2e,,,,,,,,,,,,tco_reduction_vs_gpu_pct,44,",
    )
    assert launch.verdict == "met" and 0.0 < launch.predicted <= 1.0
    assert mix.verdict == "not answerable: what either side costs, and which models, is not stated"


def test_a_ratio_to_named_hardware_is_that_of_the_same_row_there():
    (same,) = judged("llama-3.1-8b,,,h200,gpu-nvidia,1,e2e,1,,,,bf16,vllm,900,900,,,,relative throughput vs 1xh200,1,")
    assert same.predicted == pytest.approx(1.0) and same.verdict == "met"
    (more,) = judged(
        "llama-3.1-8b,,,h200,gpu-nvidia,1,e2e,1,,,,bf16,vllm,900,900,,,,relative throughput vs 1xa100-80gb,> 1,"
    )
    assert more.predicted > 1.5 and more.verdict == "met"


def test_rows_of_a_known_data_set_are_answered_at_its_lengths_and_not_scored():
    line = "llama-2-7b,,,tpu-v5e,tpu,8,e2e,8,,{},continuous batching,bf16,,{},{},,,3663,,,{}"
    table = parse_table(
        HEADER + "\n".join([line.format(96, "", "", "ShareGPT requests"), line.format(96, "", "", ""),
                            line.format(96, 200, 50, "ShareGPT requests")]), "x.csv"
    )  # fmt: skip
    filled, rows = with_lengths(table)
    assert list(rows.values()) == [[0]]
    assert filled.column("input_tokens") == [f"{DATA_SETS[0].input_tokens:g}", "", "200"]
    assert table.column("input_tokens")[0] == ""
    context = Context()
    found = PREDICT["inference"](table.configuration(), context, silent)
    assert found.reason[:2] == ("", "input_tokens is not stated")
    excluded = excluded_by(table)
    assert all(excluded[:2])
    report = report_of(table, found, excluded, context)
    assert report.assumed == said(table) and "1 rows of ShareGPT" in report.assumed[0]


def test_shipped_bounds_of_mtia_hold_and_encoders_are_scored():
    table = read_table(SHIPPED)
    rows = [i for i, family in enumerate(table.column("device_family")) if family == "mtia"]
    context = Context()
    part = table.select(rows)
    found = bounds(part, PREDICT["inference"](part.configuration(), context, silent), context)
    assert [each.verdict for each in found if each.metric.endswith(("_ms", "per_token"))] == ["met", "met"]
    neuron = read_table(SHIPPED.with_name("inference_neuron.csv"))
    encoders = [
        rule for rule, phase in zip(excluded_by(neuron), neuron.column("phase"), strict=True) if phase == "encoder"
    ]
    assert encoders and not any(encoders)
