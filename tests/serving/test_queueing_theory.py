"""Runs that queueing theory has a closed form for."""

import math

import numpy as np
import pytest

from sim.catalog.traffic import Requests, closed_loop, poisson
from sim.serving import state
from sim.serving.fleet import Fleet
from sim.serving.metrics import metrics
from sim.serving.run import simulate

from .parts import Constant, Linear, packed, random_requests


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_sequence_at_a_time_and_one_pass_each_is_an_m_d_1_queue(load):
    requests = poisson(load, 60_000, 10, 1, seed=1)
    served = simulate(packed(Constant(1.0), max_num_seqs=1), requests)
    waited_s = served.admitted_s - served.arrival_s
    assert waited_s.mean() == pytest.approx(load / (2 * (1 - load)), rel=0.05)  # Pollaczek-Khinchine
    assert metrics(served)["utilisation"] == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize("scheduler", ["continuous", "prefill_first", "static"])
def test_a_front_end_delays_the_first_token_and_keeps_no_device_busy(scheduler):
    requests = random_requests(5)
    without, behind = (
        simulate(packed(scheduler=scheduler, request_host_s=host_s, longest=1024), requests) for host_s in (0.0, 0.2)
    )
    assert (behind.first_token_s == without.first_token_s + 0.2).all()
    assert (behind.finish_s == without.finish_s + 0.2).all()
    assert metrics(behind)["tpot_s_mean"] == pytest.approx(metrics(without)["tpot_s_mean"])
    assert behind.clocks[0, state.BUSY_S] == without.clocks[0, state.BUSY_S]


def test_a_client_sends_its_next_request_when_the_front_end_has_answered():
    """One client, one pass of a second each: a round lasts the pass and the front end; nobody ever queues."""
    served = simulate(packed(Constant(1.0), request_host_s=0.25), closed_loop(1, 8, 10, 1))
    assert served.arrival_s == pytest.approx(1.25 * np.arange(8))
    assert served.first_token_s - served.arrival_s == pytest.approx(np.full(8, 1.25))
    figures = metrics(served)
    assert (figures["utilisation"], figures["queue_mean"]) == pytest.approx((0.8, 0.0))


@pytest.mark.parametrize("rate", [0.5, 2.0, 20.0])
def test_passes_that_take_whoever_waits_are_a_bulk_service_queue(rate):
    """A pass is followed by an idle time of 1/rate with probability exp(-rate); who comes in a pass waits half of one."""
    requests = poisson(rate, 40_000, 10, 1, seed=2)
    served = simulate(packed(Constant(1.0), max_num_seqs=1000, max_batched_tokens=10_000), requests)
    busy = 1.0 / (1.0 + math.exp(-rate) / rate)
    assert (served.admitted_s - served.arrival_s).mean() == pytest.approx(busy / 2, rel=0.03)
    assert metrics(served)["utilisation"] == pytest.approx(busy, rel=0.03)


def test_two_replicas_in_turn_are_two_queues_with_erlang_arrivals():
    """E2/D/1 at load 0.8: less waiting than M/D/1 at the same load, since every second arrival spaces them out."""
    requests = poisson(1.6, 20_000, 10, 1, seed=3)
    both = simulate(packed(Constant(1.0), max_num_seqs=1), requests, Fleet(2))
    apart = [simulate(packed(Constant(1.0), max_num_seqs=1), _every_second(requests, k)) for k in (0, 1)]
    for k, alone in enumerate(apart):
        assert both.finish_s[k::2].tobytes() == alone.finish_s.tobytes()
    assert (both.admitted_s - both.arrival_s).mean() < 0.8 / (2 * 0.2)


def _every_second(requests, first):
    return Requests(
        "half", requests.arrival_s[first::2], requests.input_tokens[first::2], requests.output_tokens[first::2]
    )


def crommelin_s(servers, load):
    """Mean wait of M/D/c with unit service (Crommelin, 1932): one sum for each further service that a wait may span."""
    rate, total = servers * load, 0.0
    for i in range(1, 400):
        mean = i * rate
        terms = np.arange(i * servers, i * servers + 60 + int(20 * math.sqrt(mean)))
        log_p = terms * math.log(mean) - mean - np.array([math.lgamma(j + 1.0) for j in terms])
        p = np.exp(log_p)
        total += p.sum() - (servers / rate) * p[1:].sum()
    return total


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (2, 0.5), (2, 0.8), (4, 0.8)])
def test_replicas_in_turn_are_an_m_d_c_queue(servers, load):
    """With equal service times, first come first served hands every c-th request to the same server."""
    requests = poisson(servers * load, 60_000, 10, 1, seed=6)
    served = simulate(packed(Constant(1.0), max_num_seqs=1), requests, Fleet(servers))
    assert (served.admitted_s - served.arrival_s).mean() == pytest.approx(crommelin_s(servers, load), rel=0.05)


