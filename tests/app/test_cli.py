"""The command line: results to stdout, errors as one line on stderr, exit codes 0, 1 and 2."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest

import sim
from sim.app.cli import COMMANDS, run
from sim.engine import Schedule
from sim.engine import run as run_schedule
from sim.errors import Infeasible, UnknownFigure
from sim.result import Figure, Result

PLAN = ["--model", "llama-3.1-8b", "--cluster", "h100-sxm", "--devices", "8", "--tp", "8"]


@pytest.fixture
def api(monkeypatch):
    """Stands for the verbs: remembers the scenario, answers with one figure."""
    asked = types.SimpleNamespace(scenario=None, fits=True, error=None, progress=None)

    def answer(verb):
        def call(scenario, library, progress=None):
            asked.scenario, asked.progress = scenario, progress
            if asked.error is not None:
                raise asked.error
            if progress is not None:
                progress(0.5, verb)
            figures = {"step_s": Figure(0.5, "s", 0.4, 0.6, "calibrated")}
            columns = {"ttft_s": np.array([0.25, 0.5])} if verb == "serve" else None
            return Result(
                f"gambrel.{verb}/1",
                f"{verb} done",
                scenario.model_dump(mode="json"),
                figures,
                fits=asked.fits,
                requests=columns,
            )

        return call

    def trace(scenario, library):
        asked.scenario = scenario
        return run_schedule(Schedule.of(["a", "b"], [1.0, 2.0], [[], [0]]), executor="simpy")

    module = types.ModuleType("sim.api")
    for verb in ("fit", "train", "serve"):
        setattr(module, verb, answer(verb))
    module.trace = trace
    monkeypatch.setitem(sys.modules, "sim.api", module)
    monkeypatch.setattr(sim, "api", module, raising=False)
    return asked


@pytest.mark.parametrize("verb", ["fit", "train", "serve"])
def test_json_is_one_object_on_stdout(api, capsys, verb):
    assert run([verb, *PLAN, "--json"]) == 0
    written = capsys.readouterr()
    document = json.loads(written.out)
    assert document["schema"] == f"gambrel.{verb}/1"
    assert document["figures"]["step_s"] == {"value": 0.5, "unit": "s", "low": 0.4, "high": 0.6, "basis": "calibrated"}
    assert written.err == ""
    assert api.scenario.groups[0].plan.tp == 8


def test_the_screen_begins_with_the_verdict_and_has_no_colour_when_piped(api, capsys):
    assert run(["train", *PLAN]) == 0
    out = capsys.readouterr().out
    assert out.startswith("train done")
    assert "\x1b" not in out


def test_what_does_not_fit_is_shown_and_exits_1(api, capsys):
    api.fits = False
    assert run(["fit", *PLAN, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["fits"] is False


@pytest.mark.parametrize(
    ("error", "code"), [(Infeasible("needs 3 GiB more. Use --tp 8."), 1), (UnknownFigure("chip.power.tdp_w"), 1)]
)
def test_an_error_is_one_line_on_stderr(api, capsys, error, code):
    api.error = error
    assert run(["train", *PLAN, "--json"]) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err == f"gambrel: {error}\n"


def test_a_bug_shows_its_traceback(api):
    api.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        run(["train", *PLAN])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "Did you mean"),
        (["train", "--tpp", "8"], "--tpp"),
        (["train", "--tp"], "--tp"),
        (["train", "no-such.yaml"], "no-such.yaml"),
        (["train", *PLAN, "--sharding", "zero9"], "--sharding"),
        (["train", *PLAN, "--catalog", "no-such-folder"], "no-such-folder"),
        (["devices", "h1000"], "h1000"),
        (["schema", "plam"], "Did you mean plan"),
    ],
)
def test_malformed_input_exits_2_with_one_line(api, capsys, arguments, words):
    assert run(arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert words in written.err
    assert written.err.count("\n") == 1


def test_files_go_where_out_says(api, capsys, tmp_path):
    assert run(["serve", *PLAN, "--out", str(tmp_path / "new"), "--json"]) == 0
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {"result.json", "report.txt", "scenario.yaml", "facts.json", "requests.csv"}
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == json.loads(capsys.readouterr().out)
    assert (tmp_path / "new" / "requests.csv").read_text() == "ttft_s\n0.25\n0.5\n"
    again = run(["serve", str(tmp_path / "new" / "scenario.yaml"), "--json"])
    assert again == 0
    assert api.scenario.groups[0].plan.tp == 8


def test_a_place_that_cannot_be_written_is_an_error(api, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert run(["train", *PLAN, "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_seed_reaches_the_scenario(api, capsys):
    run(["serve", *PLAN, "--seed", "7"])
    assert api.scenario.seed == 7


def test_fit_takes_its_model_by_place(api, capsys):
    assert run(["fit", "llama-3.1-8b", "--cluster", "h100", "--json"]) == 0
    assert api.scenario.groups[0].model == "llama-3.1-8b"


@pytest.mark.parametrize("name", ["trace.pftrace", "trace.json"])
def test_trace_writes_the_format_of_the_ending(api, capsys, tmp_path, name):
    assert run(["trace", *PLAN, "-o", str(tmp_path / name), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"schema": "gambrel.trace/1", "file": str(tmp_path / name), "slices": 2, "makespan_s": 3.0}
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"{") == name.endswith(".json")


@pytest.mark.parametrize("kind", ["devices", "models"])
def test_lists_say_where_an_entry_comes_from(capsys, kind):
    assert run([kind, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == f"gambrel.{kind}/1"
    assert {row["origin"] for row in document[kind]} == {"package"}


def test_one_entry_shows_its_sources(capsys):
    assert run(["devices", "H100"]) == 0
    out = capsys.readouterr().out
    assert "sources" in out
    assert "h100-sxm.yaml" in out


def test_a_catalogue_of_the_users_own_comes_first(capsys, tmp_path):
    from sim.catalog.library import Library

    folder = tmp_path / "devices" / "chips"
    folder.mkdir(parents=True)
    text = Library().find("chip", "h100-sxm").path.read_text()
    (folder / "h100-sxm.yaml").write_text(text.replace("id: h100-sxm", "id: h100-sxm", 1))
    assert run(["devices", "h100", "--json", "--catalog", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "--catalog"


@pytest.mark.parametrize("name", ["chip", "cluster", "model", "plan", "scenario", "stack", "calibration", "family"])
def test_a_schema_is_json_schema(capsys, name):
    assert run(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_help_names_what_every_command_takes(capsys, name):
    assert run([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: gambrel" in out
    if name:
        assert all(flag in out for flag in ("--json", "--out", "--seed", "--catalog"))


def test_the_version_is_the_packages_own(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"gambrel {sim.__version__}\n"


def test_whatif_says_with_which_chance_one_machine_beats_the_other(capsys):
    asked = "whatif --role serve --model llama-3.1-8b --cluster h100 --concurrency 4 --requests 8 --input-tokens 500"
    words = [*asked.split(), "--output-tokens", "50", "--set", "cluster=h200"]
    assert run(words) == 0
    assert "h200 beats h100 with" in " ".join(capsys.readouterr().out.split())
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["odds"]
    assert [each["figure"] for each in found][:2] == ["tpot_p50", "ttft_p50"]
    assert all(0.0 < each["chance"] < 1.0 and each["pairs"] > 100 and each["said_so"] for each in found)
