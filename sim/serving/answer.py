"""The serving part of an answer: simulate, then say what happened in figures and words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import cost
from ..catalog.library import package_root
from ..catalog.scenarios import Slo, Traffic
from ..catalog.traffic import Requests, requests
from ..result import Figure
from ..units import text
from .deploy import packed, pools
from .metrics import Metrics, metrics
from .passes import MeanPass, mean_passes
from .pools import Fleet
from .run import Busy, Served, simulate_pools
from .setup import Deployment, Setup
from .watchers import Counter, Recorder

if TYPE_CHECKING:
    from ..engine import Timeline

__all__ = ["Answer", "Deployment", "Setup", "answer", "packed", "timeline"]

TRACED_REQUESTS = 200
INTERVAL_BASIS = "kernel residuals of the calibration, fully correlated, at the mean batch; queueing is not widened"


class Use(NamedTuple):
    """What the bill of one setup needs: seconds that each of its replicas is paid for on average, and what a chip draws then."""

    seconds: float
    chip_w: float
    basis: str


class Answer(NamedTuple):
    """Figures by name, words, per-request columns, the time series, and what the bills need, one for each setup."""

    verdict: str
    figures: dict[str, Figure]
    breakdown: dict[tuple[str, str], float]
    why: str
    warnings: tuple[str, ...]
    requests: dict[str, np.ndarray[Any, Any]]
    series: dict[str, np.ndarray[Any, Any]]
    meets_slo: bool
    uses: tuple[Use, ...]
    seconds: float
    output_tokens: float


def answer(
    deployment: Deployment, traffic: Traffic, slo: Slo, seed: int, progress: Callable[[float, str], None] | None = None
) -> Answer:
    """Serve the traffic and sum it up. Raises Infeasible if no replica has room for a KV cache."""
    asked = drawn(traffic, seed)
    watch = [Counter(len(asked), progress)] if progress is not None and len(asked) else []
    served, machines = simulated(deployment, traffic, asked, seed, watch)
    summed = metrics(served, slo)
    passes = [
        mean_passes(setup, served, number, machine)
        for number, (setup, machine) in enumerate(zip(deployment.setups, machines, strict=True))
    ]
    limits = [limit for limit in (slo.ttft_s, slo.tpot_s, slo.latency_s) if limit is not None]
    meets = not limits or bool(summed["slo_met"])
    uses = [
        use_of(number, setup, served, (passes[number], machines[number]))
        for number, setup in enumerate(deployment.setups)
    ]
    return Answer(
        verdict=_verdict(deployment, summed, bool(limits), meets, slo),
        figures=_figures(summed, served, asked, _leading(passes, served)),
        breakdown=served.busy_s,
        why=_why(served.busy_s, summed),
        warnings=(*_warnings(served, asked), *_site(deployment)),
        requests=_columns(served),
        series=served.series,
        meets_slo=meets,
        uses=tuple(uses),
        seconds=served.duration_s,
        output_tokens=summed.figures.get("output_tokens", 0.0),
    )


def drawn(traffic: Traffic, seed: int) -> Requests:
    """The requests of a demand."""
    return requests(traffic, seed, [package_root() / "workloads" / "traffic"])


def simulated(
    deployment: Deployment, traffic: Traffic, asked: Requests, seed: int, watch: Sequence[object] = ()
) -> tuple[Served, list[cost.Machine]]:
    """What happens to the requests, and the machine of each setup."""
    made, machines = pools(deployment, asked, list(traffic.shares()))
    return simulate_pools(made, asked, _rules(deployment), seed=seed, watch=watch), machines


def _rules(deployment: Deployment) -> Fleet:
    options = deployment.operations
    return Fleet(1, deployment.router, options.max_queue, options.max_wait_s, options.window_s)


def _leading(passes: list[dict[str, MeanPass]], served: Served) -> dict[str, MeanPass]:
    """By phase, the mean pass of the pool that spends most time in it."""
    out: dict[str, MeanPass] = {}
    for phase in ("prefill", "decode"):
        spent = [math.fsum(s for (_, of), s in busy.items() if of == phase) for busy in served.busy_by_pool]
        first = max(range(len(spent)), key=spent.__getitem__)
        if phase in passes[first]:
            out[phase] = passes[first][phase]
    return out


def _weakness(basis: str) -> int:
    from ..result import BASES

    return BASES.index(basis)


def _figures(summed: Metrics, served: Served, asked: Requests, passes: dict[str, MeanPass]) -> dict[str, Figure]:
    """Every figure of the run. Prompt times move with the prefill pass, gaps between tokens with the decode pass."""
    out: dict[str, Figure] = {}
    for name, value in summed.figures.items():
        if name in ("requests", "finished", "refused", "input_tokens", "output_tokens", "slo_met"):
            continue
        moved = passes.get("prefill" if name.startswith("ttft") else "decode") or next(iter(passes.values()))
        stem, unit = _named(name)
        if unit == "s":
            out[stem] = Figure(value, unit, value * moved.low, value * moved.high, moved.basis)
        else:
            out[stem] = Figure(value, unit, basis=moved.basis)
    refusals = ", ".join(f"{count} {reason}" for reason, count in served.refusals.items())
    counted = {
        "requests": Figure(len(asked) + asked.dropped, "requests", basis="measured"),
        "requests_finished": Figure(float(served.finished.sum()), "requests", basis="measured"),
        "requests_refused": Figure(float((~served.finished).sum()), "requests", basis="measured", note=refusals),
        "requests_empty": Figure(asked.dropped, "requests", basis="measured", note="no token in or out"),
        "tokens_in": Figure(float(served.input_tokens.sum()), "tokens", basis="measured"),
        "tokens_out": Figure(float(served.output_tokens.sum()), "tokens", basis="measured"),
    }
    return {**out, **counted}


def _named(name: str) -> tuple[str, str]:
    """`ttft_s_p95` -> (ttft_p95, s); `goodput_rps` stays; rates keep their names."""
    if "_s_" in name and not name.endswith(("per_s", "per_chip")):
        return name.replace("_s_", "_", 1), "s"
    if name == "duration_s":
        return "duration", "s"
    if name in ("goodput_rps", "requests_per_s"):
        return name, "requests_per_s"
    if "_per_s" in name:
        return name, "tokens_per_s"
    if name in ("utilisation", "prefix_hit_share", "slo_attainment", "kv_occupancy_mean", "kv_occupancy_peak"):
        return name, "fraction"
    units = {
        "preemptions": "preemptions",
        "swaps": "preemptions",
        "iterations": "iterations",
        "tokens_per_decode": "tokens",
        "replica_hours": "h",
        "replicas_mean": "replicas",
        "replica_starts": "replicas",
        "failures": "failures",
        "kv_moved": "bytes",
    }
    return name, units.get(name, "requests")


def _where(setup: Setup) -> str:
    target = setup.target
    count = f"{setup.least} to {setup.most}" if setup.most is not None else f"{setup.replicas}"
    chips = f"{count} x " if count != "1" else ""
    role = "" if setup.role == "serve" else f"{setup.role} "
    return f"{role}{setup.model.name} on {chips}{setup.chips} x {target.chip.name} ({target.software})"


def _verdict(deployment: Deployment, summed: Metrics, limited: bool, meets: bool, slo: Slo) -> str:
    figures, where = summed.figures, " + ".join(map(_where, deployment.setups))
    if not figures.get("finished"):
        return f"{where}: no request was served."
    shown = ", ".join(
        f"{label} p95 {text(figures[f'{key}_p95'], 's')}"
        for label, key in (("TTFT", "ttft_s"), ("TPOT", "tpot_s"))
        if f"{key}_p95" in figures
    )
    tokens = f"{figures['output_tokens_per_s']:,.0f} output tokens/s"
    rate = tokens if "tpot_s_p95" in figures else f"{figures['requests_per_s']:,.0f} requests/s"
    held = ""
    if limited:
        word = "keeps" if meets else "misses"
        held = f" It {word} the SLO: {figures['slo_attainment']:.1%} of requests, {slo.percentile:g}% asked."
    return f"{where}: {shown}; {rate}.{held}"


def _why(busy: dict[tuple[str, str], float], summed: Metrics) -> str:
    total = math.fsum(busy.values())
    if not total:
        return ""
    decode = math.fsum(seconds for (_, phase), seconds in busy.items() if phase == "decode") / total
    (part, phase), largest = max(busy.items(), key=lambda item: item[1])
    used = summed.figures.get("utilisation", 0.0)
    return (
        f"replicas are busy {used:.0%} of the time; decode is {decode:.0%} of it; "
        f"{part.replace('_', ' ')} in {phase} is the largest part, {largest / total:.0%}"
    )


def _warnings(served: Served, asked: Requests) -> tuple[str, ...]:
    out = [f"{count:,} requests were not served: {reason}." for reason, count in served.refusals.items()]
    if asked.dropped:
        out.append(f"{asked.dropped:,} rows of the trace have no token in or out and were left out.")
    return tuple(out)


def _site(deployment: Deployment) -> tuple[str, ...]:
    """Which factors of the user's site are in the times."""
    words: dict[str, None] = {}
    for chip, stack, site in (
        (each.target.chip, each.target.stack, each.target.calibration.site) for each in deployment.setups
    ):
        if site is not None:
            named = ", ".join(f"{name} x {value:.3g}" for name, value in site.factors.items() if value != 1.0)
            words[
                f"times are those of the site that devices/sites/{chip.id}--{stack.id}.yaml was fitted to: {named}."
            ] = None
    return tuple(words)


