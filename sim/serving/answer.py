"""The serving part of an answer: simulate, then say what happened in figures and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import cost
from ..catalog.library import package_root
from ..catalog.scenarios import Slo, Traffic
from ..catalog.traffic import Requests, requests
from ..lowering.kernels import Kernels
from ..result import Figure
from ..units import text
from .fleet import Fleet
from .metrics import Metrics, metrics
from .pack import Pack, pack
from .passes import MeanPass, mean_passes
from .run import Served, simulate
from .setup import Setup
from .state import FloatArray
from .watchers import Counter, Recorder

if TYPE_CHECKING:
    from ..engine import Timeline

TRACED_REQUESTS = 200
INTERVAL_BASIS = "kernel residuals of the calibration, fully correlated, at the mean batch; queueing is not widened"


class Answer(NamedTuple):
    """Figures by name, words, per-request columns, and what the bill needs."""

    verdict: str
    figures: dict[str, Figure]
    breakdown: dict[tuple[str, str], float]
    why: str
    warnings: tuple[str, ...]
    requests: dict[str, np.ndarray[Any, Any]]
    meets_slo: bool
    seconds: float
    chip_w: float
    basis: str
    output_tokens: float


def packed(setup: Setup, asked: Requests) -> tuple[Pack, cost.Machine]:
    """One replica, priced by the cost core."""
    target = setup.target
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)

    def price(rows: Kernels) -> FloatArray:
        return cost.seconds(rows, machine)

    longest = int((asked.input_tokens.astype(np.int64) + asked.output_tokens).max(initial=1))
    return pack(setup.model, setup.plan, target, setup.engine, price, longest), machine


def answer(
    setup: Setup, traffic: Traffic, slo: Slo, seed: int, progress: Callable[[float, str], None] | None = None
) -> Answer:
    """Serve the traffic and sum it up. Raises Infeasible if no replica has room for a KV cache."""
    asked = requests(traffic, seed, [package_root() / "workloads" / "traffic"])
    replica, machine = packed(setup, asked)
    watch = [Counter(len(asked), progress)] if progress is not None and len(asked) else []
    served = simulate(replica, asked, Fleet(setup.replicas, setup.router), seed=seed, watch=watch)
    summed = metrics(served, slo)
    passes = mean_passes(setup, served, summed, machine)
    figures = _figures(summed, served, asked, passes)
    limits = [limit for limit in (slo.ttft_s, slo.tpot_s, slo.latency_s) if limit is not None]
    meets = not limits or bool(summed["slo_met"])
    return Answer(
        verdict=_verdict(setup, summed, bool(limits), meets, slo),
        figures=figures,
        breakdown=served.busy_s,
        why=_why(served.busy_s, summed),
        warnings=(*_warnings(served, asked), *_site(setup)),
        requests=_columns(served),
        meets_slo=meets,
        seconds=served.duration_s,
        chip_w=_chip_w(passes, served, setup, machine),
        basis=max((p.basis for p in passes.values()), key=_weakness, default="datasheet-only"),
        output_tokens=summed.figures.get("output_tokens", 0.0),
    )


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
    units = {"preemptions": "preemptions", "iterations": "iterations"}
    return name, units.get(name, "requests")


def _verdict(setup: Setup, summed: Metrics, limited: bool, meets: bool, slo: Slo) -> str:
    figures, target = summed.figures, setup.target
    chips = f"{setup.replicas} x " if setup.replicas > 1 else ""
    where = f"{setup.model.name} on {chips}{_chips(setup)} x {target.chip.name} ({target.software})"
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


def _chips(setup: Setup) -> int:
    plan = setup.plan
    return -(-plan.tp * plan.pp * plan.cp * plan.attention_dp // setup.target.chip.ranks)


def _why(busy: dict[tuple[str, str], float], summed: Metrics) -> str:
    total = sum(busy.values())
    if not total:
        return ""
    decode = sum(seconds for (_, phase), seconds in busy.items() if phase == "decode") / total
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


def _site(setup: Setup) -> list[str]:
    """Which factors of the user's site are in the times."""
    site = setup.target.calibration.site
    if site is None:
        return []
    named = ", ".join(f"{name} x {value:.3g}" for name, value in site.factors.items() if value != 1.0)
    where = f"devices/sites/{setup.target.chip.id}--{setup.target.stack.id}.yaml"
    return [f"times are those of the site that {where} was fitted to: {named}."]


def _columns(served: Served) -> dict[str, np.ndarray[Any, Any]]:
    names = ("arrival_s", "admitted_s", "first_token_s", "finish_s", "input_tokens", "output_tokens", "status", "replica",
             "preemptions")  # fmt: skip
    return {name: getattr(served, name) for name in names}


def _chip_w(passes: dict[str, MeanPass], served: Served, setup: Setup, machine: cost.Machine) -> float:
    """Mean draw of a chip over the run [W]: each phase at the draw of its mean pass, idle between; NaN if unknown."""
    from ..cost.machine import IDLE_W

    idle_w, duration = float(machine.chip_values[IDLE_W]), served.duration_s
    if duration <= 0.0:
        return idle_w * setup.target.chip.ranks
    energy, busy = 0.0, 0.0
    for phase, mean in passes.items():
        seconds = sum(s for (_, of), s in served.busy_s.items() if of == phase) / setup.replicas
        energy += seconds * mean.rank_w
        busy += seconds
    energy += max(duration - busy, 0.0) * idle_w
    return energy / duration * setup.target.chip.ranks


def timeline(setup: Setup, traffic: Traffic, seed: int) -> Timeline:
    """The iterations in which the first requests are served, one queue a replica."""
    asked = requests(traffic.with_(requests=min(traffic.requests or TRACED_REQUESTS, TRACED_REQUESTS)), seed,
                     [package_root() / "workloads" / "traffic"])  # fmt: skip
    replica, _ = packed(setup, asked)
    recorder = Recorder()
    simulate(replica, asked, Fleet(setup.replicas, setup.router), seed=seed, watch=[recorder])
    return recorder.timeline()
