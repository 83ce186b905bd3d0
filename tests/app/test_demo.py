"""The tour computes every figure, writes files to go on from, and what it says to type next can be typed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from sim.app.cli import run
from sim.app.demo import PUBLISHED_DEVICE_HOURS, REPLICAS, SERVING

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    """Screen, folder and results of one tour."""
    import contextlib
    import io

    out = tmp_path_factory.mktemp("tour") / "out"
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        assert run(["demo", "--out", str(out)]) == 0
    return screen.getvalue(), out, json.loads((out / "results.json").read_text())


def test_the_tour_says_first_how_far_off_it_is(toured):
    screen, _, _ = toured
    assert screen.index("how far off") < screen.index("train") < screen.index("serve:")
    assert "median error" in screen


def test_the_published_run_is_answered_within_a_factor_of_two(toured):
    _, _, results = toured
    hours = results["train"]["figures"]["device_hours"]["value"]
    assert 0.5 < hours / PUBLISHED_DEVICE_HOURS < 1.1  # the published total holds restarts and more: an upper bound


def test_every_chip_serves_every_request_of_the_hour(toured):
    _, _, results = toured
    serving = {name: result for name, result in results.items() if name.startswith(SERVING)}
    assert len(serving) == 4
    for result in serving.values():
        figures = result["figures"]
        assert figures["requests"]["value"] == 19366
        assert figures["requests_finished"]["value"] + figures["requests_refused"]["value"] == 19366
        assert result["scenario"]["groups"][0]["replicas"] in REPLICAS


def test_the_next_commands_can_be_typed(toured, capsys):
    screen, _, _ = toured
    commands = re.findall(r"^  gambrel (.*)$", screen, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert run(shlex.split(command)) in (0, 1)
        assert capsys.readouterr().out


def test_the_trace_of_the_tour_holds_slices(toured):
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

    _, out, _ = toured
    trace = Trace()
    trace.ParseFromString((out / "step.pftrace").read_bytes())
    assert sum(packet.HasField("track_event") for packet in trace.packet) > 100


def test_the_readme_shows_this_tour(toured):
    """The same steps and next commands; the figures are those of the last `make readme`."""
    screen, out, _ = toured
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^```text\n(Gambrel .*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert shown, "README.md shows no first minute: run make readme"
    for pattern in (r"^\[\d/4\] \w+", r"^  gambrel .*$", r"^  why.*$"):
        now = re.findall(pattern, screen.replace(str(out), "out"), re.MULTILINE)
        assert [line.split("share")[0] for line in re.findall(pattern, shown[1], re.MULTILINE)] == [
            line.split("share")[0] for line in now
        ], "run make readme"
