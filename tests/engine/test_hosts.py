"""Launches: the device starts a row only when its host has launched it, and the host runs ahead."""

import numpy as np
import pytest

from sim.engine import Host, Schedule, run
from sim.errors import InputError


def test_eager_rows_end_at_the_closed_form():
    """end[i] = max(end[i-1], (i + 1) launch_s) + seconds[i]: short rows are bound by launches, long ones by themselves."""
    for seconds in (np.full(50, 0.5), np.full(50, 2.0), np.random.default_rng(0).random(50) * 2):
        timeline = run(Schedule.of([0] * 50, seconds), hosts=[Host(1.0)])
        end_s, expected = 0.0, []
        for i, row_s in enumerate(seconds):
            end_s = max(end_s, (i + 1) * 1.0) + row_s
            expected.append(end_s)
        assert timeline.end_s.tolist() == pytest.approx(expected)


def test_a_graph_pays_one_launch_for_its_rows_and_a_program_one_for_all():
    schedule = Schedule.of([0] * 6, [0.1] * 6)
    ends = [
        run(schedule, hosts=[host]).makespan_s for host in (Host(1.0), Host(1.0, "graph", 3), Host(1.0, "compiled"))
    ]
    assert ends == pytest.approx([6.1, 2.3, 1.6])


def test_a_host_launches_the_rows_of_all_its_queues_in_table_order():
    schedule = Schedule.of(["a", "b", "a"], [0.5, 0.5, 0.5])
    assert run(schedule, hosts=[Host(1.0)]).start_s.tolist() == [1.0, 2.0, 3.0]
    assert run(schedule, hosts=[Host(1.0, queues=("a",)), Host(1.0, queues=("b",))]).start_s.tolist() == [1.0, 1.0, 2.0]
    assert run(schedule, hosts=[Host(1.0, queues=("a",))]).start_s.tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        ([Host(-1.0)], "launch_s = -1"),
        ([Host(1.0, "lazy")], "mode = lazy"),
        ([Host(1.0, "graph", 0)], "rows_per_launch = 0"),
        ([Host(1.0, "eager", 4)], "rows_per_launch = 4 in mode eager"),
        ([Host(1.0), Host(1.0)], "two hosts"),
    ],
)
def test_senseless_hosts_are_refused(hosts, says):
    with pytest.raises(InputError, match=says):
        run(Schedule.of(["a"], [1.0]), hosts=hosts)
