"""Where requests come from: a trace or a rate (open loop), or clients that wait for their answers (closed loop). In both, a turn of a
conversation comes some time after the answer before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import simpy

from ..catalog.traffic import Requests
from . import state as at
from .replica import ARRIVALS, Moment, Process
from .state import Columns


class Sources:
    """The processes that send. send: lets a request in, False if it ends at once. open: how many still have requests.
    listens: they must hear of every end."""

    def __init__(
        self, env: simpy.Environment, requests: Requests, columns: Columns, send: Callable[[int], bool]
    ) -> None:
        self.env = env
        self.requests = requests
        self.columns = columns
        self.send = send
        self.open = 0
        self.done: dict[int, simpy.Event] = {}
        self.listens = requests.concurrency is not None or requests.follows is not None
        follows = np.full(len(requests), -1) if requests.follows is None else requests.follows
        self.first = np.flatnonzero(follows < 0).tolist()
        self.next = {int(follows[i]): int(i) for i in np.flatnonzero(follows >= 0)}

    def begin(self, host_s: float) -> None:
        """Start to send. host_s: until an answer has reached its client."""
        clients = self.requests.concurrency
        if clients is None:
            self.open = 1
            self.env.process(self._trace(host_s))
            return
        waiting = iter(self.first)
        self.open = min(clients, len(self.first))
        for _ in range(self.open):
            self.env.process(self._client(waiting, host_s))

    def ended(self, request: int, replica: int, now: float) -> None:
        """The answer is complete, or there will be none."""
        self.done[request].succeed()

    def _trace(self, host_s: float) -> Process:
        """Open loop: requests come when they come."""
        arrival_s = self.requests.arrival_s
        for request in self.first:
            if arrival_s[request] > self.env.now:
                yield Moment(self.env, float(arrival_s[request]), ARRIVALS)
            if self.listens:
                self.open += 1
                self.env.process(self._client(iter([request]), host_s))
            else:
                self.send(request)
        self.open -= 1
        return
        yield  # a generator even without requests

    def _client(self, waiting: Iterator[int], host_s: float) -> Process:
        """One client, which sends its next request when its last one is done and has reached it."""
        for request in waiting:
            yield from self._turn(request, host_s)
            while (request := self.next.get(request, -1)) >= 0:
                if self.requests.think_s:
                    yield self.env.timeout(self.requests.think_s)
                yield from self._turn(request, host_s)
        self.open -= 1

    def _turn(self, request: int, host_s: float) -> Process:
        self.columns.times_s[request, at.ARRIVAL] = self.env.now
        self.done[request] = self.env.event()
        if self.send(request):
            yield self.done[request]
            if host_s:
                yield self.env.timeout(host_s)
        del self.done[request]
