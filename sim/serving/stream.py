"""Long runs in little memory: requests come in pieces, the rows of those that are done are handed on and used again.

The actors are those of `fleet`: an open loop of equal replicas behind a router gives the same times to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import simpy

from ..catalog.scenarios import Slo
from ..catalog.traffic import Requests
from ..errors import InputError
from ..seeds import generator
from . import state as at
from .metrics import good
from .pack import Pack
from .replica import ARRIVALS, Compiled, Moment, Process, Replica
from .routers import ROUTERS, Request
from .run import Busy, busy_s
from .schedulers import SCHEDULERS, load, make
from .state import Columns, FloatArray, IntArray, columns_of

Write = Callable[[dict[str, FloatArray | IntArray]], None]
EXACT = 10**6  # values that percentiles are exact for
BIN = 0.005  # of the logarithm of a value: the middle of a bin is at most 0.25% off
COLUMNS = ("request", "arrival_s", "first_token_s", "finish_s", "input_tokens", "output_tokens", "replica", "status")
_LEAST_ROWS = 1024


class Spread:
    """Percentiles of positive values: exact up to EXACT of them, from bins of their logarithm beyond."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self._values: list[FloatArray] = []
        self._bins: dict[int, int] = {}

    def add(self, values: FloatArray) -> None:
        """Take more values in."""
        self.count += len(values)
        self.total += float(values.sum())
        self._values.append(values)
        if self.count > EXACT:
            for kept in self._values:
                self._sort_in(kept)
            self._values = []

    def _sort_in(self, values: FloatArray) -> None:
        places = np.floor(np.log(np.maximum(values, 1e-12)) / BIN).astype(np.int64)
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            self._bins[int(place)] = self._bins.get(int(place), 0) + int(count)

    @property
    def binned(self) -> bool:
        """Whether percentiles come from bins."""
        return bool(self._bins)

    @property
    def mean(self) -> float:
        """NaN without values."""
        return self.total / self.count if self.count else math.nan

    def percentile(self, p: float) -> float:
        """NaN without values."""
        if not self.count:
            return math.nan
        if not self._bins:
            return float(np.percentile(np.concatenate(self._values), p))
        places = sorted(self._bins)
        below = np.cumsum([self._bins[place] for place in places])
        rank = p / 100.0 * (self.count - 1)
        low, high = (
            math.exp((places[int(np.searchsorted(below, order, side="right"))] + 0.5) * BIN)
            for order in (math.floor(rank), math.ceil(rank))
        )
        return low + (rank - math.floor(rank)) * (high - low)


@dataclass
class Streamed:
    """What a long run comes to. good: requests that keep every limit; dropped: rows of a trace without a token; rows: most that
    were held at once; busy_s: seconds of all replicas by (part, phase); decoded, decode_steps: of all replicas."""

    requests: int = 0
    finished: int = 0
    good: int = 0
    dropped: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    rows: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    busy_s: Busy = field(default_factory=dict)
    decoded: int = 0
    decode_steps: int = 0
    ttft_s: Spread = field(default_factory=Spread)
    tpot_s: Spread = field(default_factory=Spread)
    latency_s: Spread = field(default_factory=Spread)


def stream(
    pack: Pack,
    pieces: Iterable[Requests],
    replicas: int = 1,
    *,
    router: str = "round_robin",
    rules: tuple[int, Slo] = (0, Slo()),
    write: Write | None = None,
) -> Streamed:
    """Serve pieces of an open loop, one after another. rules: (seed, limits that are counted).

    write: takes the COLUMNS of requests that are done, in no order, as they
    are let go. Raises InputError for arrivals out of order, and for a scheduler that is not compiled."""
    if getattr(load(pack.limits.scheduler, SCHEDULERS, "scheduler", "decide"), "mode", -1) < 0:
        raise InputError(
            f"scheduler = {pack.limits.scheduler} is not compiled. Use continuous, prefill_first or static."
        )
    return _Stream(pack, replicas, router, rules, write).go(pieces)


