"""What lives in a run: queues and hosts, one SimPy process each. A row is never a process."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import simpy

from ..errors import InputError
from .links import Fabric, Link, Transfer
from .schedule import FloatArray, Schedule
from .watch import Watchers

Process = Generator[simpy.Event, Any, None]


class Board:
    """What the queues of one run share: the rows, when they started and ended, and who waits for which."""

    def __init__(self, env: simpy.Environment, schedule: Schedule, seconds: FloatArray, watchers: Watchers) -> None:
        pointers, flat = schedule.after_ptr.tolist(), schedule.after.tolist()
        self.env = env
        self.schedule = schedule
        self.watchers = watchers
        self.seconds: list[float] = seconds.tolist()
        self.after: list[list[int]] = [flat[a:b] for a, b in pairwise(pointers)]
        self.start_s: list[float] = [0.0] * len(schedule)
        self.end_s: list[float | None] = [None] * len(schedule)
        self.waiters: dict[int, simpy.Event] = {}
        self.fabric = Fabric(env, [Link(name) for name in schedule.link_names])

    def ended(self, row: int) -> simpy.Event:
        """The event of the row's end, made because somebody waits for it."""
        if row not in self.waiters:
            self.waiters[row] = self.env.event()
        return self.waiters[row]

    def links(self, row: int) -> list[int]:
        table = self.schedule
        links: list[int] = table.links[table.link_ptr[row] : table.link_ptr[row + 1]].tolist()
        return links

    def queue_rows(self) -> list[list[int]]:
        """The rows of each queue, in table order."""
        order = np.argsort(self.schedule.queue, kind="stable")
        cuts = np.searchsorted(self.schedule.queue[order], np.arange(1, len(self.schedule.queue_names)))
        return [rows.tolist() for rows in np.split(order, cuts)]


def plain_queue(board: Board, rows: Iterable[int]) -> Process:
    """A queue that nothing disturbs: one timeout a row; an event only when a row waits for one that has not ended.

    This is the definition that the compiled sweep imitates.
    """
    env, seconds, after = board.env, board.seconds, board.after
    start_s, end_s, waiters = board.start_s, board.end_s, board.waiters
    timeout, now = env.timeout, env.now
    for row in rows:
        for other in after[row]:
            if end_s[other] is None:
                yield board.ended(other)
                now = env.now
        start_s[row] = now
        yield timeout(seconds[row])
        now = end_s[row] = env.now
        if row in waiters:
            waiters.pop(row).succeed()


class Queue:
    """A queue that may fail, slow down, share links, wait for a host and be watched."""

    def __init__(self, board: Board, number: int, rows: Sequence[int]) -> None:
        self.board = board
        self.number = number
        self.rows = rows
        self.factor = 1.0
        self.job: Transfer | None = None
        self.down = 0  # how many faults hold it down
        self.repaired: simpy.Event | None = None
        self.unlaunched: set[int] = set()  # rows that a host has yet to launch
        self.awaited: tuple[int, simpy.Event] | None = None  # the row whose launch it waits for
        self.process = board.env.process(self._live())

    def fail(self) -> None:
        """Go down: the row in progress is lost, and starts again after the repair. A row due at this moment is kept."""
        self.down += 1
        if self.job is not None:
            self.board.fabric.cancel(self.job)
        self.board.watchers.fault("down", self.number, self.board.env.now)

    def repair(self) -> None:
        """Undo one `fail`; the queue is up when none is left."""
        self.down -= 1
        if self.down == 0 and self.repaired is not None:
            self.repaired.succeed()
            self.repaired = None
        self.board.watchers.fault("up", self.number, self.board.env.now)

    def slow(self, factor: float) -> None:
        """From now on rows last `factor` times as long, the rest of the row in progress too."""
        self.factor = factor
        if self.job is not None:
            self.board.fabric.set_limit(self.job, 1.0 / factor)
        self.board.watchers.fault("slow", self.number, self.board.env.now)

    def launch(self, row: int) -> None:
        """A host has launched this row."""
        self.unlaunched.remove(row)
        if self.awaited is not None and self.awaited[0] == row:
            self.awaited[1].succeed()
            self.awaited = None

    def _live(self) -> Process:
        board = self.board
        for row in self.rows:
            for other in board.after[row]:
                if board.end_s[other] is None:
                    yield board.ended(other)
            if row in self.unlaunched:
                self.awaited = (row, board.env.event())
                yield self.awaited[1]
            yield from self._work(row)
            board.end_s[row] = board.env.now
            board.watchers.ended(row, board.env.now)
            if row in board.waiters:
                board.waiters.pop(row).succeed()

    def _work(self, row: int) -> Process:
        """Run the row, as often as it takes."""
        board, finished = self.board, False
        while not finished:
            while self.down:
                self.repaired = self.repaired or board.env.event()
                yield self.repaired
            board.start_s[row] = board.env.now
            board.watchers.started(row, board.env.now)
            self.job = board.fabric.send(board.seconds[row], board.links(row), 1.0 / self.factor)
            finished = yield self.job.done
            self.job = None


@dataclass(frozen=True)
class Host:
    """A thread that launches the rows of its queues, in table order, ahead of the queues and never waiting for them.

    mode "eager": each row costs launch_s before its queue may start it. "graph": one launch_s for each rows_per_launch rows.
    "compiled": one launch_s for all rows. queues: names or numbers; none = all.
    """

    launch_s: float
    mode: Literal["eager", "graph", "compiled"] = "eager"
    rows_per_launch: int = 1
    queues: tuple[int | str, ...] = ()

    def check(self) -> None:
        """Raise InputError for a negative launch, an unknown mode, or a graph without rows."""
        if not self.launch_s >= 0:
            raise InputError(f"host.launch_s = {self.launch_s}. Give a number >= 0.")
        if self.mode not in ("eager", "graph", "compiled"):
            raise InputError(f"host.mode = {self.mode}. Use eager, graph or compiled.")
        if self.rows_per_launch < 1 or (self.mode != "graph" and self.rows_per_launch != 1):
            raise InputError(
                f"host.rows_per_launch = {self.rows_per_launch} in mode {self.mode}. Use >= 1, in mode graph only."
            )

    def batches(self, rows: Sequence[int]) -> list[Sequence[int]]:
        """The rows that each launch releases."""
        if self.mode == "compiled":
            return [rows] if rows else []
        return [rows[at : at + self.rows_per_launch] for at in range(0, len(rows), self.rows_per_launch)]


def start_host(board: Board, host: Host, queues: Sequence[Queue]) -> None:
    """Make each row of `queues` wait for its launch, and start the process that launches them."""
    owner = {row: queue for queue in queues for row in queue.rows}
    for queue in queues:
        if queue.unlaunched:
            raise InputError(f"queue {board.schedule.queue_names[queue.number]} has two hosts. Give it one.")
        queue.unlaunched.update(queue.rows)

    def live() -> Process:
        for batch in host.batches(sorted(owner)):
            yield board.env.timeout(host.launch_s)
            for row in batch:
                owner[row].launch(row)

    board.env.process(live())
