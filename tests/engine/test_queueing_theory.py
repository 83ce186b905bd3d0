"""A queue behind random arrivals waits as queueing theory says (Kleinrock, Queueing Systems I, chapters 3 and 5)."""

import numpy as np
import pytest

from sim.engine import Schedule, run

CUSTOMERS = 200_000


def served(load, service_s, seed):
    """Customers come on one queue, with exponential gaps, and are served on another. Returns arrivals, starts, ends."""
    gaps_s = np.random.default_rng(seed).exponential(service_s.mean() / load, CUSTOMERS)
    empty = np.zeros(0)
    schedule = Schedule(
        queue=np.tile([0, 1], CUSTOMERS),
        seconds=np.stack((gaps_s, service_s), axis=1).ravel(),
        after_ptr=np.repeat(np.arange(CUSTOMERS + 1), 2)[:-1],
        after=np.arange(0, 2 * CUSTOMERS, 2),
        link_ptr=np.zeros(2 * CUSTOMERS + 1),
        links=empty,
        part=np.zeros(2 * CUSTOMERS),
        phase=np.zeros(2 * CUSTOMERS),
        queue_names=("door", "server"),
        part_names=("all",),
        phase_names=("all",),
    )
    timeline = run(schedule)
    return timeline.end_s[0::2], timeline.start_s[1::2], timeline.end_s[1::2]


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_constant_service_waits_rho_over_2_times_1_minus_rho(load):
    arrival_s, start_s, _ = served(load, np.ones(CUSTOMERS), seed=1)
    assert (start_s - arrival_s).mean() == pytest.approx(load / (2 * (1 - load)), rel=0.03)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_exponential_service_waits_rho_over_1_minus_rho(load):
    arrival_s, start_s, _ = served(load, np.random.default_rng(2).exponential(1.0, CUSTOMERS), seed=3)
    assert (start_s - arrival_s).mean() == pytest.approx(load / (1 - load), rel=0.05)


def test_littles_law_holds():
    """The mean number present, integrated over time, is the arrival rate times the mean stay."""
    arrival_s, _, end_s = served(0.6, np.ones(CUSTOMERS), seed=4)
    when = np.concatenate((arrival_s, end_s))
    change = np.repeat([1, -1], CUSTOMERS)
    order = np.argsort(when, kind="stable")
    present = np.cumsum(change[order])[:-1]
    mean_present = (present * np.diff(when[order])).sum() / (end_s[-1] - arrival_s[0])
    rate = CUSTOMERS / (end_s[-1] - arrival_s[0])
    assert mean_present == pytest.approx(rate * (end_s - arrival_s).mean())
    assert (end_s - arrival_s).mean() == pytest.approx(1 + 0.6 / (2 * 0.4), rel=0.03)
