"""A client pool of ServeGen -> a generator: `chunk-N-trace.csv` (start, rate, cv, distribution, shape, scale of each window of a
client) and `chunk-N-dataset.json` ({start: {input_tokens: "{length: share}", output_tokens: ...}}).

Formats: ServeGen clientpool.py (2025). Clients are independent renewal processes: their sum has the sum of the rates, and in the
long run the variance of counts over their mean is the mean of cv squared, weighted by rate.
"""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .generators import QUANTILES, Generator
from .imported import Note
from .imports import csv_rows, text_of

FloatArray = NDArray[np.float64]
_WIDTH = 6
_MOST_LENGTH = 2**31 - 1
_PARTS = ("input_tokens", "output_tokens")


class Pool(NamedTuple):
    """The generator, how many clients it stands for, and what was assumed."""

    generator: Generator
    clients: int
    assumed: tuple[Note, ...]


class _Window(NamedTuple):
    start_s: float
    rate: float
    variation: float


def chunks_of(folder: Path) -> list[Path]:
    """The traces of the clients of a pool, in order; [] for a folder that is none."""
    return sorted(folder.glob("chunk-*-trace.csv"), key=lambda path: (len(path.name), path.name))


def read_pool(folder: Path) -> Pool:
    """The generator of a folder's clients. Raises InputError with file, line and value for what is malformed."""
    traces = chunks_of(folder)
    if not traces:
        raise InputError(f"{folder}: no chunk-N-trace.csv is in it. Give the folder of a ServeGen client pool.")
    windows: dict[float, list[_Window]] = {}
    lengths: dict[str, dict[int, float]] = {part: {} for part in _PARTS}
    for path in traces:
        own = _windows(path)
        for each in own:
            windows.setdefault(each.start_s, []).append(each)
        beside = path.with_name(path.name.replace("-trace.csv", "-dataset.json"))
        _add_lengths(lengths, beside, own)
    return Pool(_generator(folder.name, windows, lengths), len(traces), _ASSUMED)


_ASSUMED = (
    Note("distribution, shape, scale", "gamma", "gaps are drawn as gamma ones of the same variation"),
    Note("clients", "summed", "one stream with the rate of all; which client sends is not kept"),
    Note("correlation", "0", "a data set holds inputs and outputs apart"),
)


def _windows(path: Path) -> list[_Window]:
    found = []
    for place, row in csv_rows(text_of(path), str(path)):
        if len(row) < _WIDTH:
            raise InputError(f"{place}: {len(row)} columns, not {_WIDTH}. Mend the line.")
        start_s, rate, variation = (_number(row[i], f"{place}: column {i + 1}") for i in range(3))
        found.append(_Window(start_s, rate, variation))
    if not found:
        raise InputError(f"{path}: no window is in it. Remove the client, or mend the file.")
    return found


def _number(text: object, place: str) -> float:
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not 0.0 <= value < 1e15:
        raise InputError(f"{place} = {str(text)[:60]!r} is not a number from 0 on. Mend the line.")
    return value


def _add_lengths(lengths: dict[str, dict[int, float]], path: Path, windows: list[_Window]) -> None:
    """Shares of each length, weighted by how many requests the client sends while its window lasts."""
    try:
        document: Any = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({str(error)[:80]}). Mend the file.") from None
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path}: must be an object by start of a window. Mend the file.")
    weights = {window.start_s: window.rate for window in windows}
    mean = sum(weights.values()) / len(weights)
    for start, parts in document.items():
        weight = weights.get(_number(start, f"{path}: start"), mean)
        for part in _PARTS:
            text = parts.get(part) if isinstance(parts, dict) else None
            shares = _shares(text, f"{path}: {start[:20]}.{part}")
            for length, share in shares.items():
                lengths[part][length] = lengths[part].get(length, 0.0) + weight * share


def _shares(text: Any, place: str) -> dict[int, float]:
    """`{100: 0.5, 200: 0.5}`, as text or as an object; shares of all made 1."""
    found: Any = text
    if isinstance(text, str):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            found = None
    if not isinstance(found, dict) or not found:
        raise InputError(f"{place} = {str(text)[:60]!r} is not such as {{100: 0.5, 200: 0.5}}. Mend it.")
    shares = {}
    for length, share in found.items():
        size = _number(length, f"{place}: length")
        if not 0 < size <= _MOST_LENGTH or size != int(size):
            raise InputError(f"{place}: length = {str(length)[:60]} is not a whole number above 0. Mend it.")
        shares[int(size)] = _number(share, f"{place}: share of {int(size)}")
    total = math.fsum(shares.values())
    if total <= 0.0:
        raise InputError(f"{place}: the shares add up to 0. Mend them.")
    return {length: share / total for length, share in shares.items()}


def _generator(name: str, windows: dict[float, list[_Window]], lengths: dict[str, dict[int, float]]) -> Generator:
    starts = sorted(windows)
    gaps = np.diff(starts)
    width_s = float(np.median(gaps)) if len(gaps) else 600.0
    if len(gaps) and (gaps != width_s).any():
        raise InputError(
            f"{name}: windows are not evenly spaced ({gaps.min():g} to {gaps.max():g} s). Mend the starts."
        )
    rates = np.array([sum(window.rate for window in windows[start]) for start in starts])
    everything = [window for each in windows.values() for window in each]
    total = sum(window.rate for window in everything)
    if not (rates > 0.0).all():
        bad = starts[int(np.argmin(rates > 0.0))]
        raise InputError(
            f"{name}: no client sends in the window that starts at {bad:g} s. Cut the pool to what is sent."
        )
    spread = math.fsum(window.rate * window.variation**2 for window in everything) / total
    quantiles = {part: _quantiles(shares) for part, shares in lengths.items()}
    return Generator(
        source=f"ServeGen client pool {name}",
        rate_requests_per_s=float(rates.mean()),
        gap_variation=max(1e-3, math.sqrt(spread)),
        period_s=width_s * len(starts),
        profile=tuple(float(rate / rates.mean()) for rate in rates),
        **quantiles,
    )


def _quantiles(shares: dict[int, float]) -> Any:
    """Evenly spaced quantiles of lengths by weight."""
    sizes = np.array(sorted(shares))
    reached = np.cumsum([shares[int(size)] for size in sizes])
    at = np.searchsorted(reached, np.linspace(0.0, 1.0, QUANTILES) * reached[-1], side="left")
    return tuple(int(sizes[min(i, len(sizes) - 1)]) for i in at)
