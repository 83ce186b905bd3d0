"""Every example of `--help` runs as it stands, in a folder where the files that it names are."""

import csv
import shlex
import shutil
from pathlib import Path

import pytest

from sim.app.cli import COMMANDS, run
from sim.catalog.library import package_root

SAMPLES = Path(__file__).parents[1] / "catalog" / "samples"
FILES = {
    "requests.csv": SAMPLES / "traces" / "azure_2023_golden.csv",
    "path/to/config.json": SAMPLES / "configs" / "Qwen3-8B.json",
    "path/to/run.log": SAMPLES / "runs" / "megatron_golden.log",
    "path/to/launch.sh": SAMPLES / "runs" / "launch_golden.sh",
    "path/to/result_0.txt": SAMPLES / "runs" / "mllog_golden.txt",
    "path/to/claim.yaml": package_root() / "workloads" / "claims" / "wikipedia-share.yaml",
    "path/to/bench.json": SAMPLES / "served" / "aiperf_golden.json",
    "path/to/vllm.sh": SAMPLES / "launches" / "vllm_golden.sh",
    "path/to/torchtitan.toml": SAMPLES / "configs_training" / "torchtitan_golden.toml",
    "path/to/trace.json": SAMPLES / "logs" / "kineto_golden.json",
    "path/to/power.csv": SAMPLES / "logs" / "nvidia_smi_golden.csv",
    "path/to/clients/chunk-0-trace.csv": SAMPLES / "servegen" / "chunk-0-trace.csv",
    "path/to/clients/chunk-0-dataset.json": SAMPLES / "servegen" / "chunk-0-dataset.json",
}
SCENARIO = """
role: train
model: llama-3.1-8b
cluster: dgx-h100
devices: 64
plan: {tp: 2, pp: 2, global_batch: 256}
demand: {kind: tokens, tokens: 1e12, seq_len: 4096}
"""
SERVING = """
role: serve
model: llama-3.1-70b
cluster: dgx-h100
plan: {tp: 4}
demand: {kind: traffic, concurrency: 16, requests: 32, input_tokens: 500, output_tokens: 50}
"""
TERMS = """
purchase_usd: 35000
life_years: 5
discount_rate: 0.08
residual_share: 0.1
staff_usd_per_year: 400
maintenance_share: 0.05
space_usd_per_kw_month: 120
spare_share: 0.03
busy_share: 0.7
"""
SWEEP = f"scenario: {{{', '.join(SCENARIO.strip().splitlines())}}}\naxes: {{plan.tp: [1, 2, 4]}}\n"
TABLES = {  # the first rows of shipped tables, of one device where it is named
    "my_runs.csv": ("workloads/measured/training.csv", None, 8),
    "kernels.csv": ("devices/measured/collective.csv", ("h100-sxm", "vllm"), 40),
    "folder/mine.csv": ("devices/measured/collective.csv", ("b200", "vllm"), 40),
    "folder/serving.csv": ("workloads/measured/serving.csv", None, 4),
    "serving_runs.csv": ("workloads/measured/pairs/serving.csv", None, 8),
}
EXAMPLES = [f"{name} {example}" for name, command in COMMANDS.items() for example in command.examples]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """What `--out` writes of answers to `train` and `serve`."""
    folder = tmp_path_factory.mktemp("answered")
    for name, verb, text, out in (("scenario", "train", SCENARIO, "out"), ("serving", "serve", SERVING, "served")):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        assert run([verb, str(folder / f"{name}.yaml"), "--out", str(folder / out)]) == 0
    return folder


@pytest.fixture
def users_folder(tmp_path, monkeypatch, result):
    """The working folder of somebody who has files of every kind."""
    for name, source in FILES.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(source.read_bytes())
    for name, (source, of, count) in TABLES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with (package_root() / source).open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if of is None or (row["device"], row["stack"]) == of][:count]
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    for name, text in (("scenario", SCENARIO), ("serving", SERVING), ("terms", TERMS), ("sweep", SWEEP)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "mine").mkdir()
    for name, source in (("out", "out"), ("before", "out"), ("after", "out"), ("served", "served")):
        shutil.copytree(result / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_runs_as_it_stands(line: str, users_folder, capsys) -> None:
    assert run(shlex.split(line)) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def test_every_command_that_takes_a_question_shows_how_it_is_asked() -> None:
    assert all(command.examples for name, command in COMMANDS.items() if name not in ("demo", "ui"))


def test_help_lists_every_command(capsys) -> None:
    assert run(["--help"]) == 0
    listed = {line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")}
    assert {name.partition(" ")[0] for name in COMMANDS} <= listed