def _columns(served: Served) -> dict[str, np.ndarray[Any, Any]]:
    names = ("arrival_s", "admitted_s", "first_token_s", "finish_s", "input_tokens", "output_tokens", "status", "replica",
             "preemptions", "retries")  # fmt: skip
    return {name: getattr(served, name) for name in names}


def use_of(number: int, setup: Setup, served: Served, priced: tuple[dict[str, MeanPass], cost.Machine]) -> Use:
    """What one setup of a run is billed for. priced: its mean passes and machine."""
    return billed(setup, float(served.paid_s[served.pool == number].sum()), served.busy_by_pool[number], priced)


def billed(setup: Setup, paid_s: float, busy_s: Busy, priced: tuple[dict[str, MeanPass], cost.Machine]) -> Use:
    """Seconds paid a replica of paid_s in all, and the mean draw of a chip then [W]: each phase at the draw of its mean pass, idle
    between; NaN if unknown."""
    from ..cost.machine import IDLE_W

    passes, machine = priced
    idle_w, ranks = float(machine.chip_values[IDLE_W]), setup.target.chip.ranks
    basis = max((p.basis for p in passes.values()), key=_weakness, default="datasheet-only")
    if paid_s <= 0.0:
        return Use(0.0, idle_w * ranks, basis)
    energy, busy = 0.0, 0.0
    for phase, mean in passes.items():
        seconds = math.fsum(s for (_, of), s in busy_s.items() if of == phase)
        energy += seconds * mean.rank_w if seconds else 0.0
        busy += seconds
    energy += max(paid_s - busy, 0.0) * idle_w
    return Use(paid_s / setup.paid_replicas, energy / paid_s * ranks, basis)


def timeline(deployment: Deployment, traffic: Traffic, seed: int) -> Timeline:
    """The iterations in which the first requests are served, one queue a replica."""
    asked = drawn(traffic.with_(requests=min(traffic.requests or TRACED_REQUESTS, TRACED_REQUESTS)), seed)
    recorder = Recorder()
    simulated(deployment, traffic, asked, seed, [recorder])
    return recorder.timeline()
