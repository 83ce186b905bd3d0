"""`export traffic`: a demand as a trace to replay, or as a generator that `serve` draws from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.app.cli import run

OPEN_LOOP = ["--rate", "4", "--input-tokens", "300", "--output-tokens", "40", "--spread", "0.5", "--requests", "300"]


def test_traffic_goes_out_as_a_trace_in_as_a_generator_and_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, kind = tmp_path / "load.jsonl", tmp_path / "kind.yaml"
    assert run(["export", "traffic", *OPEN_LOOP, "-o", str(trace)]) == 0
    assert len(trace.read_text().splitlines()) == 300
    assert run(["export", "traffic", "--trace", str(trace), "-o", str(kind)]) == 0
    capsys.readouterr()
    served = ["serve", "--model", "llama-3.1-8b", "--cluster", "h100", "--generator", str(kind), "--requests", "100"]
    assert run([*served, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["figures"]["requests_finished"]["value"] == 100


def test_traffic_of_a_scenario_of_the_catalogue_goes_out_by_its_id(tmp_path: Path) -> None:
    assert run(["export", "traffic", "azure-chat-h100", "-o", str(tmp_path / "load.jsonl")]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "x.csv"], "end the name in .jsonl"),
        (["--concurrency", "4", "--input-tokens", "5", "--output-tokens", "5"], "closed loop has no arrival times"),
        (["--trace", "missing.csv"], "no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_said_and_nothing_is(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", "traffic", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
