"""Priorities and fair shares."""

import numpy as np

from sim.catalog.traffic import Requests
from sim.serving import state
from sim.serving.run import simulate
from sim.serving.schedulers import Fair

from .parts import bits, packed, random_requests


def asked(given, made, *, sessions=None, priority=None, arrival_s=None):
    n = len(given)
    return Requests(
        "x",
        np.zeros(n) if arrival_s is None else np.asarray(arrival_s, dtype=np.float64),
        np.asarray(given, np.int32),
        np.asarray(made, np.int32),
        sessions=sessions,
        priority=priority,
    )


def test_urgent_requests_overtake_and_the_rest_pays():
    n = 60
    priority = np.arange(n) % 3
    requests = asked(np.full(n, 200), np.full(n, 30), priority=priority)
    in_turn, by_rank = (simulate(packed(scheduler=s, max_num_seqs=4), requests) for s in ("continuous", "priority"))
    waits = [float(by_rank.admitted_s[priority == rank].mean()) for rank in range(3)]
    assert waits[0] < waits[1] < waits[2]
    assert by_rank.admitted_s[priority == 0].max() <= by_rank.admitted_s[priority == 2].min()
    assert abs(by_rank.finish_s.max() / in_turn.finish_s.max() - 1) < 0.05
    assert by_rank.finished.all()


def test_who_matters_least_is_evicted():
    n = 12
    priority = np.array([9] + [0] * (n - 1))
    requests = asked(np.full(n, 150), np.full(n, 100), priority=priority, arrival_s=np.arange(n) * 1e-3)
    served = simulate(packed(scheduler="priority", kv_blocks=90, watermark=0.0), requests)
    assert served.preemptions[0] >= 1 and served.finished.all()


def test_without_priorities_and_clients_all_is_in_turn():
    for number in range(4):
        requests, limits = random_requests(number), {"kv_blocks": 80, "longest": 1024}
        in_turn = simulate(packed(**limits), requests)
        for scheduler in ("priority", "fair"):
            assert bits(simulate(packed(scheduler=scheduler, **limits), requests)) == bits(in_turn)
            stepped = simulate(packed(scheduler=scheduler, **limits), requests, leap=False)
            assert bits(stepped) == bits(in_turn)


def service(served, sessions, client, until_s):
    """Weighted tokens that a client's finished requests got by then."""
    done = (sessions == client) & (served.finish_s <= until_s)
    return float((Fair.input_weight * served.input_tokens + Fair.output_weight * served.output_tokens)[done].sum())


def test_a_greedy_client_takes_no_more_than_its_share():
    """Client 0 sends four times as much as client 1 and first; both are backlogged until client 1 is done. Sheng et al. (2024),
    theorem 4.4: the services of backlogged clients differ by at most 2 max(w_p L_input, w_q M)."""
    given, made = np.full(150, 120), np.full(150, 40)
    sessions = np.array([0] * 120 + [1] * 30)
    requests = asked(given, made, sessions=sessions)
    slots = 8
    fair, in_turn = (
        simulate(packed(scheduler=s, max_num_seqs=slots, longest=1024), requests) for s in ("fair", "continuous")
    )
    until_s = float(fair.finish_s[sessions == 1].max())
    bound = 2 * max(Fair.input_weight * 120, Fair.output_weight * 40 * slots)
    got = [service(fair, sessions, client, until_s) for client in (0, 1)]
    running = (Fair.input_weight * 120 + Fair.output_weight * 40) * slots  # not finished yet
    assert abs(got[0] - got[1]) <= bound + running
    assert service(in_turn, sessions, 1, until_s) == 0.0
    assert fair.finished.all() and in_turn.finished.all()


def test_a_client_that_was_away_has_saved_nothing_up():
    """Client 1 comes when client 0 has been served for long; from then on they take turns."""
    n = 80
    sessions = np.array([0] * 60 + [1] * 20)
    arrival_s = np.array([0.0] * 60 + [5.0] * 20)
    requests = asked(np.full(n, 100), np.full(n, 50), sessions=sessions, arrival_s=arrival_s)
    served = simulate(packed(scheduler="fair", max_num_seqs=2, longest=1024), requests)
    late = served.admitted_s[sessions == 1].max()
    meanwhile = ((sessions == 0) & (served.admitted_s > 5.0) & (served.admitted_s <= late)).sum()
    assert 16 <= meanwhile <= 22
    assert (served.status == state.FINISHED).all()
