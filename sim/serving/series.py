"""What a fleet does window by window: a SimPy process that looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import simpy

from . import state as at
from .pools import Pool
from .replica import CONTROL, DRAINING, UP, Moment, Process, Replica
from .state import FloatArray

COUNTED = ("gaps", "prefilled", "busy_s", "block_s")  # sums since the start; a window has their differences


class Series:
    """Samples at the end of each window of `window_s` seconds."""

    def __init__(
        self, env: simpy.Environment, replicas: Sequence[Replica], pools: Sequence[Pool], window_s: float
    ) -> None:
        self.env = env
        self.replicas = replicas
        self.pools = pools
        self.window_s = window_s
        self.rows: list[dict[str, float]] = []

    def live(self, over: Callable[[], bool]) -> Process:
        """Look at the end of each window until the run is over."""
        while True:
            yield Moment(self.env, (len(self.rows) + 1) * self.window_s, CONTROL)
            self.rows.append(self._sample())
            if over():
                return

    def _sample(self) -> dict[str, float]:
        for replica in self.replicas:
            replica.executor.advance(self.env.now, False)
        cores = [replica.executor.core for replica in self.replicas]
        here = [replica for replica in self.replicas if replica.state in (UP, DRAINING)]
        return {
            "replicas": float(len(here)),
            "blocks": float(sum(self.pools[each.pool].pack.tables.whole[at.BLOCKS] for each in here)),
            "waiting": float(sum(core.counts[at.N_WAITING] for core in cores)),
            "running": float(sum(core.counts[at.N_RUNNING] for core in cores)),
            "gaps": float(sum(core.gaps.sum() for core in cores)),
            "prefilled": float(sum(core.counts[at.PREFILLED] for core in cores)),
            "busy_s": float(sum(core.clock[at.BUSY_S] for core in cores)),
            "block_s": float(sum(core.clock[at.BLOCK_S] for core in cores)),
        }

    def columns(self, arrival_s: FloatArray, first_s: FloatArray, finish_s: FloatArray) -> dict[str, Any]:
        """One row a window. start_s; arrivals, finished: requests; in_flight, waiting, running, replicas: at its end; ttft:
        of the requests whose first token came in it, NaN if there are none; rates: means over it; utilisation and KV
        occupancy: of the replicas at its end, by iterations that began in it."""
        n, window_s = len(self.rows), self.window_s
        sampled = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]} if n else {}
        if not n:
            return {}
        place = [_window(times_s, window_s) for times_s in (arrival_s, first_s, finish_s)]
        came, made_first, went = (np.bincount(each[each < n], minlength=n) for each in place)
        change = {name: np.diff(sampled[name], prepend=0.0) for name in COUNTED}
        ttft_s = np.where(np.isnan(first_s), 0.0, first_s - arrival_s)
        order = np.argsort(place[1], kind="stable")
        edges = np.searchsorted(place[1][order], np.arange(1, n))
        spread = np.array([_percentiles(ttft_s[each]) for each in np.split(order, edges)[:n]])
        ended = _window(np.where(np.isnan(finish_s), arrival_s, finish_s), window_s)
        left = np.bincount(ended[ended < n], minlength=n)
        room_s = np.maximum(sampled["replicas"] * window_s, 1e-300)
        return {
            "start_s": np.arange(n) * window_s,
            "arrivals": came,
            "finished": went,
            "in_flight": np.cumsum(came - left),
            "waiting": sampled["waiting"].astype(np.int64),
            "running": sampled["running"].astype(np.int64),
            "replicas": sampled["replicas"].astype(np.int64),
            "ttft_p50_s": spread[:, 0],
            "ttft_p99_s": spread[:, 1],
            "output_tokens_per_s": (made_first + change["gaps"]) / window_s,
            "prompt_tokens_per_s": change["prefilled"] / window_s,
            "utilisation": np.minimum(1.0, change["busy_s"] / room_s),
            "kv_occupancy": np.minimum(1.0, change["block_s"] / np.maximum(sampled["blocks"] * window_s, 1e-300)),
        }


def _window(times_s: FloatArray, window_s: float) -> Any:
    """Window of each time; what falls on an edge belongs to the window that it ends. What never came lies beyond all."""
    place = np.maximum(np.ceil(times_s / window_s) - 1.0, 0.0)
    return np.where(np.isnan(times_s), 2**62, place).astype(np.int64)


def _percentiles(values: FloatArray) -> tuple[float, float]:
    return (float(np.percentile(values, 50)), float(np.percentile(values, 99))) if len(values) else (np.nan, np.nan)