def test_where_lengths_differ_the_least_loaded_replica_is_a_better_choice_than_taking_turns():
    requests = poisson(0.07, 20_000, 10, 40, spread=0.99, seed=4)
    pack, wait_s = packed(Constant(1.0), max_num_seqs=1), {}
    for router in ("round_robin", "least_loaded"):
        served = simulate(pack, requests, Fleet(2, router))
        wait_s[router] = (served.admitted_s - served.arrival_s).mean()
    assert wait_s["least_loaded"] < wait_s["round_robin"]


@pytest.mark.parametrize("number", range(6))
def test_littles_law_holds_exactly(number):
    """Requests in the system, integrated event by event = sum of their latencies; running ones = those that hold a slot."""
    served = simulate(packed(kv_blocks=4000), random_requests(number, n=200), Fleet(1 + number % 2))
    figures, span_s = metrics(served).figures, served.duration_s
    assert _area(served.arrival_s, served.finish_s) == pytest.approx(figures["in_flight_mean"] * span_s, rel=1e-9)
    assert _area(served.admitted_s, served.finish_s) == pytest.approx(figures["running_mean"] * span_s, rel=1e-9)
    rate = figures["requests_per_s"]
    assert rate * figures["latency_s_mean"] == pytest.approx(figures["in_flight_mean"], rel=1e-9)


def _area(come_s, go_s):
    times_s = np.concatenate([come_s, go_s])
    change = np.concatenate([np.ones(len(come_s)), -np.ones(len(go_s))])
    order = np.argsort(times_s, kind="stable")
    return float((np.cumsum(change[order])[:-1] * np.diff(times_s[order])).sum())


def test_a_lone_request_takes_its_prompt_pass_and_a_decode_pass_for_each_further_token():
    costs = Linear()
    served = simulate(packed(costs), Requests("one", np.zeros(1), np.array([512], np.int32), np.array([40], np.int32)))
    prompt_s = costs.fixed_s + costs.token_s * 512 + costs.sample_s + costs.pair_s * 512 * 256
    context = sum(512 + k for k in range(1, 40))
    decodes_s = 39 * (costs.fixed_s + costs.token_s + costs.sample_s) + costs.kv_s * context
    assert served.first_token_s[0] == pytest.approx(prompt_s, rel=1e-12)
    assert served.finish_s[0] == pytest.approx(prompt_s + decodes_s, rel=1e-9)


def test_a_cut_prompt_takes_one_pass_for_each_piece():
    costs = Linear(pair_s=0.0)
    requests = Requests("one", np.zeros(1), np.array([1000], np.int32), np.array([1], np.int32))
    served = simulate(packed(costs, max_batched_tokens=256), requests)
    assert served.counters[0, state.PREEMPTIONS] == 0  # nothing evicted
    assert served.finish_s[0] == pytest.approx(4 * costs.fixed_s + 1000 * costs.token_s + costs.sample_s, rel=1e-12)


@pytest.mark.parametrize("clients", [1, 7, 64])
def test_a_closed_loop_keeps_exactly_its_concurrency_in_flight(clients):
    requests = closed_loop(clients, 400, 300, 50, spread=0.5, seed=5)
    served = simulate(packed(max_num_seqs=32), requests)
    last_start_s = served.arrival_s.max()
    for moment_s in np.unique(served.arrival_s):
        here = (served.arrival_s <= moment_s) & (served.finish_s > moment_s)
        assert here.sum() == clients, moment_s
    assert served.finished.all() and last_start_s > 0.0


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_a_full_closed_loop_of_equal_requests_makes_batch_tokens_an_iteration(batch):
    """Whole waves: one prompt pass and output - 1 decode passes of a second each."""
    served = simulate(packed(Constant(1.0), max_num_seqs=batch), closed_loop(batch, 5 * batch, 16, 10))
    assert served.duration_s == pytest.approx(5 * 10.0, rel=1e-12)
    assert metrics(served)["output_tokens_per_s"] == pytest.approx(batch, rel=1e-12)
