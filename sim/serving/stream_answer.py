"""A serving answer of a long open loop: requests are written as they end, and what is left of them are sums and percentiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .. import cost
from ..catalog.library import package_root
from ..catalog.pieces import count_of, pieces
from ..catalog.scenarios import Slo, Traffic
from ..catalog.traffic import Requests, requests
from ..errors import InputError
from ..result import BASES, Figure
from ..units import text
from .answer import Answer, billed, packed
from .metrics import PERCENTILES
from .passes import MeanPass, mean_pass, steps_of
from .setup import Deployment, Setup
from .stream import Streamed, Write, stream

Progress = Callable[[float, str], None]


def stream_answer(
    deployment: Deployment, traffic: Traffic, rules: tuple[int, Slo], write: Write, progress: Progress | None = None
) -> Answer:
    """Serve the traffic piece by piece. rules: seed and limits; write: takes the columns of requests that are done.

    Raises InputError for what needs the whole run in memory: several groups, scaling, failures, a prefix cache, a time series,
    closed loops, conversations."""
    setup = _alone(deployment)
    seed, slo = rules
    folders = [package_root() / "workloads" / "traffic"]
    pack, machine = packed(setup, _longest(traffic, seed, folders))
    asked = _told(pieces(traffic, seed, folders), count_of(traffic), progress)
    out = stream(pack, asked, setup.replicas, router=deployment.router, rules=rules, write=write)
    passes = _passes(setup, out, machine)
    limited = any(limit is not None for limit in (slo.ttft_s, slo.tpot_s, slo.latency_s))
    meets = not limited or 100.0 * out.good >= slo.percentile * out.requests
    figures = _figures(setup, out, passes)
    return Answer(
        verdict=_verdict(setup, out, (limited, meets), slo),
        figures=figures,
        breakdown=out.busy_s,
        why="",
        warnings=_warnings(out),
        requests={},
        series={},
        meets_slo=meets,
        uses=(billed(setup, (out.end_s - out.start_s) * setup.replicas, out.busy_s, (passes, machine)),),
        seconds=max(0.0, out.end_s - out.start_s),
        output_tokens=float(out.output_tokens),
    )


def _alone(deployment: Deployment) -> Setup:
    """The one setup. Raises InputError for what cannot be streamed."""
    options, setup = deployment.operations, deployment.setups[0]
    asked = {
        "several groups": len(deployment.setups) > 1 or setup.role != "serve",
        "--autoscale": options.autoscale != "off",
        "--faults": options.faults,
        "--window": options.window_s is not None,
        "--max-queue": options.max_queue is not None or options.max_wait_s is not None,
        "--prefix-cache": bool(setup.engine.prefix_cache),
    }
    named = next((name for name, given in asked.items() if given), None)
    if named is not None:
        raise InputError(
            f"--stream: a streamed run is equal replicas behind a router; {named} needs the whole run. Drop one."
        )
    return setup


def _longest(traffic: Traffic, seed: int, folders: list[Path]) -> Requests:
    """One request as long as the longest."""
    if traffic.rate_requests_per_s is None:
        whole = requests(traffic, seed, folders)
        given, made = whole.input_tokens.max(), whole.output_tokens.max()
    else:
        given, made = (
            math.ceil((each or 1) * traffic.scale_length) for each in (traffic.input_tokens, traffic.output_tokens)
        )
    return Requests("longest", np.zeros(1), np.array([given], np.int32), np.array([made], np.int32))


def _told(asked: Iterator[Requests], count: int | None, progress: Progress | None) -> Iterator[Requests]:
    done = 0
    for piece in asked:
        yield piece
        done += len(piece)
        if progress is not None:
            share = done / count if count else 0.5
            progress(min(1.0, share), f"{done:,} requests, {float(piece.arrival_s[-1]):,.0f} s simulated")


def _passes(setup: Setup, out: Streamed, machine: cost.Machine) -> dict[str, MeanPass]:
    n = max(1, out.finished)
    tokens = (max(1.0, out.input_tokens / n), max(1.0, out.output_tokens / n))
    steps = steps_of(setup, tokens, (float(out.decoded), max(1.0, float(out.decode_steps))))
    return {phase: mean_pass(setup, step, machine) for phase, step in steps.items()}


def _figures(setup: Setup, out: Streamed, passes: dict[str, MeanPass]) -> dict[str, Figure]:
    """The figures of a whole run that do not need it."""
    found: dict[str, Figure] = {}
    for name, spread in (("ttft", out.ttft_s), ("tpot", out.tpot_s), ("latency", out.latency_s)):
        moved = passes["prefill"] if name == "ttft" else passes.get("decode", passes["prefill"])
        if spread.count:
            values = {"mean": spread.mean, **{f"p{p}": spread.percentile(p) for p in PERCENTILES}}
            for point, value in values.items():
                found[f"{name}_{point}"] = Figure(value, "s", value * moved.low, value * moved.high, moved.basis)
    span_s, basis = out.end_s - out.start_s, _basis(passes)
    chips = float(setup.chips * setup.replicas)
    rates = {
        "requests_per_s": (out.finished, "requests_per_s"),
        "goodput_rps": (out.good, "requests_per_s"),
        "input_tokens_per_s": (out.input_tokens, "tokens_per_s"),
        "output_tokens_per_s": (out.output_tokens, "tokens_per_s"),
        "tokens_per_s": (out.input_tokens + out.output_tokens, "tokens_per_s"),
        "output_tokens_per_s_per_chip": (out.output_tokens / chips, "tokens_per_s"),
    }
    found["duration"] = Figure(span_s, "s", basis=basis)
    found |= {
        name: Figure(amount / span_s if span_s > 0.0 else 0.0, unit, basis=basis)
        for name, (amount, unit) in rates.items()
    }
    busy = sum(out.busy_s.values()) / (span_s * setup.replicas) if span_s > 0.0 else 0.0
    found["utilisation"] = Figure(busy, "fraction", basis=basis)
    found["slo_attainment"] = Figure(out.good / max(1, out.requests), "fraction", basis=basis)
    counts = {"requests": out.requests + out.dropped, "requests_finished": out.finished}
    counts |= {"requests_refused": out.requests - out.finished, "requests_empty": out.dropped}
    found |= {name: Figure(float(count), "requests", basis="measured") for name, count in counts.items()}
    tokens = {"tokens_in": out.input_tokens, "tokens_out": out.output_tokens}
    return found | {name: Figure(float(count), "tokens", basis="measured") for name, count in tokens.items()}


def _basis(passes: dict[str, MeanPass]) -> str:
    return max((each.basis for each in passes.values()), key=BASES.index)


def _verdict(setup: Setup, out: Streamed, kept: tuple[bool, bool], slo: Slo) -> str:
    count = f"{setup.replicas} x " if setup.replicas > 1 else ""
    where = f"{setup.model.name} on {count}{setup.chips} x {setup.target.chip.name} ({setup.target.software})"
    if not out.finished:
        return f"{where}: no request was served."
    rate = out.output_tokens / (out.end_s - out.start_s)
    said = f"TTFT p95 {text(out.ttft_s.percentile(95), 's')}, TPOT p95 {text(out.tpot_s.percentile(95), 's')}"
    held = ""
    if kept[0]:
        word = "keeps" if kept[1] else "misses"
        held = f" It {word} the SLO: {out.good / out.requests:.1%} of requests, {slo.percentile:g}% asked."
    return f"{where}: {said}; {rate:,.0f} output tokens/s.{held}"


def _warnings(out: Streamed) -> tuple[str, ...]:
    refused = out.requests - out.finished
    said = [f"{refused:,} requests were not served: see their status in the table."] if refused else []
    if out.dropped:
        said.append(f"{out.dropped:,} rows of the trace have no token in or out and were left out.")
    if out.ttft_s.binned:
        said.append("Percentiles come from bins of the logarithm, within 0.5%: over a million requests.")
    return tuple(said)
