"""Leaping and stepping are the same to the last bit, however the leap is cut."""

import simpy
from hypothesis import given
from hypothesis import strategies as st

from sim.engine.leap import leap

times = st.floats(0.0, 1e3)


def stepped_by_simpy(now, until, first, step, k_max):
    """The definition: a process, one timeout an iteration, none started at or past `until`."""
    env = simpy.Environment(now)
    done = 0

    def live():
        nonlocal done
        while done < k_max and env.now < until:
            yield env.timeout(first + done * step)
            done += 1

    env.run(env.process(live()))
    return done, env.now


@given(times, times, st.floats(1e-3, 10.0), st.floats(0.0, 0.1), st.integers(0, 50))
def test_a_leap_is_what_simpy_steps_to(now, ahead, first, step, k_max):
    assert leap(now, now + ahead, first, step, k_max) == stepped_by_simpy(now, now + ahead, first, step, k_max)


@given(times, st.floats(1e-3, 10.0), st.floats(0.0, 0.1), st.integers(1, 60), st.floats(0.0, 100.0))
def test_a_leap_woken_early_goes_on_to_the_same_bits(now, first, step, k_max, woken_after):
    whole = leap(now, float("inf"), first, step, k_max)
    done, then = leap(now, now + woken_after, first, step, k_max)
    more, end = leap(then, float("inf"), first, step, k_max - done, done)
    assert (done + more, end) == whole


@given(times, st.floats(1e-3, 10.0), st.floats(0.0, 0.1), st.integers(1, 60))
def test_single_steps_are_a_leap(now, first, step, k_max):
    at = now
    for i in range(k_max):
        _, at = leap(at, float("inf"), first, step, 1, i)
    assert (k_max, at) == leap(now, float("inf"), first, step, k_max)


def test_a_running_iteration_is_never_cut_and_none_starts_at_the_deadline():
    assert leap(0.0, 2.5, 1.0, 0.0, 10) == (3, 3.0)
    assert leap(0.0, 2.0, 1.0, 0.0, 10) == (2, 2.0)
    assert leap(5.0, 5.0, 1.0, 0.0, 10) == (0, 5.0)
    assert leap(0.0, 100.0, 1.0, 1.0, 4) == (4, 10.0)
