"""A replica: a SimPy process that banks what it has done, plans how far it can leap, and sleeps until then.

An arrival wakes it: what it had finished is kept, the iteration in progress is never cut, and it plans again. When nobody
needs to hear of completions (an open loop without watchers) it sleeps through them and banks when a request arrives.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any, Protocol

import numpy as np
import simpy

from . import core as compiled
from . import exits
from . import state as at
from .pack import Pack
from .prefix_cache import PrefixCache
from .state import Columns, Core, core_of

COMPLETIONS, ARRIVALS, CONTROL, DECISIONS = range(4)  # order at equal times; control: failures, starts, autoscaling
OFF, STARTING, UP, DRAINING, BROKEN = range(5)  # what a replica may be
Process = Generator[simpy.Event, Any, None]


class Moment(simpy.Event):
    """An event at exactly `at_s`. A timeout would miss it by a bit: now + (at_s - now) need not be at_s."""

    def __init__(self, env: simpy.Environment, at_s: float, priority: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        delay = at_s - env.now
        assert delay >= 0.0  # nobody plans into the past
        while env.now + delay < at_s:
            delay = math.nextafter(delay, math.inf)
        while env.now + delay > at_s:
            delay = math.nextafter(delay, -math.inf)
        env.schedule(self, priority, delay)  # type: ignore[arg-type]


class Executor(Protocol):
    """How a replica gets from one moment to another: compiled, or step by step in Python.

    advance: iterations that end by `until_s` are completed; one may start at `until_s` itself only if `decide`. arrive: reach
    `now` and queue the request; False: it is refused, its status says why. horizon: when the leap at work ends if
    nobody interferes; infinite: it is idle. take_finished: requests that are done since the last call. evict_all: the
    replica fails; returns who was here. withdraw: take a waiting request out. hold: keep blocks from running sequences, or give
    them back if negative. The last three want the replica to have been advanced to `now`.
    """

    core: Core
    pack: Pack

    def advance(self, until_s: float, decide: bool) -> None: ...
    def arrive(self, request: int, now: float) -> bool: ...
    def horizon(self) -> float: ...
    def take_finished(self) -> list[int]: ...
    def evict_all(self, now: float) -> list[int]: ...
    def withdraw(self, request: int, now: float) -> None: ...
    def hold(self, blocks: int, now: float) -> None: ...


class Compiled:
    """The compiled core of a replica, with its prices filled in as it asks for them."""

    def __init__(self, pack: Pack, columns: Columns) -> None:
        self.pack = pack
        self.columns = columns
        self.core = core_of(pack.tables)

    def advance(self, until_s: float, decide: bool) -> None:
        while not compiled.advance(self.pack.tables, self.columns, self.core, until_s, decide, -1):
            self.pack.fill(self.core)

    def arrive(self, request: int, now: float) -> bool:
        while not (answer := compiled.advance(self.pack.tables, self.columns, self.core, now, False, request)):
            self.pack.fill(self.core)
        return bool(answer == 1)

    def horizon(self) -> float:
        return float(compiled.horizon(self.pack.tables, self.core))

    def take_finished(self) -> list[int]:
        count = self.core.counts
        finished: list[int] = self.core.reported[: count[at.REPORTED]].tolist()
        count[at.REPORTED] = 0
        return finished

    def evict_all(self, now: float) -> list[int]:
        count = self.core.counts
        gone = np.empty(count[at.N_RUNNING] + count[at.N_WAITING], dtype=np.int64)
        exits.evict_all(self.pack.tables, self.columns, self.core, now, gone)
        here: list[int] = gone.tolist()
        return here

    def withdraw(self, request: int, now: float) -> None:
        exits.withdraw(self.columns, self.core, request, now)

    def hold(self, blocks: int, now: float) -> None:
        count, clock = self.core.counts, self.core.clock
        count[at.FREE] -= blocks
        count[at.NEWCOMER] = 1
        if count[at.PHASE] == at.IDLE:
            clock[at.NOW] = max(clock[at.NOW], now)


class Replica:
    """One copy of the model at work. number, pool: its place in the fleet. held: blocks of requests whose KV is on its way from or
    to here; expected: requests whose KV will come or is on its way here. paid: when it began and ceased to be paid for, in turn.
    """

    def __init__(self, env: simpy.Environment, number: int, executor: Executor, *, pool: int, leap: bool) -> None:
        self.env = env
        self.number = number
        self.pool = pool
        self.executor = executor
        self.leap = leap
        self.state, self.since_s = OFF, 0.0
        self.held: dict[int, int] = {}
        self.expected = 0
        self.paid: list[float] = []
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
        accepted = self.executor.arrive(request, self.env.now)
        if accepted:
            self._poke()
        return accepted

    def fail(self) -> list[int]:
        """Lose the iteration at work and all KV; returns the requests that were here."""
        self.executor.advance(self.env.now, False)
        gone = self.executor.evict_all(self.env.now)
        self.held.clear()
        if self.prefixes is not None:
            self.prefixes = PrefixCache(self.prefixes.block_tokens, self.prefixes.tiers)
        self._poke()
        return gone

    def withdraw(self, request: int) -> None:
        """A request that waits here gives up."""
        self.executor.withdraw(request, self.env.now)
        self._poke()

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many tokens of one sequence."""
        return -(-tokens // self.executor.pack.limits.kv_block)

    def has_room(self, blocks: int) -> bool:
        """Could one more sequence with so many blocks be admitted now?"""
        self.executor.advance(self.env.now, False)
        whole, count = self.executor.pack.tables.whole, self.executor.core.counts
        here = int(count[at.N_RUNNING] + count[at.N_WAITING]) + len(self.held)
        reserve = whole[at.WATERMARK] if count[at.N_RUNNING] > 0 else 0
        return bool(here < whole[at.MAX_SEQS] and blocks + reserve <= count[at.FREE])

    def hold(self, request: int, blocks: int) -> None:
        """Blocks stay, or are kept free, for a request until `release`: its KV is on its way from or to here."""
        self.held[request] = blocks
        self.executor.hold(blocks, self.env.now)

    def release(self, request: int) -> None:
        """The KV of a request that was done here has gone."""
        self.executor.advance(self.env.now, False)
        self.executor.hold(-self.held.pop(request), self.env.now)
        self._poke()

    def _poke(self) -> None:
        """Something has changed: if it is awake at completions at all, let it plan again."""
        if self._asleep and self.process:
            self._asleep = False
            self.process.interrupt()

    def prefix_tokens(self, ids: Sequence[int]) -> int:
        """Tokens of such a prefix whose KV is here; asking changes nothing."""
        return 0 if self.prefixes is None else self.prefixes.found(ids) * self.prefixes.block_tokens

    def cached_tokens(self, ids: Sequence[int], input_tokens: int, kv_block: int) -> int:
        """Tokens of an arriving prompt whose KV is still here."""
        if self.prefixes is None:
            return 0
        self.executor.advance(self.env.now, False)
        free = int(self.executor.core.counts[at.FREE])
        return self.prefixes.reuse(ids, input_tokens, free * kv_block)

    @property
    def in_flight(self) -> int:
        """Requests here now, waiting or running, and those whose KV is on its way here."""
        return self.waiting + int(self.executor.core.counts[at.N_RUNNING]) + self.expected

    @property
    def waiting(self) -> int:
        """Requests here now that do not run yet."""
        core, now = self.executor.core, self.env.now
        if core.clock[at.END] <= now:  # else nothing has changed since the last arrival
            self.executor.advance(now, False)
        return int(core.counts[at.N_WAITING])

    @property
    def working(self) -> bool:
        """Will it do anything more if nobody comes?"""
        self.executor.advance(self.env.now, False)
        core = self.executor.core
        begins = core.clock[at.NOW] >= self.env.now and self.in_flight > 0
        return bool(core.counts[at.PHASE] == at.BUSY or begins or self.held)

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
