"""A malformed table names its row and is refused."""

from dataclasses import replace

import numpy as np
import pytest

from sim.engine import Schedule, run
from sim.errors import InputError


def test_names_are_numbered_in_order_of_appearance_and_numbers_name_themselves():
    schedule = Schedule.of(["b", "a", "b"], [1, 2, 3], links=[[], ["wire"], []], part=["x", "y", "x"], phase=[0, 1, 1])
    assert schedule.queue.tolist() == [0, 1, 0]
    assert (schedule.queue_names, schedule.part_names, schedule.phase_names) == (("b", "a"), ("x", "y"), ("0", "1"))
    assert schedule.link_names == ("wire",)
    assert len(schedule) == 3


@pytest.mark.parametrize("seconds", [-1.0, np.nan, np.inf])
def test_seconds_that_no_clock_can_show_are_refused(seconds):
    with pytest.raises(InputError, match="row 1: seconds ="):
        Schedule.of([0, 0], [1.0, seconds])


@pytest.mark.parametrize("other", [1, 2])
def test_a_dependency_on_itself_or_a_later_row_is_refused(other):
    with pytest.raises(InputError, match=f"row 1: after = {other} is not an earlier row"):
        Schedule.of([0, 0, 0], [1.0, 1.0, 1.0], [[], [other], []])


def test_numbers_out_of_range_are_refused():
    schedule = Schedule.of(["a", "a"], [1.0, 1.0], [[], [0]], links=[[], ["wire"]])
    for column, value, says in (
        ("queue", [0, 1], "row 1: queue = 1"),
        ("part", [-1, 0], "row 0: part = -1"),
        ("phase", [0, 9], "row 1: phase = 9"),
        ("links", [1], "row 1: link = 1"),
        ("after", [7], "row 1: after = 7"),
        ("after", [-1], "row 1: after = -1"),
        ("after_ptr", [0, 1], "after: its pointers"),
        ("link_ptr", [0, 2, 1], "links: its pointers"),
        ("queue", [0], "queue has 1 rows"),
    ):
        with pytest.raises(InputError, match=says):
            run(replace(schedule, **{column: np.array(value)}))


def test_columns_of_unequal_length_and_links_named_twice_are_refused():
    with pytest.raises(InputError, match="seconds has 1 rows, queue has 2"):
        Schedule.of([0, 0], [1.0])
    with pytest.raises(InputError, match="after has 1 rows"):
        Schedule.of([0, 0], [1.0, 1.0], [[]])
    with pytest.raises(InputError, match="same link twice"):
        Schedule.of([0], [1.0], links=[["wire", "wire"]])


def test_the_empty_schedule_takes_no_time():
    for executor in ("auto", "simpy", "compiled"):
        timeline = run(Schedule.of([], []), executor=executor)
        assert timeline.makespan_s == 0.0
        assert timeline.breakdown() == {}
        assert timeline.critical_path().tolist() == []
