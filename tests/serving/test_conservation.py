"""Nothing is lost: requests, tokens, KV blocks, time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.traffic import Requests
from sim.serving import state
from sim.serving.fleet import Fleet, Pool, Run
from sim.serving.metrics import metrics
from sim.serving.run import simulate

from .parts import Constant, bits, packed, random_requests

LIMITS = st.fixed_dictionaries(
    {
        "scheduler": st.sampled_from(["continuous", "prefill_first", "static"]),
        "kv_blocks": st.integers(52, 400),
        "kv_block": st.sampled_from([16, 32]),
        "max_num_seqs": st.integers(1, 40),
        "max_batched_tokens": st.integers(40, 2000),
        "watermark": st.sampled_from([0.0, 0.01, 0.2]),
    }
)


@settings(max_examples=25, deadline=None)
@given(limits=LIMITS, number=st.integers(0, 1000), replicas=st.integers(1, 3))
def test_every_request_is_served_whole_and_every_block_comes_back(limits, number, replicas):
    requests = random_requests(number)
    pack = packed(**limits)
    run = Run([Pool(pack, replicas)], requests, Fleet(), 0)
    run.go()
    times_s, tokens = run.columns
    assert (tokens[:, state.STATUS] == state.FINISHED).all()
    assert (tokens[:, state.MADE] == requests.output_tokens).all()
    order = times_s[:, [state.ARRIVAL, state.ADMITTED, state.FIRST, state.FINISH]]
    assert (np.diff(order, axis=1) >= 0).all()
    for replica in run.replicas:
        core = replica.executor.core
        assert core.counts[state.FREE] == limits["kv_blocks"]
        assert core.counts[state.KV_TOKENS] == core.counts[state.N_RUNNING] == core.counts[state.N_WAITING] == 0
        assert core.growth.sum() == 0
        assert core.counts[state.PEAK_BLOCKS] <= limits["kv_blocks"]
        assert core.counts[state.PEAK_RUNNING] <= limits["max_num_seqs"]


@pytest.mark.parametrize("scheduler", ["continuous", "prefill_first", "static"])
def test_prompt_tokens_are_computed_once_unless_a_sequence_is_evicted(scheduler):
    requests = random_requests(8)
    roomy = simulate(packed(scheduler=scheduler), requests)
    assert roomy.counters[:, state.PREFILLED].sum() == requests.input_tokens.sum()
    assert roomy.counters[:, state.DECODED].sum() == (requests.output_tokens - 1).sum()
    scarce = simulate(packed(scheduler=scheduler, kv_blocks=56, watermark=0.0), requests)
    again = scarce.counters[:, state.PREFILLED].sum() - requests.input_tokens.sum()
    assert (again > 0) == (scarce.preemptions.sum() > 0) == (scheduler != "static")
    assert scarce.counters[:, state.DECODED].sum() + scarce.preemptions.sum() >= (requests.output_tokens - 1).sum()


def test_gaps_between_tokens_are_counted_one_for_each_token_after_the_first():
    for scheduler in ("continuous", "prefill_first", "static"):
        for blocks in (60, 4000):
            served = simulate(packed(scheduler=scheduler, kv_blocks=blocks), random_requests(4))
            assert served.gaps.sum() == (served.output_tokens - 1).sum()


def test_busy_time_by_part_adds_up_to_the_busy_time():
    for number in range(4):
        served = simulate(packed(step_host_s=1e-3, sequence_host_s=1e-5), random_requests(number), Fleet(2))
        assert sum(served.busy_s.values()) == pytest.approx(served.clocks[:, state.BUSY_S].sum(), rel=1e-9)
        assert {phase for _, phase in served.busy_s} == {"prefill", "decode"}


def test_requests_that_can_never_be_served_are_refused_with_their_reason():
    given, made = np.array([100, 3000, 900, 100], np.int32), np.array([10, 10, 200, 10], np.int32)
    requests = Requests("mixed", np.arange(4.0), given, made)
    served = simulate(packed(kv_blocks=64, max_model_len=2000), requests)
    assert served.refusals == {"longer than max_model_len": 1, "longer than the KV cache of a replica": 1}
    assert served.finished.tolist() == [True, False, False, True]
    assert metrics(served)["slo_attainment"] == 0.5


def test_refused_requests_do_not_stop_a_closed_loop():
    given = np.array([3000, 100, 3000, 100, 100], np.int32)
    requests = Requests("mixed", np.zeros(5), given, np.full(5, 10, np.int32), concurrency=2)
    served = simulate(packed(max_model_len=2000), requests)
    assert served.finished.tolist() == [False, True, False, True, True]


def test_an_encoder_serves_each_request_in_one_pass_and_never_cuts_one():
    requests = Requests("texts", np.zeros(5), np.array([300, 300, 300, 900, 100], np.int32), np.full(5, 7, np.int32))
    pack = packed(Constant(1.0), one_shot=True, kv_blocks=None, max_batched_tokens=700)
    served = simulate(pack, requests)
    assert served.refusals == {"longer than max_batched_tokens, and the prompt cannot be cut": 1}
    assert served.finish_s.tolist()[:3] == [1.0, 1.0, 2.0]
    assert served.finish_s[4] == 2.0
    assert served.output_tokens[served.finished].tolist() == [1, 1, 1, 1]


def test_the_same_seed_gives_the_same_bytes_and_another_pack_of_equal_settings_too():
    requests = random_requests(11)
    assert bits(simulate(packed(), requests)) == bits(simulate(packed(), requests))
    pack = packed()
    first = simulate(pack, requests)
    assert bits(simulate(pack, requests)) == bits(first)  # tables filled before


def test_equal_requests_at_once_never_finish_later_with_one_more_replica():
    n = 48
    requests = Requests("wave", np.zeros(n), np.full(n, 128, np.int32), np.full(n, 20, np.int32))
    means = [float(simulate(packed(max_num_seqs=8), requests, Fleet(k)).finish_s.mean()) for k in (1, 2, 3, 4, 6)]
    assert all(later <= sooner for sooner, later in itertools.pairwise(means))


def test_no_requests_at_all_is_no_error():
    empty = np.zeros(0, np.int32)
    served = simulate(packed(), Requests("none", np.zeros(0), empty, empty))
    assert metrics(served)["finished"] == 0 and served.duration_s == 0.0
