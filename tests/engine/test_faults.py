"""Failures, slow-downs and jitter: by hand, by closed form, and without touching each other's chance."""

import math

import numpy as np
import pytest

from sim.engine import FaultProcess, Faults, Outage, Schedule, SlowDown, run
from sim.errors import Infeasible, InputError


def chain(rows, seconds=1.0):
    return Schedule.of(["a"] * rows, [seconds] * rows)


def test_a_failure_loses_the_row_in_progress_and_reruns_it_after_the_repair():
    timeline = run(chain(2, 10.0), faults=Faults(outages=(Outage(14.0, 3.0),)))
    assert timeline.start_s.tolist() == [0.0, 17.0]
    assert timeline.end_s.tolist() == [10.0, 27.0]


def test_a_row_that_ends_at_the_moment_of_failure_is_kept():
    assert run(chain(2, 10.0), faults=Faults(outages=(Outage(10.0, 3.0),))).end_s.tolist() == [10.0, 23.0]


def test_a_queue_is_down_until_the_last_of_its_repairs():
    outages = (Outage(4.0, 3.0), Outage(5.0, 10.0))
    assert run(chain(1, 10.0), faults=Faults(outages=outages)).end_s.tolist() == [25.0]


def test_a_failure_while_waiting_delays_the_start_only():
    schedule = Schedule.of(["a", "b"], [5.0, 1.0], [[], [0]])
    assert run(schedule, faults=Faults(outages=(Outage(4.0, 3.0, ("b",)),))).end_s.tolist() == [5.0, 8.0]


def test_a_failed_transfer_frees_the_link_and_starts_over():
    """Half rates to 2; b alone to 4, 3 of 4 done; half rates beside a's second run, b ends at 6; a has 3 left and ends at 9."""
    schedule = Schedule.of(["a", "b"], [4.0, 4.0], links=[["wire"], ["wire"]])
    timeline = run(schedule, faults=Faults(outages=(Outage(2.0, 2.0, ("a",)),)))
    assert timeline.end_s == pytest.approx([9.0, 6.0])


def test_a_slow_down_stretches_what_is_left():
    timeline = run(chain(2, 10.0), faults=Faults(slow_downs=(SlowDown(4.0, 2.0), SlowDown(26.0, 1.0))))
    assert timeline.end_s.tolist() == [4.0 + 6.0 * 2.0, 31.0]


def test_a_chain_under_exponential_failures_takes_its_closed_form_on_average():
    """E = (e^(s / mtbf) - 1) (mtbf + mttr) for each row that is rerun from its start (Trivedi, Probability and Statistics)."""
    rows, seconds, mtbf_s, mttr_s = 20_000, 1.0, 3.0, 0.5
    timeline = run(chain(rows, seconds), faults=Faults((FaultProcess("node", mtbf_s, mttr_s),)), seed=1)
    assert timeline.makespan_s / rows == pytest.approx((math.exp(seconds / mtbf_s) - 1) * (mtbf_s + mttr_s), rel=0.03)


def two_nodes(*more, seed=7):
    schedule = Schedule.of(["a", "b"] * 50, [1.0] * 100)
    processes = (FaultProcess("a", 10.0, 1.0, ("a",)), *more)
    return run(schedule, faults=Faults(processes, jitter=0.1), seed=seed)


def test_the_same_seed_replays_byte_for_byte_and_another_does_not():
    one, other = two_nodes(), two_nodes()
    assert one.start_s.tobytes() + one.end_s.tobytes() == other.start_s.tobytes() + other.end_s.tobytes()
    assert two_nodes(seed=8).end_s.tobytes() != one.end_s.tobytes()


def test_one_more_fault_process_changes_no_other_stream():
    alone, beside = two_nodes(), two_nodes(FaultProcess("b", 5.0, 1.0, ("b",)))
    assert alone.end_s[0::2].tobytes() == beside.end_s[0::2].tobytes()
    assert alone.end_s[-1] < beside.end_s[-1]


def test_jitter_has_mean_one_and_the_width_that_was_asked_for():
    timeline = run(chain(20_000), faults=Faults(jitter=0.2))
    factor = timeline.end_s - timeline.start_s
    assert factor.mean() == pytest.approx(1.0, abs=0.005)
    assert np.log(factor).std() == pytest.approx(0.2, rel=0.03)


def test_watchers_hear_what_happens_in_order():
    class Log:
        def __init__(self):
            self.heard = []

        def started(self, row, t_s):
            self.heard.append(("started", row, t_s))

        def ended(self, row, t_s):
            self.heard.append(("ended", row, t_s))

        def fault(self, kind, queue, t_s):
            self.heard.append((kind, queue, t_s))

    log = Log()
    run(chain(1, 2.0), faults=Faults(outages=(Outage(1.0, 1.0),)), watch=[log, object()])
    assert log.heard == [("started", 0, 0.0), ("down", 0, 1.0), ("up", 0, 2.0), ("started", 0, 2.0), ("ended", 0, 4.0)]


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (Faults((FaultProcess("n", 0.0, 1.0),)), "mtbf_s = 0"),
        (Faults((FaultProcess("n", 9.0, -1.0),)), "mttr_s = -1"),
        (Faults((FaultProcess("n", 9.0, 1.0), FaultProcess("n", 9.0, 1.0))), "share a name"),
        (Faults(outages=(Outage(-1.0, 1.0),)), "outage.at_s = -1"),
        (Faults(slow_downs=(SlowDown(0.0, 0.0),)), "factor = 0"),
        (Faults(jitter=math.nan), "jitter = nan"),
        (Faults(outages=(Outage(1.0, 1.0, ("z",)),)), "queue z is not one of a"),
    ],
)
def test_senseless_faults_are_refused(faults, says):
    with pytest.raises(InputError, match=says):
        run(chain(1), faults=faults)


def test_a_row_that_would_never_finish_between_failures_is_infeasible():
    with pytest.raises(Infeasible, match="never done"):
        run(chain(1, 1000.0), faults=Faults((FaultProcess("n", 10.0, 1.0),)))
