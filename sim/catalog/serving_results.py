"""Results of serving benchmarks, recognised by their keys: `vllm bench serve`, SGLang `bench_serving`, AIPerf, InferenceX."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from ..errors import InputError
from . import aiperf, bench_serve, inferencex
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
)
_REQUESTS = "aiperf-requests"
KINDS = (*(kind.name for kind in _KINDS), _REQUESTS)


def kind_of(text: str) -> str | None:
    """Name of the benchmark whose result a text is, None if it is of none."""
    keys = _first(text).keys()
    if keys >= aiperf.MARKS_OF_REQUESTS:
        return _REQUESTS
    return next((kind.name for kind in _KINDS if kind.marks <= keys), None)


def runs_of(text: str, name: str) -> list[Served]:
    """The runs of a result; `name` stands for the file in errors.

    Raises InputError with file, line or record, key and value for what is malformed.
    """
    kind = kind_of(text)
    if kind is None:
        raise InputError(f"{name}: no result of {', '.join(KINDS)}. Give the JSON that the benchmark saved.")
    if kind == _REQUESTS:
        return [aiperf.read_requests(list(records(text, name)), name)]
    read = next(each.read for each in _KINDS if each.name == kind)
    return [read(Source(record, place, set())) for record, place in records(text, name)]


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
