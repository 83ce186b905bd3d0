"""Schedule -> Timeline. SimPy defines the answer; the compiled sweep gives the same bits where nothing interferes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import simpy

from ..errors import InputError
from .actors import Board, Host, Queue, plain_queue, start_host
from .faults import Faults, chosen
from .schedule import Schedule
from .timeline import Timeline
from .watch import Watchers


def run(
    schedule: Schedule,
    *,
    executor: Literal["auto", "simpy", "compiled"] = "auto",
    faults: Faults | None = None,
    hosts: Sequence[Host] | None = None,
    seed: int = 0,
    watch: Sequence[object] = (),
) -> Timeline:
    """When each row of the schedule starts and ends [s].

    executor "compiled": one sweep; raises InputError if faults, hosts or watchers are asked for or rows meet on a shared
    link. "simpy": one process a queue. "auto": the sweep where it is right, else SimPy. seed: of all chance (`faults`).
    watch: see `Watchers`. Raises InputError for a malformed schedule and Infeasible for faults that no row survives.
    """
    if executor not in ("auto", "simpy", "compiled"):
        raise InputError(f"executor = {executor}. Use auto, simpy or compiled.")
    schedule.check()
    disturbed = bool(faults) or bool(hosts) or bool(watch)
    if executor == "compiled" and disturbed:
        raise InputError("executor = compiled knows no faults, hosts or watchers. Use auto or simpy.")
    if executor != "simpy" and not disturbed:
        from .compiled import overlapping, sweep  # Numba loads only when it is used

        timeline = sweep(schedule)
        met = overlapping(timeline) if len(schedule.links) else -1
        if met < 0:
            return timeline
        if executor == "compiled":
            raise InputError(f"executor = compiled: schedule row {met} meets another row on a link. Use auto or simpy.")
    if disturbed or len(schedule.links):
        return _live(schedule, faults or Faults(), hosts or (), seed, watch)
    return _plain(schedule)


def _plain(schedule: Schedule) -> Timeline:
    env = simpy.Environment(0.0)
    board = Board(env, schedule, schedule.seconds, Watchers(()))
    for rows in board.queue_rows():
        env.process(plain_queue(board, rows))
    env.run()
    return _timeline(board)


def _live(schedule: Schedule, faults: Faults, hosts: Sequence[Host], seed: int, watch: Sequence[object]) -> Timeline:
    faults.check(schedule)
    env = simpy.Environment(0.0)
    board = Board(env, schedule, faults.jittered(schedule, seed), Watchers(watch))
    queues = [Queue(board, number, rows) for number, rows in enumerate(board.queue_rows())]
    for host in hosts:
        host.check()
        start_host(board, host, chosen(queues, schedule.queue_names, host.queues))
    faults.start(env, queues, schedule.queue_names, seed)
    env.run(env.all_of([queue.process for queue in queues]))
    return _timeline(board)


def _timeline(board: Board) -> Timeline:
    return Timeline(board.schedule, np.array(board.start_s, dtype=np.float64), np.array(board.end_s, dtype=np.float64))
