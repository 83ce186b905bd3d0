"""The compiled executor: one sweep over the table, bitwise equal to SimPy's answer where nothing interferes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..jit import jit
from .schedule import FloatArray, IntArray, Schedule
from .timeline import Timeline


@jit
def sweep_rows(
    queue: NDArray[np.int32],
    seconds: FloatArray,
    after_ptr: IntArray,
    after: NDArray[np.int32],
    free_s: FloatArray,
    start_end: FloatArray,
) -> float:
    """Fill start_end [2, n] with starts and ends [s]; return the makespan. free_s [queues]: when each queue is next free.

    start[i] = max(end of the queue's previous row, ends of `after`); end[i] = start[i] + seconds[i], as SimPy adds them.
    """
    makespan = 0.0
    pointer = 0
    for i in range(len(seconds)):
        q = queue[i]
        at = free_s[q]
        stop = after_ptr[i + 1]
        while pointer < stop:
            at = max(at, start_end[1, after[pointer]])
            pointer += 1
        start_end[0, i] = at
        at += seconds[i]
        start_end[1, i] = at
        free_s[q] = at
        makespan = max(makespan, at)
    return makespan


@jit
def first_overlap(
    link_ptr: IntArray, links: NDArray[np.int32], start_end: FloatArray, order: IntArray, last_row: IntArray
) -> int:
    """The first row, in `order` of start, that starts before an earlier one on a link of its own has ended; -1 if none.

    last_row int64[links] must hold -1. Rows that last no time share nothing and never overlap.
    """
    for i in order:
        if start_end[1, i] == start_end[0, i]:
            continue
        for pointer in range(link_ptr[i], link_ptr[i + 1]):
            other = last_row[links[pointer]]
            if other >= 0 and start_end[1, other] > start_end[0, i]:
                return int(i)
            last_row[links[pointer]] = i
    return -1


def sweep(schedule: Schedule) -> Timeline:
    """The timeline of a schedule whose rows have every link for themselves. Right only where `overlapping` finds no row."""
    start_end = np.empty((2, len(schedule)), dtype=np.float64)
    free_s = np.zeros(len(schedule.queue_names), dtype=np.float64)
    sweep_rows(schedule.queue, schedule.seconds, schedule.after_ptr, schedule.after, free_s, start_end)
    return Timeline(schedule, start_end[0], start_end[1])


def overlapping(timeline: Timeline) -> int:
    """A row that meets another on a shared link in this timeline, or -1: then sharing changes nothing and a sweep is right."""
    table = timeline.schedule
    users = np.flatnonzero(np.diff(table.link_ptr))
    order = users[np.argsort(timeline.start_s[users], kind="stable")]
    last_row = np.full(len(table.link_names), -1, dtype=np.int64)
    both = np.stack((timeline.start_s, timeline.end_s))
    return int(first_overlap(table.link_ptr, table.links, both, order, last_row))
