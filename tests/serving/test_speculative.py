"""Speculative decoding in closed form: what a step costs, how many tokens it makes, and that nothing is lost by it."""

import numpy as np
import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Engine, Plan, Speculative
from sim.catalog.targets import target
from sim.catalog.traffic import Requests
from sim.errors import InputError
from sim.lowering.kinds import KIND_IDS
from sim.lowering.passes import kernels
from sim.lowering.sharding import Step
from sim.serving import state
from sim.serving.drafter import tokens_a_step
from sim.serving.fleet import Fleet, Pool, Run
from sim.serving.metrics import metrics
from sim.serving.pack import pack_of
from sim.serving.run import simulate
from sim.serving.setup import Setup

from .parts import Constant, Linear, bits, packed, random_requests
from .test_executors import PAIRS, SETTINGS, dotted
from .test_pack import roofline


class Drafting(Linear):
    def draft_s(self, sequences, kv_tokens):
        return 1e-3 + 1e-5 * sequences + 1e-9 * sequences * kv_tokens


def drafting(drafts, acceptance, costs=None, **limits):
    mean = tokens_a_step(drafts, acceptance)
    return packed(costs or Drafting(), drafts=drafts, tokens_a_step=mean, **limits)


def one(output_tokens, n=1):
    return Requests("x", np.zeros(n), np.full(n, 100, np.int32), np.full(n, output_tokens, np.int32))


def test_the_mean_tokens_of_a_step_are_those_of_leviathan_et_al():
    assert tokens_a_step(4, 0.0) == 1.0
    assert tokens_a_step(4, 1.0) == 5.0
    assert tokens_a_step(4, 0.8) == pytest.approx((1 - 0.8**5) / (1 - 0.8))


class Pace(Constant):
    """Every step lasts a second, and drafting adds a tenth."""

    def draft_s(self, sequences, kv_tokens):
        return np.full(len(sequences), 0.1)


@pytest.mark.parametrize(("acceptance", "tokens"), [(0.0, 1), (1.0, 5)])
def test_time_per_token_without_and_with_perfect_drafts(acceptance, tokens):
    served = simulate(drafting(4, acceptance, Pace()), one(1 + 20))
    assert served.first_token_s[0] == 1.0
    assert metrics(served)["tpot_s_mean"] == pytest.approx(1.1 / tokens)
    assert served.counters[0, state.DECODE_STEPS] == 20 / tokens


@pytest.mark.parametrize("acceptance", [0.1, 0.55, 0.8, 0.93])
def test_steps_make_their_mean_and_are_never_a_token_off(acceptance):
    pack_, mean = drafting(3, acceptance, Pace()), tokens_a_step(3, acceptance)
    served = simulate(pack_, one(3001))
    steps = served.counters[0, state.DECODE_STEPS]
    assert abs(steps * mean - 3000) <= mean
    assert metrics(served)["tokens_per_decode"] == pytest.approx(mean, rel=2e-3)
    assert metrics(served)["tpot_s_mean"] == pytest.approx(1.1 / mean, rel=2e-3)


@pytest.mark.parametrize(("name", "slow"), PAIRS)
@pytest.mark.parametrize("setting", [1, 2, 4, 5, 7])
def test_the_compiled_core_drafts_as_the_scheduler_in_python_to_the_last_bit(name, slow, setting):
    for number, (drafts, acceptance) in enumerate([(1, 0.5), (4, 0.77), (3, 1.0), (20, 0.97)]):
        requests = random_requests(number, concurrency=(None, 5)[number % 2])
        limits = {"longest": 1024, "kv_blocks": 110, **SETTINGS[setting]}
        fast = simulate(drafting(drafts, acceptance, scheduler=name, **limits), requests)
        for leap in (True, False):
            by_class = simulate(drafting(drafts, acceptance, scheduler=dotted(slow), **limits), requests, leap=leap)
            assert bits(by_class) == bits(fast)
        stepped = simulate(drafting(drafts, acceptance, scheduler=name, **limits), requests, leap=False)
        assert bits(stepped) == bits(fast)
        assert fast.counters[0, state.EMITTED] == by_class.counters[0, state.EMITTED]


