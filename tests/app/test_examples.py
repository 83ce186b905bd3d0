"""Every example of `--help` that needs no file of the user's runs as it stands."""

import shlex

import pytest

from sim.app.cli import COMMANDS, run

OWN_FILES = ("path/to", ".csv", "scenario.yaml", "folder")
EXAMPLES = [
    f"{name} {example}"
    for name, command in COMMANDS.items()
    for example in command.examples
    if not any(mark in example for mark in OWN_FILES)
]


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_runs_as_it_stands(line: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(line)) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def test_every_command_that_takes_a_question_shows_how_it_is_asked() -> None:
    assert all(command.examples for name, command in COMMANDS.items() if name != "demo")
