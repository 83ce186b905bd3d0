"""A stored result: answered again, set against another, taken apart."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import pytest

from sim import api
from sim.app.cli import run
from sim.catalog.facts import contents
from sim.catalog.library import Library
from sim.catalog.plans import Plan
from sim.catalog.scenarios import Group, Scenario, TokenBudget
from sim.errors import InputError
from sim.studies.explain import FIGURES, explained
from sim.studies.terms import moved_contents

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "--model llama-3.1-8b --cluster dgx-h100 --devices 32 --tp 2 --pp 2 --global-batch 64 --tokens 1e11"
ARGUMENTS = shlex.split(QUESTION)
GROUP = Group(
    role="train", model="llama-3.1-8b", cluster="dgx-h100", devices=32, plan=Plan(tp=2, pp=2, global_batch=64)
)
SCENARIO = Scenario(groups=(GROUP,), demand=TokenBudget(tokens=1e11, seq_len=2048))
LIBRARY = Library()


def stored(folder: Path, *more: str) -> str:
    assert run(["train", *ARGUMENTS, *more, "--out", str(folder)]) == 0
    return str(folder)


def asked(capsys, *arguments: str) -> tuple[int, dict]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def mine(folder: Path, old: str, new: str) -> Path:
    """A catalogue with one value of the chip changed."""
    text = (ROOT / "devices" / "chips" / "h100-sxm.yaml").read_text()
    assert old in text
    chips = folder / "mine" / "devices" / "chips"
    chips.mkdir(parents=True)
    (chips / "h100-sxm.yaml").write_text(text.replace(old, new))
    return folder / "mine"


def test_a_result_is_answered_again_with_the_same_figures(tmp_path, capsys):
    code, found = asked(capsys, "rerun", stored(tmp_path / "a"))
    assert (code, found["same"], found["moved"], found["changed"]) == (0, True, [], [])


def test_rerun_names_the_fact_that_has_changed(tmp_path, capsys):
    other = mine(tmp_path, "bandwidth_gb_per_s: 3350", "bandwidth_gb_per_s: 3000")
    code, found = asked(capsys, "rerun", stored(tmp_path / "a"), "--catalog", str(other))
    assert code == 1
    assert [each["fact"] for each in found["changed"]] == ["chip"]
    assert {each["figure"] for each in found["moved"]} >= {"step_time", "days", "cost"}


def test_a_seed_that_moves_nothing_is_named_and_the_figures_stay(tmp_path, capsys):
    code, found = asked(capsys, "rerun", stored(tmp_path / "a"), "--seed", "3")
    assert (code, [each["fact"] for each in found["changed"]]) == (0, ["seed"])


def test_diff_attributes_each_figure_to_what_moved_it(tmp_path, capsys):
    other = mine(tmp_path, "bandwidth_gb_per_s: 3350", "bandwidth_gb_per_s: 3000")
    one = stored(tmp_path / "a")
    two = stored(tmp_path / "b", "--usd-per-device-hour", "7", "--catalog", str(other), "--micro-batch", "2")
    _, found = asked(capsys, "diff", one, two)
    ratios = {each["name"]: each["ratios"] for each in found["differences"]}
    assert set(ratios) == {"plan.micro_batch", "economy.usd_per_device_hour", "chip.memory.bandwidth_bytes_per_s"}
    assert set(ratios["economy.usd_per_device_hour"]) == {"cost", "usd_per_device_hour"}
    assert ratios["chip.memory.bandwidth_bytes_per_s"]["step_time"] > 1.0
    total = {each["figure"]: each["ratio"] for each in found["figures"]}
    for figure in ("step_time", "cost", "energy"):
        product = math.prod(each.get(figure, 1.0) for each in ratios.values())
        assert product * found["remainder"][figure] == pytest.approx(total[figure], rel=1e-12)
        assert found["remainder"][figure] == pytest.approx(1.0, abs=0.02)


def test_differences_that_are_not_legal_alone_are_swapped_together(tmp_path, capsys):
    one, two = stored(tmp_path / "a"), stored(tmp_path / "b", "--dp", "4", "--tp", "4")
    three = stored(tmp_path / "c", "--dp", "8")
    _, found = asked(capsys, "diff", three, two)
    assert [each["name"] for each in found["differences"]] == ["plan.tp, plan.dp"]
    assert "step_time" in found["differences"][0]["ratios"]
    _, same = asked(capsys, "diff", one, one)
    assert (same["figures"], same["differences"]) == ([], [])


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": "gambrel.sweep/1"}', '{"schema": "gambrel.train/9"}'])
def test_a_file_that_is_no_result_is_refused(tmp_path, text, capsys):
    (tmp_path / "x.json").write_text(text)
    assert run(["rerun", str(tmp_path / "x.json")]) == 2
    assert "schema" in capsys.readouterr().err


@pytest.fixture(scope="module")
def answered():
    return api.train(SCENARIO, LIBRARY), contents(LIBRARY, SCENARIO)


@pytest.mark.parametrize("figure", [name for name in FIGURES if name != "carbon"])
def test_terms_recomputed_from_below_give_the_figure(answered, figure):
    result, entries = answered
    assert explained("train", SCENARIO, entries, figure).recomputed() == pytest.approx(
        result.figures[figure].value, rel=1e-12
    )


@pytest.mark.parametrize("sharding", ["zero1", "zero3"])
@pytest.mark.parametrize(
    "model, cluster", [("llama-3.1-8b", "tpu-v5p"), ("mixtral-8x7b", "dgx-h100"), ("llama-3.1-8b", "trainium2")]
)
def test_every_family_is_taken_apart(model, cluster, sharding):
    group = Group(
        role="train", model=model, cluster=cluster, devices=64, plan=Plan(tp=4, micro_batch=1, sharding=sharding)
    )
    scenario = Scenario(groups=(group,))
    term = explained("train", scenario, contents(LIBRARY, scenario), "step_time")
    assert term.recomputed() == pytest.approx(api.train(scenario, LIBRARY).figures["step_time"].value, rel=1e-12)


def test_moving_a_leaf_moves_the_figure_as_the_whole_model_says(answered):
    _, entries = answered
    term = explained("train", SCENARIO, entries, "step_time")
    keys = {
        leaf.key for leaf in term.leaves() if leaf.key.partition(".")[0] in ("chip", "cluster", "calibration", "stack")
    }
    assert {key.partition(".")[0] for key in keys} == {"chip", "cluster", "calibration", "stack"}
    hardware = [key for key in sorted(keys) if key.startswith(("chip.", "cluster."))]
    for key in hardware:
        head, _, path = key.partition(".")
        changed = GROUP.with_(**{f"{head}_changes": (f"{path}*=1.01",)})
        whole = api.train(SCENARIO.with_(groups=(changed,)), LIBRARY).figures["step_time"].value
        found = explained("train", SCENARIO, moved_contents(entries, key, 1.01), "step_time").recomputed()
        assert found == pytest.approx(whole, rel=1e-12), key
        assert found != term.value, key


def test_moving_a_fitted_leaf_or_the_price_moves_the_figure(answered):
    _, entries = answered
    term = explained("train", SCENARIO, entries, "cost")
    seen = {}
    for leaf in term.leaves():
        if leaf.key and not leaf.key.startswith(("plan.", "demand.", "devices")):
            seen.setdefault(leaf.key.rsplit(".", 1)[0], leaf)
    fitted = [leaf for leaf in seen.values() if leaf.key.startswith(("calibration.", "stack.", "price."))]
    assert len(fitted) > 5
    for leaf in fitted:
        assert leaf.source, leaf.key
        assert (
            explained("train", SCENARIO, moved_contents(entries, leaf.key, 1.05), "cost").recomputed() != term.value
        ), leaf.key


def test_what_cannot_be_taken_apart_is_refused_with_what_can(answered):
    _, entries = answered
    with pytest.raises(InputError, match="step_time"):
        explained("train", SCENARIO, entries, "step_tim")
    with pytest.raises(InputError, match="train"):
        explained("serve", SCENARIO, entries, "ttft_p50")


def test_without_a_pipeline_kernels_and_the_host_are_the_whole_step():
    group = Group(role="train", model="llama-3.1-8b", cluster="dgx-h100", devices=8, plan=Plan(tp=8, global_batch=4))
    scenario = Scenario(groups=(group,))
    term = explained("train", scenario, contents(LIBRARY, scenario), "step_time")
    assert next(each for each in term.terms if each.name == "bubble").value == pytest.approx(
        0.0, abs=1e-12 * term.value
    )
    assert {each.op for each in term.terms if each.name != "bubble"} == {"sum"}  # no share that something hides


def test_an_even_pipeline_waits_as_long_as_the_closed_form_says():
    """(pp - 1) / m of a stage's work (Narayanan et al., 2021), where embedding and logits are small beside the layers."""
    plan = Plan(tp=8, pp=4, global_batch=8, recompute="none", overlap=False)
    group = Group(role="train", model="gpt-3-175b", cluster="dgx-a100", devices=32, plan=plan)
    scenario = Scenario(groups=(group,))
    term = explained("train", scenario, contents(LIBRARY, scenario), "step_time")
    parts = {each.name: each.value for each in term.terms}
    work = sum(
        value
        for name, value in parts.items()
        if name not in ("bubble", "host, once a step", "stragglers") and "optimizer" not in name
    )
    assert parts["bubble"] / work == pytest.approx(3 / 8, rel=0.15)
