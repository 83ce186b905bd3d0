"""A closed queueing network of two stations, by mean value analysis."""

from __future__ import annotations


def closed_network(clients: int, servers: int, service_s: float, delay_s: float) -> float:
    """Mean time at a queue with so many equal servers [s], for clients that afterwards spend delay_s elsewhere, uncontended.

    Exact for one server with exponential service; several servers count as one that is as fast as all of them, and a delay
    for the rest of a service (Seidmann, Schweitzer and Shalev-Oren, 1987). Source: Reiser and Lavenberg, 1980.
    """
    fast_s, rest_s = service_s / servers, service_s * (servers - 1) / servers
    queued, at_queue_s = 0.0, fast_s
    for present in range(1, clients + 1):
        at_queue_s = fast_s * (1.0 + queued)
        rate = present / (at_queue_s + rest_s + delay_s)
        queued = rate * at_queue_s
    return at_queue_s + rest_s
