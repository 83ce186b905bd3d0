"""Where requests come from: a trace or a rate (open loop), or clients that wait for their answers (closed loop)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import simpy

from ..catalog.traffic import Requests
from . import state as at
from .replica import ARRIVALS, Moment, Process
from .state import Columns


class Sources:
    """The processes that send. send: lets a request in, False if it ends at once. open: how many still have requests."""

    def __init__(
        self, env: simpy.Environment, requests: Requests, columns: Columns, send: Callable[[int], bool]
    ) -> None:
        self.env = env
        self.requests = requests
        self.columns = columns
        self.send = send
        self.open = 0
        self.done: dict[int, simpy.Event] = {}

    def begin(self, host_s: float) -> None:
        """Start to send. host_s: until an answer has reached its client."""
        clients = self.requests.concurrency
        if clients is None:
            self.open = 1
            self.env.process(self._trace())
            return
        waiting = iter(range(len(self.requests)))
        self.open = min(clients, len(self.requests))
        for _ in range(self.open):
            self.env.process(self._client(waiting, host_s))

    def finished(self, request: int, replica: int, now: float) -> None:
        """The answer is complete."""
        self.done[request].succeed()

    def _trace(self) -> Process:
        """Open loop: requests come when they come."""
        for request, arrival_s in enumerate(self.requests.arrival_s.tolist()):
            if arrival_s > self.env.now:
                yield Moment(self.env, arrival_s, ARRIVALS)
            self.send(request)
        self.open = 0
        return
        yield  # a generator even without requests

    def _client(self, waiting: Iterator[int], host_s: float) -> Process:
        """Closed loop: one client, which sends its next request when its last one is done and has reached it."""
        for request in waiting:
            self.columns.times_s[request, at.ARRIVAL] = self.env.now
            self.done[request] = self.env.event()
            if self.send(request):
                yield self.done[request]
                if host_s:
                    yield self.env.timeout(host_s)
            del self.done[request]
        self.open -= 1
