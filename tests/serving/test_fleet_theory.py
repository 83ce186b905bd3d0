"""Fleets that have a closed form: tandem queues, shared links, failures, scaling, limits of queues."""

import math

import numpy as np
import pytest

from sim.catalog.traffic import Requests, closed_loop, poisson
from sim.errors import InputError
from sim.serving import fleet as fleet_module
from sim.serving import state
from sim.serving.metrics import metrics
from sim.serving.pools import Fleet, Pool, Scaling
from sim.serving.run import simulate, simulate_pools
from sim.serving.schedulers import Continuous

from .parts import Constant, packed, random_requests


def asked(arrival_s, given, made, **more):
    return Requests(
        "asked", np.asarray(arrival_s, float), np.asarray(given, np.int32), np.asarray(made, np.int32), **more
    )


def alone(**limits):
    """One sequence at a time, a second a pass."""
    return packed(Constant(1.0), max_num_seqs=1, **limits)


def split(prefill, decode, **port):
    return [Pool(prefill, 1, role="prefill", **port), Pool(decode, 1, role="decode", **port)]


def tandem(arrival_s, first_s, second_s):
    """When customers leave two servers in a row, first come first served (Lindley's recursion twice)."""
    out, free_1, free_2 = [], 0.0, 0.0
    for arrival, first, second in zip(arrival_s, first_s, second_s, strict=True):
        free_1 = max(arrival, free_1) + first
        free_2 = max(free_1, free_2) + second
        out.append((free_1, free_2))
    return np.array(out)


@pytest.mark.parametrize("leap", [True, False])
def test_prefill_and_decode_over_infinite_links_are_a_tandem_queue(leap):
    stream = np.random.default_rng(0)
    arrival_s, made = np.cumsum(stream.exponential(6.0, 300)), stream.integers(2, 9, 300)
    served = simulate_pools(split(alone(), alone()), asked(arrival_s, np.full(300, 10), made), leap=leap)
    left_s = tandem(arrival_s, np.ones(300), made - 1.0)
    assert served.first_token_s == pytest.approx(left_s[:, 0], rel=1e-12)
    assert served.finish_s == pytest.approx(left_s[:, 1], rel=1e-12)
    assert set(served.replica.tolist()) == {1}


def test_kv_travels_at_the_rate_of_the_port_and_is_held_until_it_has_gone():
    """1,000 tokens of 1 kB at 100 kB/s take 10 s after a latency of 0.5 s; the next prompt finds no block until then."""
    port = {"token_bytes": 1e3, "port_bytes_per_s": 1e5, "port_s": 0.5}
    blocks = math.ceil(1000 / 16) + 10
    pools = split(alone(kv_blocks=blocks, watermark=0.0), packed(Constant(1.0)), **port)
    served = simulate_pools(pools, asked([0.0, 0.0], [1000, 1000], [3, 3]))
    assert served.first_token_s.tolist() == [1.0, 12.5]  # 1 + 0.5 + 10, then its own pass
    assert served.finish_s == pytest.approx([1.0 + 10.5 + 2.0, 12.5 + 10.5 + 2.0])
    assert served.moved_s == pytest.approx([10.5, 10.5])
    assert served.moved_bytes == 2e6
    tpot_s = metrics(served).tpot_s
    assert tpot_s == pytest.approx((10.5 + 2.0) / 2)  # the gap over the wire counts


def test_kv_sets_out_only_when_its_target_has_a_place_for_it():
    """One place: the second sequence leaves prefill at 2 s, waits for 1 + 10 + 8 s, then travels 10 s and decodes 8 s."""
    port = {"token_bytes": 1e3, "port_bytes_per_s": 1e5}
    served = simulate_pools(split(alone(), alone(), **port), asked([0.0, 0.0], [1000, 1000], [9, 9]))
    assert served.finish_s.tolist() == [19.0, 37.0]
    assert served.moved_s.tolist() == [10.0, 27.0]


