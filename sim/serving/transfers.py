"""KV on its way from prefill to decode replicas: transfers that share the ports of both, max-min fair."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import simpy

from ..engine import Fabric, Link, Transfer
from .pools import Pool
from .replica import ARRIVALS, Moment, Replica

Arrived = Callable[[int, Replica, Replica], None]


class Move:
    """One request's KV, from where to where. transfer: on the wire, after the latency of the way."""

    __slots__ = ("size_bytes", "source", "target", "transfer")

    def __init__(self, source: Replica, target: Replica, size_bytes: float) -> None:
        self.source, self.target, self.size_bytes = source, target, size_bytes
        self.transfer: Transfer | None = None


class Transfers:
    """All moves at work. A replica sends through one port and takes through another, each as fast as its pool says."""

    def __init__(
        self, env: simpy.Environment, pools: Sequence[Pool], replicas: Sequence[Replica], arrived: Arrived
    ) -> None:
        self.env = env
        self.pools = pools
        self.arrived = arrived
        self.going: dict[int, Move] = {}
        self.moved_bytes = 0.0
        finite = [each for each in replicas if pools[each.pool].port_bytes_per_s < math.inf]
        self.port = {replica.number: place for place, replica in enumerate(finite)}
        self.fabric = Fabric(
            env, [Link(f"KV port {each.number}", pools[each.pool].port_bytes_per_s) for each in finite]
        )

    def send(self, request: int, tokens: int, source: Replica, target: Replica) -> None:
        """The KV of a request with so many tokens sets out."""
        pool = self.pools[source.pool]
        move = self.going[request] = Move(source, target, pool.token_bytes * tokens + pool.state_bytes)
        latency_s = max(pool.port_s, self.pools[target.pool].port_s)
        start = Moment(self.env, self.env.now + latency_s, ARRIVALS)
        start.callbacks.append(partial(self._start, request, move))

    def drop(self, replica: Replica) -> list[tuple[int, Replica]]:
        """A replica fails: moves from or to it end. Returns (request, source) of each."""
        ended = [(request, m) for request, m in self.going.items() if replica in (m.source, m.target)]
        for request, move in ended:
            del self.going[request]
            if move.transfer is not None:
                self.fabric.cancel(move.transfer)
        return [(request, move.source) for request, move in ended]

    def _start(self, request: int, move: Move, _: simpy.Event) -> None:
        if self.going.get(request) is not move:
            return
        ports = [self.port[each.number] for each in (move.source, move.target) if each.number in self.port]
        rate = min(self.pools[each.pool].port_bytes_per_s for each in (move.source, move.target))
        if rate == math.inf:
            self._end(request, move, None)
            return
        move.transfer = self.fabric.send(move.size_bytes, ports, rate)
        move.transfer.done.callbacks.append(partial(self._end, request, move))

    def _end(self, request: int, move: Move, _: simpy.Event | None) -> None:
        if self.going.get(request) is not move:
            return
        del self.going[request]
        self.moved_bytes += move.size_bytes
        self.arrived(request, move.source, move.target)