class _Stream:
    """One run. number: of the request in each row; free: rows that hold none."""

    def __init__(
        self, pack: Pack, replicas: int, router: str, rules: tuple[int, Slo], write: Callable[..., None] | None
    ) -> None:
        self.env = simpy.Environment(0.0)
        self.pack, self.write = pack, write
        self.columns = _rows(_LEAST_ROWS)
        self.number = np.zeros(_LEAST_ROWS, dtype=np.int64)
        self.free = list(range(_LEAST_ROWS - 1, -1, -1))
        self.executors = [Compiled(pack, self.columns) for _ in range(replicas)]
        self.replicas = [Replica(self.env, i, each, pool=0, leap=True) for i, each in enumerate(self.executors)]
        self.router = make(load(router, ROUTERS, "router", "choose"), generator(rules[0], "router"))
        self.slo = rules[1]
        self.out = Streamed(rows=_LEAST_ROWS)

    def go(self, pieces: Iterable[Requests]) -> Streamed:
        """Serve everything."""
        self.env.process(self._live(iter(pieces)))
        self.env.run()
        for replica in self.replicas:
            replica.drain()
        self._let_go()
        cores = [executor.core for executor in self.executors]
        self.out.busy_s = busy_s(self.pack, cores)
        self.out.decoded, self.out.decode_steps = (
            sum(int(core.counts[column]) for core in cores) for column in (at.DECODED, at.DECODE_STEPS)
        )
        return self.out

    def _live(self, pieces: Iterator[Requests]) -> Process:
        for piece in pieces:
            self.out.dropped += piece.dropped
            if not self.out.requests and len(piece):
                self.out.start_s = float(piece.arrival_s[0])
            sessions = piece.sessions.tolist() if piece.sessions is not None else [-1] * len(piece)
            rows = zip(
                piece.arrival_s.tolist(), piece.input_tokens.tolist(), piece.output_tokens.tolist(), sessions,
                strict=True,
            )  # fmt: skip
            for arrival_s, given, made, session in rows:
                if arrival_s > self.env.now:
                    yield Moment(self.env, arrival_s, ARRIVALS)
                elif arrival_s < self.env.now:
                    raise InputError(f"requests {piece.name}: arrivals are not in order. Sort them.")
                self._send(given, made, session)
        return
        yield  # a generator even without requests

    def _send(self, given: int, made: int, session: int) -> None:
        if not self.free:
            self._make_room()
        row, now = self.free.pop(), self.env.now
        replica = self.router.choose(Request(row, now, given, made, session, (), 0), self.replicas)
        self.columns.times_s[row, at.ARRIVAL] = now
        self.columns.tokens[row, [at.INPUT, at.OUTPUT, at.REPLICA, at.STATUS]] = given, made, replica.number, at.PENDING
        self.number[row] = self.out.requests
        self.out.requests += 1
        replica.accept(row)

    def _make_room(self) -> None:
        """Let go who is done; where most are not, hold more."""
        for executor in self.executors:
            executor.advance(self.env.now, False)
        self._let_go()
        held = len(self.number)
        if len(self.free) * 2 < held:
            more = _rows(held)
            self.columns = Columns(*(np.concatenate(pair) for pair in zip(self.columns, more, strict=True)))
            self.number = np.concatenate([self.number, np.zeros(held, dtype=np.int64)])
            self.free += range(2 * held - 1, held - 1, -1)
            self.out.rows = 2 * held
            for executor in self.executors:
                executor.columns = self.columns

    def _let_go(self) -> None:
        """Sum up, hand on and clear the rows of requests that are done."""
        status = self.columns.tokens[:, at.STATUS]
        ended = np.ones(len(status), dtype=np.bool_)
        ended[self.free] = False
        ended &= (status == at.FINISHED) | np.isin(status, (at.TOO_LONG, at.NO_CAPACITY, at.ONE_PASS))
        rows = np.flatnonzero(ended)
        times_s, tokens = self.columns.times_s[rows], self.columns.tokens[rows]
        host_s = self._outside_s()
        arrival_s, first_s, finish_s = (
            times_s[:, at.ARRIVAL],
            times_s[:, at.FIRST] + host_s,
            times_s[:, at.FINISH] + host_s,
        )
        done = tokens[:, at.STATUS] == at.FINISHED
        self._sum_up(arrival_s[done], first_s[done], finish_s[done], tokens[done])
        if self.write is not None and len(rows):
            found = (self.number[rows], arrival_s, first_s, finish_s, tokens[:, at.INPUT], tokens[:, at.MADE],
                     tokens[:, at.REPLICA], tokens[:, at.STATUS])  # fmt: skip
            self.write(dict(zip(COLUMNS, found, strict=True)))
        fresh = _rows(len(rows))
        self.columns.times_s[rows], self.columns.tokens[rows] = fresh.times_s, fresh.tokens
        self.free += rows.tolist()

    def _outside_s(self) -> float:
        """Seconds of a request on the way in and out; iterations that it waits for there are as long as they were so far."""
        cores = [executor.core for executor in self.executors]
        steps = max(1, sum(int(core.counts[at.ITERATIONS]) for core in cores))
        ahead_s = self.pack.limits.ahead_steps * math.fsum(float(core.clock[at.BUSY_S]) for core in cores) / steps
        return self.pack.limits.request_host_s + ahead_s

    def _sum_up(self, arrival_s: FloatArray, first_s: FloatArray, finish_s: FloatArray, tokens: IntArray) -> None:
        out, made = self.out, tokens[:, at.MADE]
        several = made > 1
        out.finished += len(made)
        out.input_tokens += int(tokens[:, at.INPUT].sum())
        out.output_tokens += int(made.sum())
        out.end_s = max(out.end_s, float(finish_s.max(initial=0.0)))
        tpot_s = np.full(len(made), np.nan)
        tpot_s[several] = (finish_s - first_s)[several] / (made[several] - 1)
        out.good += int(good(self.slo, first_s - arrival_s, tpot_s, finish_s - arrival_s).sum())
        out.ttft_s.add(first_s - arrival_s)
        out.tpot_s.add(tpot_s[several])
        out.latency_s.add(finish_s - arrival_s)


def _rows(n: int) -> Columns:
    return columns_of(np.full(n, np.nan), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64))