def test_two_transfers_into_one_port_take_as_long_as_their_sum():
    port = {"token_bytes": 1e3, "port_bytes_per_s": 1e5}
    pools = [Pool(alone(), 2, role="prefill", **port), Pool(packed(Constant(1.0)), 1, role="decode", **port)]
    served = simulate_pools(pools, asked([0.0, 0.0], [1000, 1000], [2, 2]))
    assert served.moved_s == pytest.approx([20.0, 20.0])
    assert served.finish_s == pytest.approx([22.0, 22.0])


@pytest.mark.parametrize("spread", ["geometric", "exponential", "two lengths"])
def test_one_at_a_time_waits_as_pollaczek_and_khinchine_say(spread):
    """M/G/1: rate E[S^2] / (2 (1 - load)); exponential lengths are M/M/1 but for rounding up to whole tokens."""
    n, load, stream = 40_000, 0.7, np.random.default_rng(8)
    made = {
        "geometric": stream.geometric(1 / 20, n),
        "exponential": np.ceil(stream.exponential(50.0, n)),
        "two lengths": np.where(stream.random(n) < 0.1, 100, 5),
    }[spread].astype(np.int64)
    mean_s, square = made.mean(), (made.astype(float) ** 2).mean()
    arrival_s = np.cumsum(stream.exponential(mean_s / load, n))
    served = simulate(alone(), asked(arrival_s, np.full(n, 10), made))
    wait_s = (served.admitted_s - served.arrival_s).mean()
    rate = n / arrival_s[-1]
    wanted_s = rate * square / (2 * (1 - rate * mean_s))
    assert wait_s == pytest.approx(wanted_s, rel=0.08)
    if spread == "exponential":
        assert wanted_s == pytest.approx(load / (1 - load) * mean_s, rel=0.08)


def test_a_queue_of_limited_length_turns_away_as_many_as_m_m_1_2_says():
    """One in service and one that waits: a share load^2 / (1 + load + load^2) finds both places taken."""
    n, load, stream = 40_000, 0.8, np.random.default_rng(3)
    made = np.ceil(stream.exponential(50.0, n)).astype(np.int64)
    arrival_s = np.cumsum(stream.exponential(made.mean() / load, n))
    served = simulate(alone(), asked(arrival_s, np.full(n, 10), made), Fleet(max_queue=1))
    shed = (served.status == state.SHED).mean()
    assert shed == pytest.approx(load**2 / (1 + load + load**2), rel=0.03)
    assert served.refusals == {"turned away, the queue was full": round(shed * n)}


def test_a_request_that_waits_too_long_is_given_up_at_that_moment():
    served = simulate(alone(), asked([0.0, 1.0, 2.0, 3.0], [10] * 4, [10] * 4), Fleet(max_wait_s=15.0))
    assert served.finished.tolist() == [True, True, False, False]  # 10 s each: the third would wait 18 s
    assert served.refusals == {"given up, waited too long": 2}
    assert served.finish_s[:2].tolist() == [10.0, 20.0]


@pytest.mark.parametrize("clients", [None, 2])
def test_a_turn_comes_a_while_after_the_answer_before_it(clients):
    """Two conversations of three turns of 4 s; an answer needs half a second to its client, who then thinks for 2 s."""
    follows = np.array([-1, 0, 1, -1, 3, 4])
    requests = asked([0.0] * 3 + [1.0] * 3, [10] * 6, [4] * 6, follows=follows, think_s=2.0, concurrency=clients)
    pack = packed(Constant(1.0), request_host_s=0.5)
    whole, stepped = (simulate(pack, requests, leap=leap) for leap in (True, False))
    assert whole.finish_s.tobytes() == stepped.finish_s.tobytes()
    later = follows >= 0
    assert (whole.arrival_s[later] == whole.finish_s[follows[later]] + 2.0).all()
    assert whole.arrival_s[[0, 3]].tolist() == ([0.0, 1.0] if clients is None else [0.0, 0.0])
    assert whole.finished.all()


