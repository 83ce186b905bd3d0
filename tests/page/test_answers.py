"""The API gives the same figures as the verbs, and says what to type for them."""

from __future__ import annotations

import shlex

import httpx
import pytest
import yaml

import sim
from sim.app.changes import change
from sim.app.options import options, parsed, plain, scenario_from
from sim.app.page.messages import Comparison, Inside, Tornado
from sim.app.page.questions import command_of, sides, yaml_of
from sim.catalog.files import Document
from sim.catalog.library import default_library
from sim.catalog.records import parse
from sim.catalog.scenarios import Scenario, nested

from .asking import SERVING, TRAINING, answer_of

FASTER = "chip.memory.bandwidth*=1.5"


def scenario(data: dict, *texts: str) -> Scenario:
    whole = plain(parse(Scenario, nested(Document(data, {}, "test"))).model_dump(exclude_unset=True))
    for text in texts:
        change(whole, text)
    return parsed(whole, {})


def plain_figures(result) -> dict:
    return {name: figure.value for name, figure in result.figures.items()}


def test_a_step_has_the_figures_of_the_verb_on_both_sides(client):
    answer = client.post("/api/v1/steps", json={"scenario": TRAINING, "changes": [FASTER]}).json()
    Comparison.model_validate(answer)
    before, after = sim.train(scenario(TRAINING)), sim.train(scenario(TRAINING, FASTER))
    assert {e["figure"]: e["baseline"]["value"] for e in answer["effects"]} == plain_figures(before)
    assert {e["figure"]: e["changed"]["value"] for e in answer["effects"]} == plain_figures(after)
    assert answer["baseline"]["result"]["verdict"] == before.verdict
    assert all(e["baseline"]["basis"] for e in answer["effects"])


def test_a_simulation_has_the_figures_of_the_verb_on_both_sides(client):
    answer = answer_of(client, {"scenario": SERVING, "changes": [FASTER]})["answer"]
    Comparison.model_validate(answer)
    before, after = sim.serve(scenario(SERVING)), sim.serve(scenario(SERVING, FASTER))
    assert {e["figure"]: e["baseline"]["value"] for e in answer["effects"]} == plain_figures(before)
    assert {e["figure"]: e["changed"]["value"] for e in answer["effects"]} == plain_figures(after)


def test_events_tell_the_progress_and_end_with_the_answer(client):
    question = {"scenario": {**SERVING, "seed": 7}, "changes": []}
    run = client.post("/api/v1/runs", json=question).json()
    with client.stream("GET", f"/api/v1/runs/{run['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        names = [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]
    assert set(names[:-1]) == {"progress"} and names[-1] == "done"


def test_a_change_that_moves_nothing_is_named(client):
    question = {"scenario": TRAINING, "changes": [FASTER, "chip.power.server*=1"]}
    assert client.post("/api/v1/steps", json=question).json()["moves_nothing"] == ["chip.power.server*=1"]


def test_the_other_side_may_fail_alone(client):
    question = {"scenario": TRAINING, "changes": ["plan.schedule=none"]}
    answer = client.post("/api/v1/steps", json=question).json()
    assert answer["changed"] is None and answer["baseline"]["result"]["fits"]
    assert answer["problem"]["kind"] == "input" and answer["problem"]["field"] == "schedule"


def test_a_mistake_names_its_field(client):
    answer = client.post("/api/v1/steps", json={"scenario": {**TRAINING, "plan": {"tp": 0}}})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "tp" and "tp = 0" in answer.json()["error"]["message"]


def test_a_model_of_ones_own_comes_as_text(client):
    text = (default_library().find("model", "llama-3.1-8b").path).read_text(encoding="utf-8")
    text = text.replace("id: llama-3.1-8b", "id: my-own").replace("aliases:", "# aliases:")
    question = {"scenario": {**TRAINING, "model": "my-own"}, "model_yaml": text}
    answer = client.post("/api/v1/steps", json=question).json()
    values = {e["figure"]: e["baseline"]["value"] for e in answer["effects"]}
    assert values["step_time"] == sim.train(scenario(TRAINING))["step_time"].value


def test_a_tornado_ranks_what_moves_the_figure(client):
    answer = answer_of(client, {"scenario": TRAINING}, "tornado")["answer"]
    Tornado.model_validate(answer)
    sizes = [max(9.0 if x is None else abs(x) for x in (each["lowered"], each["raised"])) for each in answer["swings"]]
    assert sizes == sorted(sizes, reverse=True) and answer["figure"] == "step_time"


def test_inside_an_answer_are_kernels_and_a_timeline(client):
    answer = answer_of(client, {"scenario": TRAINING, "changes": [FASTER]}, "inside")["answer"]
    Inside.model_validate(answer)
    assert [each["id"] for each in answer["baseline"]] == ["kernels", "memory", "timeline"]


@pytest.mark.parametrize("data", [TRAINING, SERVING, {**SERVING, "slo": {"ttft_s": 0.5}, "seed": 3}])
@pytest.mark.parametrize("texts", [[], [FASTER]])
def test_the_command_asks_the_same(data, texts, tmp_path, monkeypatch):
    asked = sides(data, texts, default_library())
    words = shlex.split(command_of(asked))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenario.yaml").write_text(yaml_of(asked.baseline), encoding="utf-8")
    verb, file, flags, changes, place = words[1], None, {}, [], 2
    known = {option.name: option for option in options(verb)}
    while place < len(words):
        name, value = words[place].removeprefix("--"), words[place + 1] if place + 1 < len(words) else ""
        if not words[place].startswith("--"):
            file, place = tmp_path / words[place], place + 1
        elif name == "set":
            changes, place = [*changes, value], place + 2
        else:
            switch = name.removeprefix("no-") in known and known[name.removeprefix("no-")].switch
            flags[name.removeprefix("no-")] = (not name.startswith("no-")) if switch else value
            place += 1 if switch else 2
    again = scenario_from(verb, file, flags, None, changes)
    assert again == (asked.changed or asked.baseline)


@pytest.mark.parametrize("data", [TRAINING, SERVING])
def test_the_yaml_asks_the_same(data):
    asked = sides(data, [FASTER], default_library())
    assert scenario(yaml.safe_load(yaml_of(asked.changed))) == asked.changed


def test_a_step_refuses_what_is_simulated(client):
    assert client.post("/api/v1/steps", json={"scenario": SERVING}).status_code == 422


def test_the_schema_of_the_api_holds_the_catalogues_own(client):
    document = client.get("/api/v1/openapi.json").json()
    asked = document["components"]["schemas"]["Question"]["properties"]["scenario"]
    assert asked == {"$ref": "#/components/schemas/Scenario"}
    assert "tp" in document["components"]["schemas"]["Plan"]["properties"]
    assert {"/api/v1/steps", "/api/v1/runs", "/api/v1/catalogue/{kind}"} <= set(document["paths"])


@pytest.mark.parametrize("name", ["plan", "scenario"])
def test_schemas_are_those_of_the_command_line(client, name):
    from sim.app.listings import schema_of

    assert client.get(f"/api/v1/schemas/{name}").json() == schema_of(name)


def test_unknown_names_are_told_with_the_nearest(client):
    answer: httpx.Response = client.get("/api/v1/catalogue/chip/h10")
    assert answer.status_code == 422 and "h100" in answer.json()["error"]["message"]
