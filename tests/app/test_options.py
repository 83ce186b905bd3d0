"""Flags come from the records: each fills its field, in SI units, and errors name the flag."""

from __future__ import annotations

import pytest

from sim.app.options import number, options, scenario_from
from sim.catalog.plans import Engine, Plan, Speculative
from sim.catalog.scenarios import TokenBudget, Traffic
from sim.errors import InputError

BASE = {"model": "llama-3.1-8b", "cluster": "h100-sxm"}


def scenario(verb="train", **flags):
    return scenario_from(verb, None, {**BASE, **{name.replace("_", "-"): value for name, value in flags.items()}})


@pytest.mark.parametrize("verb", ["fit", "train", "serve", "trace"])
def test_flags_of_a_verb_are_distinct_and_explained(verb):
    names = [option.name for option in options(verb)]
    assert len(set(names)) == len(names)
    assert all(option.help and option.help[0] != " " for option in options(verb))
    assert all(name.replace("-", "").isalnum() and name == name.lower() for name in names)


def test_every_scalar_field_of_a_plan_is_a_flag_of_train():
    filled = {option.path[-1] for option in options("train") if option.path[:3] == ("groups", 0, "plan")}
    assert set(Plan.model_fields) - {"dtypes"} <= filled


def test_every_field_of_engine_and_traffic_is_a_flag_of_serve():
    filled = {option.path[-1] for option in options("serve")}
    fields = set(Engine.model_fields) | set(Traffic.model_fields) | set(Speculative.model_fields)
    assert fields - {"kind", "speculative"} <= filled


def test_flags_fill_plan_formats_and_demand():
    asked = scenario(
        tp="8",
        pp="4",
        global_batch="2048",
        tokens="15.6e12",
        seq_len="8192",
        weights="fp8",
        overlap=False,
    )
    plan = asked.groups[0].plan
    assert (plan.tp, plan.pp, plan.global_batch, plan.overlap) == (8, 4, 2048, False)
    assert plan.dtypes.weights == "fp8"
    assert isinstance(asked.demand, TokenBudget)
    assert (asked.demand.tokens, asked.demand.seq_len) == (15.6e12, 8192)


def test_a_flag_may_hold_a_list():
    assert scenario("serve", buckets="64, 128,256", concurrency="8").groups[0].engine.buckets == (64, 128, 256)


def test_a_limit_may_carry_its_unit():
    slo = scenario("serve", ttft="500ms", tpot="0.05", concurrency="8").slo
    assert (slo.ttft_s, slo.tpot_s) == (0.5, 0.05)


def test_serving_demand_is_traffic():
    asked = scenario("serve", rate="12.5", input_tokens="1000", output_tokens="200")
    assert isinstance(asked.demand, Traffic)
    assert asked.demand.rate_requests_per_s == 12.5
    assert asked.groups[0].role == "serve"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"tp": "0"}, ["--tp", "0", "greater than or equal to 1"]),
        ({"tp": "many"}, ["--tp", "'many'", "not a number"]),
        ({"tp": "2.5"}, ["--tp", "2.5", "integer"]),
        ({"tokens": "nan"}, ["--tokens", "finite"]),
        ({"tokens": "-1"}, ["--tokens", "greater than 0"]),
        ({"sharding": "zero9"}, ["--sharding", "zero9", "'zero3'"]),
        ({"weights": "bf17"}, ["--weights", "bf17", "'bf16'"]),
    ],
)
def test_a_bad_value_names_flag_value_and_remedy_in_one_line(flags, words):
    with pytest.raises(InputError) as caught:
        scenario(**flags)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_missing_model_or_cluster_is_named():
    with pytest.raises(InputError, match="--model and --cluster"):
        scenario_from("train", None, {"tp": "8"})
    with pytest.raises(InputError, match="--cluster is missing"):
        scenario_from("train", None, {"model": "llama-3.1-8b"})


def test_flags_override_a_file_and_leave_the_rest(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(
        "role: train\nmodel: llama-3.1-8b\ncluster: h100-sxm\nplan: {tp: 4, pp: 2}\ndemand: {kind: tokens, seq_len: 4096}\n"
    )
    asked = scenario_from("train", path, {"tp": "8"}, seed=7)
    assert (asked.groups[0].plan.tp, asked.groups[0].plan.pp) == (8, 2)
    assert asked.demand.seq_len == 4096
    assert asked.seed == 7


def test_a_flag_of_one_group_is_refused_for_two(tmp_path):
    path = tmp_path / "two.yaml"
    group = "  - {role: %s, model: llama-3.1-8b, cluster: h100-sxm}\n"
    path.write_text("groups:\n" + group % "prefill" + group % "decode" + "demand: {kind: traffic, concurrency: 4}\n")
    with pytest.raises(InputError, match=r"2 groups.*--set groups\.0\.tp"):
        scenario_from("serve", path, {"tp": "8"})
    asked = scenario_from("serve", path, {"concurrency": "9"}, changes=["groups.1.plan.tp=4"])
    assert (asked.groups[0].plan.tp, asked.groups[1].plan.tp, asked.demand.concurrency) == (1, 4, 9)


def test_demand_follows_the_role():
    assert isinstance(scenario("fit", role="serve").demand, Traffic)
    assert isinstance(scenario("trace", role="serve", rate="3", input_tokens="9", output_tokens="9").demand, Traffic)
    with pytest.raises(InputError, match=r"--rate: demand of kind tokens .* --role"):
        scenario("trace", rate="3")


def test_changes_set_multiply_and_add():
    start = {**BASE, "tp": "4", "tokens": "1e9"}
    asked = scenario_from("train", None, start, changes=["plan.tp*=2", "demand.tokens+=5e8", "plan.overlap=false"])
    assert (asked.groups[0].plan.tp, asked.demand.tokens, asked.groups[0].plan.overlap) == (8, 1.5e9, False)


@pytest.mark.parametrize("text", ["plan.tp", "plam.tp=2", "plan.nothing=2", "plan.pp*=2", "groups.3.plan.tp=2", "tp=2"])
def test_a_change_that_means_nothing_is_an_error(text):
    with pytest.raises(InputError):
        scenario_from("train", None, BASE, changes=[text])


@pytest.mark.parametrize(
    ("text", "value"), [("4", 4), ("1e9", 10**9), ("0.5", 0.5), ("-3", -3), ("x", "x"), ("1e400", float("inf"))]
)
def test_numbers_read_as_they_do_in_files(text, value):
    assert number(text) == value
    assert type(number(text)) is type(value)