@pytest.mark.parametrize("scheduler", ["continuous", f"{__name__}.Plain"])
def test_who_stood_behind_one_that_gave_up_begins_at_that_moment(scheduler):
    """The first prompt's KV keeps the blocks until 11 s; the second lacks them until it gives up at 5 s; the third fits."""
    port = {"token_bytes": 1e3, "port_bytes_per_s": 1e5}
    prefill = packed(Constant(1.0), kv_blocks=73, watermark=0.0, scheduler=scheduler)
    requests = asked([0.0, 0.0, 2.0], [1000, 1000, 100], [3, 3, 3])
    served = simulate_pools(split(prefill, packed(Constant(1.0)), **port), requests, Fleet(max_wait_s=5.0))
    assert served.finished.tolist() == [True, False, True]
    assert served.admitted_s[2] == 5.0
    assert served.first_token_s[2] == 6.0


class Plain(Continuous):
    """Takes the path through Python."""


class Clock:
    """Strikes at given times."""

    def __init__(self, at_s):
        self.gaps_s = iter(np.diff([0.0, *at_s, 1e9]).tolist())

    def exponential(self, mean):
        return next(self.gaps_s)


def struck(monkeypatch, at_s):
    """Every replica of the next run fails at these times."""
    real = fleet_module.generator
    monkeypatch.setattr(fleet_module, "generator", lambda seed, *n: Clock(at_s) if n[0] == "faults" else real(seed, *n))


@pytest.mark.parametrize("leap", [True, False])
def test_after_a_failure_the_prompt_is_computed_again_and_tokens_are_kept(monkeypatch, leap):
    """Passes end at 1, 2, 3, 4; the fifth is lost at 4.5. Up again at 9.5: a prompt of 10 + 4 makes the fifth token."""
    struck(monkeypatch, [4.5])
    pool = Pool(alone(), 1, mtbf_s=1.0, repair_s=2.0, start_s=3.0)
    served = simulate_pools([pool], asked([0.0], [10], [10]), leap=leap)
    assert (served.first_token_s[0], served.finish_s[0]) == (1.0, 15.5)
    assert (served.retries[0], served.failures, served.starts) == (1, 1, 1)
    assert served.counters[0, state.PREFILLED] == 10 + 14
    assert served.counters[0, state.DECODED] == 3 + 5
    assert served.clocks[0, state.BUSY_S] == pytest.approx(4.5 + 6.0, rel=1e-12)  # half a pass is lost
    assert sum(served.busy_s.values()) == pytest.approx(10.5, rel=1e-12)
    assert served.gaps.sum() == 9


def test_what_fails_on_one_replica_goes_on_at_another(monkeypatch):
    struck(monkeypatch, [4.5])
    pools = [Pool(alone(), 1, mtbf_s=1.0, repair_s=100.0), Pool(alone(), 1)]
    served = simulate_pools(pools, asked([0.0], [10], [10]))
    assert served.finish_s[0] == 4.5 + 6.0
    assert served.replica[0] == 1


@pytest.mark.parametrize("at_s", [0.5, 4.0, 13.5])
def test_a_failure_of_either_side_or_on_the_way_loses_nothing(monkeypatch, at_s):
    """Prefill 0 to 1, on the way 1 to 11, decode 11 to 13: whichever side fails, the prompt is computed again."""
    port = {"token_bytes": 1e3, "port_bytes_per_s": 1e5}
    for role in (0, 1):
        struck(monkeypatch, [at_s])
        pools = split(alone(), alone(), **port)
        fails = {"mtbf_s": 1.0, "repair_s": 1.0}
        pools[role] = Pool(pools[role].pack, 1, role=pools[role].role, **fails, **port)
        served = simulate_pools(pools, asked([0.0], [1000], [4]))
        assert served.finished.all() and served.output_tokens[0] == 4
        assert served.gaps.sum() == 3
        lost = (role == 0 and at_s < 11) or (role == 1 and at_s > 11)
        assert served.retries[0] == lost
        assert served.counters[:, state.FREE].tolist() == served.blocks.tolist()


