"""`validate`: what it predicts from, what it scores, what it writes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from sim.catalog.library import package_root
from sim.errors import InputError
from sim.evidence.context import Context
from sim.evidence.contrasts import contrasts
from sim.evidence.floors import Roofline, roofline_s
from sim.evidence.kernel_rows import _gemm
from sim.evidence.page import accuracy_page
from sim.evidence.predictions import Answer, collect, silent
from sim.evidence.rules import excluded_by, training_tiers
from sim.evidence.score import errors_of, relative, training_target
from sim.evidence.tables import VERBS, known_tables, parse_table, read_table
from sim.evidence.validate import PREDICT, validate

DEVICES, WORKLOADS = (package_root() / place / "measured" for place in ("devices", "workloads"))
SHIPPED = {Path(table.path).stem: table for folder in (DEVICES, WORKLOADS) for table in known_tables(folder)}
A_FEW = 24  # rows of a table that tests predict


def few(name):
    table = SHIPPED[name]
    return table.select(range(0, len(table), max(1, len(table) // A_FEW)))


def light_serving():
    table = SHIPPED["serving"]
    clients = table.numbers("concurrency")
    return table.select([i for i in range(0, len(table), 6) if clients[i] <= 32])


def some_rows(name):
    return light_serving() if name == "serving" else few(name)


@pytest.fixture(scope="module")
def context():
    return Context()


@pytest.fixture(scope="module")
def predicted(context):
    """Predictions of some rows of every shipped table, from their configuration."""
    tables = {name: some_rows(name) for name in SHIPPED}
    return {n: (t, PREDICT[t.kind.verb](t.configuration(), context, silent)) for n, t in tables.items()}


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_prediction_is_the_same_when_every_measured_cell_is_emptied(name, predicted, context):
    table, blind = predicted[name]
    seeing = PREDICT[table.kind.verb](table, context, silent)
    for column, values in blind.values.items():
        np.testing.assert_array_equal(values, seeing.values[column])
    assert blind.reason == seeing.reason
    np.testing.assert_array_equal(blind.low, seeing.low)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_row_is_either_predicted_or_skipped_for_a_reason(name, predicted):
    table, found = predicted[name]
    values = np.array(list(found.values.values()))
    assert len(found.reason) == len(table)
    for index, reason in enumerate(found.reason):
        assert (reason == "") == bool(np.isfinite(values[:, index]).any()), (table.place(index), reason)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_prediction_is_positive_and_inside_its_interval_and_names_its_basis(name, predicted):
    table, found = predicted[name]
    first = np.full(len(table), math.nan)
    for column in reversed(table.kind.measured):
        values = found.values[column]
        assert (values[np.isfinite(values)] > 0).all()
        first = np.where(np.isfinite(values), values, first)
    known = np.isfinite(first) & np.isfinite(found.low)
    assert (found.low[known] <= first[known] * (1 + 1e-9)).all()
    assert (found.high[known] >= first[known] * (1 - 1e-9)).all()
    bases = {basis for basis, reason in zip(found.basis, found.reason, strict=True) if not reason}
    assert bases <= {"measured", "calibrated", "extrapolated", "datasheet-only"}


def test_most_rows_of_the_shipped_tables_are_predicted(predicted):
    done = sum(reason == "" for _, found in predicted.values() for reason in found.reason)
    assert done >= 0.9 * sum(len(table) for table, _ in predicted.values())


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("gemm", {"host-bound": 48}),
        ("attention_decode", {"cache reused": 7}),
        ("collective", {}),
        ("training", {"missing": 13, "lora": 1, "layout": 1}),
        ("training_neuron", {"layout": 2, "missing": 1}),
        ("training_out_of_memory", {"no target": 4}),
        ("serving", {"tp*dp": 23, "mtp": 10, "batch": 6, "workers": 4, "moe": 1, "admission": 1, "repeat": 1}),
        ("inference", {"input length": 4, "architecture": 2, "operator": 1}),
        ("power", {}),
    ],
)
def test_the_scoring_rules_take_these_rows_out_of_the_shipped_tables(name, counts):
    """Counted by an independent scorer of the same rules when the tables were selected."""
    rules = [rule for rule in excluded_by(SHIPPED[name]) if rule]
    assert {rule: rules.count(rule) for rule in rules} == counts


TRAINING = (
    "id,source,model,layers,hidden,ffn,seq_len,global_batch,precision,device,num_devices,TP,PP,DP,CP,micro_batch,"
)
TRAINING += "num_experts,step_time_s,tokens_per_s_per_device,tflops_per_device,mfu_pct,notes\n"


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({}, "D"),
        ({"micro_batch": ""}, "Dn"),
        ({"TP": ""}, "L"),
        ({"num_experts": "8"}, "M"),
        ({"device": "TPU-v5p", "TP": "", "PP": "", "DP": ""}, "T"),
        ({"device": "TPU-v5p", "num_experts": "8"}, "Tm"),
        ({"device": "Gaudi2"}, "A"),
        ({"device": "Trainium1 (trn1.32xlarge)", "DP": "8"}, "A"),
        ({"source": "vtrain-multi"}, "Vn"),
        ({"step_time_s": ""}, "x:no target"),
        ({"model": "Llama LoRA"}, "x:lora"),
        ({"global_batch": ""}, "x:missing"),
        ({"precision": "unknown"}, "x:precision"),
        ({"DP": "5"}, "x:layout"),
        ({"notes": "Untuned run"}, "x:doubtful"),
    ],
)
def test_a_training_row_falls_into_its_tier(changes, tier):
    cells = dict.fromkeys(TRAINING.strip().split(","), "")
    cells |= {"id": "a", "source": "s", "model": "m", "layers": "2", "hidden": "64", "ffn": "256", "seq_len": "128"}
    cells |= {
        "global_batch": "8",
        "precision": "bf16",
        "device": "H100-SXM-80GB",
        "num_devices": "8",
        "TP": "2",
        "PP": "1",
    }
    cells |= {"DP": "4", "micro_batch": "1", "step_time_s": "1.0", **changes}
    assert training_tiers(parse_table(TRAINING + ",".join(cells.values()), "x.csv")) == [tier]


def test_the_error_is_that_of_predicted_over_measured():
    assert relative(np.array([1.5, 0.5, 1.0]), np.array([1.0, 1.0, 0.0])).tolist() == pytest.approx(
        [0.5, 0.5, math.nan], nan_ok=True
    )


def test_the_error_of_a_rate_is_that_of_its_step_time_and_the_first_target_counts():
    lines = [
        "a,s,m,2,64,256,128,8,bf16,H100,8,2,1,4,,1,,2.0,100,,,",
        "b,s,m,2,64,256,128,8,bf16,H100,8,2,1,4,,1,,,100,,,",
    ]
    table = parse_table(TRAINING + "\n".join(lines), "x.csv")
    guess = collect(table, [Answer({"step_time_s": 3.0, "tokens_per_s_per_device": 50.0}, "calibrated")] * 2)
    assert training_target(table, guess).tolist() == pytest.approx(
        [0.5, 1.0]
    )  # 3 s for 2 s; half the rate: twice the time


SERVING = "model,device,engine,engine_version,precision,mode,input_tokens,output_tokens,concurrency,batch_size,tp_size,"
SERVING += "attention_dp_size,moe_tp_size,moe_ep_size,decode_num_workers,ttft_ms,tpot_ms\n"


def test_ttft_of_a_run_that_was_still_warming_up_does_not_count():
    lines = [
        f"Llama,h200,vllm,1,fp8,agg,512,512,{c},{c},4,1,1,1,,{ttft},10" for c, ttft in ((4, 500), (8, 100), (16, 120))
    ]
    table = parse_table(SERVING + "\n".join(lines), "x.csv")
    guess = collect(table, [Answer({"ttft_ms": 100.0, "tpot_ms": 10.0}, "calibrated")] * 3)
    counted = {errors.metric: errors.rows for errors in errors_of(table, guess, excluded_by(table))}
    assert counted["agg: ttft"] == [1, 2]
    assert counted["agg: tpot"] == [0, 1, 2]


def test_a_perfect_prediction_ranks_layouts_as_they_were_measured():
    table = SHIPPED["training"]
    perfect = collect(
        table, [Answer({"tflops_per_device": value}, "measured") for value in table.measured("tflops_per_device")]
    )
    rank, *off = contrasts(table, perfect, excluded_by(table))
    assert rank.value == pytest.approx(1.0)
    assert all(each.value == pytest.approx(0.0) for each in off if each.groups)
    reversed_ = collect(
        table, [Answer({"tflops_per_device": 1 / v}, "measured") for v in table.measured("tflops_per_device")]
    )
    worst, loss, *_ = contrasts(table, reversed_, excluded_by(table))
    assert worst.value < -0.9 < 0.0 < loss.value


def test_a_cluster_that_ran_out_of_memory_does_not_fit_and_memory_rises_with_the_micro_batch(context):
    table = SHIPPED["training_out_of_memory"]
    found = PREDICT["training"](table, context, silent)
    memory = dict(zip(table.column("id"), found.values["memory_gb_per_device"], strict=True))
    fits = dict(zip(table.column("id"), found.fits, strict=True))
    assert [fits[f"bs176-oom-{n}"] for n in (1, 2, 3)] == ["false"] * 3
    assert memory["bs176-oom-3"] > memory["bs176-oom-2"]  # the same plan with twice the micro-batch


def test_the_roofline_is_the_longer_of_arithmetic_and_memory(context):
    table = parse_table(
        "device,dtype,m,n,k\nh100-sxm,bfloat16,8192,8192,8192\nh100-sxm,bfloat16,1,8192,8192\n", "x.csv"
    )
    chip = context.chip("h100-sxm")
    packed = Roofline(context.library).machine(chip, context.stack("vllm"))
    large, small = roofline_s(_gemm(table, ["", ""]), packed)
    assert large == pytest.approx(2 * 8192**3 / chip.matmul_flops_per_s("bf16"))
    assert small == pytest.approx(2 * (8192 * 8192 + 2 * 8192) / chip.memory.bandwidth_bytes_per_s)


def test_kernels_beat_their_roofline_on_every_shipped_table():
    report = validate("kernels", DEVICES)
    for name in ("gemm", "attention_prefill", "attention_decode", "moe", "collective"):
        line = report.line(name, "time_us")
        assert line.median < line.floor_median, name


def test_a_file_is_written_with_every_predicted_column_and_the_report_is_plain_json(tmp_path, context):
    source = tmp_path / "kernels.csv"
    source.write_text(
        "id,device,dtype,m,n,k,time_us,stack\na,h100-sxm,bfloat16,64,4096,4096,,vllm\nb,abacus,bfloat16,1,1,1,2,vllm\n"
    )
    seen = []
    report = validate(
        "kernels", source, rows=tmp_path / "out.csv", context=context, progress=lambda *at: seen.append(at)
    )
    table = read_table(tmp_path / "out.csv")
    assert table.header[8:] == ("status", "reason", "excluded_by", "predicted_time_us", "low", "high", "basis")
    assert table.column("status") == ["predicted", "skipped"]
    assert table.column("reason") == ["", "no chip 'abacus' in the catalogue"]
    assert table.column("excluded_by") == ["no time", ""]
    assert table.numbers("predicted_time_us")[0] > 0
    assert seen[-1] == (2, 2)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["tables"][0]["predicted"] == 1


def test_a_folder_is_written_as_a_folder_with_one_file_a_table(tmp_path, context):
    validate("collectives", DEVICES, rows=tmp_path / "out", context=context)
    with (tmp_path / "out" / "collectives_multinode.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert {"predicted_busbw_gb_s", "predicted_time_us", "excluded_by"} <= set(header)


def test_a_training_table_says_whether_a_plan_fits(predicted):
    _, found = predicted["training_vtrain"]
    assert found.columns([""] * len(found.reason))["predicted_fits"] == ["true"] * len(found.reason)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=", ".join(VERBS)):
        validate("poems", DEVICES)


def test_a_malformed_cell_ends_the_run_with_its_place(tmp_path):
    (tmp_path / "a.csv").write_text("device,dtype,m,n,k,stack\nh100-sxm,bfloat16,64,-1,4096,vllm\n")
    with pytest.raises(InputError, match=r"a\.csv:2: n = '-1' is not a size"):
        validate("kernels", tmp_path / "a.csv")


def test_family_calibrations_leave_the_chips_own_fits_out():
    chip, stack = (Context().chip("h100-sxm"), Context().stack("vllm"))
    fitted, family, shared = (Context(level=level).calibration(chip, stack) for level in ("fitted", "family", "shared"))
    assert (fitted.subject, family.subject, shared.subject) == ("h100-sxm", "gpu-hopper", "gpu")
    assert set(family.parameters) <= set(fitted.parameters) | set(family.parameters)
    assert Context(level="datasheet").calibration(chip, stack).stack == "any"


def test_the_accuracy_page_has_a_table_for_each_measured_one(context):
    page = accuracy_page(
        [validate("collectives", DEVICES, context=context), validate("campaigns", WORKLOADS, context=context)]
    )
    assert "## Collectives" in page
    assert "### campaigns (" in page
    assert "| 64 MB and more | all rows |" in page
    assert "nan" not in page
