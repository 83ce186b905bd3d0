"""How sure `whatif` is: whose pairs speak for a change, chances of two sides, and what prices alone leave certain."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.catalog.library import Library
from sim.catalog.scenarios import Economy, Group, Scenario, Traffic
from sim.catalog.spreads import comparisons
from sim.evidence import odds
from sim.evidence.compared import of_training
from sim.evidence.comparisons import FIGURES, differences, odds_of
from sim.evidence.context import Context
from sim.evidence.pairs import DEVICE, LAYOUT, TRAINED, VERSION, training_pairs
from sim.evidence.tables import parse_table
from sim.result import Figure

LIBRARY = Library()
SERVE = Scenario(groups=(Group(role="serve", model="llama-3.1-8b", cluster="h100"),), demand=Traffic(concurrency=8))
TRAIN = Scenario(groups=(Group(role="train", model="llama-3.1-8b", cluster="h100"),))
HEADER = "source,model,layers,hidden,seq_len,global_batch,precision,device,num_devices,TP,PP,DP,micro_batch,"
HEADER += "step_time_s,tokens_per_s_per_device\n"


def changed(scenario: Scenario, **fields: object) -> Scenario:
    return scenario.with_(groups=(scenario.groups[0].with_(**fields),))


def figures(**values: float) -> dict[str, Figure]:
    return {name: Figure(value, "s") for name, value in values.items()}


@pytest.mark.parametrize(
    ("other", "kinds"),
    [
        (changed(SERVE, cluster="h200"), {DEVICE}),
        (changed(SERVE, chip_changes=("memory.bandwidth*=2",)), {DEVICE}),
        (changed(SERVE, cluster_changes=("pue=1.2",)), {"prices"}),
        (changed(SERVE, cluster_changes=("tiers.0.bandwidth*=2",)), {DEVICE}),
        (changed(SERVE, plan={"tp": 2}), {LAYOUT}),
        (changed(SERVE, stack="sglang-0.5", plan={"tp": 2}), {VERSION, LAYOUT}),
        (changed(SERVE, model="llama-3.1-70b"), {"other"}),
        (SERVE.with_(demand=Traffic(concurrency=16)), {"other"}),
        (SERVE.with_(economy=Economy(pue=1.1)), {"prices"}),
        (SERVE, set()),
    ],
)
def test_what_differs_says_whose_pairs_speak_for_it(other, kinds):
    assert differences(SERVE, other) == kinds


def test_a_clear_gain_is_surer_than_a_small_one_and_the_two_sides_add_up_to_one():
    asked = (SERVE, changed(SERVE, cluster="h200"))
    chances = []
    for ratio in (0.5, 0.97, 1 / 0.97, 2.0):
        (found,) = odds_of(LIBRARY, asked, figures(tpot_p50=1.0), figures(tpot_p50=ratio))
        chances.append(found.chance)
        assert (found.differs, found.like, found.ratio) == (DEVICE, True, pytest.approx(ratio))
    assert chances[0] > chances[1] > 0.5
    assert [chances[0] + chances[3], chances[1] + chances[2]] == pytest.approx([1.0, 1.0])


def test_more_output_and_fewer_dollars_are_better():
    asked = (SERVE, changed(SERVE, cluster="h200"))
    before = figures(output_tokens_per_s_per_chip=1.0, usd_per_million_tokens=1.0)
    found = odds_of(LIBRARY, asked, before, figures(output_tokens_per_s_per_chip=2.0, usd_per_million_tokens=2.0))
    assert [each.chance > 0.5 for each in found] == [True, False]


def test_prices_alone_are_arithmetic():
    asked = (TRAIN, TRAIN.with_(economy=Economy(usd_per_device_hour=2.0)))
    (found,) = odds_of(LIBRARY, asked, figures(step_time=1.0, cost=4.0), figures(step_time=1.0, cost=3.0))
    assert (found.figure, found.chance, found.differs, found.spread) == ("cost", 1.0, "prices", None)


def test_what_was_never_measured_is_told_by_the_widest_spread():
    asked = (TRAIN, changed(TRAIN, model="llama-3.1-70b"))
    (found,) = odds_of(LIBRARY, asked, figures(step_time=1.0), figures(step_time=1.2))
    widths = {each.differs: float(np.mean(each.sizes)) for each in comparisons(LIBRARY).spreads if each.role == "train"}
    assert not found.like and widths[found.differs] == max(widths.values())


def test_every_figure_has_spreads_whose_chances_beat_one_half_each_time():
    known = comparisons(LIBRARY)
    for role, of in FIGURES.items():
        for metric, _ in of.values():
            for differs in (DEVICE, LAYOUT):
                spread = known.of(role, differs, metric)
                assert spread is not None and spread.pairs >= 100
                assert spread.brier < 0.25 and sum(point.pairs for point in spread.curve) == spread.pairs
                assert list(spread.sizes) == sorted(spread.sizes)


def test_quantiles_of_sizes_give_the_chances_of_the_residuals_themselves():
    residual = np.random.default_rng(4).normal(0.0, 0.2, 600)
    sizes = odds.sizes(residual, ["a"] * 600, 49)
    for log_ratio in (-0.3, -0.05, 0.1, 0.25):
        assert odds.chance(log_ratio, sizes) == pytest.approx(odds.chance(log_ratio, residual), abs=0.02)


def row(device="h100", tp="1", dp="8", step="1.0", rate=""):
    return f"s,Llama-3.1-8B,32,4096,4096,64,bf16,{device},8,{tp},1,{dp},1,{step},{rate}"


def test_training_runs_pair_by_device_or_by_layout_never_by_both():
    table = parse_table(
        HEADER + "\n".join([row(), row("h200"), row(tp="2", dp="4"), row("h200", tp="4", dp="2")]), "x.csv"
    )
    found = {(pair.contrast, pair.first, pair.second) for pair in training_pairs(table, [""] * 4)}
    assert found == {(DEVICE, 0, 1), (LAYOUT, 0, 2), (LAYOUT, 1, 3)}


def test_a_run_that_states_its_rate_pairs_with_one_that_states_its_time():
    rate = 64 * 4096 / 2.0 / 8.0
    table = parse_table(HEADER + "\n".join([row(step="1.0"), row(tp="2", dp="4", step="", rate=f"{rate}")]), "x.csv")
    of = of_training(table, [""] * 2, Context(), lambda done, total: None)
    assert of.pairs[0].contrast == LAYOUT
    assert math.exp(of.ratios[TRAINED].measured[0]) == pytest.approx(2.0)
    assert np.isfinite(of.ratios[TRAINED].predicted).all()