def test_replicas_that_fail_are_up_the_share_of_the_time_that_renewal_theory_says():
    """Strikes come at a rate whether it is up or not: an up time lasts 1/rate on average, a down time repair and start."""
    pool = Pool(alone(), 1, mtbf_s=50.0, repair_s=5.0, start_s=5.0)
    served = simulate_pools([pool], asked(np.arange(3_000) * 20.0, np.full(3_000, 10), np.ones(3_000)))
    assert served.failures / served.duration_s == pytest.approx(1 / 60.0, rel=0.1)


def constant_load(n=400):
    return closed_loop(10, n, 10, 1)


def test_reactive_scaling_orders_what_is_in_flight_over_the_target_at_its_first_look():
    """Ten clients, never fewer: 10 / 2 = 5 replicas, ordered at 4 s and up at 6.5 s."""
    rule = Scaling(1, 8, "in_flight", 2.0, every_s=4.0, cooldown_s=1e9)
    served = simulate_pools([Pool(packed(Constant(1.0)), 1, scaling=rule, start_s=2.5)], constant_load())
    assert served.starts == 4
    assert served.duration_s == 40.0
    assert served.paid_s == pytest.approx([40.0] + [36.0] * 4 + [0.0] * 3)
    assert served.arrival_s[served.replica == 1].min() == 7.0
    figures = metrics(served)
    assert figures["replica_hours"] == pytest.approx((40.0 + 4 * 36.0) / 3600.0)


def test_scaling_by_utilisation_orders_the_load_over_the_target():
    """M/D/c by turns with 2.4 erlangs: 2.4 / 0.6 = 4 replicas once it has seen a busy window."""
    rule = Scaling(1, 9, "utilisation", 0.6, every_s=500.0, cooldown_s=1e9)
    served = simulate_pools([Pool(alone(), 3, scaling=rule)], poisson(2.4, 20_000, 10, 1, seed=2))
    assert served.starts in (1, 2)


def test_scaling_by_the_clock_pays_from_order_to_the_last_answer():
    """A day that began 3,500 s before: three replicas from 100 s to 3,700 s; what runs then is finished first."""
    rule = Scaling(1, 3, "schedule", steps=((0.0, 1), (3600.0, 3), (7200.0, 1)), day_s=3500.0, every_s=50.0)
    arrival_s = np.arange(101) * 50.0 + 25.0
    served = simulate_pools(
        [Pool(alone(), 1, scaling=rule, start_s=30.0)], asked(arrival_s, np.full(101, 10), np.full(101, 60))
    )
    for replica, paid_s in enumerate(served.paid_s.tolist()):
        last_s = served.finish_s[served.replica == replica].max()
        stays = last_s == served.finish_s.max()
        ends_s = last_s if stays else max(3700.0, last_s)
        assert paid_s == pytest.approx(ends_s - (25.0 if replica == 0 else 100.0))
    assert served.finished.all()
    assert served.starts == 2


def test_requests_go_to_replicas_of_their_own_model():
    requests = random_requests(3)
    models = np.arange(len(requests)) % 2
    both = Requests("both", requests.arrival_s, requests.input_tokens, requests.output_tokens, models=models)
    slow, fast = packed(Constant(1.0)), packed(Constant(0.1))
    served = simulate_pools([Pool(slow, 2, model=0), Pool(fast, 1, model=1)], both)
    assert set(served.replica[models == 0].tolist()) == {0, 1}
    assert set(served.replica[models == 1].tolist()) == {2}
    alone_s = simulate(fast, asked(requests.arrival_s[1::2], requests.input_tokens[1::2], requests.output_tokens[1::2]))
    assert served.finish_s[models == 1].tobytes() == alone_s.finish_s.tobytes()


