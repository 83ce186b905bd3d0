"""A fleet at work: pools of replicas behind routers, and what a request goes through on its way, as SimPy actors.

A request meets the router of its model; where nobody is up it waits at the gate. Behind prefill its KV travels to a decode
replica. When its replica fails it is sent again: tokens that were made stay made and count as prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import simpy

from ..catalog.traffic import Requests
from ..errors import InputError
from ..seeds import generator
from . import state as at
from .autoscaler import Autoscaler, strikes
from .pools import Fleet, Pool, check
from .prefix_cache import PrefixCache
from .replica import CONTROL, UP, Compiled, Executor, Moment, Replica
from .roster import Roster
from .routers import ROUTERS, Request, Router
from .schedulers import SCHEDULERS, load, make
from .series import Series
from .sources import Sources
from .state import Columns, columns_of
from .stepper import Stepper
from .transfers import Transfers

__all__ = ["Fleet", "Pool", "Run"]


class Run:
    """One run of a fleet."""

    def __init__(self, pools: Sequence[Pool], requests: Requests, fleet: Fleet, seed: int) -> None:
        self.pools = tuple(pools)
        self.requests = requests
        self.fleet = fleet
        self.seed = seed
        check(self.pools, 1 if requests.models is None else int(requests.models.max(initial=0)) + 1)
        self.env = simpy.Environment(0.0)
        self.columns = _columns(self.pools, requests)
        self.wanted = self.columns.tokens[
            :, at.OUTPUT
        ].copy()  # before a prefill replica, OUTPUT is the first token alone
        self.cached_tokens = np.zeros(len(requests), dtype=np.int64)
        self.retries = np.zeros(len(requests), dtype=np.int64)
        self.moved_s = np.zeros(len(requests))
        self.failures = 0
        self.split = any(pool.role == "prefill" for pool in self.pools)
        self.routers: dict[tuple[bool, int], Router] = {}
        self.gate: list[int] = []  # nobody is up for them
        self.between: list[tuple[int, Replica]] = []  # prefill done, no decode replica is up
        self.replicas: list[Replica] = []
        self.arrived: list[Any] = []
        self.finished: list[Any] = []

    def go(self, *, watch: Sequence[object] = (), leap: bool = True) -> None:
        """Serve everything."""
        for number, pool in enumerate(self.pools):
            for _ in range(pool.most):
                executor = self._executor(pool, watch, leap)
                self.replicas.append(Replica(self.env, len(self.replicas), executor, pool=number, leap=leap))
        self.roster = Roster(self.env, self.pools, self.replicas)
        self.roster.came_up = self._open
        self.transfers = Transfers(self.env, self.pools, self.replicas, self._moved)
        self.sources = Sources(self.env, self.requests, self.columns, self._send)
        self.arrived = [watcher.arrived for watcher in watch if hasattr(watcher, "arrived")]
        self.finished = [watcher.finished for watcher in watch if hasattr(watcher, "finished")]
        if self.sources.listens:
            self.finished.insert(0, self.sources.ended)
        self._prepare(leap)
        self.series = Series(self.env, self.replicas, self.pools, self.fleet.window_s or 0.0)
        self.sources.begin(max(pool.pack.limits.request_host_s for pool in self.pools))
        self._control()
        self.env.run()
        for replica in self.replicas:
            replica.drain()

    def _prepare(self, leap: bool) -> None:
        """Prefix caches, and who must be awake at completions: all that somebody listens to; prefill and decode."""
        for replica in self.replicas:
            pool = self.pools[replica.pool]
            if pool.pack.limits.prefix_cache and self.requests.blocks is not None and pool.role != "decode":
                replica.prefixes = PrefixCache(self.requests.block_tokens, pool.pack.limits.prefix_tiers)
            if pool.role == "prefill":
                replica.report_to([self._prefilled])
            elif pool.role == "decode":
                replica.report_to([self._freed, *self.finished])
            elif self.finished or not leap:
                replica.report_to(self.finished)

    def _control(self) -> None:
        """What makes replicas come and go, and what looks at them."""
        for number, pool in enumerate(self.pools):
            if pool.scaling is not None:
                scaler = Autoscaler(self.roster, number, pool.scaling, self._at_gate)
                self.env.process(scaler.live(self.over))
            if pool.mtbf_s < float("inf"):
                for place, replica in enumerate(self.roster.of(number)):
                    stream = generator(self.seed, "faults", number, place)
                    self.env.process(strikes(replica, stream, pool.mtbf_s, self._fail, self.over))
        if self.fleet.window_s is not None:
            self.env.process(self.series.live(self.over))

    def over(self) -> bool:
        """Can nothing happen any more?"""
        if self.sources.open or self.gate or self.between or self.transfers.going or self.transfers.waiting:
            return False
        return not any(replica.working for replica in self.replicas)

    def _executor(self, pool: Pool, watch: Sequence[object], leap: bool) -> Executor:
        pack = pool.pack
        found = load(pack.limits.scheduler, SCHEDULERS, "scheduler", "decide")
        watched = any(hasattr(watcher, "iteration") for watcher in watch)
        if found in SCHEDULERS.values() and found.mode >= 0 and not watched:
            return Compiled(pack, self.columns)
        stepper = Stepper(pack, self.columns, make(found, pack.limits), leap=leap, watch=watch)
        stepper.number = len(self.replicas)
        return stepper

    def _send(self, request: int) -> bool:
        """A request arrives. False: it ends here, its status says why."""
        tokens, longest_wait_s = self.columns.tokens, self.fleet.max_wait_s
        if self.split:
            decodes = [pool for pool in self.pools if pool.role == "decode" and pool.model == self._model(request)]
            total = int(tokens[request, at.INPUT]), int(self.wanted[request])
            refusals = [pool.pack.refused(*total) for pool in decodes]
            if decodes and all(refusals):
                tokens[request, at.STATUS] = refusals[0]
                return False
        if not self._route(request, True):
            return False
        if longest_wait_s is not None:
            limit = Moment(self.env, self.env.now + longest_wait_s, CONTROL)
            limit.callbacks.append(partial(self._expire, request))
        return True

    def _route(self, request: int, first: bool) -> bool:
        """To a replica, or to the gate. first: it may be turned away."""
        tokens, limit = self.columns.tokens, self.fleet.max_queue if first else None
        stage = (False, self._model(request))
        asked = self._asked(request, stage[1])
        replicas = self._able(asked, self.roster.taking.get(stage, []))
        if not replicas:
            if limit is not None and len(self.gate) >= limit:
                tokens[request, at.STATUS] = at.SHED
                return False
            self.gate.append(request)
            return True
        replica = self._choose(stage, asked, replicas)
        if limit is not None and replica.waiting >= limit:
            tokens[request, at.STATUS] = at.SHED
            return False
        tokens[request, at.REPLICA] = replica.number
        if first:
            for tell in self.arrived:
                tell(request, replica.number, self.env.now)
        if replica.prefixes is not None:
            self._reuse(replica, asked)
        if self.split:
            prefills = self.pools[replica.pool].role == "prefill"
            tokens[request, at.OUTPUT] = tokens[request, at.MADE] + 1 if prefills else self.wanted[request]
        return replica.accept(request)

    def _able(self, asked: Request, replicas: list[Replica]) -> list[Replica]:
        """Without the replicas of pools that can never serve it, unless nobody can."""
        if len(self.pools) == 1:
            return replicas
        total = (asked.input_tokens, asked.output_tokens)
        refusing = {number for number, pool in enumerate(self.pools) if pool.pack.refused(*total)}
        return [each for each in replicas if each.pool not in refusing] or replicas

    def _model(self, request: int) -> int:
        return 0 if self.requests.models is None else int(self.requests.models[request])

    def _asked(self, request: int, model: int) -> Request:
        tokens, requests = self.columns.tokens, self.requests
        ids: Sequence[int] = ()
        if requests.blocks is not None and requests.block_starts is not None:
            ids = requests.blocks[requests.block_starts[request] : requests.block_starts[request + 1]].tolist()
        made, session = (
            int(tokens[request, at.MADE]),
            -1 if requests.sessions is None else int(requests.sessions[request]),
        )
        given, wanted = int(tokens[request, at.INPUT]) + made, int(self.wanted[request]) - made
        return Request(request, self.env.now, given, wanted, session, ids, model)

    def _choose(self, stage: tuple[bool, int], asked: Request, replicas: list[Replica]) -> Replica:
        if stage not in self.routers:
            found = load(self.fleet.router, ROUTERS, "router", "choose")
            names = () if stage == (False, 0) else stage
            self.routers[stage] = make(found, generator(self.seed, "router", *names))
        chosen = self.routers[stage].choose(asked, replicas)
        if not isinstance(chosen, Replica) or chosen.state != UP:
            name = type(self.routers[stage]).__name__
            raise InputError(
                f"router {name}: {chosen!r} is none of the replicas. Return one of those that it is given."
            )
        return chosen

    def _reuse(self, replica: Replica, asked: Request) -> None:
        """Look up the request's prefix blocks in the replica that it goes to."""
        pack = self.pools[replica.pool].pack
        if pack.refused(asked.input_tokens, asked.output_tokens):
            return
        given = int(self.columns.tokens[asked.id, at.INPUT])
        cached = replica.cached_tokens(asked.blocks, given, pack.limits.kv_block)
        self.columns.tokens[asked.id, at.CACHED] = self.cached_tokens[asked.id] = cached
        self.columns.times_s[asked.id, at.LOAD] = replica.prefixes.loaded_s if replica.prefixes else 0.0

    def _prefilled(self, request: int, number: int, now: float) -> None:
        """A prefill replica has made a token: the last one, or the KV sets out."""
        tokens, replica = self.columns.tokens[request], self.replicas[number]
        if tokens[at.MADE] == self.wanted[request]:
            for tell in self.finished:
                tell(request, number, now)
            return
        length = int(tokens[at.INPUT] + tokens[at.MADE]) - 1
        replica.hold(request, replica.blocks_for(length))
        tokens[[at.STATUS, at.CACHED, at.OUTPUT]] = at.MOVING, length, self.wanted[request]
        self.columns.times_s[request, at.FINISH] = np.nan
        self.moved_s[request] -= now
        self._move(request, replica)

    def _move(self, request: int, source: Replica) -> None:
        stage = (True, self._model(request))
        asked = self._asked(request, stage[1])
        replicas = self._able(asked, self.roster.taking.get(stage, []))
        if not replicas:
            self.between.append((request, source))
            return
        target = self._choose(stage, asked, replicas)
        self.transfers.send(request, int(self.columns.tokens[request, at.CACHED]), source, target)

    def _moved(self, request: int, source: Replica, target: Replica) -> None:
        """The KV has arrived."""
        source.release(request)
        self.moved_s[request] += self.env.now
        self.columns.tokens[request, at.REPLICA] = target.number
        if not target.accept(request):
            self._ended(request)
        self.transfers.pull(target)

    def _freed(self, request: int, number: int, now: float) -> None:
        """A decode replica has finished a request: it has room for another."""
        self.transfers.pull(self.replicas[number])

    def _open(self, replica: Replica) -> None:
        """A replica has come up: whoever waits for one may go on."""
        gate, self.gate = self.gate, []
        between, self.between = self.between, []
        for request in gate:
            if not self._route(request, False):
                self._ended(request)
        for request, source in between:
            self._move(request, source)

    def _at_gate(self, pool: int) -> int:
        found = self.pools[pool]
        waiting = [request for request, _ in self.between] if found.role == "decode" else self.gate
        return sum(self._model(request) == found.model for request in waiting)

    def _fail(self, replica: Replica) -> None:
        """A replica fails: what was here, and what was on its way from here, is sent again."""
        self.failures += 1
        lost = replica.fail()
        self.roster.break_down(replica)
        for request in lost:
            self._again(request)
        stopped = self.transfers.drop(replica) + [each for each in self.between if each[1] is replica]
        self.between = [each for each in self.between if each[1] is not replica]
        for request, source in stopped:
            if source is not replica:
                self._move(request, source)
                continue
            self.columns.tokens[request, [at.STATUS, at.CACHED]] = at.PENDING, 0
            self.moved_s[request] += self.env.now
            self._again(request)

    def _again(self, request: int) -> None:
        self.retries[request] += 1
        if not self._route(request, False):
            self._ended(request)

    def _expire(self, request: int, _: simpy.Event) -> None:
        """A request that no pass has taken by now is given up."""
        tokens = self.columns.tokens
        waits_at_gate = request in self.gate
        if not waits_at_gate:
            replica = self.replicas[tokens[request, at.REPLICA]]
            replica.executor.advance(self.env.now, False)
        if not np.isnan(self.columns.times_s[request, at.ADMITTED]):
            return
        if waits_at_gate:
            self.gate.remove(request)
        elif tokens[request, at.STATUS] == at.WAITING:
            replica.withdraw(request)
        else:
            return
        tokens[request, at.STATUS] = at.EXPIRED
        self._ended(request)

    def _ended(self, request: int) -> None:
        """A request that was let in has ended without being served."""
        if self.sources.listens:
            self.sources.ended(request, -1, self.env.now)


def _columns(pools: Sequence[Pool], requests: Requests) -> Columns:
    arrival_s = np.asarray(requests.arrival_s, dtype=np.float64)
    given = np.asarray(requests.input_tokens, dtype=np.int64)
    made = np.asarray(requests.output_tokens, dtype=np.int64)
    longest = int((given + made).max(initial=1))
    for limits in (pool.pack.limits for pool in pools):
        if longest > limits.longest and limits.longest < limits.max_model_len:
            raise InputError(
                f"pack: longest = {limits.longest}, but a request has {longest} tokens. Pack for {longest}."
            )
    if len(arrival_s) and (np.diff(arrival_s) < 0).any():
        raise InputError(f"requests {requests.name}: arrivals are not in order. Sort them.")
    made = np.ones_like(made) if any(pool.pack.limits.one_shot for pool in pools) else made
    out = columns_of(arrival_s, given, made)
    if requests.priority is not None:
        out.tokens[:, at.PRIORITY] = requests.priority
    if requests.sessions is not None:
        out.tokens[:, at.CLIENT] = requests.sessions
    return out
