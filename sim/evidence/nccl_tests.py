"""Output of nccl-tests, text or JSON, as a table of collectives: one row for each size, by its out-of-place time.

The formats: https://github.com/NVIDIA/nccl-tests, version 2.13 and later as text, files of `-J` (version 2) as JSON.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError

KERNEL = "nccl-tests"  # label of its rows: they name the device as its driver does
HEADER = ("device", "op", "num_devices", "dtype", "elements", "time_us", "stack", "kernel")
_OPS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "alltoall",
    "sendrecv": "send_recv",
}
_RANK = re.compile(r"#\s+Rank\s+(\d+)\s+(?:Group\s+(\d+)\s+)?Pid\s+\d+ on\s+(\S+)\s+device\s+\d+\s+\[[^\]]*\]\s+(.*\S)")
_TYPES = {
    "half": "half",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "uint8": "int8",
    "fp8_e4m3": "int8",
    "fp8_e5m2": "int8",
}
_WIDE = ("float", "double", "int32", "uint32", "int64", "uint64")  # as many bytes in elements of two


class _Run(NamedTuple):
    """What stands above the rows of a run."""

    op: str
    ranks: int
    device: str


def csv_of(text: str, name: str) -> str | None:
    """The run as CSV of a table of collectives (stack nccl), or None where the text is no output of nccl-tests.

    name: the file, whose name tells the collective where the output does not (`all_reduce_perf.txt`).
    Raises InputError for a run over several hosts, for host times, and for lines that are cut short.
    """
    if text.lstrip().startswith("{"):
        document = _json(text)
        if document is None:
            return None
        rows = list(_rows_of_json(document, name))
    elif re.search(r"^#.*\bsize\b.*\bcount\b.*\balgbw\b", text, re.MULTILINE):
        rows = list(_rows_of_text(text, name))
    else:
        return None
    if not rows:
        raise InputError(f"{name}: nccl-tests printed no size. Give the output of a run that ended.")
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([HEADER, *rows])
    return out.getvalue()


def _json(text: str) -> Mapping[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    known = isinstance(document, dict) and isinstance(document.get("results"), list) and "config" in document
    return document if known else None


def _objects(value: Any, place: str) -> list[dict[str, Any]]:
    """A list of objects. Raises InputError for anything else."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InputError(f"{place} is no list of objects. Give the file as nccl-tests wrote it.")
    return value


def _count(config: Mapping[str, Any], key: str, name: str) -> int:
    """A whole number from 1 on; 1 where it is not said."""
    value = config.get(key, 1)
    text = str(value)[:20]
    if isinstance(value, bool) or not text.isdecimal() or not 1 <= int(text) < 10**6:
        raise InputError(
            f"{name}: config.{key} = {text!r} is not a number from 1 on. Give the file as nccl-tests wrote it."
        )
    return int(text)


def _rows_of_json(document: Mapping[str, Any], name: str) -> Iterator[tuple[str, ...]]:
    config = document["config"]
    if not isinstance(config, dict):
        raise InputError(f"{name}: config is no object. Give the file as nccl-tests wrote it.")
    devices = _objects(config.get("devices") or [{}], f"{name}: config.devices")
    own = [each for each in devices if each.get("group") == devices[0].get("group")]
    # a process reports the first of its devices
    ranks = len(own) * _count(config, "nthreads", name) * _count(config, "ngpus", name)
    hosts = {str(each.get("hostname", "")) for each in own}
    words = document.get("args") or [""]
    program = str(words[0] if isinstance(words, list) else words)
    run = _Run(_op(program, name), _one_host(hosts, ranks, name), _device(str(devices[0].get("device_info", ""))))
    for index, row in enumerate(_objects(document["results"], f"{name}: results")):
        place = f"{name}: results[{index}]"
        body = row.get("out_of_place") or row.get("in_place") or {}
        if not isinstance(body, dict) or "time" not in body:
            raise InputError(f"{place}: no time of the device: the run measured the host. Run it without -C.")
        yield _row(run, (str(row.get("size")), str(row.get("type")), str(body["time"])), place)


def _rows_of_text(text: str, name: str) -> Iterator[tuple[str, ...]]:
    run: _Run | None = None
    heads: list[str] = []
    program = ""
    ranks: list[tuple[str, ...]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        place = f"{name}:{number}"
        started = re.search(r"Collective test starting:\s*(\S+)", line)
        if started:
            program, ranks = started[1], []
        elif found := _RANK.match(line):
            ranks.append(found.groups(""))
        elif re.match(r"#.*\bsize\b.*\bcount\b.*\balgbw\b", line):
            heads = line.lstrip("# ").split()
            if "type" not in heads:
                raise InputError(f"{place}: no column 'type' among {heads}. Give the output as nccl-tests wrote it.")
            if "time" not in heads:
                raise InputError(f"{place}: no time of the device: the run measured the host. Run it without -C.")
            run = _run(program, ranks, name)
        elif run and re.match(r"\s*\d", line):
            cells = line.split()
            if len(cells) < len(heads):
                raise InputError(f"{place}: {len(cells)} numbers where the header has {len(heads)}. Mend the line.")
            yield _row(run, (cells[0], cells[heads.index("type")], cells[heads.index("time")]), place)


def _run(program: str, ranks: Sequence[tuple[str, ...]], name: str) -> _Run:
    own = [rank for rank in ranks if rank[1] == ranks[0][1]]
    if not own:
        raise InputError(f"{name}: no line '#  Rank 0 ...' says which devices took part. Give the whole output.")
    return _Run(_op(program, name), _one_host({rank[2] for rank in own}, len(own), name), _device(own[0][3]))


def _one_host(hosts: set[str], ranks: int, name: str) -> int:
    if len(hosts) > 1:
        raise InputError(
            f"{name}: a run over {len(hosts)} hosts; how they are joined is not in it. Write a table of collectives "
            "with the columns system, device, num_devices, nodes, op, bytes and time_us for `gambrel validate collectives`."
        )
    return ranks


def _op(program: str, name: str) -> str:
    for text in (program, Path(name).name):
        for known, op in _OPS.items():
            if known in text:
                return op
    raise InputError(
        f"{name}: neither the output nor the file's name says which collective ran. Name the file all_reduce_perf.txt, "
        f"with one of {', '.join(_OPS)}."
    )


def _device(text: str) -> str:
    """`NVIDIA H100 80GB HBM3` without the maker."""
    return re.sub(r"^(NVIDIA|AMD)\s+(Instinct\s+)?", "", text.strip())


def _row(run: _Run, cells: tuple[str, str, str], place: str) -> tuple[str, ...]:
    """cells: size in bytes, type, microseconds."""
    size, label, time_us = cells
    if not size.isdecimal() or len(size) > 18 or (label not in _TYPES and label not in _WIDE):
        raise InputError(f"{place}: size = {size!r}, type = {label!r} is no row of nccl-tests. Mend the line.")
    dtype = _TYPES.get(label, "half")
    elements = int(size) // (1 if dtype == "int8" else 2)
    return run.device, run.op, str(run.ranks), dtype, str(elements), time_us, "nccl", KERNEL
