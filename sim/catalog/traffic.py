"""Requests: read from traces in their publishers' formats, or drawn from named random streams. Imports no Numba."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..seeds import generator
from .scenarios import Traffic
from .traces import Columns, read_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TokenArray = NDArray[np.int32]


@dataclass(frozen=True)
class Requests:
    """n requests in the order of their arrival; the first of a trace arrives at 0 s. All arrays are read-only.

    arrival_s, input_tokens, output_tokens: [n]; tokens are at least 1. blocks: ids of the prefix blocks of all requests one
    after another; those of request i are blocks[block_starts[i]:block_starts[i + 1]], `block_tokens` tokens each, equal ids
    are equal prefixes. sessions: [n], equal numbers belong to one conversation. concurrency: closed loop with so many
    clients, each of which sends its next request when its last one is done (then all arrive at 0). dropped: rows of a trace
    that were left out because no token went in or came out. models: [n], which of several models each asks for (None: all
    the first). name: for reports.
    """

    name: str
    arrival_s: FloatArray
    input_tokens: TokenArray
    output_tokens: TokenArray
    blocks: IntArray | None = None
    block_starts: IntArray | None = None
    block_tokens: int = 0
    sessions: IntArray | None = None
    concurrency: int | None = None
    dropped: int = 0
    models: IntArray | None = None

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def __len__(self) -> int:
        return len(self.arrival_s)


def read_trace(path: Path) -> Requests:
    """Read a trace, gzipped or not: Azure 2023 and 2024 CSV, BurstGPT CSV (both column sets), Mooncake JSONL.

    Rows without a token in or out (failed requests of BurstGPT) are left out and counted in `dropped`; rows out of order are
    sorted, equal times keep their order. Raises InputError with file, line and value for anything malformed.
    """
    columns = read_columns(path)
    kept = (columns.input_tokens > 0) & (columns.output_tokens > 0)
    if not kept.any():
        raise InputError(f"{path}: no request with tokens in and out. Give a trace with at least one.")
    order = np.flatnonzero(kept)
    order = order[np.argsort(columns.seconds[order], kind="stable")]
    arrival_s = columns.seconds[order]
    blocks, starts = _picked(columns, order)
    return Requests(
        name=path.name.removesuffix(".gz").rsplit(".", 1)[0],
        arrival_s=arrival_s - arrival_s[0],
        input_tokens=columns.input_tokens[order].astype(np.int32),
        output_tokens=columns.output_tokens[order].astype(np.int32),
        blocks=blocks,
        block_starts=starts,
        block_tokens=columns.block_tokens,
        sessions=None if columns.sessions is None else columns.sessions[order],
        dropped=int(len(kept) - kept.sum()),
    )


def _picked(columns: Columns, order: IntArray) -> tuple[IntArray | None, IntArray | None]:
    """The prefix blocks of the rows `order`, gathered in that order."""
    if columns.blocks is None or columns.block_starts is None:
        return None, None
    first, counts = columns.block_starts[order], np.diff(columns.block_starts)[order]
    starts = np.concatenate(([0], np.cumsum(counts)))
    rows = np.repeat(first - starts[:-1], counts) + np.arange(starts[-1])
    return columns.blocks[rows], starts


def poisson(rate: float, n: int, input: int, output: int, spread: float = 0.0, seed: int = 0) -> Requests:
    """n requests of a Poisson process of `rate` requests a second, lengths uniform in (1 - spread, 1) of the nominal ones."""
    if not rate > 0 or not np.isfinite(rate):
        raise InputError(f"rate = {rate!r} requests/s must be a positive number. Give a larger one.")
    lengths = _lengths(n, input, output, spread, seed)
    gaps_s = generator(seed, "traffic", "arrivals").exponential(1.0 / rate, n)
    return Requests(f"poisson-{rate:g}-per-s", np.cumsum(gaps_s), *lengths)


def closed_loop(concurrency: int, n: int, input: int, output: int, spread: float = 0.0, seed: int = 0) -> Requests:
    """n requests that `concurrency` clients send one after another: all wait from 0 s on, so many at once are let in."""
    if concurrency < 1:
        raise InputError(f"concurrency = {concurrency!r} must be at least 1. Give a larger one.")
    lengths = _lengths(n, input, output, spread, seed)
    return Requests(f"closed-loop-{concurrency}", np.zeros(n), *lengths, concurrency=concurrency)


def _lengths(n: int, input: int, output: int, spread: float, seed: int) -> tuple[TokenArray, TokenArray]:
    """Input and output tokens [n] each; the same seed gives the same lengths under every kind of arrival."""
    for name, value in (("requests", n), ("input_tokens", input), ("output_tokens", output)):
        if not 1 <= value < 2**31:
            raise InputError(f"{name} = {value!r} must be from 1 to 2147483647. Mend it.")
    if not 0 <= spread <= 1:
        raise InputError(f"spread = {spread!r} must lie between 0 and 1. Mend it.")
    drawn = []
    for name, nominal in (("input", input), ("output", output)):
        least = max(1, int(np.ceil((1.0 - spread) * nominal)))
        stream = generator(seed, "traffic", name)
        drawn.append(stream.integers(least, nominal, n, dtype=np.int32, endpoint=True))
    return drawn[0], drawn[1]


def scaled(requests: Requests, rate: float = 1.0, length: float = 1.0) -> Requests:
    """The requests `rate` times as fast, `length` times as long. Prefix blocks are given up where lengths change."""
    if not (0 < rate < np.inf and 0 < length < np.inf):
        raise InputError(f"scale_rate = {rate!r}, scale_length = {length!r}: both must be positive. Mend them.")
    changes: dict[str, Any] = {"arrival_s": requests.arrival_s / rate}
    if length != 1.0:
        for name in ("input_tokens", "output_tokens"):
            tokens = np.rint(getattr(requests, name) * length)
            changes[name] = np.clip(tokens, 1, 2**31 - 1).astype(np.int32)
        changes |= {"blocks": None, "block_starts": None, "block_tokens": 0}
    return replace(requests, **changes)


def requests(traffic: Traffic, seed: int, folders: Sequence[Path] = ()) -> Requests:
    """The requests that a scenario asks for; a relative trace is looked up here, then in `folders`.

    Raises InputError unless exactly one of trace, rate and concurrency is given, with lengths for the latter two.
    """
    return _with_models(_requests(traffic, seed, folders), traffic.shares(), seed)


def _requests(traffic: Traffic, seed: int, folders: Sequence[Path]) -> Requests:
    given = {"trace": traffic.trace, "rate": traffic.rate_requests_per_s, "concurrency": traffic.concurrency}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise InputError(
            f"demand: {' and '.join(chosen) or 'nothing'} is given. Give exactly one of trace, rate and concurrency."
        )
    if traffic.trace is not None:
        whole = read_trace(_found(traffic.trace, folders))
        return scaled(_first(whole, traffic.requests), traffic.scale_rate, traffic.scale_length)
    if traffic.input_tokens is None or traffic.output_tokens is None:
        missing = "input_tokens" if traffic.input_tokens is None else "output_tokens"
        raise InputError(f"demand.{missing} is missing. Add it, or give a trace.")
    shape = (traffic.input_tokens, traffic.output_tokens, traffic.spread, seed)
    if traffic.rate_requests_per_s is not None:
        drawn = poisson(traffic.rate_requests_per_s, traffic.requests or 1000, *shape)
    else:
        clients = traffic.concurrency or 1
        drawn = closed_loop(clients, traffic.requests or 10 * clients, *shape)
    return scaled(drawn, traffic.scale_rate, traffic.scale_length)


def _with_models(drawn: Requests, shares: dict[str, float], seed: int) -> Requests:
    """Each request asks for one of the models, in these shares."""
    if not shares:
        return drawn
    weights = np.array(list(shares.values()))
    stream = generator(seed, "traffic", "models")
    return replace(drawn, models=stream.choice(len(weights), len(drawn), p=weights / weights.sum()).astype(np.int64))


def _found(trace: str, folders: Sequence[Path]) -> Path:
    candidates = [Path(trace), *(folder / trace for folder in folders)]
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(f"demand.trace = {trace!r}: no such file. Give the path of a trace.")


def _first(whole: Requests, n: int | None) -> Requests:
    if n is None or n >= len(whole):
        return whole
    starts = whole.block_starts
    return replace(
        whole,
        arrival_s=whole.arrival_s[:n],
        input_tokens=whole.input_tokens[:n],
        output_tokens=whole.output_tokens[:n],
        blocks=whole.blocks[: starts[n]] if whole.blocks is not None and starts is not None else None,
        block_starts=starts[: n + 1] if starts is not None else None,
        sessions=whole.sessions[:n] if whole.sessions is not None else None,
    )
