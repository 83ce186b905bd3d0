"""What goes wrong in a run: failures, slow-downs, jitter. Each draws from its own named stream."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from ..errors import Infeasible, InputError
from ..seeds import generator
from .actors import Queue
from .schedule import FloatArray, Schedule

# A row that needs more than e**MOST_MTBFS_IN_A_ROW tries (200,000) on average would hold a run up for ever.
MOST_MTBFS_IN_A_ROW = 12.0

QueueIds = tuple[int | str, ...]


@dataclass(frozen=True)
class FaultProcess:
    """A component that fails, e.g. one node: exponential time to failure, fixed time to repair, from the stream `name`.

    queues (names or numbers; none = all) go down together, lose the row in progress and rerun it after the repair.
    """

    name: str
    mtbf_s: float
    mttr_s: float
    queues: QueueIds = ()


@dataclass(frozen=True)
class Outage:
    """One failure at a given time."""

    at_s: float
    repair_s: float
    queues: QueueIds = ()


@dataclass(frozen=True)
class SlowDown:
    """From at_s on, rows of `queues` last `factor` times as long (a straggler); a later one replaces an earlier one."""

    at_s: float
    factor: float
    queues: QueueIds = ()


@dataclass(frozen=True)
class Faults:
    """Everything that goes wrong. jitter: standard deviation of the logarithm of a lognormal factor, of mean 1, on each row."""

    processes: tuple[FaultProcess, ...] = ()
    outages: tuple[Outage, ...] = ()
    slow_downs: tuple[SlowDown, ...] = ()
    jitter: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.processes or self.outages or self.slow_downs or self.jitter)

    def check(self, schedule: Schedule) -> None:
        """Raise InputError for a value that makes no sense, Infeasible for a row that could never finish between failures."""
        longest_s = float(schedule.seconds.max()) if len(schedule) else 0.0
        names = [process.name for process in self.processes]
        if len(set(names)) < len(names):
            raise InputError(f"faults: two processes share a name in {names}, hence a stream. Name each differently.")
        values = [("jitter", self.jitter)]
        for process in self.processes:
            values += [(f"{process.name}.mttr_s", process.mttr_s)]
            if not process.mtbf_s > 0:
                raise InputError(f"faults.{process.name}.mtbf_s = {process.mtbf_s}. Give a number > 0.")
            if longest_s / process.mtbf_s > MOST_MTBFS_IN_A_ROW:
                raise Infeasible(
                    f"a row lasts {longest_s:g} s, {process.name} fails every {process.mtbf_s:g} s: never done."
                )
        for outage in self.outages:
            values += [("outage.at_s", outage.at_s), ("outage.repair_s", outage.repair_s)]
        for slow in self.slow_downs:
            values += [("slow_down.at_s", slow.at_s)]
            if not 0 < slow.factor < np.inf:
                raise InputError(f"faults.slow_down.factor = {slow.factor}. Give a finite number > 0.")
        for name, value in values:
            if not 0 <= value < np.inf:
                raise InputError(f"faults.{name} = {value}. Give a finite number >= 0.")

    def jittered(self, schedule: Schedule, seed: int) -> FloatArray:
        """The rows' seconds with jitter; each queue has its own stream, so that adding a queue changes no other."""
        seconds = schedule.seconds.copy()
        if self.jitter:
            for number, name in enumerate(schedule.queue_names):
                rows = schedule.queue == number
                normal = generator(seed, "jitter", name).standard_normal(int(rows.sum()))
                seconds[rows] *= np.exp(self.jitter * normal - self.jitter**2 / 2)
        return seconds

    def start(self, env: simpy.Environment, queues: Sequence[Queue], names: Sequence[str], seed: int) -> None:
        """Start one SimPy process for each thing that goes wrong."""
        for process in self.processes:
            env.process(_failing(env, process, chosen(queues, names, process.queues), seed))
        for outage in self.outages:
            env.process(_outage(env, outage, chosen(queues, names, outage.queues)))
        for slow in self.slow_downs:
            env.process(_slow_down(env, slow, chosen(queues, names, slow.queues)))


def chosen(queues: Sequence[Queue], names: Sequence[str], wanted: QueueIds) -> list[Queue]:
    """The queues of these names or numbers; all if none is given. Raises InputError for one that is not there."""
    for each in wanted:
        if each not in names and not (isinstance(each, int) and 0 <= each < len(queues)):
            raise InputError(f"queue {each} is not one of {', '.join(names)}.")
    numbers = [each if isinstance(each, int) else names.index(each) for each in wanted]
    return [queues[number] for number in numbers] if wanted else list(queues)


Process = Generator[simpy.Event, Any, None]


def _failing(env: simpy.Environment, process: FaultProcess, queues: Sequence[Queue], seed: int) -> Process:
    stream = generator(seed, "faults", process.name)
    while True:
        yield env.timeout(float(stream.exponential(process.mtbf_s)))
        yield from _down(env, process.mttr_s, queues)


def _outage(env: simpy.Environment, outage: Outage, queues: Sequence[Queue]) -> Process:
    yield env.timeout(outage.at_s)
    yield from _down(env, outage.repair_s, queues)


def _down(env: simpy.Environment, repair_s: float, queues: Sequence[Queue]) -> Process:
    for queue in queues:
        queue.fail()
    yield env.timeout(repair_s)
    for queue in queues:
        queue.repair()


def _slow_down(env: simpy.Environment, slow: SlowDown, queues: Sequence[Queue]) -> Process:
    yield env.timeout(slow.at_s)
    for queue in queues:
        queue.slow(slow.factor)
