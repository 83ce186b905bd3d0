"""A replica: a SimPy process that banks what it has done, plans how far it can leap, and sleeps until then.

An arrival wakes it: what it had finished is kept, the iteration in progress is never cut, and it plans again. When nobody
needs to hear of completions (an open loop without watchers) it sleeps through them and banks when a request arrives.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any, Protocol

import simpy

from . import core as compiled
from . import state as at
from .pack import Pack
from .prefix_cache import PrefixCache
from .state import Columns, Core, core_of

COMPLETIONS, ARRIVALS, DECISIONS = 0, 1, 2  # order at equal times
Process = Generator[simpy.Event, Any, None]


class Moment(simpy.Event):
    """An event at exactly `at_s`. A timeout would miss it by a bit: now + (at_s - now) need not be at_s."""

    def __init__(self, env: simpy.Environment, at_s: float, priority: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        delay = at_s - env.now
        while env.now + delay < at_s:
            delay = math.nextafter(delay, math.inf)
        while env.now + delay > at_s:
            delay = math.nextafter(delay, -math.inf)
        env.schedule(self, priority, delay)  # type: ignore[arg-type]


class Executor(Protocol):
    """How a replica gets from one moment to another: compiled, or step by step in Python.

    advance: iterations that end by `until_s` are completed; one may start at `until_s` itself only if `decide`. arrive: reach
    the request's arrival and queue it; False: it is refused, its status says why. horizon: when the leap at work ends if
    nobody interferes; infinite: it is idle. take_finished: requests that are done since the last call.
    """

    core: Core

    def advance(self, until_s: float, decide: bool) -> None: ...
    def arrive(self, request: int) -> bool: ...
    def horizon(self) -> float: ...
    def take_finished(self) -> list[int]: ...


class Compiled:
    """The compiled core of a replica, with its prices filled in as it asks for them."""

    def __init__(self, pack: Pack, columns: Columns) -> None:
        self.pack = pack
        self.columns = columns
        self.core = core_of(pack.tables)

    def advance(self, until_s: float, decide: bool) -> None:
        while not compiled.advance(self.pack.tables, self.columns, self.core, until_s, decide, -1):
            self.pack.fill(self.core)

    def arrive(self, request: int) -> bool:
        arrival_s = self.columns.times_s[request, at.ARRIVAL]
        while not (answer := compiled.advance(self.pack.tables, self.columns, self.core, arrival_s, False, request)):
            self.pack.fill(self.core)
        return bool(answer == 1)

    def horizon(self) -> float:
        return float(compiled.horizon(self.pack.tables, self.core))

    def take_finished(self) -> list[int]:
        count = self.core.counts
        finished: list[int] = self.core.reported[: count[at.REPORTED]].tolist()
        count[at.REPORTED] = 0
        return finished


class Replica:
    """One copy of the model at work. number: its place in the fleet. finished: called with each request that is done."""

    def __init__(self, env: simpy.Environment, number: int, executor: Executor, *, leap: bool = True) -> None:
        self.env = env
        self.number = number
        self.executor = executor
        self.leap = leap
        self.prefixes: PrefixCache | None = None
        self.listeners: list[Any] = []
        self.process: simpy.Process | None = None
        self._asleep = False

    def report_to(self, listeners: Sequence[Any]) -> None:
        """From now on be awake at every completion and tell the listeners: listener(request, replica, now)."""
        self.listeners = list(listeners)
        self.process = self.env.process(self._live())

    def accept(self, request: int) -> bool:
        """A request arrives now. False: it can never be served here."""
        accepted = self.executor.arrive(request)
        if accepted and self._asleep and self.process:
            self._asleep = False
            self.process.interrupt()
        return accepted

    def cached_tokens(self, ids: Sequence[int], input_tokens: int, kv_block: int) -> int:
        """Tokens of an arriving prompt whose KV is still here."""
        if self.prefixes is None:
            return 0
        self.executor.advance(self.env.now, False)
        free = int(self.executor.core.counts[at.FREE])
        return self.prefixes.reuse(ids, input_tokens, free * kv_block)

    @property
    def in_flight(self) -> int:
        """Requests here now, waiting or running."""
        core, now = self.executor.core, self.env.now
        if core.clock[at.END] <= now:  # else nothing has changed since the last arrival
            self.executor.advance(now, False)
        count = core.counts
        return int(count[at.N_WAITING] + count[at.N_RUNNING])

    def drain(self) -> None:
        """Nothing more will arrive: work until nothing is left."""
        self.executor.advance(math.inf, True)

    def _live(self) -> Process:
        """Decide after all that happens at this moment, sleep until the leap ends or an arrival interrupts, report."""
        executor, env = self.executor, self.env
        while True:
            yield Moment(env, env.now, DECISIONS)
            executor.advance(env.now, True)
            wake_s = executor.horizon() if self.leap else self._end_s(math.inf)
            self._asleep = True
            while self._asleep:
                try:
                    yield Moment(env, wake_s, COMPLETIONS) if wake_s < math.inf else env.event()
                    self._asleep = False
                except simpy.Interrupt:
                    wake_s = self._end_s(env.now)  # the newcomer may join as soon as the iteration ends
                    self._asleep = wake_s > env.now
            self._report()

    def _end_s(self, idle_s: float) -> float:
        """The end of the iteration in progress; `idle_s` if there is none."""
        core = self.executor.core
        return float(core.clock[at.END]) if core.counts[at.PHASE] == at.BUSY else idle_s

    def _report(self) -> None:
        self.executor.advance(self.env.now, False)
        for request in self.executor.take_finished():
            for listener in self.listeners:
                listener(request, self.number, self.env.now)
