"""Results of the clients `vllm bench serve` and SGLang's `bench_serving`: keys of vllm/benchmarks/serve.py and
sglang/bench_serving.py (2025, 2026)."""

from __future__ import annotations

from .imported import Note
from .served import Served
from .serving_source import Record, Shape, Source, engine_of, run_of

MARKS = frozenset(("completed", "mean_ttft_ms"))
_DEGREES = {  # as users pass them along, and as servers report their arguments
    "tp": ("tp", "tp_size", "tensor_parallel_size", "tensor_parallel"),
    "pp": ("pp", "pp_size", "pipeline_parallel_size"),
    "ep": ("ep", "ep_size", "expert_parallel_size"),
    "attention_dp": ("dp_size", "data_parallel_size"),
}


def read(source: Source) -> Served:
    """A record of vLLM's or SGLang's client: totals over `completed` requests, latencies in ms."""
    completed = source.need("completed")
    given = source.need("total_input_tokens", "total_input") / completed
    made = source.need("total_output_tokens", "total_output") / completed
    ttft_ms, tpot_ms = source.need("mean_ttft_ms"), source.number("mean_tpot_ms")
    latency_ms = source.number("mean_e2el_ms", "mean_e2e_latency_ms")
    latency_ms = latency_ms or ttft_ms + (tpot_ms or 0.0) * max(0.0, made - 1.0)
    kind = "sglang" if "mean_e2e_latency_ms" in source.record else "vllm"
    backend = source.text("backend", "endpoint_type")
    engine = engine_of(backend)
    clients, assumed = _clients(source, completed, latency_ms)
    if not engine:
        assumed = (*assumed, Note("engine", kind, f"backend {backend!r} names a protocol: the client's own engine"))
    flat = _flattened(source)
    model = source.text("model_id", "model", "served_model_name") or str(flat.get("model_path", ""))
    return run_of(
        source,
        (kind, model, engine or kind),
        Shape(given, made, clients),
        (ttft_ms, tpot_ms),
        _degrees(flat, source),
        assumed,
    )


def _flattened(source: Source) -> Record:
    """The record, with what the server reported of itself beside it."""
    server = source.record.get("server_info")
    if not isinstance(server, dict):
        return source.record
    source.used.add("server_info")
    return {**server, **source.record}


def _clients(source: Source, completed: float, latency_ms: float) -> tuple[float, tuple[Note, ...]]:
    """Clients of the closed loop that the run was, or of the one that keeps as many requests in flight."""
    most, rate = source.number("max_concurrency"), source.number("request_rate")
    if rate is None and most:
        return min(most, completed), ()
    if rate is None:
        return completed, (Note("concurrency", f"{completed:g}", "all requests were sent at once"),)
    throughput = source.number("request_throughput") or completed / source.need("duration")
    in_flight = max(1.0, throughput * latency_ms * 1e-3)
    held = f"an open loop of {rate:g} requests/s; throughput times mean latency were in flight"
    return min(in_flight, most or in_flight), (Note("concurrency", f"{in_flight:.1f}", held),)


def _degrees(flat: Record, source: Source) -> dict[str, int]:
    found = {}
    for name, keys in _DEGREES.items():
        for key in keys:
            if key in flat:
                found[name] = int(source.checked(key, flat[key]))
                source.used.add(key)
                break
    return found
