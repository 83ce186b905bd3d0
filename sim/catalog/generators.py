"""Traffic as a few numbers: fitted to a trace, kept as a YAML file, drawn from again in any amount."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ..errors import InputError
from ..seeds import generator
from .records import Count, Positive, Record, Text, read

FloatArray = NDArray[np.float64]
TokenArray = NDArray[np.int32]

QUANTILES = 41  # from the least to the most, evenly spaced
WINDOWS = 24
FEWEST_A_WINDOW = 100  # below that a window's rate is chance


class Generator(Record):
    """Arrivals: a renewal process of gamma gaps whose rate follows a profile. Lengths: quantiles, joined by a Gaussian copula."""

    source: Text
    rate_requests_per_s: Positive = Field(description="mean over the whole period")
    gap_variation: Positive = Field(
        description="standard deviation of the gaps over their mean, the profile taken out; 1 = Poisson"
    )
    period_s: Positive = Field(description="time that the profile spans; it starts over after that")
    profile: tuple[Positive, ...] = Field(
        (1.0,), description="rate in equal parts of the period, relative to its mean", min_length=1
    )
    input_tokens: tuple[Count, ...] = Field(description="quantiles, evenly spaced from 0 to 1", min_length=2)
    output_tokens: tuple[Count, ...] = Field(description="quantiles, evenly spaced from 0 to 1", min_length=2)
    correlation: float = Field(0.0, ge=-1.0, le=1.0, description="of the normal scores of input and output tokens")

    @field_validator("input_tokens", "output_tokens")
    @classmethod
    def _ordered(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(later < earlier for earlier, later in pairwise(values)):
            raise ValueError("quantiles must not fall")
        return values


def read_generator(path: Path) -> Generator:
    """Read the YAML file of a generator. Raises InputError with file, key, value and remedy."""
    return read(Generator, path)


def fitted(source: str, arrival_s: FloatArray, input_tokens: TokenArray, output_tokens: TokenArray) -> Generator:
    """The generator of a trace [n], arrivals in order.

    Raises InputError for fewer than two requests, or where all come at once: they have no rate.
    """
    n = len(arrival_s)
    span_s = float(arrival_s[-1] - arrival_s[0]) if n else 0.0
    if n < 2 or span_s <= 0.0:
        raise InputError(f"{source}: {n} requests within {span_s:g} s have no rate. Give a trace that takes some time.")
    period_s = span_s * n / (n - 1)  # a gap for each request
    windows = max(1, min(WINDOWS, n // FEWEST_A_WINDOW))
    counts, _ = np.histogram(arrival_s - arrival_s[0], bins=windows, range=(0.0, period_s))
    profile = np.maximum(counts, 1) / np.maximum(counts, 1).mean()
    gaps = np.diff(_unwarped(arrival_s - arrival_s[0], profile, period_s))
    at = np.linspace(0.0, 1.0, QUANTILES)
    scores = [_normal_scores(tokens) for tokens in (input_tokens, output_tokens)]
    varied = all(score.std() > 0.0 for score in scores)
    return Generator(
        source=source,
        rate_requests_per_s=n / period_s,
        gap_variation=max(1e-3, float(gaps.std() / gaps.mean())),
        period_s=period_s,
        profile=tuple(float(round(p, 4)) for p in profile),
        input_tokens=tuple(int(q) for q in np.quantile(input_tokens, at, method="nearest")),
        output_tokens=tuple(int(q) for q in np.quantile(output_tokens, at, method="nearest")),
        correlation=float(np.corrcoef(scores[0], scores[1])[0, 1]) if varied else 0.0,
    )


def drawn(kind: Generator, n: int, seed: int) -> tuple[FloatArray, TokenArray, TokenArray]:
    """Arrivals [s], input tokens, output tokens of n requests, [n] each. The first arrives at 0."""
    shape = kind.gap_variation**-2.0
    operational = generator(seed, "traffic", "arrivals").gamma(shape, 1.0 / shape, n).cumsum()
    profile = np.array(kind.profile)
    arrival_s = _warped(operational / kind.rate_requests_per_s, profile / profile.mean(), kind.period_s)
    first = generator(seed, "traffic", "input").standard_normal(n)
    other = generator(seed, "traffic", "output").standard_normal(n)
    second = kind.correlation * first + np.sqrt(1.0 - kind.correlation**2) * other
    return arrival_s - arrival_s[0], _tokens(first, kind.input_tokens), _tokens(second, kind.output_tokens)


def _tokens(scores: FloatArray, quantiles: tuple[int, ...]) -> TokenArray:
    """Tokens of standard normal scores, straight between the quantiles of their logarithm."""
    from scipy.special import ndtr

    at = np.linspace(0.0, 1.0, len(quantiles))
    return np.asarray(np.rint(np.exp(np.interp(ndtr(scores), at, np.log(quantiles)))), dtype=np.int32)


def _normal_scores(values: TokenArray) -> FloatArray:
    """Standard normal scores of mid-ranks; equal values get equal scores."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)), dtype=np.float64)


def _warped(mean_s: FloatArray, profile: FloatArray, period_s: float) -> FloatArray:
    """Times of a process of constant rate -> times at which one that follows the profile has done as much."""
    ends = np.concatenate(([0.0], np.cumsum(profile))) / profile.sum() * period_s
    clock = np.linspace(0.0, period_s, len(profile) + 1)
    whole = np.floor(mean_s / period_s)
    return whole * period_s + np.interp(mean_s - whole * period_s, ends, clock)


def _unwarped(time_s: FloatArray, profile: FloatArray, period_s: float) -> FloatArray:
    """The inverse of `_warped`, within one period."""
    ends = np.concatenate(([0.0], np.cumsum(profile))) / profile.sum() * period_s
    return np.asarray(np.interp(time_s, np.linspace(0.0, period_s, len(profile) + 1), ends))
