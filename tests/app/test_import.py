"""`import` and `validate` of users' files from the command line: what is printed, what is written, what comes of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sim.app.cli import run
from sim.catalog.scenarios import read_scenario

SAMPLES = Path(__file__).parents[1] / "catalog" / "samples" / "runs"
LOG, SCRIPT, RESULT = (str(SAMPLES / name) for name in ("megatron_golden.log", "launch_golden.sh", "mllog_golden.txt"))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ok(capsys, *arguments: str) -> str:
    assert run(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_screen_says_what_was_understood_assumed_and_ignored(capsys):
    out = ok(capsys, "import", SCRIPT)
    assert all(
        heading in out
        for heading in ("understood", "assumed", "ignored", "not used: overlap_param_gather, lr, data_path")
    )
    assert "plan.virtual_stages" in out and "$MICRO" in out and "tp_comm_overlap" in out
    assert f"next: gambrel import {SCRIPT} --cluster NAME -o scenario.yaml" in out


def test_json_accounts_for_every_field(capsys):
    document = json.loads(ok(capsys, "import", LOG, "--json"))
    assert document["schema"] == "gambrel.import/1"
    listed = {note["name"] for part in ("understood", "ignored") for note in document[part]}
    printed = {line.split()[0] for line in Path(LOG).read_text().splitlines() if " .." in line and "None" not in line}
    assert printed <= listed
    assert document["step_time_s"] == pytest.approx(8.012)


def test_a_script_becomes_a_scenario_that_fit_answers(capsys):
    ok(capsys, "import", SCRIPT, "--cluster", "dgx-h100", "-o", "mine/scenario.yaml")
    scenario = read_scenario(Path("mine/scenario.yaml"))
    group = scenario.groups[0]
    assert (group.model, group.cluster, group.devices, group.plan.virtual_stages) == (
        "llama-3.1-70b",
        "dgx-h100",
        512,
        4,
    )
    assert "fits" in ok(capsys, "fit", "mine/scenario.yaml")


def test_a_model_of_its_own_is_written_beside_the_scenario(capsys, empty_folder):
    text = Path(SCRIPT).read_text(encoding="utf-8").replace("--num-layers 80", "--num-layers 40")
    (empty_folder / "own.sh").write_text(text, encoding="utf-8")
    out = ok(capsys, "import", "own.sh", "--chip", "h100", "-o", "own.yaml")
    assert "written: own.yaml, own.model.yaml" in out
    assert "40 x 8192" in ok(capsys, "fit", "own.yaml")


def test_a_log_is_predicted_and_scored_as_it_is(capsys):
    out = ok(capsys, "validate", "training", LOG, "--cluster", "dgx-h100", "--rows", "rows.csv")
    assert "1 of 1 rows predicted" in out
    with open("rows.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "predicted" and float(row["predicted_step_time_s"]) > 0.0
    assert float(row["step_time_s"]) == pytest.approx(8.012)


def test_an_imported_row_is_predicted_as_the_log_itself(capsys):
    ok(capsys, "import", LOG, "--cluster", "dgx-h100", "-o", "run.csv")
    ok(capsys, "validate", "training", "run.csv", "--cluster", "dgx-h100", "--rows", "a.csv")
    ok(capsys, "validate", "training", LOG, "--cluster", "dgx-h100", "--rows", "b.csv")
    with open("a.csv", newline="") as first, open("b.csv", newline="") as second:
        (one,), (other,) = csv.DictReader(first), csv.DictReader(second)
    assert one["predicted_step_time_s"] == other["predicted_step_time_s"]
    assert one["predicted_memory_gb_per_device"] == other["predicted_memory_gb_per_device"]


def test_a_log_without_hardware_is_skipped_with_the_flag_that_helps(capsys):
    out = ok(capsys, "validate", "training", LOG)
    assert "0 of 1 rows predicted" in out and "the file names no device: give --cluster" in out


def test_a_result_of_mlperf_is_predicted_and_scored_as_it_is(capsys):
    document = json.loads(ok(capsys, "validate", "training", RESULT, "--json"))
    (table,) = document["tables"]
    assert (table["rows"], table["predicted"]) == (1, 1)
    assert table["errors"][0]["n"] == 1


def test_a_row_that_does_not_count_says_why(capsys, empty_folder):
    text = Path(RESULT).read_text(encoding="utf-8").replace("config_fp8_n8.sh", "config_n8.sh")
    (empty_folder / "result_0.txt").write_text(text, encoding="utf-8")
    assert "1 not scored: precision" in ok(capsys, "validate", "training", "result_0.txt")
    ok(capsys, "import", "result_0.txt", "--precision", "fp8", "-o", "run.csv")
    assert "not scored" not in ok(capsys, "validate", "training", "run.csv")


def test_out_takes_scenario_and_row(capsys):
    ok(capsys, "import", RESULT, "--out", "folder")
    assert {path.name for path in Path("folder").iterdir()} == {"result.json", "scenario.yaml", "run.csv"}
    assert read_scenario(Path("folder/scenario.yaml")).groups[0].cluster == "h100-sxm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.log"], "none.log: cannot be read"),
        (["notes.txt"], "of no known kind"),
        (["notes.txt", "--kind", "nemo"], "Use megatron, mllog"),
        (["notes.txt", "--kind", "megatron"], "no arguments of Megatron-LM are in it"),
        ([SCRIPT, "-o", "x.yaml"], "Add --cluster NAME"),
        ([SCRIPT, "-o", "x.json"], "end the name in .yaml"),
        ([SCRIPT, "--model", "gpt-3-175b"], "Leave --model out"),
        ([SCRIPT, "--devices", "100"], "Leave --devices out"),
        ([SCRIPT, "--precision", "bf16"], "Leave --precision out"),
        ([str(SAMPLES / "launch_broken.sh")], "launch_broken.sh:13: num_query_groups"),
    ],
)
def test_an_error_is_one_line_and_exits_2(arguments, message, capsys, empty_folder):
    (empty_folder / "notes.txt").write_text("nothing of this kind\n", encoding="utf-8")
    assert run(["import", *arguments]) == 2
    written = capsys.readouterr()
    assert message in written.err and written.err.count("\n") == 1
    assert written.out == "" and not Path("x.yaml").exists()


def test_a_serving_benchmark_becomes_a_row_that_validate_scores(capsys, empty_folder):
    bench = str(SAMPLES.parent / "served" / "vllm_golden.json")
    ok(capsys, "import", bench, "--cluster", "h100", "--precision", "fp8", "-o", "served.csv")
    (row,) = csv.DictReader((empty_folder / "served.csv").open(encoding="utf-8"))
    assert (row["device"], row["engine"], row["precision"], row["tp_size"]) == ("h100-sxm", "vllm", "fp8", "1")
    document = json.loads(ok(capsys, "validate", "serving", "served.csv", "--json"))
    (table,) = document["tables"]
    assert table["predicted"] == 1 and {line["metric"] for line in table["errors"]} >= {"agg: tpot", "agg: ttft"}
    ok(capsys, "import", bench, "--cluster", "h100", "-o", "served.yaml")
    assert read_scenario(empty_folder / "served.yaml").demand.concurrency == 32


def test_a_serving_benchmark_validates_as_it_is(capsys):
    bench = str(SAMPLES.parent / "served" / "sglang_golden.jsonl")
    document = json.loads(ok(capsys, "validate", "serving", bench, "--cluster", "h100", "--json"))
    assert document["tables"][0]["predicted"] == 2


def test_flags_of_serving_benchmarks_do_not_go_with_training_runs(capsys):
    assert run(["import", SCRIPT, "--tp", "4"]) == 2
    assert "--tp: " in capsys.readouterr().err
