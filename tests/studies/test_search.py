"""The search ranks what the verbs would say, of every plan that is legal, and of no other."""

import itertools

import numpy as np
import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.catalog.targets import target
from sim.errors import GambrelError, Infeasible, InputError
from sim.lowering import check
from sim.studies.search import Question, alternatives, pareto, search
from sim.studies.space import divisors, space
from sim.training import price
from sim.training.memory import usable_bytes
from sim.training.pricing import quick, sketch

LIBRARY = default_library()
GPT = LIBRARY.model("llama-3.1-8b")
A100 = target(LIBRARY, "dgx-a100", "megatron", "train")
BASE = Plan(global_batch=64)


def test_the_space_is_every_plan_that_the_check_accepts():
    """Against a product of all values, each put to `check`: the same set, none twice."""
    found = space(GPT, BASE, 16, 1024)
    ours = [found.plan(i) for i in range(found.plans.n)]
    degrees = ("tp", "pp", "cp", "micro_batch", "virtual_stages")
    seen = {tuple(getattr(plan, name) for name in degrees) for plan in ours}
    legal = set()
    for tp, pp, cp in itertools.product(divisors(16), repeat=3):
        if 16 % (tp * pp * cp) or 1024 // cp < 256:
            continue
        dp = 16 // (tp * pp * cp)
        for micro, chunks in itertools.product(divisors(64), divisors(32)):
            plan = Plan(tp=tp, pp=pp, dp=dp, cp=cp, micro_batch=micro, virtual_stages=chunks, global_batch=64)
            try:
                check(GPT, plan, True)
            except GambrelError:
                continue
            if chunks == 1 or GPT.layers % (pp * chunks) == 0:
                legal.add((tp, pp, cp, micro, chunks))
    assert seen == legal
    assert len({plan.model_dump_json() for plan in ours}) == len(ours)
    for plan in ours[::37]:
        check(GPT, plan, True)


def test_fixed_fields_stay():
    found = space(GPT, BASE.with_(tp=2, recompute="full"), 16, 1024, fixed=("tp", "recompute"))
    assert set(found.plans.tp) == {2.0}
    assert all(found.plan(i).recompute == "full" for i in range(0, found.plans.n, 11))


def test_the_winner_is_that_of_pricing_each_plan_alone():
    question = Question(GPT, A100, 16, BASE, 1024)
    found = search(question)
    sample = np.random.default_rng(0).choice(len(found.rows), min(200, len(found.rows)), replace=False)
    plans = [found.plan(int(place)) for place in [0, *sample]]
    alone = np.array([float(price(GPT, [plan], A100, 1024).step_s[0]) for plan in plans])
    assert alone[0] == alone.min()
    assert alone == pytest.approx(found.step_s[[0, *sample]], rel=1e-12)
    assert np.all(np.diff(found.step_s) >= 0)
    assert np.all(found.memory_bytes <= A100.chip.memory.capacity_bytes)
    assert found.legal == found.pruned + found.beaten + len(found.rows)


@pytest.mark.parametrize("pipeline", [{}, {"pp": 8}])
@pytest.mark.parametrize("keep", [1, 10, 50])
def test_what_is_left_out_by_its_bound_changes_neither_the_best_nor_the_front(pipeline, keep):
    question = Question(GPT, A100, 16, BASE.with_(**pipeline), 1024, tuple(pipeline))
    found = search(question, keep=keep)
    plans = space(GPT, question.base, 16, 1024, ("1f1b",), question.fixed).plans
    all_of_them = quick(GPT, plans, A100, 1024)
    fits = np.flatnonzero(all_of_them.memory_bytes <= usable_bytes(A100))
    step, memory = all_of_them.step_s[fits], all_of_them.memory_bytes[fits]
    assert found.beaten > 0
    assert found.step_s[:keep] == pytest.approx(np.sort(step)[:keep], rel=1e-12)
    exact = pareto(step, memory)
    assert found.step_s[found.front] == pytest.approx(step[exact], rel=1e-12)
    assert found.memory_bytes[found.front] == pytest.approx(memory[exact], rel=1e-12)
    least = sketch(GPT, plans, A100, 1024).least_s()
    assert np.all(least <= all_of_them.step_s)


def test_a_search_over_schedules_ranks_them_all():
    question = Question(
        GPT, A100, 16, BASE.with_(tp=1, pp=4), 1024, ("tp", "pp"), ("1f1b", "zb-h1", "zb-v", "dualpipe")
    )
    found = search(question)
    names = {found.plan(place).schedule for place in range(len(found.rows))}
    assert names == {"1f1b", "zb-h1", "zb-v", "dualpipe"}


def test_the_front_holds_what_nothing_beats():
    stream = np.random.default_rng(1)
    costs = stream.random((2, 400)).round(2)
    front = pareto(*costs)
    beaten = [
        any(np.all(costs[:, j] <= costs[:, i]) and np.any(costs[:, j] < costs[:, i]) for j in range(400))
        for i in range(400)
    ]
    assert {tuple(costs[:, i]) for i in front} == {tuple(costs[:, i]) for i in range(400) if not beaten[i]}
    three = np.vstack([costs, stream.random(400)])
    assert len(pareto(*three)) >= len(front)
    assert all(not np.any(np.all(three[:, i] > three.T, axis=1)) for i in pareto(*three))


def test_alternatives_differ_in_one_field_and_are_no_faster():
    found = search(Question(GPT, A100, 16, BASE, 1024))
    listed = alternatives(found)
    assert listed and all(each.slower >= 0 for each in listed)
    assert {each.field for each in listed} >= {"tp", "micro_batch", "sharding"}


def test_what_cannot_be_searched_says_why():
    with pytest.raises(InputError, match="--global-batch"):
        search(Question(GPT, A100, 16, Plan(), 1024))
    with pytest.raises(InputError, match="no legal plan"):
        search(Question(GPT, A100, 17, BASE.with_(tp=17), 1024, ("tp",)))
    large = LIBRARY.model("gpt-3-175b")
    with pytest.raises(Infeasible, match="too much"):
        search(Question(large, A100, 8, BASE, 2048))
