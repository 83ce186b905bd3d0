"""Columns of request traces: Azure CSV, BurstGPT CSV, Mooncake JSONL; recognised by their columns, parsed by the column."""

from __future__ import annotations

import gzip
import json
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CHUNK_BYTES = 1 << 24
_OFFSET = re.compile(rb":\d\d(\.\d*)?([+](?!00:00)|-)", re.MULTILINE)
_BLOCK_SIZES = (512, 256, 128, 64, 32, 16)  # tokens a prefix block: 512 in Mooncake's traces, 16 in Alibaba's
_FORMATS = (
    "Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens), BurstGPT CSV (Timestamp,Request tokens,Response tokens),"
    " Mooncake JSONL (timestamp, input_length, output_length)"
)


class Columns(NamedTuple):
    """A trace as it stands in the file; [n] in file order. seconds: since an arbitrary start."""

    seconds: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray
    sessions: IntArray | None = None
    priority: IntArray | None = None
    blocks: IntArray | None = None
    block_starts: IntArray | None = None
    block_tokens: int = 0


class _Row(NamedTuple):
    """Where an error is: the file and its line."""

    path: Path
    line: int

    def error(self, column: str, value: object, remedy: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {column} = {repr(value)[:120]} {remedy}")


def read_columns(path: Path) -> Columns:
    """Parse a trace file, gzipped or not (told by its first bytes). Raises InputError with file, line, value and remedy."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with cast(BinaryIO, gzip.open(path)) if packed else path.open("rb") as file:
            return _read(file, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: not a whole gzip file ({error}). Fetch it again.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None


def _read(file: BinaryIO, path: Path) -> Columns:
    head = file.readline(1 << 20).removeprefix(b"\xef\xbb\xbf").strip()
    if head.startswith(b"{"):
        return _mooncake(head, file, path)
    names = [name.strip() for name in head.decode("utf-8", "replace").split(",")]
    if {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= set(names):
        if "NumImages" in names:
            raise _Row(path, 1).error("column", "NumImages", "is not modelled: images. Give a trace of text requests.")
        return _table(file, path, names, _Csv("TIMESTAMP", "ContextTokens", "GeneratedTokens", _clock_s))
    if {"Timestamp", "Request tokens", "Response tokens"} <= set(names):
        return _table(file, path, names, _Csv("Timestamp", "Request tokens", "Response tokens", _offset_s))
    raise InputError(f"{path}:1: columns {', '.join(names)[:200]!r} are those of no known trace. Known: {_FORMATS}.")


class _Csv(NamedTuple):
    """Names of the columns that are read, and how times are parsed."""

    time: str
    input: str
    output: str
    seconds: Callable[[Sequence[bytes]], FloatArray]


def _chunks(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first line, lines) from the second line of the file on."""
    first = 2
    while lines := file.readlines(_CHUNK_BYTES):
        yield first, lines
        first += len(lines)


def _table(file: BinaryIO, path: Path, names: list[str], csv: _Csv) -> Columns:
    picked = [names.index(name) for name in (csv.time, csv.input, csv.output)]
    session_at = names.index("Session ID") if "Session ID" in names else None
    priority_at = names.index("Priority") if "Priority" in names else None
    priorities: list[FloatArray] = []
    parts: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    sessions: list[bytes] = []
    for first, lines in _chunks(file):
        rows = [line.strip().split(b",") for line in lines]
        kept = [(number, row) for number, row in enumerate(rows, first) if row != [b""]]
        for number, row in kept:
            if len(row) != len(names):
                text = b",".join(row).decode("utf-8", "replace")[:120]
                raise _Row(path, number).error("row", text, f"has {len(row)} columns, not {len(names)}. Mend the line.")
        if not kept:
            continue
        at = [number for number, _ in kept]
        columns = [[row[index] for _, row in kept] for index in picked]
        seconds = _parsed(
            csv.seconds,
            columns[0],
            (path, at, csv.time),
            "is not a time (seconds, or a date and time in UTC). Mend the line.",
        )
        tokens = [
            _tokens(_parsed(_numbers, values, (path, at, name), "is not a number. Mend the line."), (path, at, name))
            for values, name in zip(columns[1:], (csv.input, csv.output), strict=True)
        ]
        parts.append((seconds, tokens[0], tokens[1]))
        if priority_at is not None:
            given = [row[priority_at] for _, row in kept]
            priorities.append(_parsed(_numbers, given, (path, at, "Priority"), "is not a number. Mend the line."))
        if session_at is not None:
            sessions += [row[session_at] for _, row in kept]
    if not parts:
        raise InputError(f"{path}: no rows after the header. Give a trace with at least one request.")
    seconds, inputs, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    numbered = np.unique(np.array(sessions), return_inverse=True)[1].astype(np.int64) if sessions else None
    ranked = np.concatenate(priorities).astype(np.int64) if priorities else None
    return Columns(seconds, inputs.astype(np.int64), outputs.astype(np.int64), numbered, priority=ranked)


Place = tuple[Path, Sequence[int], str]  # file, line of each value, column


def _clock_s(values: Sequence[bytes]) -> FloatArray:
    """ISO dates with up to nine digits of a second, UTC; seconds since 2020 (float64 holds them to 0.03 microseconds)."""
    if _OFFSET.search(b"\n".join(values)):
        raise ValueError("an offset from UTC other than +00:00")
    texts = np.array([value.removesuffix(b"+00:00").removesuffix(b"Z") for value in values]).astype(str)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of NumPy: it would read over an offset
        try:
            stamps = texts.astype("datetime64[ns]")
        except UserWarning:
            raise ValueError("an offset from UTC") from None
    since = (stamps - np.datetime64("2020-01-01", "ns")).astype(np.float64)
    whole = (np.char.str_len(texts) >= len("2023-11-16 18:15:46")) & np.char.startswith(texts, "20") & ~np.isnat(stamps)
    return np.where(whole, since, np.nan) * 1e-9


def _offset_s(values: Sequence[bytes]) -> FloatArray:
    """Seconds since the start of the trace; a negative one is no time."""
    seconds = _numbers(values)
    return np.where(seconds >= 0, seconds, np.nan)


def _numbers(values: Sequence[bytes]) -> FloatArray:
    return np.array(values).astype(np.float64)


def _parsed(
    parse: Callable[[Sequence[bytes]], FloatArray], values: Sequence[bytes], place: Place, remedy: str
) -> FloatArray:
    """The column parsed at once; if that fails, the first value that cannot be parsed alone is named."""
    path, lines, column = place
    try:
        parsed = parse(values)
    except ValueError:
        parsed = None
    if parsed is not None and np.isfinite(parsed).all():
        return parsed
    for line, value in zip(lines, values, strict=True):
        try:
            alone = parse([value])
        except ValueError:
            alone = np.array([np.nan])
        if not np.isfinite(alone).all():
            raise _Row(path, line).error(column, value.decode("utf-8", "replace")[:80], remedy)
    raise InputError(f"{path}:{lines[0]}: column {column} cannot be read as a whole. Mend the file.")


def _tokens(values: FloatArray, place: Place) -> FloatArray:
    wrong = np.flatnonzero((values < 0) | (values >= 2**31) | (values != np.floor(values)))
    if len(wrong):
        path, lines, column = place
        value = float(values[wrong[0]])
        raise _Row(path, lines[wrong[0]]).error(column, value, "must be a whole number from 0 on. Mend the line.")
    return values


def _mooncake(head: bytes, file: BinaryIO, path: Path) -> Columns:
    """timestamp [ms], input_length, output_length [tokens], hash_ids: prefix blocks, if they are there."""
    records: list[dict[str, Any]] = []
    at: list[int] = []
    for first, lines in ((1, [head]), *_chunks(file)):
        kept = [(number, line) for number, line in enumerate(lines, first) if line.strip()]
        at += [number for number, _ in kept]
        records += _records(kept, path)
    for number, record in zip(at, records, strict=True):
        if not isinstance(record, dict):
            raise _Row(path, number).error("row", str(record)[:80], "is no JSON object. Mend the line.")
    milliseconds = _key(records, "timestamp", path, at)
    tokens = [
        _tokens(_key(records, key, path, at), (path, at, key)).astype(np.int64)
        for key in ("input_length", "output_length")
    ]
    blocks, starts = _blocks(records, path, at)
    size = _block_tokens(tokens[0], np.diff(starts), path) if len(blocks) else 0
    prefix = (blocks, starts, size) if len(blocks) else (None, None, 0)
    return Columns(milliseconds * 1e-3, tokens[0], tokens[1], None, None, *prefix)


def _records(lines: list[tuple[int, bytes]], path: Path) -> list[Any]:
    """The lines parsed at once, or one by one if that fails, to name the broken one."""
    try:
        records = json.loads(b"[" + b",".join(line for _, line in lines) + b"]")
    except (ValueError, RecursionError):
        records = []
    if len(records) == len(lines):
        return cast(list[Any], records)
    return [_record(line, _Row(path, number)) for number, line in lines]


def _record(line: bytes, row: _Row) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        text = line.decode("utf-8", "replace").strip()[:80]
        raise row.error("row", text, f"is not valid JSON ({error}). Mend the line.") from None


def _key(records: list[dict[str, Any]], key: str, path: Path, at: Sequence[int]) -> FloatArray:
    """A numeric key of every record, none of them negative, as float64[n]."""
    values = [record.get(key) for record in records]
    for line, value in zip(at, values, strict=True):
        if type(value) not in (int, float) or not 0 <= cast(float, value) < 1e300:
            raise _Row(path, line).error(key, value, f"is not a number from 0 on. Known traces: {_FORMATS}.")
    return np.array(values, dtype=np.float64)


def _blocks(records: list[dict[str, Any]], path: Path, at: Sequence[int]) -> tuple[IntArray, IntArray]:
    """hash_ids of all records one after another, and where those of each start [n + 1]."""
    lists = [record.get("hash_ids") or [] for record in records]
    for line, ids in zip(at, lists, strict=True):
        if not isinstance(ids, list) or not all(type(each) is int and abs(each) < 2**63 for each in ids):
            raise _Row(path, line).error("hash_ids", ids, "must be a list of whole numbers. Mend the line.")
    starts = np.concatenate(([0], np.cumsum([len(ids) for ids in lists]))).astype(np.int64)
    return np.fromiter((each for ids in lists for each in ids), np.int64, int(starts[-1])), starts


def _block_tokens(input_tokens: IntArray, counts: IntArray, path: Path) -> int:
    """Tokens a prefix block: the size at which nearly every request has as many blocks as its prompt fills."""
    for size in _BLOCK_SIZES:
        whole = input_tokens // size
        if np.mean((counts == whole) | (counts == whole + 1)) > 0.95:
            return size
    raise InputError(
        f"{path}: the numbers of hash_ids fit no block of {', '.join(map(str, _BLOCK_SIZES))} tokens."
        " Remove hash_ids, or give them for such blocks."
    )
