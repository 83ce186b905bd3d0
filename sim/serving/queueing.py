"""A closed queueing network of two stations, event by event: clients of a bench start together and stay near each other."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

from ..seeds import generator
from .state import FloatArray

COMES, ENDS = 0, 1


def closed_network(servers: int, passes_s: FloatArray, delays_s: FloatArray, ranks: int = 1) -> float:
    """Mean time at a station of so many equal servers, each with a queue that clients are dealt to in turn.

    A server works in passes. Of each of its ranks, which clients are dealt to by lot, a pass takes who waits there, first come,
    first served, up to n; passes_s [n]: its duration if the fullest rank has 1, 2, ... clients [s].
    delays_s [rounds, clients]: what a client spends elsewhere, uncontended, after each visit. All come at once first.
    """
    rounds, clients = delays_s.shape
    away_s = delays_s.tolist()
    stations = [_Server(passes_s.tolist(), ranks) for _ in range(servers)]
    lots = generator(0, "ranks").integers(0, ranks, (rounds, clients)).tolist()
    events, visits = [(0.0, COMES, client) for client in range(clients)], [0] * clients
    heapify(events)
    spent_s, came = 0.0, 0
    stirred: set[int] = set()
    while events:
        now, kind, who = heappop(events)
        if kind == COMES:
            place, came = came % servers, came + 1
            stations[place].waiting[lots[visits[who]][who]].append((now, who))
        else:
            place = who
            for began, client in stations[place].at_work:
                spent_s += now - began
                visits[client] += 1
                if visits[client] < rounds:
                    heappush(events, (now + away_s[visits[client] - 1][client], COMES, client))
            stations[place].at_work = []
        stirred.add(place)
        if not events or events[0][:2] != (now, COMES):  # a pass takes who comes at the same moment too
            for number in sorted(stirred):
                lasts_s = stations[number].next_pass_s()
                if lasts_s:
                    heappush(events, (now + lasts_s, ENDS, number))
            stirred = set()
    return float(spent_s / (rounds * clients))


class _Server:
    """Queues of the ranks of one server, and whom it works on."""

    def __init__(self, passes_s: list[float], ranks: int) -> None:
        self.passes_s = passes_s
        self.waiting: list[deque[tuple[float, int]]] = [deque() for _ in range(ranks)]
        self.at_work: list[tuple[float, int]] = []

    def next_pass_s(self) -> float:
        """Take who waits and say how long it takes [s]; 0 while at work, and where nobody waits."""
        if self.at_work:
            return 0.0
        fullest = 0
        for queue in self.waiting:
            taken = min(len(queue), len(self.passes_s))
            self.at_work += [queue.popleft() for _ in range(taken)]
            fullest = max(fullest, taken)
        return self.passes_s[fullest - 1] if fullest else 0.0
