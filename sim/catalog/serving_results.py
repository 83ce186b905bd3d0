"""Results of serving benchmarks, recognised by their keys: `vllm bench serve`, SGLang, AIPerf, InferenceX, GuideLLM, and more."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from ..errors import InputError
from . import aiperf, bench_serve, guidellm, inferencex, llmperf, mlperf_inference, trtllm_bench
from .served import Served
from .serving_source import Record, Source, records


class _Kind(NamedTuple):
    """Keys that tell a benchmark's records apart, and what reads one."""

    name: str
    marks: frozenset[str]
    read: Callable[[Source], Served]


_KINDS = (
    _Kind("inferencex", inferencex.MARKS, inferencex.read),
    _Kind("aiperf", aiperf.MARKS, aiperf.read),
    _Kind("bench-serve", bench_serve.MARKS, bench_serve.read),
    _Kind("guidellm", guidellm.MARKS, guidellm.read),
    _Kind("llmperf", llmperf.MARKS, llmperf.read),
    _Kind("trtllm-bench", trtllm_bench.MARKS, trtllm_bench.read),
)
_REQUESTS, _SUMMARY = "aiperf-requests", "mlperf-inference"
KINDS = (*(kind.name for kind in _KINDS), _REQUESTS, _SUMMARY)


def kind_of(text: str) -> str | None:
    """Name of the benchmark whose result a text is, None if it is of none."""
    if mlperf_inference.looks_like(text):
        return _SUMMARY
    keys = _first(text).keys()
    if keys >= aiperf.MARKS_OF_REQUESTS:
        return _REQUESTS
    return next((kind.name for kind in _KINDS if kind.marks <= keys), None)


def runs_of(text: str, name: str, model: str | None = None, input_tokens: int | None = None) -> list[Served]:
    """The runs of a result; `name` stands for the file in errors; model, input_tokens: where the file does not say them.

    Raises InputError with file, line or record, key and value for what is malformed.
    """
    kind = kind_of(text)
    if kind is None:
        raise InputError(f"{name}: no result of {', '.join(KINDS)}. Give the JSON that the benchmark saved.")
    if kind == _SUMMARY:
        return [mlperf_inference.read(text, name, model or "", input_tokens)]
    if input_tokens is not None:
        raise InputError(f"--input-tokens: {name} says its lengths. Leave --input-tokens out.")
    if kind == _REQUESTS:
        return [aiperf.read_requests(list(records(text, name)), name, model or "")]
    read = next(each.read for each in _KINDS if each.name == kind)
    found = list(records(text, name))
    if kind == "guidellm":
        found = [each for record, place in found for each in guidellm.expanded(record, place)]
    return [read(Source(record, place, set(), model or "")) for record, place in found]


def _first(text: str) -> Record:
    """The first record, {} if the text is no JSON."""
    start = text.lstrip("\ufeff \t\r\n")
    if not start.startswith(("{", "[")):
        return {}
    for whole in (start, start.partition("\n")[0]):
        try:
            found = json.loads(whole)
        except (ValueError, RecursionError):
            continue
        found = found[0] if isinstance(found, list) and found else found
        return found if isinstance(found, dict) else {}
    return {}
