"""The verb of the serving wing: requests served by a fleet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog.traffic import Requests
from ..lowering.kinds import PARTS
from . import state as at
from .fleet import Run
from .pack import Pack
from .pools import Fleet, Pool
from .state import REASONS, FloatArray, IntArray

Busy = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Served:
    """What happened. Times in seconds since the first arrival of a trace; NaN where it never came to that.

    arrival_s, admitted_s, first_token_s, finish_s, input_tokens, output_tokens (made), status, replica (its last), preemptions,
    cached_tokens (of the prompt, found in the prefix cache), retries (after failures), moved_s (KV between prefill and decode):
    [n], one entry a request. request_host_s: [n], of first_token_s and finish_s, what a request spent outside the replica. busy_s:
    seconds of all replicas by (part, phase); busy_by_pool: the same of each pool. gaps: counts of gaps between tokens, in
    bins of `state.GAP_BINS`. counters: [replicas, ...], columns of `state`; clocks: the same for seconds; pool, blocks,
    chips, paid_s (between first arrival and last completion): [replicas]. series: columns by window, see `series.Series`.
    """

    arrival_s: FloatArray
    admitted_s: FloatArray
    first_token_s: FloatArray
    finish_s: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray
    status: IntArray
    replica: IntArray
    preemptions: IntArray
    cached_tokens: IntArray
    retries: IntArray
    moved_s: FloatArray
    request_host_s: FloatArray
    busy_s: Busy
    busy_by_pool: tuple[Busy, ...]
    gaps: IntArray
    counters: IntArray
    clocks: FloatArray
    pool: IntArray
    blocks: IntArray
    chips: IntArray
    paid_s: FloatArray
    moved_bytes: float = 0.0
    failures: int = 0
    starts: int = 0
    series: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """[n]: requests that were served to the end."""
        return np.asarray(self.status == at.FINISHED)

    @property
    def refusals(self) -> dict[str, int]:
        """Requests that were not served, by reason."""
        statuses, counts = np.unique(self.status[~self.finished], return_counts=True)
        return {REASONS[int(s)]: int(c) for s, c in zip(statuses, counts, strict=True)}

    @property
    def duration_s(self) -> float:
        """First arrival to last completion."""
        done = self.finished
        return float(self.finish_s[done].max() - self.arrival_s.min()) if done.any() else 0.0


def simulate(
    pack: Pack,
    requests: Requests,
    fleet: Fleet = Fleet(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    watch: Sequence[object] = (),
    leap: bool = True,
) -> Served:
    """Serve the requests with `fleet.replicas` replicas of one pack; see `simulate_pools`."""
    return simulate_pools([Pool(pack, fleet.replicas)], requests, fleet, seed=seed, watch=watch, leap=leap)


def simulate_pools(
    pools: Sequence[Pool],
    requests: Requests,
    fleet: Fleet = Fleet(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    watch: Sequence[object] = (),
    leap: bool = True,
) -> Served:
    """Serve the requests with the replicas of all pools. The same seed gives byte-identical results.

    watch: objects with any of arrived(request, replica, now), finished(request, replica, now) and iteration(replica,
    start_s, end_s, decodes, prompt_tokens); watching changes no result. leap False: one event for each iteration, which
    ends at the same bits. Raises InputError for a scheduler or router that does not exist or breaks its contract, and for
    pools that cannot serve together.
    """
    run = Run(pools, requests, fleet, seed)
    run.go(watch=watch, leap=leap)
    return _served(run)


def _served(run: Run) -> Served:
    tokens = run.columns.tokens
    cores = [replica.executor.core for replica in run.replicas]
    places = np.array([replica.pool for replica in run.replicas])
    arrival_s, first_s, finish_s, host_s = _times_s(run, places)
    span_s = (float(arrival_s.min(initial=np.inf)), float(np.nanmax(finish_s, initial=0.0)))
    pools = [np.flatnonzero(places == number) for number in range(len(run.pools))]
    busy = tuple(busy_s(pool.pack, [cores[i] for i in rows]) for pool, rows in zip(run.pools, pools, strict=True))
    return Served(
        arrival_s=arrival_s,
        admitted_s=run.columns.times_s[:, at.ADMITTED].copy(),
        first_token_s=first_s,
        finish_s=finish_s,
        input_tokens=tokens[:, at.INPUT].copy(),
        output_tokens=tokens[:, at.MADE].copy(),
        status=tokens[:, at.STATUS].copy(),
        replica=tokens[:, at.REPLICA].copy(),
        preemptions=tokens[:, at.PREEMPTED].copy(),
        cached_tokens=run.cached_tokens,
        retries=run.retries,
        moved_s=run.moved_s,
        request_host_s=host_s,
        busy_s=_sum(busy),
        busy_by_pool=busy,
        gaps=np.sum([core.gaps for core in cores], axis=0),
        counters=np.array([core.counts for core in cores]),
        clocks=np.array([core.clock for core in cores]),
        pool=places,
        blocks=np.array([int(run.pools[place].pack.tables.whole[at.BLOCKS]) for place in places]),
        chips=np.array([run.pools[place].pack.limits.chips for place in places]),
        paid_s=np.array([_within(replica.paid, *span_s) for replica in run.replicas]),
        moved_bytes=run.transfers.moved_bytes,
        failures=run.failures,
        starts=run.roster.starts,
        series=run.series.columns(arrival_s, first_s, finish_s),
    )


def _times_s(run: Run, places: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Arrival, first token, finish, and what of the latter two was on the way in and out: the same for all requests of a pool,
    so that it may be added at the end. places: the pool of each replica."""
    times_s, replica = run.columns.times_s, run.columns.tokens[:, at.REPLICA]
    each_s = np.array([_outside_s(run, place, places) for place in range(len(run.pools))])
    host_s = np.where(replica < 0, 0.0, each_s[places][replica])
    return times_s[:, at.ARRIVAL].copy(), times_s[:, at.FIRST] + host_s, times_s[:, at.FINISH] + host_s, host_s


