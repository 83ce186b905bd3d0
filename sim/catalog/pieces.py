"""The requests of an open loop a piece at a time, the same as `traffic.requests` draws at once: a long run need not hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..seeds import generator
from .scenarios import Traffic
from .traffic import GENERATED, Requests, requests, scaled

PIECE = 50_000  # requests


def count_of(traffic: Traffic) -> int | None:
    """Requests of a rate; None: a file says how many."""
    return None if traffic.rate_requests_per_s is None else traffic.requests or GENERATED


def pieces(traffic: Traffic, seed: int, folders: Sequence[Path] = (), size: int = PIECE) -> Iterator[Requests]:
    """Pieces of at most `size` requests in the order of arrival; those of a rate are drawn as they are asked for.

    Raises InputError for a closed loop, conversations and several models, which need all that came before, as `requests` does else.
    """
    for name, asked in (
        ("concurrency", traffic.concurrency),
        ("models", traffic.shares()),
        ("turns", traffic.turns > 1),
    ):
        if asked:
            raise InputError(
                f"demand.{name}: a streamed run takes an open loop of single requests. Leave --stream out."
            )
    if traffic.rate_requests_per_s is None:
        whole = requests(traffic, seed, folders)
        return (_slice(whole, first, size) for first in range(0, len(whole), size))
    requests(traffic.with_(requests=1), seed, folders)  # says what is wrong
    return _drawn(traffic, seed, size)


def _slice(whole: Requests, first: int, size: int) -> Requests:
    at = slice(first, first + size)
    return Requests(
        whole.name, whole.arrival_s[at], whole.input_tokens[at], whole.output_tokens[at],
        sessions=None if whole.sessions is None else whole.sessions[at],
        dropped=whole.dropped if first == 0 else 0,
    )  # fmt: skip


def _drawn(traffic: Traffic, seed: int, size: int) -> Iterator[Requests]:
    """Each of the streams that a whole run draws from, read on."""
    rate, total = traffic.rate_requests_per_s or 1.0, traffic.requests or GENERATED
    gaps, *lengths = (generator(seed, "traffic", name) for name in ("arrivals", "input", "output"))
    nominal = (traffic.input_tokens or 1, traffic.output_tokens or 1)
    least = [max(1, int(np.ceil((1.0 - traffic.spread) * each))) for each in nominal]
    shape, last_s = traffic.gap_variation**-2.0, 0.0
    for first in range(0, total, size):
        n = min(size, total - first)
        plain = traffic.gap_variation == 1.0
        gaps_s = gaps.exponential(1.0 / rate, n) if plain else gaps.gamma(shape, 1.0 / (rate * shape), n)
        gaps_s[0] += last_s
        arrival_s = np.cumsum(gaps_s)
        last_s = float(arrival_s[-1])
        tokens = [
            stream.integers(low, high, n, dtype=np.int32, endpoint=True)
            for stream, low, high in zip(lengths, least, nominal, strict=True)
        ]
        yield replace(
            scaled(Requests("drawn", arrival_s, tokens[0], tokens[1]), traffic.scale_rate, traffic.scale_length),
            name=f"rate-{rate:g}-per-s",
        )
