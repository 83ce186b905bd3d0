"""Lifetime: the closed form without demand, smaller the more is served, never dearer than any other size."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.app.cli import run
from sim.catalog.claims import scaling_law
from sim.catalog.library import default_library
from sim.errors import InputError
from sim.studies.lifetime import Rates, cheapest, life
from sim.studies.scaling import flops_at_loss, least_parameters, loss, optimal_parameters

LAW = scaling_law(default_library(), "chinchilla")
TARGET = loss(LAW, 70e9, 1.4e12)
FLOP = Rates(1.0, 2.0)


def test_without_demand_it_is_the_compute_optimal_size_in_closed_form():
    best = cheapest(LAW, TARGET, 0.0, FLOP)
    budget = flops_at_loss(LAW, TARGET)
    assert best.parameters == pytest.approx(optimal_parameters(LAW, budget), rel=1e-12)
    assert best.total == pytest.approx(budget, rel=1e-12)
    assert cheapest(LAW, TARGET, 1.0, FLOP).parameters == pytest.approx(best.parameters, rel=1e-6)


def test_the_more_is_served_the_smaller_it_is_and_the_longer_it_trains():
    lives = [cheapest(LAW, TARGET, served, FLOP) for served in (0.0, 1e11, 1e12, 1e13, 1e14, 1e16)]
    sizes, tokens = [each.parameters for each in lives], [each.tokens for each in lives]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert tokens == sorted(tokens)
    assert sizes[-1] > least_parameters(LAW, TARGET)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.0, 1e15),
    st.floats(0.01, 100.0),
    st.floats(1.9, 3.0),
    st.sampled_from(["chinchilla", "chinchilla-2024"]),
)
def test_no_other_size_of_that_loss_costs_less(served, dearer_serving, target, name):
    law = scaling_law(default_library(), name)
    rates = Rates(1.0, 2.0 * dearer_serving)
    best = cheapest(law, target, served, rates)
    assert loss(law, best.parameters, best.tokens) == pytest.approx(target)
    for factor in (0.9, 0.999, 1.001, 1.1, 3.0):
        if best.parameters * factor > 1.0001 * least_parameters(law, target):
            assert life(law, target, best.parameters * factor, served, rates).total >= best.total * (1 - 1e-9)


def test_bad_demands_and_losses_are_one_clear_line():
    for served, target, rates in ((-1.0, TARGET, FLOP), (1.0, 1.5, FLOP), (1.0, TARGET, Rates(0.0, 1.0))):
        with pytest.raises(InputError):
            cheapest(LAW, target, served, rates)


def test_the_command_answers_in_flop_and_in_money(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(
        "role: train\nmodel: llama-3.1-8b\ncluster: dgx-h100\ndevices: 64\nplan: {sharding: zero3, global_batch: 128}\n"
        "demand: {kind: tokens, tokens: 1e12, seq_len: 4096}\n"
    )
    (tmp_path / "serve.yaml").write_text(
        "role: serve\nmodel: llama-3.1-8b\ncluster: dgx-h100\n"
        "demand: {kind: traffic, concurrency: 16, requests: 32, input_tokens: 100, output_tokens: 50}\n"
    )
    command = ["lifetime", "llama-3.1-8b", "--tokens", "15e12", "--served", "1e13", "--json"]
    assert run(command) == 0
    in_flop = json.loads(capsys.readouterr().out)
    assert in_flop["schema"] == "gambrel.lifetime/1"
    assert in_flop["best"]["total"] <= in_flop["as_it_is"]["total"]
    assert run([*command, "--train", "train.yaml", "--serve", "serve.yaml"]) == 0
    in_money = json.loads(capsys.readouterr().out)
    assert in_money["unit"] == "usd"
    own, rates = in_money["as_it_is"], in_money["rates"]
    flops = 6 * own["parameters"] * own["tokens"]
    assert own["training"] == pytest.approx(rates["training_usd_per_exaflop"]["value"] * flops / 1e18)
    assert own["serving"] == pytest.approx(rates["serving_usd_per_million_tokens"]["value"] * 1e13 / 1e6, rel=1e-6)
    assert run([*command, "--train", "train.yaml"]) == 2
    assert run(["lifetime", "llama-3.1-8b", "--served", "-1"]) == 2
