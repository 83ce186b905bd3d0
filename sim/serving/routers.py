"""Routers: which replica a request goes to. Your own: a class with `choose(request, replicas)` that returns one of them;
its constructor takes one argument, a random generator of its own named stream, or none.

`replicas` are those that are up and serve the request's model, in the order of their numbers; there may be more or fewer of
them each time. Each model, and decode behind prefill, has a router of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from .replica import Replica


class Request(NamedTuple):
    """What a router knows of a request. input_tokens: prompt, with what was made before a failure; session: of which
    conversation, -1 unknown; blocks: ids of its prefix blocks; model: which of the fleet's."""

    id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    session: int = -1
    blocks: Sequence[int] = ()
    model: int = 0


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


class PowerOfTwo:
    """The less loaded of two that are drawn (Mitzenmacher, 2001): nearly as good as looking at all."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        if len(replicas) == 1:
            return replicas[0]
        first = int(self.random.integers(len(replicas)))
        second = int(self.random.integers(len(replicas) - 1))
        other = replicas[second + (second >= first)]
        return other if other.in_flight < replicas[first].in_flight else replicas[first]


class PrefixAware(LeastLoaded):
    """The one that holds most of the prompt's prefix, unless that is little of the prompt, or loads have grown apart: then the
    least loaded. The limits are those of the SGLang router (recalled)."""

    least_share = 0.5
    apart_requests, apart_ratio = 64, 1.5

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        loads = [replica.in_flight for replica in replicas]
        apart = max(loads) - min(loads) > self.apart_requests and max(loads) > self.apart_ratio * min(loads)
        best = max(replicas, key=lambda replica: replica.prefix_tokens(request.blocks))
        share = best.prefix_tokens(request.blocks) / request.input_tokens
        return super().choose(request, replicas) if apart or share <= self.least_share else best


class Session(LeastLoaded):
    """A conversation stays where it began, as long as that replica is there; a new one goes to the least loaded."""

    def __init__(self) -> None:
        self.homes: dict[int, int] = {}

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        home = self.homes.get(request.session)
        found = next((replica for replica in replicas if replica.number == home), None)
        chosen = found or super().choose(request, replicas)
        if request.session >= 0:
            self.homes[request.session] = chosen.number
        return chosen


ROUTERS: dict[str, type] = {
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
    "power_of_two": PowerOfTwo,
    "prefix_aware": PrefixAware,
    "session": Session,
}
