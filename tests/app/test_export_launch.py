"""`export`: a scenario as a launch that comes back as the same plan; a stored result as the file of a benchmark client."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from sim.app.cli import run

TRAINING = """
role: train
model: llama-3.1-8b
cluster: dgx-h100
devices: 64
plan: {tp: 4, pp: 2, cp: 2, global_batch: 256, micro_batch: 2, virtual_stages: 2, recompute: selective}
demand: {kind: tokens, tokens: 1e12, seq_len: 8192}
"""
SERVING = """
role: serve
model: llama-3.1-8b
cluster: dgx-h100
replicas: 3
plan: {tp: 2}
slo: {ttft_ms: 500}
demand: {kind: traffic, concurrency: 8, requests: 24, input_tokens: 300, output_tokens: 20, spread: 0.5}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenarios, and the answer to the second."""
    place = tmp_path_factory.mktemp("exports")
    (place / "train.yaml").write_text(TRAINING)
    (place / "serve.yaml").write_text(SERVING)
    assert run(["serve", str(place / "serve.yaml"), "--out", str(place / "served")]) in (0, 1)
    return place


@pytest.mark.parametrize("kind", ["megatron", "slurm"])
def test_what_is_written_for_megatron_comes_back_as_the_same_plan(
    kind: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", kind, str(folder / "train.yaml"), "-o", str(tmp_path / "launch.sh")]) == 0
    capsys.readouterr()
    assert run(["import", str(tmp_path / "launch.sh"), "--cluster", "dgx-h100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    plan = {name: found["plan"][name] for name in ("tp", "pp", "cp", "dp", "micro_batch", "global_batch", "recompute")}
    assert plan == {"tp": 4, "pp": 2, "cp": 2, "dp": 4, "micro_batch": 2, "global_batch": 256, "recompute": "selective"}
    assert (found["model"], found["devices"], found["seq_len"]) == ("llama-3.1-8b", 64, 8192)


@pytest.mark.parametrize("name", ["train.yaml", "serve.yaml"])
def test_a_batch_script_has_no_syntax_error(name: str, folder: Path, tmp_path: Path) -> None:
    assert run(["export", "slurm", str(folder / name), "-o", str(tmp_path / "job.sh")]) == 0
    shell = shutil.which("bash")
    if shell is not None:  # where there is none, the words are still tested in tests/report
        assert subprocess.run([shell, "-n", str(tmp_path / "job.sh")], capture_output=True).returncode == 0


def test_without_a_file_the_launch_itself_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "maxtext", str(folder / "train.yaml"), "--set", "plan.recompute=auto"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["base_emb_dim"] == 4096
    assert run(["export", "k8s", str(folder / "serve.yaml"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "gambrel.launch/1" and "replicas: 3" in document["text"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vllm", "train.yaml"], "the scenario trains"),
        (["megatron", "serve.yaml"], "the scenario serves"),
        (["neuron", "serve.yaml"], "do not run Neuron's plugin"),
        (["vllm", "serve.yaml", "--tp", "3"], "tp = 3"),
        (["vllm-bench", "train.yaml"], "not valid JSON"),
        (["vllm-bench", "served", "-o", "x.csv"], "end the name in .json"),
        (["aiperf", "missing"], "missing"),
    ],
)
def test_what_cannot_be_written_is_said(
    arguments: list[str],
    words: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert run(["export", *arguments]) == 2
    assert words in capsys.readouterr().err


def columns(folder: Path) -> dict[str, np.ndarray]:
    with (folder / "served" / "requests.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_the_benchmarks_file_holds_the_run_as_it_was(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "vllm-bench", str(folder / "served"), "-o", str(tmp_path / "bench.json")]) == 0
    found, rows = json.loads((tmp_path / "bench.json").read_text()), columns(folder)
    assert found["completed"] == 24 and found["total_input_tokens"] == rows["input_tokens"].sum()
    assert found["ttfts"] == (rows["first_token_s"] - rows["arrival_s"]).tolist()
    assert found["mean_ttft_ms"] == pytest.approx(1e3 * np.mean(found["ttfts"]))
    assert found["output_throughput"] == pytest.approx(found["total_output_tokens"] / found["duration"])
    assert found["request_goodput"] <= found["request_throughput"]


@pytest.mark.parametrize("name", ["bench.json", "profile_export_aiperf.json", "profile_export.jsonl"])
def test_what_is_exported_is_imported_again_with_the_same_means(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "vllm-bench" if name.startswith("bench") else "aiperf"
    assert run(["export", kind, str(folder / "served" / "result.json"), "-o", str(tmp_path / name)]) == 0
    capsys.readouterr()
    assert run(["import", str(tmp_path / name), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    figures = json.loads((folder / "served" / "result.json").read_text())["figures"]
    assert float(found["ttft_ms"]) == pytest.approx(1e3 * figures["ttft_mean"]["value"])
    assert float(found["tpot_ms"]) == pytest.approx(1e3 * figures["tpot_mean"]["value"], rel=1e-6)
    assert found["model"] == "llama-3.1-8b"


def test_a_result_without_its_requests_is_an_error_that_says_how_to_get_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "served" / "result.json", tmp_path / "result.json")
    assert run(["export", "aiperf", str(tmp_path)]) == 2
    assert "--out DIR" in capsys.readouterr().err
    (tmp_path / "requests.csv").write_text(
        "arrival_s,first_token_s,finish_s,input_tokens,output_tokens,status\n0,x,1,1,1,3\n"
    )
    assert run(["export", "aiperf", str(tmp_path)]) == 2
    assert "requests.csv:2: first_token_s = 'x'" in capsys.readouterr().err
