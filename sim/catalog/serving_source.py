"""Records of serving benchmarks: JSON objects of a file with their places, numbers read with errors that name both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from ..errors import InputError
from .imported import Note
from .served import COLUMN_OF, Served

Record = dict[str, Any]
_TO_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}
_ENGINES = {"sglang": "sglang", "vllm": "vllm", "trt": "trtllm", "tensorrt": "trtllm", "dynamo": "trtllm"}


class Source(NamedTuple):
    """One record of a file and where it stands; `used`: the keys that were read; model: as the user says, "" if not."""

    record: Record
    place: str
    used: set[str]
    model: str = ""

    def text(self, *keys: str) -> str:
        """The first of these keys that holds a text; "" if none does."""
        for key in keys:
            value = self.record.get(key)
            if isinstance(value, str) and value.strip():
                self.used.add(key)
                return value.strip()
        return ""

    def number(self, *keys: str) -> float | None:
        """The first of these keys that is there, as a finite number from 0 on; null and "inf" are none."""
        for key in keys:
            if self.record.get(key) is None:
                continue
            value = self.record[key]
            self.used.add(key)
            if value in ("inf", "Infinity") or value == math.inf:
                return None
            return self.checked(key, value)
        return None

    def need(self, *keys: str) -> float:
        """`number` of a key that must be there and above 0."""
        value = self.number(*keys)
        if value is None or value <= 0.0:
            raise InputError(f"{self.place}: {keys[0]} = {value!r} must be a number above 0. Mend or drop the record.")
        return value

    def degree(self, key: str) -> int:
        """A whole number; 1 where it is 0, null or not there."""
        value = self.number(key) or 1.0
        if value != int(value):
            raise InputError(f"{self.place}: {key} = {value:g} is no whole number. Mend or drop the record.")
        return int(value)

    def checked(self, key: str, value: object, most: float = 1e15) -> float:
        """A finite number from 0 to `most`. Raises InputError for anything else."""
        if isinstance(value, str):
            with suppress(ValueError):
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < most:
            shown = repr(value)[:60]
            raise InputError(f"{self.place}: {key} = {shown} is not a number from 0 on. Mend or drop the record.")
        return float(value)

    def rest(self) -> tuple[Note, ...]:
        """Keys that were not read."""
        return tuple(Note(key, short(value), "not used") for key, value in self.record.items() if key not in self.used)


class Shape(NamedTuple):
    """Tokens in and out of a request, and clients: means."""

    input_tokens: float
    output_tokens: float
    clients: float


def records(text: str, name: str) -> Iterator[tuple[Record, str]]:
    """(record, place): of one JSON value, of the objects of a list, or of lines."""
    try:
        whole = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict):
        yield whole, name
    elif isinstance(whole, list):
        yield from ((_object(each, f"{name}: record {i}"), f"{name}: record {i}") for i, each in enumerate(whole, 1))
    else:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _object(_parsed(line, f"{name}:{number}"), f"{name}:{number}"), f"{name}:{number}"


def _parsed(line: str, place: str) -> Any:
    try:
        return json.loads(line.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: {line.strip()[:60]!r} is not valid JSON ({error}). Mend the line.") from None


def _object(value: Any, place: str) -> Record:
    if not isinstance(value, dict):
        raise InputError(f"{place}: {short(value)} is no JSON object. Mend or drop it.")
    return value


def short(value: Any) -> str:
    """A value as JSON, cut to 60 characters."""
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:57]}..."


def run_of(
    source: Source,
    names: tuple[str, str, str],
    shape: Shape,
    measured: tuple[float, float | None],
    degrees: dict[str, int],
    assumed: tuple[Note, ...] = (),
) -> Served:
    """A run from its parts. names: benchmark, model, engine; measured: TTFT, TPOT [ms]; degrees: by flag, or column."""
    (kind, model, engine), (given, made, clients), (ttft_ms, tpot_ms) = names, shape, measured
    model = source.model or model
    if not model:
        raise InputError(f"{source.place}: the record names no model. Add --model NAME.")
    notes = [*assumed]
    if not any(name.endswith(("tp", "tp_size")) for name in degrees):
        notes.append(Note("tp", "1", "the file does not say on how many chips it ran: give --tp"))
    understood = (
        Note("tokens", f"{given:.0f} in, {made:.0f} out", "means of the completed requests"),
        Note("clients", f"{clients:.0f}", "concurrency"),
    )
    return Served(
        kind=kind,
        name=source.place,
        model=model,
        engine=engine,
        input_tokens=max(1, round(given)),
        output_tokens=max(1, round(made)),
        concurrency=max(1, round(clients)),
        layout=tuple((COLUMN_OF.get(name, name), degree) for name, degree in degrees.items() if degree),
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms if tpot_ms else None,
        measured_as=f"means of {kind}",
        understood=understood,
        assumed=tuple(notes),
        ignored=source.rest(),
    )


def engine_of(text: str) -> str:
    """The engine behind a client's backend; "" for one that only names a protocol."""
    low = text.lower()
    return next((engine for mark, engine in _ENGINES.items() if mark in low), "")


def in_ms(value: float, unit: str, place: str) -> float:
    """A time in milliseconds. Raises InputError for a unit that is not known."""
    if unit not in _TO_MS:
        raise InputError(f"{place}: unit = {unit!r} is not known. Use one of {', '.join(_TO_MS)}.")
    return value * _TO_MS[unit]
