"""A fleet: replicas behind a router, and the clients that send to it, as SimPy actors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from ..catalog.traffic import Requests
from ..errors import InputError
from ..seeds import generator
from . import state as at
from .pack import Pack
from .prefix_cache import PrefixCache
from .replica import ARRIVALS, Compiled, Executor, Moment, Process, Replica
from .routers import ROUTERS, Request, Router
from .schedulers import SCHEDULERS, load, make
from .state import Columns, columns_of
from .stepper import Stepper


@dataclass(frozen=True)
class Fleet:
    """How many replicas of a pack, and who spreads the requests over them: a short name, or the dotted path of a class."""

    replicas: int = 1
    router: str = "round_robin"


class Run:
    """One run of a fleet."""

    def __init__(self, pack: Pack, requests: Requests, fleet: Fleet, seed: int) -> None:
        self.pack = pack
        self.requests = requests
        self.env = simpy.Environment(0.0)
        self.columns = _columns(pack, requests)
        self.cached_tokens = np.zeros(len(requests), dtype=np.int64)
        found = load(fleet.router, ROUTERS, "router", "choose")
        self.router: Router = make(found, generator(seed, "router"))
        self.replicas: list[Replica] = []
        self.done: dict[int, simpy.Event] = {}
        self.arrived: list[object] = []

    def go(self, count: int, *, watch: Sequence[object], leap: bool) -> None:
        """Let `count` replicas serve everything."""
        self.replicas = [Replica(self.env, n, self._executor(n, watch, leap), leap=leap) for n in range(count)]
        if self.pack.limits.prefix_cache and self.requests.blocks is not None:
            for replica in self.replicas:
                replica.prefixes = PrefixCache(self.requests.block_tokens)
        listeners = [watcher.finished for watcher in watch if hasattr(watcher, "finished")]
        self.arrived = [watcher.arrived for watcher in watch if hasattr(watcher, "arrived")]
        clients = self.requests.concurrency
        if clients is not None:
            listeners.insert(0, self._finished)
        if listeners or not leap:
            for replica in self.replicas:
                replica.report_to(listeners)
        if clients is None:
            self.env.process(self._source())
        else:
            waiting = iter(range(len(self.requests)))
            for _ in range(min(clients, len(self.requests))):
                self.env.process(self._client(waiting))
        self.env.run()
        for replica in self.replicas:
            replica.drain()

    def _executor(self, number: int, watch: Sequence[object], leap: bool) -> Executor:
        path = self.pack.limits.scheduler
        found = load(path, SCHEDULERS, "scheduler", "decide")
        watched = any(hasattr(watcher, "iteration") for watcher in watch)
        if found in SCHEDULERS.values() and not watched:
            return Compiled(self.pack, self.columns)
        stepper = Stepper(self.pack, self.columns, make(found, self.pack.limits), leap=leap, watch=watch)
        stepper.number = number
        return stepper

    def _source(self) -> Process:
        """Open loop: requests come when they come."""
        for request, arrival_s in enumerate(self.requests.arrival_s.tolist()):
            if arrival_s > self.env.now:
                yield Moment(self.env, arrival_s, ARRIVALS)
            self._send(request, arrival_s)
        return
        yield  # a generator even without requests

    def _client(self, waiting: object) -> Process:
        """Closed loop: one client, which sends its next request when its last one is done and has reached it."""
        host_s = self.pack.limits.request_host_s
        for request in waiting:  # type: ignore[attr-defined]
            self.columns.times_s[request, at.ARRIVAL] = self.env.now
            self.done[request] = self.env.event()
            if self._send(request, self.env.now):
                yield self.done[request]
                if host_s:
                    yield self.env.timeout(host_s)
            del self.done[request]

    def _finished(self, request: int, replica: int, now: float) -> None:
        self.done[request].succeed()

    def _send(self, request: int, now: float) -> bool:
        tokens = self.columns.tokens
        asked = Request(request, now, int(tokens[request, at.INPUT]), int(tokens[request, at.OUTPUT]))
        replica = self.router.choose(asked, self.replicas)
        tokens[request, at.REPLICA] = replica.number
        for tell in self.arrived:
            tell(request, replica.number, now)  # type: ignore[operator]
        if replica.prefixes is not None:
            self._reuse(replica, asked)
        return replica.accept(request)

    def _reuse(self, replica: Replica, asked: Request) -> None:
        """Look up the request's prefix blocks in the replica that it goes to."""
        blocks, starts = self.requests.blocks, self.requests.block_starts
        if blocks is None or starts is None or self.pack.refused(asked.input_tokens, asked.output_tokens):
            return
        ids = blocks[starts[asked.id] : starts[asked.id + 1]].tolist()
        cached = replica.cached_tokens(ids, asked.input_tokens, self.pack.limits.kv_block)
        self.columns.tokens[asked.id, at.CACHED] = self.cached_tokens[asked.id] = cached


def _columns(pack: Pack, requests: Requests) -> Columns:
    limits = pack.limits
    arrival_s = np.asarray(requests.arrival_s, dtype=np.float64)
    given = np.asarray(requests.input_tokens, dtype=np.int64)
    made = np.asarray(requests.output_tokens, dtype=np.int64)
    longest = int((given + made).max(initial=1))
    if longest > limits.longest and limits.longest < limits.max_model_len:
        raise InputError(f"pack: longest = {limits.longest}, but a request has {longest} tokens. Pack for {longest}.")
    if len(arrival_s) and (np.diff(arrival_s) < 0).any():
        raise InputError(f"requests {requests.name}: arrivals are not in order. Sort them.")
    made = np.ones_like(made) if limits.one_shot else made
    return columns_of(arrival_s, given, made)
