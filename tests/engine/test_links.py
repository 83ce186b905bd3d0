"""Shared links, against shares worked out by hand."""

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from sim.engine import Fabric, Link, Schedule, max_min, run
from sim.errors import InputError


def test_two_transfers_on_one_link_take_as_long_as_their_sum():
    env = simpy.Environment()
    fabric = Fabric(env, [Link("wire")])
    env.run(fabric.send(5.0, [0]).done & fabric.send(5.0, [0]).done)
    assert env.now == pytest.approx(5.0 + 5.0)


def test_the_shorter_of_two_transfers_leaves_first_and_the_longer_then_goes_at_full_rate():
    timeline = run(Schedule.of(["a", "b"], [3.0, 1.0], links=[["wire"], ["wire"]]))
    assert timeline.end_s == pytest.approx([4.0, 2.0])


def test_a_late_transfer_slows_the_one_before_it_from_then_on():
    """a alone to 2, then half rate beside b to 4 (b: 1 of 1), then alone: 2 + 1 + 1 = 4 s of work by 5."""
    timeline = run(Schedule.of(["a", "b", "b"], [4.0, 2.0, 1.0], links=[["wire"], [], ["wire"]]))
    assert timeline.end_s == pytest.approx([5.0, 2.0, 4.0])


def test_max_min_over_two_links_by_hand():
    """a crosses both links, b the first, c and d the second: a, c, d have a third each; b what a leaves, two thirds."""
    assert max_min([1.0, 1.0], [[0, 1], [0], [1], [1]], [1.0] * 4) == pytest.approx([1 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_max_min_over_two_links_in_time():
    """c has half the work: it and b end at 1.5; a and d have half done and go on at half rate to 2.5."""
    links = [["x", "y"], ["x"], ["y"], ["y"]]
    timeline = run(Schedule.of(["a", "b", "c", "d"], [1.0, 1.0, 0.5, 1.0], links=links))
    assert timeline.end_s == pytest.approx([2.5, 1.5, 1.5, 2.5])


def test_a_limit_below_the_fair_share_leaves_more_to_others():
    assert max_min([1.0], [[0], [0], [0]], [0.1, 1.0, 1.0]) == pytest.approx([0.1, 0.45, 0.45])


def test_a_link_of_capacity_two_carries_two_at_full_rate():
    env = simpy.Environment()
    fabric = Fabric(env, [Link("wide", 2.0)])
    transfers = [fabric.send(3.0, [0]) for _ in range(2)]
    env.run(env.all_of([each.done for each in transfers]))
    assert env.now == 3.0


@given(st.integers(0, 2**32))
def test_every_transfer_is_at_its_limit_or_among_the_fastest_on_a_full_link(seed):
    """What max-min fair means (Bertsekas and Gallager, section 6.5.2)."""
    stream = np.random.default_rng(seed)
    links, transfers = int(stream.integers(1, 6)), int(stream.integers(1, 10))
    capacity = stream.random(links) + 0.1
    limit = stream.random(transfers) + 0.01
    crossing = [
        stream.choice(links, int(stream.integers(0, links + 1)), replace=False).tolist() for _ in range(transfers)
    ]
    rates = np.array(max_min(capacity.tolist(), crossing, limit.tolist()))
    on = np.array([[link in crossed for link in range(links)] for crossed in crossing])
    load = (rates[:, None] * on).sum(axis=0)
    assert np.all(load <= capacity * (1 + 1e-9))
    assert np.all(rates <= limit)
    for transfer in range(transfers):
        full = [x for x in crossing[transfer] if load[x] >= capacity[x] * (1 - 1e-9)]
        fastest = any(rates[transfer] >= rates[on[:, x]].max() * (1 - 1e-9) for x in full)
        assert rates[transfer] == limit[transfer] or fastest


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12))
def test_a_link_that_is_never_idle_does_all_its_work_in_the_sum_of_times(seconds):
    schedule = Schedule.of(list(range(len(seconds))), [float(x) for x in seconds], links=[["wire"]] * len(seconds))
    assert run(schedule, executor="simpy").makespan_s == pytest.approx(sum(seconds))


def test_two_hundred_equal_transfers_end_together():
    schedule = Schedule.of(list(range(200)), [1.0] * 200, links=[["wire"]] * 200)
    assert run(schedule).end_s == pytest.approx(np.full(200, 200.0))


def test_a_cancelled_transfer_frees_its_link():
    env = simpy.Environment()
    fabric = Fabric(env, [Link("wire")])
    lost, kept = fabric.send(5.0, [0]), fabric.send(5.0, [0])
    env.run(until=2.0)
    fabric.cancel(lost)
    assert env.run(lost.done) is False
    assert env.run(kept.done) is True
    assert env.now == pytest.approx(2.0 + 4.0)


def test_a_transfer_woken_by_strangers_ends_at_start_plus_seconds_to_the_last_bit():
    seconds = 0.1 + 0.2
    links = [["mine"], *[["other"]] * 9]
    timeline = run(Schedule.of(list(range(10)), [seconds] + [0.01 * (1 + i) for i in range(9)], links=links))
    assert timeline.end_s[0] == seconds


def test_a_link_that_carries_nothing_is_refused():
    with pytest.raises(InputError, match="capacity = 0"):
        Fabric(simpy.Environment(), [Link("wire", 0)])
