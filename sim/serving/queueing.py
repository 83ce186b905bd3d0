"""A closed queueing network of two stations, event by event: clients of a bench start together and stay near each other."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from .state import FloatArray


def closed_network(servers: int, passes_s: FloatArray, delays_s: FloatArray) -> float:
    """Mean time at a queue with so many equal servers that take whoever waits, first come, first served, in passes of up to n
    clients. passes_s [n]: duration of a pass of 1, 2, ... clients [s].

    delays_s [rounds, clients]: what a client spends elsewhere, uncontended, after each visit. All come at once first.
    """
    rounds, clients = delays_s.shape
    away_s, durations_s, most = delays_s.tolist(), passes_s.tolist(), len(passes_s)
    ready, free, visits = [(0.0, client) for client in range(clients)], [0.0] * servers, [0] * clients
    heapify(ready)
    spent_s = 0.0
    while ready:
        begins = max(ready[0][0], heappop(free))
        taken = [heappop(ready)]
        while ready and len(taken) < most and ready[0][0] <= begins:
            taken.append(heappop(ready))
        end = begins + durations_s[len(taken) - 1]
        heappush(free, end)
        for came, client in taken:
            spent_s += end - came
            visits[client] += 1
            if visits[client] < rounds:
                heappush(ready, (end + away_s[visits[client] - 1][client], client))
    return float(spent_s / (rounds * clients))