@pytest.mark.parametrize(
    ("pools", "says"),
    [
        ([("decode", 0)], "role serve or prefill"),
        ([("prefill", 0)], "decode beside it"),
        ([("serve", 0), ("decode", 0)], "decode prefill"),
        ([("train", 0)], "role = train"),
    ],
)
def test_pools_that_cannot_serve_together_are_refused(pools, says):
    with pytest.raises(InputError, match=says):
        simulate_pools([Pool(alone(), 1, role=role, model=model) for role, model in pools], random_requests(0))


def test_the_time_series_adds_up_to_the_run():
    requests = random_requests(4, n=200)
    served = simulate_pools([Pool(packed(), 2)], requests, Fleet(window_s=1.5))
    series = served.series
    assert series["arrivals"].sum() == series["finished"].sum() == 200
    assert series["in_flight"][-1] == 0
    assert (series["output_tokens_per_s"] * 1.5).sum() == pytest.approx(requests.output_tokens.sum())
    assert (series["prompt_tokens_per_s"] * 1.5).sum() == pytest.approx(requests.input_tokens.sum())
    at_end = (series["start_s"] + 1.5)[:, None]
    here = (served.arrival_s <= at_end) & (served.finish_s > at_end)
    assert series["in_flight"].tolist() == here.sum(axis=1).tolist()
    assert (series["waiting"] + series["running"]).tolist() == series["in_flight"].tolist()


def shortest_queue(requests, servers):
    """When service starts if everyone joins the shortest queue, counting event by event."""
    ends_s, starts_s = [[] for _ in range(servers)], []
    for arrival_s, service_s in zip(requests.arrival_s.tolist(), requests.output_tokens.tolist(), strict=True):
        here = [sum(end > arrival_s for end in queue[-60:]) for queue in ends_s]
        queue = ends_s[int(np.argmin(here))]
        starts_s.append(max(arrival_s, queue[-1] if queue else 0.0))
        queue.append(starts_s[-1] + service_s)
    return np.array(starts_s)


class Dice:
    def __init__(self, random):
        self.random = random

    def choose(self, request, replicas):
        return replicas[self.random.integers(len(replicas))]


def test_the_least_loaded_is_the_shortest_queue_and_two_draws_are_better_than_one():
    requests, wait_s = poisson(0.28, 8_000, 10, 40, spread=0.99, seed=4), {}
    for router in (f"{__name__}.Dice", "power_of_two", "least_loaded"):
        served = simulate(alone(), requests, Fleet(8, router))
        wait_s[router] = (served.admitted_s - served.arrival_s).mean()
    assert served.admitted_s == pytest.approx(shortest_queue(requests, 8), rel=1e-12)
    assert wait_s["least_loaded"] < 0.5 * wait_s["power_of_two"] < 0.25 * wait_s[f"{__name__}.Dice"]


def test_a_session_stays_and_a_prefix_goes_where_its_blocks_are():
    n, block = 60, 64
    stream = np.random.default_rng(1)
    who = stream.integers(0, 6, n)
    turn = np.array([(who[:i] == who[i]).sum() for i in range(n)])
    ids = [[int(w) * 1000 + k for k in range(t + 1)] for w, t in zip(who, turn, strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
    requests = asked(np.arange(n) * 2.0, [block * len(row) for row in ids], np.full(n, 5),
                     blocks=np.concatenate(ids), block_starts=starts, block_tokens=block, sessions=who)  # fmt: skip
    hits = {}
    for router in ("round_robin", "session", "prefix_aware"):
        served = simulate(packed(prefix_cache=True), requests, Fleet(3, router))
        hits[router] = served.cached_tokens.sum()
        if router == "session":
            assert all(len(set(served.replica[who == w].tolist())) == 1 for w in range(6))
    assert hits["session"] == sum(block * int(t) for t in turn)
    assert hits["round_robin"] < hits["prefix_aware"] <= hits["session"]
