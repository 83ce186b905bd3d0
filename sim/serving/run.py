"""The verb of the serving wing: requests served by a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..catalog.traffic import Requests
from ..errors import InputError
from ..lowering.kinds import PARTS
from . import state as at
from .fleet import Fleet, Run
from .pack import Pack
from .state import REASONS, Columns, FloatArray, IntArray


@dataclass(frozen=True)
class Served:
    """What happened. Times in seconds since the first arrival of a trace; NaN where it never came to that.

    arrival_s, admitted_s, first_token_s, finish_s, input_tokens, output_tokens (made), status, replica, preemptions,
    cached_tokens (of the prompt, found in the prefix cache): [n], one entry a request. busy_s: seconds of all replicas by
    (part, phase). gaps: counts of gaps between tokens, in bins of `state.GAP_BINS`. counters: [replicas, ...], columns of
    `state`; clocks: the same for seconds. blocks, chips: of one replica. request_host_s: of first_token_s and finish_s, what
    each request spent outside the replica.
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
    busy_s: dict[tuple[str, str], float]
    gaps: IntArray
    counters: IntArray
    clocks: FloatArray
    blocks: int
    chips: int
    request_host_s: float = 0.0

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
    """Serve the requests. The same seed gives byte-identical results.

    watch: objects with any of arrived(request, replica, now), finished(request, replica, now) and iteration(replica,
    start_s, end_s, decodes, prompt_tokens); watching changes no result. leap False: one event for each iteration, which
    ends at the same bits. Raises InputError for a scheduler or router that does not exist or breaks its contract.
    """
    if fleet.replicas < 1:
        raise InputError(f"replicas = {fleet.replicas}. Use at least 1.")
    run = Run(pack, requests, fleet, seed)
    run.go(fleet.replicas, watch=watch, leap=leap)
    return _served(pack, run.columns, run)


def _served(pack: Pack, columns: Columns, run: Run) -> Served:
    times_s, tokens = columns
    cores = [replica.executor.core for replica in run.replicas]
    clocks = np.array([core.clock for core in cores])
    steps = max(1, sum(int(core.counts[at.ITERATIONS]) for core in cores))
    # on the way in and out: the same for all, so that it may be added at the end
    host_s = pack.limits.request_host_s + pack.limits.ahead_steps * float(clocks[:, at.BUSY_S].sum()) / steps
    return Served(
        arrival_s=times_s[:, at.ARRIVAL].copy(),
        admitted_s=times_s[:, at.ADMITTED].copy(),
        first_token_s=times_s[:, at.FIRST] + host_s,
        finish_s=times_s[:, at.FINISH] + host_s,
        input_tokens=tokens[:, at.INPUT].copy(),
        output_tokens=tokens[:, at.MADE].copy(),
        status=tokens[:, at.STATUS].copy(),
        replica=tokens[:, at.REPLICA].copy(),
        preemptions=tokens[:, at.PREEMPTED].copy(),
        cached_tokens=run.cached_tokens,
        busy_s=_busy_s(pack, np.sum([core.uses for core in cores], axis=0), clocks.sum(axis=0)),
        gaps=np.sum([core.gaps for core in cores], axis=0),
        counters=np.array([core.counts for core in cores]),
        clocks=clocks,
        blocks=int(pack.tables.whole[at.BLOCKS]),
        chips=pack.limits.chips,
        request_host_s=host_s,
    )


def _busy_s(pack: Pack, uses: FloatArray, clocks: FloatArray) -> dict[tuple[str, str], float]:
    """Seconds by (part, phase): how often each trunk price was used times its parts, and the sums of the rest."""
    used = np.flatnonzero(np.abs(uses).sum(axis=0))
    out: dict[tuple[str, str], float] = {}
    for phase, name in enumerate(("prefill", "decode")):
        seconds = uses[phase, used] @ pack.parts_s[used] if len(used) else np.zeros(len(PARTS))
        if phase == 0 and len(used):
            seconds += uses[2, used] @ pack.own_s(used)
        seconds[PARTS.index("attention")] += clocks[at.SUM_PREFILL_S if phase == 0 else at.SUM_DECODE_S]
        seconds[PARTS.index("logits")] += clocks[at.SUM_LOGITS_S + phase]
        seconds[PARTS.index("host")] += clocks[at.SUM_HOST_S + phase]
        out.update({(part, name): float(s) for part, s in zip(PARTS, seconds, strict=True) if s > 0.0})
    return out
