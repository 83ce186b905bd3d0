"""Routers: which replica a request goes to. Your own: a class with `choose(request, replicas)` that returns one of them;
its constructor takes one argument, a random generator of its own named stream, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .replica import Replica


class Request(NamedTuple):
    """What a router knows of a request."""

    id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int


class Router(Protocol):
    """The one method that a router needs."""

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica: ...


class RoundRobin:
    """Each in turn."""

    def __init__(self) -> None:
        self.turn = -1

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        self.turn = (self.turn + 1) % len(replicas)
        return replicas[self.turn]


class LeastLoaded:
    """The one with the fewest requests in flight; of equals, the first."""

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        return min(replicas, key=lambda replica: replica.in_flight)


ROUTERS: dict[str, type] = {"round_robin": RoundRobin, "least_loaded": LeastLoaded}
