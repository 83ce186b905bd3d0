"""KV on its way from prefill to decode replicas: it sets out when its target has room, and shares the ports of both, max-min fair."""

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
    """One request's KV, from where to where. length: its tokens; transfer: on the wire, after the latency of the way."""

    __slots__ = ("length", "source", "target", "transfer")

    def __init__(self, source: Replica, target: Replica, length: int) -> None:
        self.source, self.target, self.length = source, target, length
        self.transfer: Transfer | None = None


class Transfers:
    """All moves. A replica sends through one port and takes through another, each as fast as its pool says. arrived: called with
    (request, source, target) when the last byte is there; the target's blocks are free again for it to be admitted to."""

    def __init__(
        self, env: simpy.Environment, pools: Sequence[Pool], replicas: Sequence[Replica], arrived: Arrived
    ) -> None:
        self.env = env
        self.pools = pools
        self.arrived = arrived
        self.waiting: dict[int, Move] = {}  # in the order in which they came
        self.going: dict[int, Move] = {}
        self.moved_bytes = 0.0
        finite = [each for each in replicas if pools[each.pool].port_bytes_per_s < math.inf]
        self.port = {replica.number: place for place, replica in enumerate(finite)}
        self.fabric = Fabric(
            env, [Link(f"KV port {each.number}", pools[each.pool].port_bytes_per_s) for each in finite]
        )

    def send(self, request: int, length: int, source: Replica, target: Replica) -> None:
        """The KV of a request with so many tokens is to go; it stays where it is until the target has blocks for it."""
        self.waiting[request] = Move(source, target, length)
        target.expected += 1
        self.pull(target)

    def pull(self, target: Replica) -> None:
        """A replica takes what waits for it, first come first served, while it has room."""
        for request, move in [each for each in self.waiting.items() if each[1].target is target]:
            blocks = target.blocks_for(move.length + 1)
            if not target.has_room(blocks):
                return
            del self.waiting[request]
            self.going[request] = move
            target.hold(request, blocks)
            latency_s = max(self.pools[each.pool].port_s for each in (move.source, target))
            start = Moment(self.env, self.env.now + latency_s, ARRIVALS)
            start.callbacks.append(partial(self._start, request, move))

    def drop(self, replica: Replica) -> list[tuple[int, Replica]]:
        """A replica has failed: moves from or to it end. Returns (request, source) of each."""
        ended: dict[int, Move] = {}
        for moves in (self.going, self.waiting):
            ended |= {request: move for request, move in moves.items() if replica in (move.source, move.target)}
        for request, move in ended.items():
            self.waiting.pop(request, None)
            self.going.pop(request, None)
            move.target.expected -= 1
            if request in move.target.held:
                move.target.release(request)
            if move.transfer is not None:
                self.fabric.cancel(move.transfer)
        for target in dict.fromkeys(move.target for move in ended.values()):
            self.pull(target)
        return [(request, move.source) for request, move in ended.items()]

    def _start(self, request: int, move: Move, _: simpy.Event) -> None:
        if self.going.get(request) is not move:
            return
        rate = min(self.pools[each.pool].port_bytes_per_s for each in (move.source, move.target))
        if rate == math.inf:
            self._end(request, move, None)
            return
        ports = [self.port[each.number] for each in (move.source, move.target) if each.number in self.port]
        move.transfer = self.fabric.send(self._bytes(move), ports, rate)
        move.transfer.done.callbacks.append(partial(self._end, request, move))

    def _bytes(self, move: Move) -> float:
        pool = self.pools[move.source.pool]
        return pool.token_bytes * move.length + pool.state_bytes

    def _end(self, request: int, move: Move, _: simpy.Event | None) -> None:
        if self.going.get(request) is not move:
            return
        del self.going[request]
        move.target.expected -= 1
        move.target.release(request)
        self.moved_bytes += self._bytes(move)
        self.arrived(request, move.source, move.target)
