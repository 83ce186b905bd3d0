"""Requests: read from traces in their publishers' formats, or drawn from named random streams. Imports no Numba."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..seeds import generator
from .generators import Generator, drawn, read_generator
from .scenarios import Traffic
from .traces import Columns, read_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TokenArray = NDArray[np.int32]

BLOCK_TOKENS = 16  # of a prefix block of drawn conversations
GENERATED = 1000  # requests that are drawn where nothing says how many


@dataclass(frozen=True)
class Requests:
    """n requests in the order of their arrival; the first of a trace arrives at 0 s. All arrays are read-only.

    arrival_s, input_tokens, output_tokens: [n]; tokens are at least 1. blocks: ids of the prefix blocks of all requests one
    after another; those of request i are blocks[block_starts[i]:block_starts[i + 1]], `block_tokens` tokens each, equal ids
    are equal prefixes. sessions: [n], equal numbers belong to one conversation. concurrency: closed loop with so many
    clients, each of which sends its next request when its last one is done (then all arrive at 0). dropped: rows of a trace
    that were left out because no token went in or came out. models: [n], which of several models each asks for (None: all
    the first). follows: [n], the turn before in the same conversation, -1 for a first turn; a later turn arrives think_s after
    that one's answer, whatever its arrival_s. priority: [n], lower numbers go first where the
    scheduler asks for it. name: for reports.
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
    follows: IntArray | None = None
    priority: IntArray | None = None
    think_s: float = 0.0

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
        priority=None if columns.priority is None else columns.priority[order],
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
    lengths = _lengths(n, input, output, spread, seed)
    return Requests(f"poisson-{rate:g}-per-s", np.cumsum(_gaps_s(rate, n, 1.0, seed)), *lengths)


def bursty(rate: float, n: int, variation: float, lengths: tuple[int, int, float], seed: int = 0) -> Requests:
    """n requests whose gaps are gamma distributed: `variation` is their standard deviation over their mean (1: Poisson).

    lengths: input tokens, output tokens, spread, as of `poisson`.
    """
    gaps_s = _gaps_s(rate, n, variation, seed)
    return Requests(f"gamma-{rate:g}-per-s", np.cumsum(gaps_s), *_lengths(n, *lengths, seed))


def _gaps_s(rate: float, n: int, variation: float, seed: int) -> FloatArray:
    for name, value in (("rate", rate), ("gap_variation", variation)):
        if not value > 0 or not np.isfinite(value):
            raise InputError(f"{name} = {value!r} must be a positive number. Give a larger one.")
    stream = generator(seed, "traffic", "arrivals")
    if variation == 1.0:
        return stream.exponential(1.0 / rate, n)
    shape = variation**-2.0
    return stream.gamma(shape, 1.0 / (rate * shape), n)


