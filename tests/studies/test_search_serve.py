"""The search looks at what an engine can run, ranks by cost, and its winner keeps the limits when it is simulated."""

import dataclasses
import itertools

import numpy as np
import pytest

from sim import api
from sim.catalog.library import default_library
from sim.catalog.plans import Engine, Plan
from sim.catalog.scenarios import Group, Scenario, Slo, Traffic
from sim.catalog.targets import target
from sim.errors import GambrelError, Infeasible, InputError
from sim.lowering import check
from sim.serving.steady import Batch, Replica
from sim.studies import search_serve as study
from sim.studies.search_serve import Question, binds, candidates, keeps, relaxations, scenario_of, search
from sim.studies.serve_space import Load, Setting, _steps_s, layouts, points

LIBRARY = default_library()
LLAMA = LIBRARY.model("llama-3.1-8b")
H100 = target(LIBRARY, "h100", None, "serve")
OPEN = Traffic(rate_requests_per_s=20.0, input_tokens=500, output_tokens=100, requests=200)
SLO = Slo(ttft_s=1.0, tpot_s=0.05)


def question(clusters=("h100", "l40s"), slo=SLO, demand=OPEN, **more):
    group = Group(role="serve", model="llama-3.1-8b", cluster=clusters[0])
    return Question(Scenario(groups=(group,), demand=demand, slo=slo), clusters, **more)


def evaluate(scenario):
    return api.serve(scenario, LIBRARY)


@pytest.fixture(scope="module")
def found():
    return search(question(), LIBRARY, evaluate, refine=4)


def test_many_batch_sizes_at_once_cost_what_each_costs_alone():
    replica = Replica(LLAMA, Plan(tp=2, pp=2), H100, Engine())
    counts = np.array([1.0, 2.0, 3.0, 7.0, 64.0])
    together = replica.passes_s(counts, 500.0, 20.0 * counts, 1.35)
    assert together == pytest.approx([replica.decode_s(int(n), 500.0, 20.0 * n, 1.35) for n in counts], rel=1e-12)


def test_iterations_that_carry_prompts_pay_what_the_engine_takes_beside_their_kernels():
    """In the limit of prompts in every iteration, as a steady replica has it."""
    load = Load(1001, 2, 1003, None, 61)
    replica = Replica(LLAMA, Plan(tp=2), H100, Engine())
    counts = np.array([61.0])
    assert _steps_s(replica, load, counts) == pytest.approx([replica.steady(Batch(61, 1001, 2))], rel=1e-6)


def test_layouts_are_those_that_the_check_accepts():
    """Against a product of all powers of two, for a model of experts."""
    model = LIBRARY.model("mixtral-8x7b")
    seen = {(p.tp, p.pp, p.attention_dp, p.ep) for p in layouts(model, Plan(), 8, 1, ())}
    legal = set()
    for tp, pp, spread in itertools.product((1, 2, 4, 8), (1, 2, 4), (1, 2, 4, 8)):
        for ep in {1, tp * spread}:
            plan = Plan(tp=tp, pp=pp, attention_dp=spread, ep=ep, dp=1)
            try:
                check(model, plan, training=False)
            except GambrelError:
                continue
            if tp * pp * spread <= 8 and not (spread > 1 and ep == 1):
                legal.add((tp, pp, spread, ep))
    assert seen == legal
    assert {p.tp for p in layouts(model, Plan(tp=4), 8, 1, ("tp",))} == {4}


@pytest.mark.parametrize("apart", [False, True])
def test_a_point_is_consistent(apart):
    """Little's law: sequences in flight are their rate times their time; and no more chips than are allowed."""
    load = Load(500, 100, 600, 20.0, None)
    own = points(LLAMA, Setting("h100", H100, Plan(), Engine(max_batched_tokens=8192), apart), load, devices=8)
    assert own
    for each in own:
        assert each.chips == sum(each.replicas) <= 8
        assert each.latency_s == pytest.approx(each.ttft_s + 99 * each.tpot_s)
        assert each.tokens_per_s_per_chip * each.chips >= 20.0 * 100 * (1 - 1e-9)
    assert all(a.tpot_s <= b.tpot_s * (1 + 1e-9) for a, b in itertools.pairwise(own))


