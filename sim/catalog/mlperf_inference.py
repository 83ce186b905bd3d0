"""Summaries of MLPerf Inference (`mlperf_log_summary.txt`): lines `name : value` of LoadGen (2026); times in nanoseconds."""

from __future__ import annotations

from ..errors import InputError
from .imported import Note
from .served import Served
from .serving_source import Record, Shape, Source, run_of

MARK = "MLPerf Results Summary"
_TTFT, _TPOT = "Mean First Token latency (ns)", ("Mean Time per Output Token (ns)", "Mean Time to Output Token (ns)")


def looks_like(text: str) -> bool:
    """Is a text such a summary?"""
    return MARK in text[:4000]


def read(text: str, name: str, model: str, input_tokens: int | None) -> Served:
    """One run. LoadGen knows neither model nor prompts: the user says both.

    Raises InputError for a run that is not valid, that measured no latency of tokens (Offline), or lacks what the user says.
    """
    parts = (line.partition(":") for line in text.splitlines() if len(line) < 1000)
    record: Record = {key.strip(): value.strip() for key, mark, value in parts if mark and value.strip()}
    source = Source(record, name, set(), model)
    scenario, result = source.text("Scenario"), source.text("Result is")
    if result and result != "VALID":
        raise InputError(f"{name}: Result is : {result[:40]}. Give a run that LoadGen calls VALID.")
    if _TTFT not in record:
        raise InputError(
            f"{name}: scenario {scenario[:40] or '?'} measures no first token. Give Server or Interactive."
        )
    if not model:
        raise InputError(f"{name}: LoadGen does not say which model ran. Add --model NAME.")
    if input_tokens is None:
        raise InputError(f"{name}: LoadGen does not say how long prompts are. Add --input-tokens N, their mean.")
    tokens = source.need("Completed tokens per second", "Tokens per second")
    samples = source.need("Completed samples per second", "Samples per second")
    latency_s, ttft_ms = source.need("Mean latency (ns)") * 1e-9, source.need(_TTFT) * 1e-6
    tpot_ns = source.number(*_TPOT)
    clients = max(1.0, samples * latency_s)
    notes = (
        Note("concurrency", f"{clients:.1f}", "samples a second times mean latency were in flight"),
        Note("input_tokens", str(input_tokens), "as you say: the summary does not hold it"),
    )
    shape = Shape(float(input_tokens), tokens / samples, clients)
    times = (ttft_ms, None if tpot_ns is None else tpot_ns * 1e-6)
    return run_of(source, ("mlperf-inference", model, ""), shape, times, {}, notes)
