"""Figures of an inference table that are no plain latency or rate, one by one: bounds that latencies meet or miss, operators, and
ratios to other hardware. Each is met (within 5%, or the bound holds), missed by so much, or not answerable and why.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import NamedTuple

from . import inference_rows
from .context import Context
from .operator_rows import UNANSWERED
from .predictions import Predictions, silent
from .tables import Row, Table
from .verdicts import TOLERANCE, Verdict

LATENCIES = ("prefill_latency_ms", "decode_latency_ms_per_token", "ttft_ms_p50", "tpot_ms_p50")
_PLAIN = (*LATENCIES, "output_tokens_per_s", "input_tokens_per_s", "requests_per_s")
_RELATIVE = re.compile(r"relative throughput vs (\d+)x(\S+)")
CLIENTS = "64"  # of a comparison over a sweep of concurrencies that states no single one
_OTHER = {  # first words of a metric -> why it has no answer
    "perf_per": "which GPU, what it costs or draws, and which model is not stated",
    "tco": "what either side costs, and which models, is not stated",
    "p99_latency": "the model, its requests and how they arrive are not published",
    "throughput_gain": "which models gain is not stated",
    "performance_vs": "which models is not stated",
    "serving_throughput_vs": "which models, and what the other system is, is not stated",
    "communication_speedup": "what is sent, and over which network, is not stated",
}


class Bound(NamedTuple):
    """A figure as text, and the range that it allows."""

    text: str
    least: float
    most: float


def bounds(table: Table, predictions: Predictions, context: Context) -> tuple[Verdict, ...]:
    """A verdict for each row of an inference table whose notes call its latency a bound, and for each whose only figure is
    another metric; none for other tables."""
    if table.kind.name != "inference":
        return ()
    found = []
    for index, row in enumerate(table.rows()):
        name = next((name for name in _PLAIN if row.text(name)), "")
        if name in LATENCIES and "BOUND:" in row.text("notes"):
            bound = _latency(row, name)
            value = float(predictions.values[name][index])
            found.append(_verdict(row, name, bound, value, predictions.reason[index]))
        elif not name and row.text("other_metric"):
            found.append(_other(row, index, table, predictions, context))
    return tuple(found)


def _latency(row: Row, name: str) -> Bound:
    limit = float(row.text(name))
    upper = "UPPER BOUND" in row.text("notes")
    return Bound(
        f"{'at most' if upper else 'at least'} {limit:g}", *((-math.inf, limit) if upper else (limit, math.inf))
    )


def _other(row: Row, index: int, table: Table, predictions: Predictions, context: Context) -> Verdict:
    metric = row.text("other_metric")
    bound = _bound_of(metric, row.text("other_value"))
    relative = _RELATIVE.match(metric)
    if relative is not None and bound is not None:
        value, reason = _ratio(table.select([index]).configuration(), int(relative[1]), relative[2], context)
        return _verdict(row, metric, bound, value, reason)
    value = float(predictions.values["other_value"][index])
    reason = next((why for key, why in {**_OTHER, **UNANSWERED}.items() if metric.startswith(key)), "")
    if not reason and math.isnan(value):
        reason = predictions.reason[index] or "a metric that no single pass or operator answers"
    if bound is None:
        return Verdict(
            row.text("device"), _what(row), metric, row.text("other_value"), math.nan, math.nan,
            f"not answerable: {reason or 'the figure is no number or range'}",
        )  # fmt: skip
    return _verdict(row, metric, bound, math.nan if reason else value, reason)


def _bound_of(metric: str, value: str) -> Bound | None:
    """What a metric and its cell allow; None for what is no number, range or `> number`."""
    inside = re.search(r"\(([\d.]+)-([\d.]+)\)", metric) or re.fullmatch(r"([\d.]+)-([\d.]+)", value)
    if inside:
        return Bound(f"{inside[1]} to {inside[2]}", float(inside[1]), float(inside[2]))
    number = re.match(r"(>?)\s*([\d.]+)(?=$| )", value)
    if number is None:
        return None
    limit = float(number[2])
    if number[1] or "lower bound" in metric:
        return Bound(f"at least {limit:g}", limit, math.inf)
    if "upper bound" in metric:
        return Bound(f"at most {limit:g}", -math.inf, limit)
    return Bound(f"{limit:g}", limit, limit)


def _ratio(row: Table, devices: int, label: str, context: Context) -> tuple[float, str]:
    """Output tokens a second of a row over those of the same row on other devices, at CLIENTS; or why there is none."""
    here = _changed(row, {"batch_or_concurrency": CLIENTS})
    there = _changed(here, {"device": label, "num_devices": str(devices), "engine": "vllm"})
    rates = []
    for each in (here, there):
        found = inference_rows.predict(each, context, silent)
        if found.reason[0]:
            return math.nan, found.reason[0]
        rates.append(float(found.values["output_tokens_per_s"][0]))
    return rates[0] / rates[1], ""


def _changed(table: Table, cells: dict[str, str]) -> Table:
    (row,) = table.cells
    changed = tuple(cells.get(name, cell) for name, cell in zip(table.header, row, strict=True))
    return replace(table, cells=(changed,))


def _verdict(row: Row, metric: str, bound: Bound, value: float, reason: str) -> Verdict:
    if reason:
        said, error = f"not answerable: {reason}", math.nan
    else:
        error = min(0.0, value / bound.least - 1.0) if bound.least > 0.0 else 0.0
        error = error or max(0.0, value / bound.most - 1.0)
        said = "met" if abs(error) <= TOLERANCE else f"missed by {abs(error):.1%}"
    return Verdict(row.text("device"), _what(row), metric, bound.text, value, error, said)


def _what(row: Row) -> str:
    notes = row.text("notes")
    limit = "keeps a limit" if "UPPER BOUND:" in notes else "misses a limit" if "LOWER BOUND:" in notes else ""
    return ", ".join(part for part in (row.text("model"), row.text("phase"), limit) if part)
