"""What a timeline adds up to, and why it lasts as long as it does."""

import numpy as np
import pytest

from sim.engine import Host, Schedule, one_f_one_b_schedule, run


def test_busy_time_is_conserved():
    stream = np.random.default_rng(2)
    queue, seconds = stream.integers(0, 5, 200), stream.random(200)
    after = [[int(stream.integers(0, i))] if i else [] for i in range(200)]
    timeline = run(Schedule.of(queue.tolist(), seconds, after, part=(queue % 2).tolist(), phase=[0, 1] * 100))
    for q in range(5):
        assert timeline.busy_s(q) == pytest.approx(seconds[queue == q].sum())
        assert timeline.busy_s(str(q)) <= timeline.makespan_s
    assert sum(timeline.breakdown().values()) == pytest.approx(seconds.sum())
    assert timeline.breakdown()["1", "0"] == pytest.approx(seconds[(queue % 2 == 1) & (np.arange(200) % 2 == 0)].sum())


def test_rows_of_a_queue_never_overlap_and_never_start_before_what_they_wait_for():
    table = one_f_one_b_schedule(4, 12, 1, np.ones((4, 1)), np.ones((4, 1)), 0.3)
    timeline = run(table)
    for q in range(len(table.queue_names)):
        rows = table.queue == q
        assert np.all(timeline.start_s[rows][1:] >= timeline.end_s[rows][:-1])
    waits = np.repeat(np.arange(len(table)), np.diff(table.after_ptr))
    assert np.all(timeline.start_s[waits] >= timeline.end_s[table.after])


def test_the_critical_path_fills_the_makespan_without_a_gap():
    stream = np.random.default_rng(4)
    timeline = run(one_f_one_b_schedule(4, 12, 1, stream.random((4, 1)), stream.random((4, 1)), 0.3))
    path = timeline.critical_path()
    assert timeline.start_s[path[0]] == 0.0
    assert timeline.end_s[path[-1]] == timeline.makespan_s
    assert timeline.start_s[path[1:]].tolist() == timeline.end_s[path[:-1]].tolist()


def test_the_critical_path_by_hand_and_with_a_gap_that_a_host_makes():
    schedule = Schedule.of(["a", "b", "a"], [1.0, 5.0, 1.0], [[], [0], [1]])
    assert run(schedule).critical_path().tolist() == [0, 1, 2]
    launched = run(Schedule.of(["a", "a"], [1.0, 1.0]), hosts=[Host(3.0)])
    assert launched.critical_path().tolist() == [0, 1]
    assert launched.start_s[1] - launched.end_s[0] == 2.0


def test_an_unknown_queue_is_an_error():
    with pytest.raises(ValueError, match="not in tuple"):
        run(Schedule.of(["a"], [1.0])).busy_s("z")