def test_arithmetic_is_near_the_simulation_in_a_closed_loop():
    # lengths vary: equal ones would come in waves, and a wave's prompts share one pass
    demand = Traffic(concurrency=32, input_tokens=500, output_tokens=100, requests=640, spread=0.9)
    asked = question(("h100",), Slo(), demand, fixed=("tp", "pp"), apart=(False,))
    found = search(asked, LIBRARY, evaluate, refine=1)
    best = found.best
    assert best.point.sequences == 32
    assert best.point.tpot_s == pytest.approx(best.value("tpot_mean"), rel=0.15)
    # the simulated run also fills at its start and drains at its end: a twentieth of its twenty rounds each
    assert best.point.tokens_per_s_per_chip == pytest.approx(best.tokens_per_s_per_chip, rel=0.15)


def test_the_winner_keeps_the_limits_and_costs_least(found):
    assert found.best.meets
    assert found.best.usd == min(each.usd for each in found.refined if each.meets)
    assert {each.point.setting.cluster for each in found.refined} == {"h100", "l40s"}
    again = evaluate(found.best.scenario)
    assert again.figures["usd_per_million_tokens"].value == found.best.usd


def test_one_replica_fewer_misses_or_was_not_needed(found):
    best = found.best
    fewer = study._fewer(best.point.replicas)
    now = best.scenario.groups[0].replicas
    if fewer and now and now > 1:
        assert not evaluate(scenario_of(found.question, best.point, (now - 1, 0))).fits


def test_the_front_holds_what_nothing_beats(found):
    rate = np.array([p.tokens_per_s_per_chip for p in found.points])
    speed = np.array([p.speed for p in found.points])
    for place in found.front:
        assert not np.any(
            (rate >= rate[place]) & (speed >= speed[place]) & ((rate > rate[place]) | (speed > speed[place]))
        )


def test_a_limit_lifted_never_costs(found):
    assert all(each.ratio <= 1.0 + 1e-9 for each in relaxations(found))
    assert "TTFT takes" in binds(found)


def test_every_cluster_is_simulated_before_second_choices(found):
    kept = [found.points[place] for place in found.good]
    assert [p.setting.cluster for p in candidates(kept, 2)] == list(dict.fromkeys(p.setting.cluster for p in kept))[:2]
    assert all(keeps(point, SLO) for point in kept)


def test_chips_without_a_price_are_ranked_by_tokens_after_the_others(found):
    unknown = dict(found.prices, h100=dataclasses.replace(found.prices["h100"], value=None))
    ranked = study._ranked(list(found.points), SLO, unknown)
    clusters = [found.points[place].setting.cluster for place in ranked]
    assert clusters == sorted(clusters, key=lambda name: name == "h100")
    rates = [found.points[p].tokens_per_s_per_chip for p in ranked if found.points[p].setting.cluster == "h100"]
    assert rates == sorted(rates, reverse=True)


def test_what_cannot_be_served_says_why():
    with pytest.raises(Infeasible, match=r"no setting keeps the limits.*--tpot"):
        search(question(("h100",), Slo(tpot_s=1e-4)), LIBRARY, evaluate)
    huge = question(("l40s",))
    group = huge.scenario.groups[0].with_(model="llama-3.1-405b")
    with pytest.raises(Infeasible, match=r"weights of .* alone take"):
        search(huge._replace(scenario=huge.scenario.with_(groups=(group,)), devices=8), LIBRARY, evaluate)
    with pytest.raises(InputError, match="no traffic"):
        search(question()._replace(scenario=Scenario(groups=huge.scenario.groups)), LIBRARY, evaluate)
