"""`serve --stream`: the figures of a whole run, requests written as they end, memory that does not grow with them."""

from __future__ import annotations

import csv
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest

from sim import api
from sim.app.cli import run
from sim.catalog.library import default_library
from sim.catalog.pieces import pieces
from sim.catalog.scenarios import Group, Scenario, Slo, Traffic
from sim.catalog.traffic import requests
from sim.errors import InputError

GROUP = Group(role="serve", model="llama-3.1-8b", cluster="h100", replicas=2)
RATE = Traffic(rate_requests_per_s=20.0, requests=400, input_tokens=500, output_tokens=30, spread=0.4)
SCENARIO = Scenario(groups=(GROUP,), demand=RATE, slo=Slo(ttft_s=0.06))
WORDS = "serve --model llama-3.1-8b --cluster h100 --rate 20 --requests 200 --input-tokens 500 --output-tokens 20"


@pytest.mark.parametrize("size", [1, 7, 400])
@pytest.mark.parametrize("variation, scale", [(1.0, 1.0), (2.0, 1.5)])
def test_pieces_are_the_requests_that_are_drawn_at_once(size, variation, scale):
    asked = RATE.with_(gap_variation=variation, scale_rate=scale, scale_length=scale)
    whole = requests(asked, 3)
    for name in ("arrival_s", "input_tokens", "output_tokens"):
        found = list(chain.from_iterable(getattr(piece, name).tolist() for piece in pieces(asked, 3, size=size)))
        assert found == getattr(whole, name).tolist(), name


def test_a_streamed_run_has_the_figures_of_a_whole_one():
    whole = api.serve(SCENARIO)
    parts = []
    streamed = api.serve(SCENARIO, write=parts.append)
    for name, figure in streamed.figures.items():
        wanted = whole.figures[name]
        waits = name.startswith(("ttft", "latency")) or name in ("goodput_rps", "slo_attainment")
        assert figure.unit == wanted.unit and figure.basis == wanted.basis, name
        assert figure.value == (
            None if wanted.value is None else pytest.approx(wanted.value, rel=5e-3 if waits else 1e-9)
        )
    numbers = np.concatenate([part["request"] for part in parts])
    assert sorted(numbers.tolist()) == list(range(400))
    assert streamed.requests is None and streamed.fits == whole.fits


def test_a_trace_is_streamed_with_its_rows():
    trace = SCENARIO.with_(demand=Traffic(trace="azure_llm_2023_conv.csv.gz", requests=300))
    parts = []
    streamed = api.serve(trace, default_library(), write=parts.append)
    assert streamed["requests_finished"].value == api.serve(trace)["requests_finished"].value == 300
    assert streamed["tokens_out"].value == sum(int(part["output_tokens"].sum()) for part in parts)


@pytest.mark.parametrize(
    "changed, named",
    [
        (SCENARIO.with_(demand=Traffic(concurrency=4, input_tokens=10, output_tokens=10)), "concurrency"),
        (SCENARIO.with_(demand=RATE.with_(turns=2)), "turns"),
        (SCENARIO.with_(groups=(GROUP.with_(engine={"prefix_cache": True}),)), "--prefix-cache"),
        (SCENARIO.with_(operations={"window_s": 10.0}), "--window"),
    ],
)
def test_what_needs_the_whole_run_is_refused(changed, named):
    with pytest.raises(InputError, match=named):
        api.serve(changed, write=lambda columns: None)


def test_requests_are_written_as_csv_and_as_parts_of_parquet(tmp_path, capsys):
    polars = pytest.importorskip("polars")
    for name in ("r.csv", "r.parquet"):
        assert run([*WORDS.split(), "--stream", str(tmp_path / name)]) == 0
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = polars.read_parquet(str(tmp_path / "r.parquet"))
    assert len(rows) == table.height == 200
    assert sorted(float(row["finish_s"]) for row in rows) == sorted(table["finish_s"].to_list())
    capsys.readouterr()
    assert run([*WORDS.split(), "--stream", str(tmp_path / "r.txt")]) == 2
    assert ".parquet" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_requests(tmp_path):
    """Peak memory of a run of ten times as many requests is within 12 MiB (a table of 60,000 requests would take more)."""
    peak = []
    for count in (6_000, 60_000):
        words = WORDS.replace("--requests 200", f"--requests {count}").replace(
            "--output-tokens 20", "--output-tokens 2"
        )
        code = "import sys, resource; from sim.app.cli import run; assert run(sys.argv[1:]) == 0; "
        code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        asked = [sys.executable, "-c", code, *words.split(), "--stream", str(tmp_path / "r.csv"), "--json"]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        peak.append(int(done.stdout.split()[-1]) / (1024.0 if sys.platform == "linux" else 1024.0**2))
    assert peak[1] - peak[0] < 12.0, peak
