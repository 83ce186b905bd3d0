"""Results of AIPerf, and of GenAI-Perf before it: the summary {metric: {unit, avg, ...}} and the file of single requests.

Keys of aiperf's page on profile exports (October 2025).
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .imported import Note
from .served import Served
from .serving_source import Record, Shape, Source, in_ms, run_of

MARKS = frozenset(("time_to_first_token", "request_latency", "request_throughput"))
MARKS_OF_REQUESTS = frozenset(("metadata", "metrics"))
_LENGTHS = ("input_sequence_length", "output_sequence_length")
_TIMES = ("time_to_first_token", "inter_token_latency")


def read(source: Source) -> Served:
    """A summary."""
    given, made = (_mean(source, name)[0] for name in _LENGTHS)
    ttft_ms, tpot_ms, latency_ms = (_mean_ms(source, name) for name in (*_TIMES, "request_latency"))
    in_flight = max(1.0, _mean(source, "request_throughput")[0] * latency_ms * 1e-3)
    setup = source.record.get("input_config") or source.record.get("config") or {}
    source.used.update(("input_config", "config"))
    stated = found_in(setup, "concurrency")
    clients = in_flight if stated is None else source.checked("concurrency", stated)
    how = Note("concurrency", f"{clients:.1f}", "request throughput times mean latency were in flight")
    names = found_in(setup, "model_names") or found_in(setup, "model") or source.text("model")
    model = str((names[0] if isinstance(names, list) else names) or "")
    shape = Shape(given, made, clients)
    return run_of(source, ("aiperf", model, ""), shape, (ttft_ms, tpot_ms), {}, () if stated else (how,))


def read_requests(found: list[tuple[Record, str]], name: str, model: str = "") -> Served:
    """A file of single requests: means over those that were answered; requests in flight by Little's law."""
    rows = [row for record, place in found if (row := _request(Source(record, place, set()))) is not None]
    if not rows:
        raise InputError(f"{name}: no request was answered. Give a file with at least one.")
    given, made, ttft_ms, tpot_ms, latency_s = (sum(each) / len(rows) for each in list(zip(*rows, strict=True))[:5])
    span_s = max(row[6] for row in rows) - min(row[5] for row in rows)
    in_flight = latency_s * len(rows) / span_s if span_s > 0.0 else 1.0
    first = found[0][0]["metadata"]
    source = Source({"model_id": first.get("model_name", first.get("model"))}, name, set(), model)
    note = Note("concurrency", f"{in_flight:.1f}", "mean number of requests in flight")
    names = ("aiperf", source.text("model_id"), "")
    return run_of(source, names, Shape(given, made, in_flight), (ttft_ms, tpot_ms), {}, (note,))


def _request(source: Source) -> tuple[float, ...] | None:
    """(tokens in, out, TTFT ms, TPOT ms, latency s, start s, end s) of a line; None for a request that failed."""
    metrics, times = source.record.get("metrics"), source.record.get("metadata")
    if not isinstance(metrics, dict) or not isinstance(times, dict):
        raise InputError(f"{source.place}: metrics or metadata are missing. Mend or drop the line.")
    if source.record.get("error"):
        return None
    tokens = [_value(source, metrics, name)[0] for name in _LENGTHS]
    ms = [in_ms(*_value(source, metrics, name), source.place) for name in _TIMES]
    start_s, end_s = (
        source.checked(f"request_{end}_ns", times.get(f"request_{end}_ns"), 1e20) * 1e-9 for end in ("start", "end")
    )
    return (*tokens, *ms, end_s - start_s, start_s, end_s)


def _mean(source: Source, name: str) -> tuple[float, str]:
    """(mean, unit) of a metric."""
    metric = source.record.get(name)
    source.used.add(name)
    if not isinstance(metric, dict) or "avg" not in metric:
        raise InputError(f"{source.place}: {name}.avg is missing. Give the whole summary that the benchmark wrote.")
    return source.checked(f"{name}.avg", metric["avg"]), str(metric.get("unit", ""))


def _mean_ms(source: Source, name: str) -> float:
    return in_ms(*_mean(source, name), f"{source.place}: {name}")


def _value(source: Source, metrics: Record, name: str) -> tuple[float, str]:
    metric = metrics.get(name)
    if not isinstance(metric, dict) or "value" not in metric:
        raise InputError(f"{source.place}: metrics.{name}.value is missing. Mend or drop the line.")
    return source.checked(f"metrics.{name}.value", metric["value"]), str(metric.get("unit", ""))


def found_in(setup: Any, key: str, depth: int = 12) -> Any:
    """A key anywhere in nested settings, at most so deep; None if it is not there."""
    if not isinstance(setup, dict) or not depth:
        return None
    if setup.get(key) is not None:
        return setup[key]
    inner = (found_in(each, key, depth - 1) for each in setup.values())
    return next((found for found in inner if found is not None), None)
