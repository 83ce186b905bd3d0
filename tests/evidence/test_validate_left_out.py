"""`--leave-out`: what a refit may see, what stands beside it, how often its intervals hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim.catalog.library import package_root
from sim.errors import InputError
from sim.evidence.bars import BARS, behind
from sim.evidence.context import Context
from sim.evidence.coverage import coverage
from sim.evidence.kernel_rows import kernels_of
from sim.evidence.leave_out import leave_out, usable_rows
from sim.evidence.limits import RULE, faster_than_chip, scored_by
from sim.evidence.neighbours import interpolated
from sim.evidence.page import accuracy_page
from sim.evidence.predictions import Answer, collect, silent
from sim.evidence.score import GROUP, Line, errors_of, summarise
from sim.evidence.splits import OF_KERNELS, split_labels
from sim.evidence.tables import parse_table, read_table
from sim.evidence.validate import PREDICT, report_of, validate

MEASURED = package_root() / "devices" / "measured"
NAMES = ("gemm", "attention_prefill", "attention_decode", "moe", "collective")


@pytest.fixture(scope="module")
def context():
    return Context()


@pytest.fixture(scope="module")
def table():
    """Products in bfloat16 under vLLM: one group on three chips of two generations."""
    whole = read_table(MEASURED / "gemm.csv")
    columns = [whole.column(name) for name in ("device", "dtype", "stack")]
    groups = {(device, "bfloat16", "vllm") for device in ("a100-sxm-80gb", "h100-sxm", "h200")}
    return whole.select([i for i, key in enumerate(zip(*columns, strict=True)) if key in groups])


def with_times(table, factor):
    """The same table with each time multiplied [n]."""
    at = table.header.index("time_us")
    cells = [list(row) for row in table.cells]
    for row, times in zip(cells, factor, strict=True):
        row[at] = str(float(row[at]) * times)
    return type(table)(table.path, table.kind, table.header, tuple(map(tuple, cells)), table.lines)


def refit(table, split, context):
    return leave_out(table, split, scored_by(table, context), context, silent)


@pytest.mark.parametrize("split", ["shapes", "device"])
def test_what_was_measured_of_a_row_does_not_move_the_prediction_of_a_refit_that_leaves_it_out(table, split, context):
    labels = split_labels(table, kernels_of(table)[0], split, context)
    label = sorted(set(labels) - {""})[0]
    out = labels == label
    plain = refit(table, split, context).predictions.values["time_us"]
    altered = refit(with_times(table, np.where(out, 3.0, 1.0)), split, context).predictions.values["time_us"]
    np.testing.assert_array_equal(plain[out], altered[out])
    others = np.isfinite(plain) & ~out
    assert split == "shapes" or not np.allclose(plain[others], altered[others])


def test_a_refit_that_saw_every_other_device_beats_the_roofline_and_a_constant(context, tmp_path, table):
    report = report_of_split(table, "device", context, tmp_path)
    (line,) = [each for each in report.tables[0].beside if each.grouping == "all"]
    assert line.n == sum(rule == "" for rule in scored_by(table, context))
    assert line.median["model"] < min(line.median["roofline"], line.median["constant"], line.median["neighbours"])


def report_of_split(table, split, context, folder):
    path = folder / "gemm.csv"
    path.write_text(
        "\n".join([",".join(table.header), *(",".join(f'"{c}"' for c in row) for row in table.cells)]) + "\n"
    )
    return validate("kernels", path, context=context, leave_out=split, rows=folder / "rows.csv")


def test_the_rows_that_every_refit_saw_are_skipped_in_the_file_of_rows(context, tmp_path, table):
    report = report_of_split(table, "shapes", context, tmp_path)
    rows = read_table(tmp_path / "rows.csv")
    seen = [reason == "every refit has seen the row" for reason in rows.column("reason")]
    assert sum(seen) == len(table) - 3 * (30 // 4)
    assert all((status == "skipped") == s for status, s in zip(rows.column("status"), seen, strict=True))
    assert report.to_dict()["left_out"] == "shapes"
    assert "### The largest quarter of the shapes left out" in accuracy_page([], [report])


@pytest.mark.parametrize("split", OF_KERNELS)
def test_every_row_is_left_out_by_at_most_one_refit_and_by_one_unless_shapes_are_left_out(table, split, context):
    labels = split_labels(table, kernels_of(table)[0], split, context)
    assert (labels == "").any() == (split == "shapes")
    sizes = {"random": 5, "shapes": 2, "device": 3, "generation": 2, "stack": 1}
    assert len(set(labels)) == sizes[split]


def test_a_format_that_no_other_device_measured_is_skipped_for_a_reason(context):
    whole = read_table(MEASURED / "gemm.csv")
    alone = whole.select([i for i, dtype in enumerate(whole.column("dtype")) if dtype == "int4_wo"])
    assert set(refit(alone, "device", context).predictions.reason) == {
        "nothing else of its kind, format and stack is measured"
    }


def test_a_stack_left_out_is_priced_as_another_stack_is(context):
    whole = read_table(MEASURED / "gemm.csv")
    both = whole.select([i for i, dtype in enumerate(whole.column("dtype")) if dtype == "fp8"])
    stacks = np.array(both.column("stack"))
    plain = refit(both, "stack", context).predictions.values["time_us"]
    altered = refit(with_times(both, np.where(stacks == "vllm", 3.0, 1.0)), "stack", context).predictions.values[
        "time_us"
    ]
    np.testing.assert_array_equal(plain[stacks == "vllm"], altered[stacks == "vllm"])
    assert np.median(altered[stacks == "trtllm"] / plain[stacks == "trtllm"]) > 2.0


@pytest.mark.parametrize(
    ("verb", "split", "message"),
    [
        ("kernels", "model", "rows of kernels have no model that a fit knows. Use one of random, shapes, device"),
        ("kernels", "source", "rows of kernels have no source"),
        ("kernels", "colour", "'colour': no such split"),
        ("serving", "shapes", "use one of random, model, device, stack"),
        ("training", "shapes", "use one of random, source, device, model, all"),
    ],
)
def test_a_split_without_sense_is_refused_with_those_that_have(verb, split, message):
    with pytest.raises(InputError, match=message):
        validate(verb, None, leave_out=split)


def test_interpolation_returns_a_shape_that_was_measured_and_the_mean_in_logs_between_two(context):
    rows = "h100-sxm,bfloat16,64,64,{},{},vllm"
    lines = [rows.format(k, t) for k, t in ((64, 10.0), (256, 40.0), (64, 99.0), (128, 99.0))]
    table = parse_table("device,dtype,m,n,k,time_us,stack\n" + "\n".join(lines), "x.csv")
    labels = np.array(["a", "a", "b", "b"], dtype=object)
    guess = interpolated(table, labels, usable_rows(table, [""] * 4))
    assert guess[2] == pytest.approx(10.0, rel=1e-4)
    assert guess[3] == pytest.approx(20.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_intervals_hold_about_four_fifths_of_the_shipped_rows(name, context):
    table = read_table(MEASURED / f"{name}.csv")
    found = PREDICT["kernels"](table.configuration(), context, silent)
    (line,) = [c for c in coverage(table, found, scored_by(table, context), context) if c.grouping == "all"]
    assert line.n > 600
    assert 0.7 <= line.share <= 0.9, f"{name}: {line.share:.0%} of {line.n} rows inside their interval"


@pytest.mark.parametrize("split", ["shapes", "generation"])
def test_the_intervals_of_rows_left_out_hold_more_than_their_width_inside_the_ranges_would(table, split, context):
    found, excluded = refit(table, split, context), scored_by(table, context)
    (line,) = [c for c in coverage(table, found.predictions, excluded, context) if c.grouping == "all"]
    assert line.n > 20
    assert 0.65 <= line.share <= 0.99, f"{split}: {line.share:.0%} of {line.n} rows inside their interval"


def test_coverage_counts_a_rate_as_the_time_of_the_step_that_it_tells(context):
    header = "model,layers,hidden,seq_len,device,num_devices,TP,PP,DP,step_time_s,tokens_per_s_per_device"
    table = parse_table(f"{header}\nm,2,64,128,h100-sxm,8,1,1,8,,100\nm,2,64,128,h100-sxm,8,1,1,8,,50\n", "x.csv")
    answer = Answer({"step_time_s": 3.0, "tokens_per_s_per_device": 100.0}, "calibrated", 0.9, 1.2)
    (every, _) = coverage(table, collect(table, [answer] * 2), ["", ""], context)
    assert (every.n, every.share) == (2, 0.5)  # half the rate: twice the time, beyond 1.2


def test_a_time_that_the_chip_cannot_reach_does_not_count(context):
    lines = ["device,dtype,m,n,k,time_us,stack"]
    lines += ["h100-sxm,bfloat16,16384,16384,16384,5000,vllm"]  # 8.8e12 FLOPs at 989 TFLOP/s: 8.9 ms
    lines += ["h100-sxm,bfloat16,16384,16384,16384,10000,vllm"]
    lines += ["h100-sxm,bfloat16,1,65536,8192,250,vllm"]  # 1.07 GB at 3.35 TB/s: 320 us
    lines += ["h100-sxm,bfloat16,1,4096,4096,5,vllm"]  # 34 MB fit the cache
    table = parse_table("\n".join(lines), "x.csv")
    assert faster_than_chip(table, context).tolist() == [True, False, True, False]
    assert scored_by(table, context) == [RULE, "", RULE, ""]


def test_the_groups_that_are_behind_are_listed_the_worst_first():
    def line(group, n, median):
        return Line("gemm", "time_us", GROUP, group, n, n, median, median, median)

    limit = 2 * BARS["gemm"]
    lines = [line("a", 50, limit + 0.01), line("b", 49, 0.9), line("c", 80, limit - 0.01), line("d", 60, 0.5)]
    assert [(each.group, each.n) for each in behind("gemm", lines)] == [("d", 60), ("a", 50)]
    assert behind("training", lines) == ()


def test_a_report_names_the_groups_that_are_behind_and_those_slower_than_fifty_microseconds(context):
    table = read_table(MEASURED / "moe.csv")
    chip = [i for i, d in enumerate(table.column("device")) if d == "a100-sxm-80gb"] * 2
    doubled = table.select(chip)
    bad = collect(doubled, [Answer({"time_us": 2.0 * t}, "calibrated") for t in doubled.measured("time_us")])
    report = report_of(doubled, bad, scored_by(doubled, context), context)
    assert {each.group for each in report.behind} == {"a100-sxm-80gb bfloat16 trtllm", "a100-sxm-80gb bfloat16 vllm"}
    metrics = [errors.metric for errors in errors_of(doubled, bad, scored_by(doubled, context))]
    assert any("slower than 50 us" in metric for metric in metrics)
    assert summarise("moe", errors_of(doubled, bad, scored_by(doubled, context))[0])[0].median == pytest.approx(1.0)
    assert Path(report.name).stem == "moe"
