"""`--power-cap` and `--set chip.…` on the command line: figures move as physics says; nonsense ends with exit code 2."""

from __future__ import annotations

import json

import pytest

from sim.app.cli import run

TRAIN = ["train", "--model", "llama-3.1-8b", "--cluster", "dgx-h100", "--devices", "8", "--global-batch", "64"]


def figures(capsys, *words):
    assert run([*TRAIN, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["figures"]


def test_a_cap_slows_training_and_says_the_clock(capsys):
    free, tight = figures(capsys), figures(capsys, "--power-cap", "500")
    assert "clock" not in free
    assert 1.1e9 < tight["clock"]["value"] < 1.83e9
    slower = tight["step_time"]["value"] / free["step_time"]["value"]
    assert 1.05 < slower < 1.3
    assert tight["power"]["value"] < free["power"]["value"]


def test_the_chips_own_limit_as_a_cap_changes_no_time(capsys):
    assert figures(capsys, "--power-cap", "700")["step_time"] == figures(capsys)["step_time"]


def test_a_faster_clock_speeds_training_up_by_at_most_as_much(capsys):
    free, fast = figures(capsys), figures(capsys, "--set", "chip.matrix.clock*=1.1")
    assert 1.03 < free["step_time"]["value"] / fast["step_time"]["value"] < 1.1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--power-cap", "60"], "draws 70 W idle and at most 700 W"),
        (["--power-cap", "900"], "draws 70 W idle and at most 700 W"),
        (["--set", "chip.matrix.clok*=1.1"], "Did you mean clock_hz"),
        (["--set", "chip.scale_up.bandwidth*=2"], "no such value of a chip"),
        (["--set", "chp.clock*=1.1"], "Did you mean chip"),
    ],
)
def test_nonsense_is_exit_code_two(capsys, words, message):
    assert run([*TRAIN, *words]) == 2
    assert message in capsys.readouterr().err


def test_the_next_command_keeps_cap_and_changes(capsys):
    assert run([*TRAIN, "--power-cap", "500", "--set", "chip.clock*=1.1", "--json"]) == 0
    for text in json.loads(capsys.readouterr().out)["next"][:2]:
        assert "--power-cap 500" in text
        assert "--set 'chip.clock*=1.1'" in text
