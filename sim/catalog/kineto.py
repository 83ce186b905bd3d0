"""Traces of PyTorch's profiler (Kineto, Chrome's JSON) -> rows of measured kernels, as far as shapes were recorded.

Fields: traceEvents with cat cpu_op (`Input Dims`, `Input type`, `External id`), kernel (`External id`, dur [us]), and of NCCL
kernels `Collective name`, `In msg nelems`, `Group size`, `dtype` (PyTorch 2.x, `record_shapes=True`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import InputError
from .imported import Note

GEMM = ("device", "dtype", "m", "n", "k", "time_us", "stack", "stack_version", "kernel", "source", "licence")
COLLECTIVE = ("device", "op", "num_devices", "dtype", "elements", "time_us", "stack", "kernel", "source", "licence")
_FORMATS = {
    "c10::BFloat16": "bfloat16", "BFloat16": "bfloat16", "c10::Half": "float16", "Half": "float16",
    "c10::Float8_e4m3fn": "fp8", "Float8_e4m3fn": "fp8",
}  # fmt: skip
_OPS = {  # name of a collective -> the tables' word
    "allreduce": "all_reduce", "_allgather_base": "all_gather", "allgather": "all_gather",
    "_reduce_scatter_base": "reduce_scatter", "reduce_scatter": "reduce_scatter",
    "allgather_into_tensor_coalesced": "all_gather", "reduce_scatter_tensor_coalesced": "reduce_scatter",
    "all_to_all": "alltoall", "alltoall_base": "alltoall",
}  # fmt: skip
_WHOLE = {"all_reduce", "alltoall", "reduce_scatter"}  # whose input is the whole buffer; all_gather's is a rank's part
_PRODUCTS = {"aten::mm": 0, "aten::addmm": 1, "aten::_scaled_mm": 0}  # first of the two matrices among the inputs
_LARGEST = 2**40


class Kernels(NamedTuple):
    """Rows by table (gemm, collective), the median of equal shapes each, and what became of the other kernels."""

    gemm: list[dict[str, str]]
    collective: list[dict[str, str]]
    understood: tuple[Note, ...]
    assumed: tuple[Note, ...]
    ignored: tuple[Note, ...]


def looks_like(text: str) -> bool:
    """Is a text a trace of Chrome's format that may be Kineto's?"""
    return text.lstrip("\ufeff \t\r\n").startswith("{") and '"traceEvents"' in text


def read_kernels(text: str, name: str, device: str, stack: str) -> Kernels:
    """Kernels of a trace; device, stack: what the rows say they ran on.

    Raises InputError for what is no such trace, or for one without a kernel of known shape.
    """
    events = list(_events(text, name))
    shapes: dict[Any, dict[str, Any]] = {}
    for _, event in events:
        given = event["args"]
        external = given.get("External id")
        if event.get("cat") == "cpu_op" and isinstance(external, int | str) and str(event.get("name")) in _PRODUCTS:
            shapes[external] = event
    products: dict[tuple[Any, ...], list[float]] = {}
    exchanges: dict[tuple[Any, ...], list[float]] = {}
    total = taken = 0.0
    for place, event in events:
        if event.get("cat") != "kernel":
            continue
        lasts = _microseconds(event, place)
        total += lasts
        key, into = _collective(event), exchanges
        if key is None:
            external = event["args"].get("External id")
            op = shapes.get(external) if isinstance(external, int | str) else None
            key, into = _product(op) if op is not None else None, products
        if key is not None:
            into.setdefault(key, []).append(lasts)
            taken += lasts
    if not products and not exchanges:
        raise InputError(f"{name}: no kernel of known shape. Record with torch.profiler.profile(record_shapes=True).")
    common = {"device": device, "stack": stack, "source": name, "licence": "own measurement"}
    gemm = [
        _row(GEMM, common, zip(("dtype", "m", "n", "k"), key, strict=True), times) for key, times in products.items()
    ]
    collective = [
        _row(COLLECTIVE, common, zip(("op", "num_devices", "dtype", "elements"), key, strict=True), times)
        for key, times in exchanges.items()
    ]
    return Kernels(gemm, collective, *_notes(products, exchanges, total, taken))


def _notes(products: dict[Any, Any], exchanges: dict[Any, Any], total: float, taken: float) -> tuple[Any, Any, Any]:
    understood = (
        Note("products", str(sum(map(len, products.values()))), f"{len(products)} shapes: rows of gemm"),
        Note("collectives", str(sum(map(len, exchanges.values()))), f"{len(exchanges)} shapes: rows of collective"),
    )
    assumed = (Note("time_us", "median", "of equal shapes; waiting for slow ranks is part of a collective's time"),)
    left = f"{total - taken:,.0f} of {total:,.0f} us"
    return understood, assumed, (Note("other kernels", left, "attention, elementwise, or of no recorded shape"),)


def _events(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, complete event with its args) of the trace."""
    try:
        document: Any = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}: not valid JSON ({str(error)[:80]}). Give the trace that the profiler exported."
        ) from None
    events = document.get("traceEvents") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise InputError(f"{name}: traceEvents must be a list. Give the trace that the profiler exported.")
    for number, event in enumerate(events):
        if isinstance(event, dict) and event.get("ph") == "X" and isinstance(event.get("args"), dict):
            yield f"{name}: event {number}", event


def _microseconds(event: dict[str, Any], place: str) -> float:
    value = event.get("dur")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1e12:
        raise InputError(f"{place}: dur = {str(value)[:60]!r} is not a number of microseconds. Mend the event.")
    return float(value)


def _size(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST
    return int(value) if whole else None


def _product(op: dict[str, Any]) -> tuple[Any, ...] | None:
    """(dtype, m, n, k) of the two matrices; None if they were not recorded or are of a format that tables lack."""
    first = _PRODUCTS[op["name"]]
    dims, types = op["args"].get("Input Dims"), op["args"].get("Input type")
    if not isinstance(dims, list) or not isinstance(types, list) or min(len(dims), len(types)) < first + 2:
        return None
    left, right = dims[first], dims[first + 1]
    if not (isinstance(left, list) and isinstance(right, list) and len(left) == len(right) == 2):
        return None
    sizes = [_size(value) for value in (*left, *right)]
    dtype = _FORMATS.get(types[first]) if isinstance(types[first], str) else None
    if dtype is None or None in sizes or sizes[1] != sizes[2]:
        return None
    return dtype, sizes[0], sizes[3], sizes[1]


def _collective(event: dict[str, Any]) -> tuple[Any, ...] | None:
    """(op, ranks, dtype, elements of the whole buffer); None for another kernel."""
    given = event["args"]
    name = given.get("Collective name")
    op = _OPS.get(name) if isinstance(name, str) else None
    sent, ranks, kind = _size(given.get("In msg nelems")), _size(given.get("Group size")), given.get("dtype")
    dtype = {"BFloat16": "half", "Half": "half"}.get(kind) if isinstance(kind, str) else None
    if op is None or sent is None or ranks is None or ranks < 2 or dtype is None:
        return None
    return op, ranks, dtype, sent if op in _WHOLE else sent * ranks


def _row(
    columns: tuple[str, ...], common: dict[str, str], shape: Iterator[tuple[str, Any]], times: list[float]
) -> dict[str, str]:
    values = {**common, **{name: str(value) for name, value in shape}, "time_us": f"{statistics.median(times):.6g}"}
    return {name: values.get(name, "") for name in columns}
