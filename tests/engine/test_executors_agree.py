"""SimPy defines the answer; every other way to run a schedule gives the same bits."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engine import Faults, Host, Schedule, SlowDown, one_f_one_b_schedule, run
from sim.errors import InputError


def random_schedule(number):
    """Ties, zero durations, queues without rows, chains and fans; links in a third of them, on few rows."""
    stream = np.random.default_rng(number)
    rows, queues = int(stream.integers(0, 60)), int(stream.integers(1, 17))
    seconds = stream.random(rows) if number % 2 else stream.integers(0, 4, rows) / 3
    seconds[stream.random(rows) < 0.2] = 0.0
    after = [stream.choice(i, min(i, int(stream.integers(0, 4))), replace=False).tolist() for i in range(rows)]
    links = [[int(stream.integers(0, 3))] if number % 3 == 0 and stream.random() < 0.1 else [] for _ in range(rows)]
    queue = stream.integers(0, queues, rows)
    queue[queue == queues // 2] = 0
    return Schedule.of(queue.tolist(), seconds, after, links, part=(queue % 3).tolist())


def assert_same_bits(one, other):
    assert one.start_s.tobytes() == other.start_s.tobytes()
    assert one.end_s.tobytes() == other.end_s.tobytes()


class Everything:
    def started(self, row, t_s):
        pass


def test_simpy_and_compiled_agree_to_the_last_bit_on_a_thousand_schedules():
    swept = 0
    for number in range(1000):
        schedule = random_schedule(number)
        simpy_answer = run(schedule, executor="simpy")
        assert_same_bits(run(schedule), simpy_answer)
        try:
            assert_same_bits(run(schedule, executor="compiled"), simpy_answer)
            swept += 1
        except InputError as error:
            assert len(schedule.links), error
    assert swept > 800


def test_watching_changes_nothing():
    for number in range(100):
        schedule = random_schedule(number)
        assert_same_bits(run(schedule, watch=[Everything()]), run(schedule, executor="simpy"))


def test_hosts_that_cost_nothing_and_slow_downs_by_one_change_nothing():
    for number in range(100):
        schedule = random_schedule(number)
        plain = run(schedule, executor="simpy")
        assert_same_bits(run(schedule, hosts=[Host(0.0)]), plain)
        assert_same_bits(run(schedule, faults=Faults(slow_downs=(SlowDown(0.3, 1.0),))), plain)


@pytest.mark.parametrize(("p", "m", "v"), [(4, 16, 1), (8, 32, 1), (4, 8, 3), (2, 6, 2), (1, 5, 1), (6, 3, 1)])
def test_they_agree_on_real_pipeline_tables(p, m, v):
    stream = np.random.default_rng(p)
    schedule = one_f_one_b_schedule(p, m, v, stream.random((p, v)), stream.random((p, v)), 0.1 * stream.random(p))
    assert_same_bits(run(schedule, executor="compiled"), run(schedule, executor="simpy"))


def test_a_row_that_starts_when_another_leaves_the_link_does_not_share_it():
    """Each end is the sum of what came before, in the order of adding, although both rows touch the link at one time."""
    for seconds in np.random.default_rng(1).random((200, 3)):
        schedule = Schedule.of([0, 1, 2], seconds, [[], [0], [1]], [[0], [0], [0]])
        assert_same_bits(run(schedule, executor="simpy"), run(schedule, executor="compiled"))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.floats(0.0, 10.0))
def test_no_row_ends_earlier_when_one_lasts_longer(number, more_s):
    """Without shared links; with them, anomalies in the manner of Graham are real."""
    schedule = random_schedule(3 * number + 1)
    if not len(schedule):
        return
    seconds = schedule.seconds.copy()
    seconds[number % len(seconds)] += more_s
    after = np.split(schedule.after, schedule.after_ptr[1:-1])
    longer = Schedule.of(schedule.queue.tolist(), seconds, [list(x) for x in after])
    assert np.all(run(longer).end_s >= run(schedule).end_s)


def test_compiled_refuses_what_it_cannot_know():
    schedule = Schedule.of([0, 1], [1.0, 1.0], links=[["wire"], ["wire"]])
    with pytest.raises(InputError, match="meets another row on a link"):
        run(schedule, executor="compiled")
    for asked in ({"faults": Faults(jitter=0.1)}, {"hosts": [Host(1.0)]}, {"watch": [Everything()]}):
        with pytest.raises(InputError, match="executor = compiled"):
            run(schedule, executor="compiled", **asked)
    with pytest.raises(InputError, match="executor = fast"):
        run(schedule, executor="fast")


def test_importing_the_engine_loads_no_numba():
    program = "import sys, sim.engine; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
