"""Results of GuideLLM: `benchmarks.json`, whose benchmarks hold distributions by what became of a request.

Keys: guidellm src/guidellm/benchmark/schemas (2026): benchmarks[].metrics.NAME.successful.mean, .config, metadata.
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .aiperf import found_in
from .imported import Note
from .served import Served
from .serving_source import Record, Shape, Source, run_of

MARKS = frozenset(("benchmarks",))
_METRICS = (
    *("prompt_token_count", "output_token_count", "time_to_first_token_ms", "inter_token_latency_ms"),
    "request_concurrency",
)


def expanded(record: Record, place: str) -> list[tuple[Record, str]]:
    """The benchmarks of a file, each with what the file says of all. Raises InputError if they are no list of objects."""
    found = record["benchmarks"]
    if not isinstance(found, list) or not found:
        raise InputError(f"{place}: benchmarks must be a list with at least one. Give what guidellm saved.")
    for number, each in enumerate(found, 1):
        if not isinstance(each, dict):
            raise InputError(f"{place}: benchmark {number} is no JSON object. Mend or drop it.")
    shared = {key: value for key, value in record.items() if key in ("args", "metadata")}
    return [({**shared, **each}, f"{place}: benchmark {i}") for i, each in enumerate(found, 1)]


def read(source: Source) -> Served:
    """One benchmark: means over the requests that were answered."""
    metrics = source.record.get("metrics")
    source.used.update(("metrics", "config", "args", "metadata"))
    if not isinstance(metrics, dict):
        raise InputError(f"{source.place}: metrics is missing. Give what guidellm saved.")
    given, made, ttft_ms, tpot_ms, clients = (_mean(source, metrics, name) for name in _METRICS)
    setups = [source.record.get(name) for name in ("config", "args", "metadata")]
    model = next((found for each in setups if isinstance(found := found_in(each, "model"), str)), "")
    note = Note("concurrency", f"{clients:.1f}", "mean number of requests in flight")
    return run_of(source, ("guidellm", model, ""), Shape(given, made, clients), (ttft_ms, tpot_ms), {}, (note,))


def _mean(source: Source, metrics: dict[str, Any], name: str) -> float:
    metric: Any = metrics.get(name)
    answered = metric.get("successful") if isinstance(metric, dict) else None
    value = answered.get("mean") if isinstance(answered, dict) else None
    return source.checked(f"metrics.{name}.successful.mean", value)