def _outside_s(run: Run, place: int, places: IntArray) -> float:
    """Seconds of a request of a pool on the way in and out, with the iterations that it waits for there."""
    cores = [run.replicas[i].executor.core for i in np.flatnonzero(places == place)]
    steps = max(1, sum(int(core.counts[at.ITERATIONS]) for core in cores))
    limits = run.pools[place].pack.limits
    return (
        limits.request_host_s + limits.ahead_steps * math.fsum(float(core.clock[at.BUSY_S]) for core in cores) / steps
    )


def _sum(parts: Sequence[Busy]) -> Busy:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in names}


def _within(turns: list[float], from_s: float, to_s: float) -> float:
    """Seconds on between two moments; turns: on, off, on, ..."""
    ends = [*turns, to_s] if len(turns) % 2 else turns
    return math.fsum(max(0.0, min(off, to_s) - max(on, from_s)) for on, off in zip(ends[::2], ends[1::2], strict=True))


def busy_s(pack: Pack, cores: Sequence[at.Core]) -> Busy:
    """Seconds by (part, phase): how often each trunk price was used times its parts, and the sums of the rest."""
    uses = np.sum([core.uses for core in cores], axis=0)
    clocks = np.sum([core.clock for core in cores], axis=0)
    used = np.flatnonzero(np.abs(uses).sum(axis=0))
    out: Busy = {}
    for phase, name in enumerate(("prefill", "decode")):
        seconds = uses[phase, used] @ pack.parts_s[used] if len(used) else np.zeros(len(PARTS))
        if phase == 0 and len(used):
            seconds += uses[2, used] @ pack.own_s(used)
        seconds[PARTS.index("attention")] += clocks[at.SUM_PREFILL_S if phase == 0 else at.SUM_DECODE_S]
        seconds[PARTS.index("logits")] += clocks[at.SUM_LOGITS_S + phase]
        seconds[PARTS.index("kv_traffic")] += clocks[at.SUM_LOAD_S] if phase == 0 else 0.0
        seconds[PARTS.index("draft")] += clocks[at.SUM_DRAFT_S] if phase == 1 else 0.0
        seconds[PARTS.index("host")] += clocks[at.SUM_HOST_S + phase]
        out.update({(part, name): float(s) for part, s in zip(PARTS, seconds, strict=True) if s > 0.0})
    return out
