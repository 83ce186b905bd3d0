"""`import` of launches, pools, profiles, power, failures and networks: recognised, told, written, and taken by the next command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sim.app.cli import run

SAMPLES = Path(__file__).parents[1] / "catalog" / "samples"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("file", "kind", "flags"),
    [
        ("launches/vllm_golden.sh", "vllm", []),
        ("launches/sglang_golden.sh", "sglang", []),
        ("servegen", "servegen", []),
        ("logs/kineto_golden.json", "kineto", ["--cluster", "h100"]),
        ("logs/nvidia_smi_golden.csv", "nvidia-smi", []),
        ("logs/dcgm_golden.txt", "dcgm", []),
        ("logs/sacct_golden.txt", "sacct", []),
        ("logs/astra_network_golden.yml", "astra-sim", ["--cluster", "h100"]),
    ],
)
def test_a_file_is_recognised_and_every_field_is_in_one_list(
    file: str, kind: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", str(SAMPLES / file), *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "gambrel.import-other/1" and found["kind"] == kind
    assert all(isinstance(found[name], list) for name in ("understood", "assumed", "ignored", "written"))
    assert found["understood"]
    assert run(["import", str(SAMPLES / file), *flags]) == 0
    assert "next: gambrel " in capsys.readouterr().out


def test_a_launch_becomes_a_scenario_of_its_engine_that_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(SAMPLES / "launches" / "vllm_golden.sh"), "--cluster", "h100", "-o", "s.yaml"]) == 0
    scenario = yaml.safe_load(Path("s.yaml").read_text())
    assert (scenario["stack"], scenario["plan"]["tp"], scenario["engine"]["prefix_cache"]) == ("vllm", 4, False)
    load = ["--concurrency", "4", "--requests", "8", "--input-tokens", "200", "--output-tokens", "10"]
    capsys.readouterr()
    assert run(["serve", "s.yaml", *load, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["requests_finished"]["value"] == 8


def test_a_pool_becomes_a_generator_and_a_network_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(SAMPLES / "servegen"), "-o", "pool.yaml"]) == 0
    assert run(["export", "traffic", "--generator", "pool.yaml", "--requests", "50", "-o", "load.jsonl"]) == 0
    network = str(SAMPLES / "logs" / "astra_network_golden.yml")
    assert run(["import", network, "--cluster", "h100", "-o", "net.yaml"]) == 0
    assert run(["fit", "llama-3.1-8b", "--cluster", "net.yaml", "--devices", "16", "--tp", "2"]) == 0
    capsys.readouterr()
    assert run(["export", "astra-sim", "--model", "llama-3.1-8b", "--cluster", "net.yaml", "--devices", "64"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["npus_count"] == [2, 8, 4]


def test_kernels_and_power_become_rows_that_are_validated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(SAMPLES / "logs" / "kineto_golden.json"), "--cluster", "h100", "-o", "rows"]) == 0
    assert sorted(path.name for path in Path("rows").iterdir()) == ["collective.csv", "gemm.csv"]
    assert run(["validate", "kernels", "rows/gemm.csv", "--rows", "predicted.csv"]) == 0
    assert Path("predicted.csv").read_text().count("predicted,") == 2
    log = str(SAMPLES / "logs" / "nvidia_smi_golden.csv")
    said = ["--model", "llama-3.1-70b", "--cluster", "h100", "--engine", "vllm", "--precision", "fp8"]
    assert run(["import", log, *said, "-o", "power.csv"]) == 0
    assert run(["validate", "power", "power.csv"]) == 0
    assert "1 of 1 rows predicted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["launches/vllm_golden.sh", "-o", "x.yaml"], "a launch names none. Add --cluster NAME"),
        (["launches/vllm_golden.sh", "--cluster", "h100", "-o", "x.csv"], "end the name in .yaml"),
        (["launches/vllm_golden.sh", "--tp", "2"], "is a vllm, which takes no such flag"),
        (["logs/kineto_golden.json"], "the file names no chip"),
        (["logs/kineto_golden.json", "--cluster", "h100", "-o", "x.csv"], "rows of gemm.csv and collective.csv"),
        (["logs/nvidia_smi_golden.csv", "-o", "x.csv"], "Add --model NAME"),
        (["logs/nvidia_smi_golden.csv", "--devices", "8"], "logs 2 chips"),
        (["logs/sacct_golden.txt", "-o", "x.csv"], "end the name in .yaml"),
        (["logs/mlperf_summary_golden.txt"], "--model NAME"),
        (["served/vllm_golden.json", "--input-tokens", "5"], "says its lengths"),
        (["launches"], "of no known kind"),
        (["logs/sacct_golden.txt", "--kind", "sacc"], "Did you mean sacct?"),
    ],
)
def test_what_is_missing_is_said_in_one_line_and_nothing_is_written(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", str(SAMPLES / arguments[0]), *arguments[1:]]) == 2
    written = capsys.readouterr().err
    assert words in written and written.count("\n") == 1
    assert not list(Path.cwd().iterdir())