@pytest.mark.parametrize("scheduler", ["continuous", "prefill_first", "static"])
def test_tokens_blocks_and_gaps_are_conserved(scheduler):
    requests = random_requests(7)
    for blocks in (60, 4000):
        run = Run([Pool(drafting(5, 0.8, scheduler=scheduler, kv_blocks=blocks), 2)], requests, Fleet(), 0)
        run.go()
        tokens = run.columns.tokens
        assert (tokens[:, state.STATUS] == state.FINISHED).all()
        assert (tokens[:, state.MADE] == requests.output_tokens).all()
        cores = [replica.executor.core for replica in run.replicas]
        assert all(core.counts[state.FREE] == blocks and core.growth.sum() == 0 for core in cores)
        assert sum(core.gaps.sum() for core in cores) == (requests.output_tokens - 1).sum()
        made_again = tokens[:, state.PREEMPTED].sum()
        emitted = sum(core.counts[state.EMITTED] for core in cores)
        assert emitted + made_again >= (requests.output_tokens - 1).sum() >= emitted


def test_busy_time_by_part_holds_drafting_and_adds_up():
    served = simulate(drafting(3, 0.6, step_host_s=1e-3), random_requests(2))
    assert sum(served.busy_s.values()) == pytest.approx(served.clocks[:, state.BUSY_S].sum(), rel=1e-9)
    assert served.busy_s["draft", "decode"] == pytest.approx(served.clocks[0, state.SUM_DRAFT_S])


def test_queries_of_a_sequence_share_the_keys_that_they_look_at():
    model, plan = default_library().model("llama-3.1-8b"), Plan(sequence_parallel=False)
    looks = []
    for queries in (1.0, 5.0):
        table = kernels(model, plan, Step("decode", 8.0, queries, 1000.0))
        looks.append(table.take(np.flatnonzero(table.kind == KIND_IDS["attention_decode"])))
    assert looks[1].flops().sum() == pytest.approx(5 * looks[0].flops().sum())
    assert looks[0].bytes().sum() < looks[1].bytes().sum() < 1.05 * looks[0].bytes().sum()


def _served(engine, draft_model=None, model="llama-3.1-70b", plan=Plan(tp=4), chip="h200"):  # noqa: B008
    library = default_library()
    draft = library.model(draft_model) if draft_model else None
    setup = Setup(library.model(model), plan, target(library, chip, None, "serve"), engine, draft_model=draft)
    made = pack_of(setup, roofline, 4096)
    return made, metrics(simulate(made, one(201, n=4)))


def test_good_drafts_of_a_small_model_pay_and_bad_ones_cost():
    plain, figures = _served(Engine())
    for acceptance, pays in ((0.9, True), (0.0, False)):
        asked = Speculative(method="draft", tokens=3, acceptance=acceptance, draft_model="llama-3.2-1b")
        made, drafted = _served(Engine(speculative=asked), "llama-3.2-1b")
        assert (drafted["tpot_s_mean"] < figures["tpot_s_mean"]) is pays
        assert made.limits.kv_blocks < plain.limits.kv_blocks


def test_a_lone_layer_drafts_for_less_than_a_model_and_needs_less_room():
    small = Speculative(method="draft", tokens=3, acceptance=0.8, draft_model="llama-3.1-8b")
    layer = Speculative(method="eagle", tokens=3, acceptance=0.8)
    (whole, by_model), (lone, by_layer) = (
        _served(Engine(speculative=small), "llama-3.1-8b"),
        _served(Engine(speculative=layer)),
    )
    assert by_layer["tpot_s_mean"] < by_model["tpot_s_mean"]
    assert lone.limits.kv_blocks > whole.limits.kv_blocks


def test_deepseeks_own_module_drafts_and_a_model_without_one_says_so():
    asked = Engine(speculative=Speculative(method="mtp", tokens=1, acceptance=0.85))
    plan = Plan(tp=8, ep=8)
    _, plain = _served(Engine(), model="deepseek-v3", plan=plan)
    _, drafted = _served(asked, model="deepseek-v3", plan=plan)
    assert drafted["tokens_per_decode"] == pytest.approx(1.85, rel=0.01)
    gain = plain["tpot_s_mean"] / drafted["tpot_s_mean"]
    assert 1.0 < gain < 1.85  # twice the tokens of a small batch meet nearly twice the experts
    with pytest.raises(InputError, match="no such module"):
        _served(asked)
