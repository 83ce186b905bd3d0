"""A served run as the files of benchmark clients, so that the plots made for them read ours.

Keys: vllm/benchmarks/serve.py (`--save-result --save-detailed`, 2026); aiperf's pages on its JSON export (schema 1.0) and on
profile exports (2026). Gaps between single tokens are not kept by a run, so that what needs each of them is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_MS, _NS = 1e3, 1e9
_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)


class Finished(NamedTuple):
    """Requests that were answered, in the order of the run, [n] each; how many were not; what was asked for and how.

    arrival_s, ttft_s, latency_s: seconds; tpot_s: NaN for a single token; input_tokens, output_tokens: tokens. duration_s: of
    the run; goodput: requests a second that keep the limits, None without limits; gap_s: (mean, p50, p99) of single gaps.
    """

    arrival_s: FloatArray
    ttft_s: FloatArray
    tpot_s: FloatArray
    latency_s: FloatArray
    input_tokens: FloatArray
    output_tokens: FloatArray
    failed: int
    duration_s: float
    model: str
    concurrency: int | None
    rate: float | None
    goodput: float | None
    gaps_s: Mapping[str, float | None]


def finished(columns: Mapping[str, FloatArray], plain: Mapping[str, Any], kept: int) -> Finished:
    """From per-request columns and the JSON of a result; kept: the status of a request that was answered."""
    done = columns["status"] == kept
    arrival_s, first_s, end_s, given, made = (
        columns[name][done] for name in ("arrival_s", "first_token_s", "finish_s", "input_tokens", "output_tokens")
    )
    gaps = np.where(made > 1.0, made - 1.0, np.nan)
    demand, slo = plain["scenario"]["demand"], plain["scenario"].get("slo") or {}
    values = {name: figure["value"] for name, figure in plain["figures"].items()}
    limited = any(slo.get(name) for name in ("ttft_s", "tpot_s", "latency_s"))
    return Finished(
        arrival_s,
        first_s - arrival_s,
        (end_s - first_s) / gaps,
        end_s - arrival_s,
        given,
        made,
        int((~done).sum()),
        float(values.get("duration") or 0.0) or float(end_s.max() - arrival_s.min()),
        str(plain["scenario"]["groups"][0]["model"]),
        demand.get("concurrency"),
        demand.get("rate_requests_per_s"),
        values.get("goodput_rps") if limited else None,
        {end: values.get(f"itl_{end}") for end in ("mean", "p50", "p90", "p95", "p99")},
    )


def vllm_bench(run: Finished) -> dict[str, Any]:
    """The object that `vllm bench serve --save-result --save-detailed` writes; `itls` and texts are left out."""
    given, made = float(run.input_tokens.sum()), float(run.output_tokens.sum())
    out: dict[str, Any] = {
        "endpoint_type": "gambrel",
        "backend": "gambrel",
        "label": "simulated",
        "model_id": run.model,
        "tokenizer_id": run.model,
        "num_prompts": len(run.arrival_s) + run.failed,
        "request_rate": "inf" if run.rate is None else run.rate,
        "burstiness": 1.0,
        "max_concurrency": run.concurrency,
        "duration": run.duration_s,
        "completed": len(run.arrival_s),
        "failed": run.failed,
        "total_input_tokens": int(given),
        "total_output_tokens": int(made),
        "request_throughput": len(run.arrival_s) / run.duration_s,
        "request_goodput": run.goodput,
        "output_throughput": made / run.duration_s,
        "total_token_throughput": (given + made) / run.duration_s,
    }
    for name, values in (("ttft", run.ttft_s), ("tpot", run.tpot_s), ("e2el", run.latency_s)):
        known = values[~np.isnan(values)] * _MS
        if len(known):
            out |= {f"mean_{name}_ms": float(known.mean()), f"median_{name}_ms": float(np.median(known))}
            out |= {f"std_{name}_ms": float(known.std()), f"p99_{name}_ms": float(np.percentile(known, 99))}
    for key, end in (("mean", "mean"), ("median", "p50"), ("p99", "p99")):
        value = run.gaps_s.get(end)
        out |= {} if value is None else {f"{key}_itl_ms": value * _MS}
    return {
        **out,
        "input_lens": run.input_tokens.astype(int).tolist(),
        "output_lens": run.output_tokens.astype(int).tolist(),
        "ttfts": run.ttft_s.tolist(),
        "latencies": run.latency_s.tolist(),
        "start_times": run.arrival_s.tolist(),
    }


def aiperf_summary(run: Finished) -> dict[str, Any]:
    """The object of `profile_export_aiperf.json`."""
    users = run.output_tokens / np.maximum(run.latency_s, 1e-12)
    out: dict[str, Any] = {"schema_version": "1.0", "aiperf_version": "gambrel (simulated)"}
    for name, unit, values in (
        ("time_to_first_token", "ms", run.ttft_s * _MS),
        ("inter_token_latency", "ms", run.tpot_s * _MS),
        ("request_latency", "ms", run.latency_s * _MS),
        ("output_token_throughput_per_user", "tokens/sec/user", users),
        ("input_sequence_length", "tokens", run.input_tokens),
        ("output_sequence_length", "tokens", run.output_tokens),
    ):
        out[name] = _spread(unit, values[~np.isnan(values)])
    made = float(run.output_tokens.sum())
    totals = {
        "output_token_throughput": ("tokens/sec", made / run.duration_s),
        "request_throughput": ("requests/sec", len(run.arrival_s) / run.duration_s),
        "goodput": ("requests/sec", run.goodput),
        "request_count": ("requests", float(len(run.arrival_s))),
        "error_request_count": ("requests", float(run.failed)),
        "benchmark_duration": ("sec", run.duration_s),
    }
    out |= {name: {"unit": unit, "avg": value} for name, (unit, value) in totals.items() if value is not None}
    load = {"concurrency": run.concurrency} if run.concurrency else {"request_rate": run.rate} if run.rate else {}
    return {**out, "input_config": {"endpoint": {"model_names": [run.model]}, "loadgen": load}}


def _spread(unit: str, values: FloatArray) -> dict[str, Any]:
    if not len(values):
        return {"unit": unit, "count": 0}
    points = np.percentile(values, _PERCENTILES)
    return {
        "unit": unit,
        "avg": float(values.mean()),
        "min": float(values.min()),
        "max": float(values.max()),
        **{f"p{p}": float(x) for p, x in zip(_PERCENTILES, points, strict=True)},
        "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "count": len(values),
    }


def aiperf_requests(run: Finished) -> str:
    """The lines of `profile_export.jsonl`, one an answered request; nanoseconds count from the start of the run."""
    lines = []
    for i in range(len(run.arrival_s)):
        start = round(float(run.arrival_s[i]) * _NS)
        metrics = {
            "time_to_first_token": (float(run.ttft_s[i]) * _MS, "ms"),
            "inter_token_latency": (0.0 if np.isnan(run.tpot_s[i]) else float(run.tpot_s[i]) * _MS, "ms"),
            "request_latency": (float(run.latency_s[i]) * _MS, "ms"),
            "input_sequence_length": (int(run.input_tokens[i]), "tokens"),
            "output_sequence_length": (int(run.output_tokens[i]), "tokens"),
        }
        metadata = {
            "session_num": i,
            "x_request_id": str(i),
            "model_name": run.model,
            "request_start_ns": start,
            "request_end_ns": start + round(float(run.latency_s[i]) * _NS),
            "benchmark_phase": "profiling",
        }
        row = {name: {"value": value, "unit": unit} for name, (value, unit) in metrics.items()}
        lines.append(json.dumps({"metadata": metadata, "metrics": row, "error": None}))
    return "".join(f"{line}\n" for line in lines)
