"""Figures of a serving run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..catalog.scenarios import Slo
from . import state as at
from .run import Served
from .state import GAP_BINS, FloatArray, IntArray

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Metrics:
    """Figures by name (SI units, as the name ends), and the per-request columns that they come from."""

    figures: dict[str, float]
    ttft_s: FloatArray
    tpot_s: FloatArray
    latency_s: FloatArray
    good: NDArray[np.bool_] = field(repr=False)

    def __getitem__(self, name: str) -> float:
        return self.figures[name]


def metrics(served: Served, slo: Slo = Slo()) -> Metrics:  # noqa: B008 (frozen)
    """Figures of all finished requests; those that were not served count as misses of the SLO.

    ttft_s, tpot_s, itl_s, latency_s: each with _mean, _p50, _p90, _p95, _p99 (itl percentiles to 1.8%, from bins). A request
    of one token has no tpot. slo_met: 1 if the SLO's percentile of requests keeps every limit.
    """
    done = served.finished
    arrival_s, first_s, finish_s = served.arrival_s[done], served.first_token_s[done], served.finish_s[done]
    made = served.output_tokens[done]
    ttft_s, latency_s = first_s - arrival_s, finish_s - arrival_s
    several = made > 1
    tpot_s = np.full(len(made), np.nan)
    tpot_s[several] = (finish_s - first_s)[several] / (made[several] - 1)
    kept = good(slo, ttft_s, tpot_s, latency_s)
    figures: dict[str, float] = {}
    for name, values in (("ttft_s", ttft_s), ("tpot_s", tpot_s[several]), ("latency_s", latency_s)):
        figures |= _spread(name, values)
    figures |= _gaps(served.gaps, float((finish_s - first_s).sum()))
    figures |= _rates(served, float(kept.sum()))
    figures |= _occupancy(served, float(latency_s.sum()))
    figures |= _operations(served)
    figures["prefix_hit_share"] = float(served.cached_tokens[done].sum()) / max(
        1.0, float(served.input_tokens[done].sum())
    )
    figures["slo_attainment"] = float(kept.sum()) / max(1, len(done))
    figures["slo_met"] = float(100.0 * figures["slo_attainment"] >= slo.percentile)
    return Metrics(figures, ttft_s, tpot_s, latency_s, kept)


def good(slo: Slo, ttft_s: FloatArray, tpot_s: FloatArray, latency_s: FloatArray) -> NDArray[np.bool_]:
    """Which requests [n] keep every limit; a request of one token has no TPOT to miss one by."""
    kept = np.ones(len(ttft_s), dtype=np.bool_)
    for limit, values in ((slo.ttft_s, ttft_s), (slo.tpot_s, tpot_s), (slo.latency_s, latency_s)):
        if limit is not None:
            kept &= np.isnan(values) | (values <= limit)
    return kept


def _spread(name: str, values: FloatArray) -> dict[str, float]:
    if not len(values):
        return {}
    points = np.percentile(values, PERCENTILES)
    return {
        f"{name}_mean": float(values.mean()),
        **{f"{name}_p{p}": float(x) for p, x in zip(PERCENTILES, points, strict=True)},
    }


def _gaps(gaps: IntArray, total_s: float) -> dict[str, float]:
    """The mean is exact; a percentile is the middle of its bin."""
    n = int(gaps.sum())
    if not n:
        return {}
    below = np.cumsum(gaps)
    middles = 10.0 ** ((np.arange(GAP_BINS) + 0.5) / 128.0 - 6.0)
    places = [int(np.searchsorted(below, p / 100.0 * n)) for p in PERCENTILES]
    return {
        "itl_s_mean": total_s / n,
        **{f"itl_s_p{p}": float(middles[i]) for p, i in zip(PERCENTILES, places, strict=True)},
    }


def _rates(served: Served, good: float) -> dict[str, float]:
    done, duration_s = served.finished, served.duration_s
    chips = float(served.chips @ served.paid_s) / duration_s if duration_s > 0.0 else float(served.chips.sum())
    given, made = float(served.input_tokens[done].sum()), float(served.output_tokens[done].sum())
    span_s = duration_s if duration_s > 0.0 else np.inf
    return {
        "requests": float(len(done)),
        "finished": float(done.sum()),
        "refused": float(len(done) - done.sum()),
        "duration_s": duration_s,
        "requests_per_s": float(done.sum()) / span_s,
        "goodput_rps": good / span_s,
        "input_tokens": given,
        "output_tokens": made,
        "input_tokens_per_s": given / span_s,
        "output_tokens_per_s": made / span_s,
        "tokens_per_s": (given + made) / span_s,
        "output_tokens_per_s_per_chip": made / span_s / chips,
        "tokens_per_s_per_chip": (given + made) / span_s / chips,
    }


def _occupancy(served: Served, latency_s: float) -> dict[str, float]:
    """Means over the whole run. in_flight by Little's law; what is in flight and does not run, waits or is
    in the front end."""
    duration_s = served.duration_s
    if duration_s <= 0.0:
        return {}
    clocks, paid_s = served.clocks.sum(axis=0), float(served.paid_s.sum())
    in_flight, running = latency_s / duration_s, clocks[at.RUNNING_S] / duration_s
    outside = float(served.request_host_s[served.finished].sum()) / duration_s
    return {
        "utilisation": float(clocks[at.BUSY_S]) / paid_s,
        "in_flight_mean": in_flight,
        "running_mean": float(running),
        "queue_mean": float(in_flight - running - outside),
        "running_peak": float(served.counters[:, at.PEAK_RUNNING].max()),
        "kv_occupancy_mean": float(clocks[at.BLOCK_S]) / float(served.paid_s @ served.blocks),
        "kv_occupancy_peak": float((served.counters[:, at.PEAK_BLOCKS] / served.blocks).max()),
        "preemptions": float(served.counters[:, at.PREEMPTIONS].sum()),
        "iterations": float(served.counters[:, at.ITERATIONS].sum()),
        "batch_mean": float(served.counters[:, at.DECODED].sum())
        / max(1.0, float(served.counters[:, at.DECODE_STEPS].sum())),
        "tokens_per_decode": float(served.counters[:, at.EMITTED].sum())
        / max(1.0, float(served.counters[:, at.DECODED].sum())),
        "replica_hours": paid_s / 3600.0,
        "replicas_mean": paid_s / duration_s,
    }


def _operations(served: Served) -> dict[str, float]:
    """Of failures, scaling and KV transfers, where there were any."""
    out: dict[str, float] = {}
    if served.failures:
        out |= {"failures": float(served.failures), "retries": float(served.retries.sum())}
    swaps = int(served.counters[:, at.SWAPS].sum())
    if swaps:
        out["swaps"] = float(swaps)
    if served.starts:
        out["replica_starts"] = float(served.starts)
    moved = served.moved_s > 0.0
    if served.moved_bytes > 0.0 and moved.any():
        out |= {"kv_moved": served.moved_bytes, **_spread("kv_move_s", served.moved_s[moved])}
    return out
