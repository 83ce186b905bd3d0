"""A closed queueing network of two stations, event by event: clients of a bench start together and stay near each other."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from .state import FloatArray


def closed_network(servers: int, service_s: float, delays_s: FloatArray) -> float:
    """Mean time at a queue with so many equal servers and constant service [s], first come, first served.

    delays_s [rounds, clients]: what a client spends elsewhere, uncontended, after each visit. All come at once first.
    """
    rounds, clients = delays_s.shape
    away_s = delays_s.tolist()
    ready, free, visits = [(0.0, client) for client in range(clients)], [0.0] * servers, [0] * clients
    heapify(ready)
    spent_s = 0.0
    while ready:
        now, client = heappop(ready)
        end = max(now, heappop(free)) + service_s
        heappush(free, end)
        spent_s += end - now
        visits[client] += 1
        if visits[client] < rounds:
            heappush(ready, (end + away_s[visits[client] - 1][client], client))
    return float(spent_s / (rounds * clients))