def conversations(requests: Requests, turns: int, think_s: float) -> Requests:
    """The requests as turns of conversations, `turns` each: a prompt is all that was said before plus its own tokens.

    An open loop's conversations begin where the requests of every `turns`-th one arrived; a turn comes `think_s` after the
    answer before it. Prefix blocks of 16 tokens say what a turn shares with the one before it. n is cut to whole conversations.
    """
    n = len(requests) // turns * turns
    if n == 0:
        raise InputError(f"turns = {turns}, but there are {len(requests)} requests. Give at least one conversation's.")
    own, made = (
        tokens[:n].reshape(-1, turns).astype(np.int64) for tokens in (requests.input_tokens, requests.output_tokens)
    )
    before = np.cumsum(own + made, axis=1) - made - own
    given = before + own
    if given.max() >= 2**31:
        raise InputError(f"turns = {turns}: a conversation reaches {given.max()} tokens. Give fewer or shorter turns.")
    places = np.arange(n).reshape(-1, turns)
    follows = np.where(np.arange(turns) > 0, places - 1, -1)
    counts = (given // BLOCK_TOKENS).ravel()
    starts = np.concatenate(([0], np.cumsum(counts)))
    conversation = np.repeat(np.arange(n) // turns, counts)
    block = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
    arrival_s = np.repeat(requests.arrival_s[:n:turns], turns)
    return replace(
        requests,
        name=f"{requests.name}-{turns}-turns",
        arrival_s=arrival_s,
        input_tokens=given.ravel().astype(np.int32),
        output_tokens=made.ravel().astype(np.int32),
        blocks=conversation * (int(block.max(initial=0)) + 1) + block,
        block_starts=starts,
        block_tokens=BLOCK_TOKENS,
        sessions=np.arange(n) // turns,
        follows=follows.ravel(),
        think_s=think_s,
    )


def generated(kind: Generator, n: int, name: str, seed: int = 0) -> Requests:
    """n requests of a generator that was fitted to a trace."""
    return Requests(name, *drawn(kind, n, seed))


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

    Raises InputError unless exactly one of trace, generator, rate and concurrency is given, with lengths for the latter two.
    """
    given = {
        "trace": traffic.trace,
        "generator": traffic.generator,
        "rate": traffic.rate_requests_per_s,
        "concurrency": traffic.concurrency,
    }
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise InputError(
            f"demand: {' and '.join(chosen) or 'nothing'} is given. Give exactly one of {', '.join(given)}."
        )
    _check_shape(traffic, chosen[0])
    found = scaled(_asked(traffic, seed, folders), traffic.scale_rate, traffic.scale_length)
    if traffic.turns > 1:
        found = conversations(found, traffic.turns, traffic.think_s)
    return _with_models(found, traffic.shares(), seed)


def _check_shape(traffic: Traffic, chosen: str) -> None:
    """Raises InputError for what the chosen kind of demand cannot take."""
    takes_lengths = chosen in ("rate", "concurrency")
    if takes_lengths:
        missing = [name for name in ("input_tokens", "output_tokens") if getattr(traffic, name) is None]
        if missing:
            raise InputError(f"demand.{missing[0]} is missing. Add it, or give a trace.")
    if traffic.gap_variation != 1.0 and chosen != "rate":
        raise InputError(
            f"demand.gap_variation = {traffic.gap_variation:g} with a {chosen}: it shapes the arrivals of a rate. Drop it."
        )
    if traffic.turns > 1 and not takes_lengths:
        raise InputError(
            f"demand.turns = {traffic.turns} with a {chosen}: turns are drawn for a rate or concurrency. Drop it."
        )


def _asked(traffic: Traffic, seed: int, folders: Sequence[Path]) -> Requests:
    if traffic.trace is not None:
        return _first(read_trace(_found(traffic.trace, folders)), traffic.requests)
    if traffic.generator is not None:
        path = _found(traffic.generator, folders)
        return generated(read_generator(path), traffic.requests or GENERATED, path.stem, seed)
    lengths = (traffic.input_tokens or 1, traffic.output_tokens or 1, traffic.spread)
    if traffic.rate_requests_per_s is not None:
        n = traffic.requests or GENERATED
        if traffic.gap_variation != 1.0:
            return bursty(traffic.rate_requests_per_s, n, traffic.gap_variation, lengths, seed)
        return poisson(traffic.rate_requests_per_s, n, *lengths, seed)
    clients = traffic.concurrency or 1
    return closed_loop(clients, traffic.requests or 10 * clients, *lengths, seed)


def _with_models(drawn: Requests, shares: dict[str, float], seed: int) -> Requests:
    """Each request, or each conversation, asks for one of the models, in these shares."""
    if not shares:
        return drawn
    weights = np.array(list(shares.values()))
    stream = generator(seed, "traffic", "models")
    models = stream.choice(len(weights), len(drawn), p=weights / weights.sum()).astype(np.int64)
    return replace(drawn, models=models if drawn.follows is None or drawn.sessions is None else models[drawn.sessions])


def _found(trace: str, folders: Sequence[Path]) -> Path:
    candidates = [Path(trace), *(folder / trace for folder in folders)]
    for path in candidates:
        if os.path.isfile(path):  # a name that no file can have is none
            return path
    raise InputError(f"demand: {trace!r}: no such file. Give the path of a trace or generator.")


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
        priority=whole.priority[:n] if whole.priority is not None else None,
    )
