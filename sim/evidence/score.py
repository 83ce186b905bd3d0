"""Errors of predictions against measurements: median, mean, 90th percentile and how many; the rules stand in rules.py."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .predictions import Predictions
from .rules import TRAINING_TARGETS, BoolArray, training_tiers
from .tables import FloatArray, Table
from .verdicts import operator_errors

IntArray = NDArray[np.int64]
GROUP = "group"  # the grouping of kernels by device, formats and stack
SLOW_US = 50.0


class Errors(NamedTuple):
    """One metric of a table: |predicted / measured - 1| of the rows that count, and what they are grouped by.

    rows: index of each row that counts; error: NaN where nothing was predicted; groups: name of a grouping -> label [n].
    """

    metric: str
    rows: list[int]
    error: FloatArray
    groups: dict[str, list[str]]


class Line(NamedTuple):
    """Statistics of one group: n answered of `counted`; medians and so on of the errors."""

    table: str
    metric: str
    grouping: str
    group: str
    counted: int
    n: int
    median: float
    mean: float
    p90: float
    floor_median: float = math.nan
    floor_mean: float = math.nan


def relative(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """|predicted / measured - 1|, NaN where either is missing or nothing was measured."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(measured > 0, np.abs(predicted / measured - 1.0), math.nan)


def summarise(name: str, errors: Errors, floor: FloatArray | None = None) -> list[Line]:
    """All rows, each grouping's groups, and the mean over sources."""
    lines = [_line(name, errors, "all", "all", np.arange(len(errors.rows)), floor)]
    for grouping, labels in errors.groups.items():
        members: dict[str, list[int]] = defaultdict(list)
        for index, label in enumerate(labels):
            members[label].append(index)
        found = [_line(name, errors, grouping, label, np.array(at), floor) for label, at in sorted(members.items())]
        lines += found
        if grouping == "source" and len(found) > 1:
            lines.append(_over_sources(name, errors.metric, found))
    return lines


def _line(name: str, errors: Errors, grouping: str, group: str, at: IntArray, floor: FloatArray | None) -> Line:
    values = errors.error[at]
    answered = ~np.isnan(values)
    median, mean, p90 = _statistics(values[answered])
    under = (math.nan, math.nan, math.nan) if floor is None else _statistics(floor[at][answered & ~np.isnan(floor[at])])
    return Line(
        name, errors.metric, grouping, group, len(at), int(answered.sum()), median, mean, p90, under[0], under[1]
    )


def _statistics(values: FloatArray) -> tuple[float, float, float]:
    if not values.size:
        return math.nan, math.nan, math.nan
    return float(np.median(values)), float(values.mean()), float(np.quantile(values, 0.9))


def _over_sources(name: str, metric: str, lines: Sequence[Line]) -> Line:
    """Mean of the sources' figures, each source counting once."""
    answered = [line for line in lines if line.n]
    mean = [float(np.mean([getattr(line, field) for line in answered] or [math.nan])) for field in _MEANS]
    counted, n = sum(line.counted for line in lines), sum(line.n for line in lines)
    return Line(name, metric, "over sources", "mean", counted, n, *mean)


_MEANS = ("median", "mean", "p90", "floor_median", "floor_mean")


def errors_of(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    """The metrics of a table. Rows that a rule takes out appear in a metric of their own where they are to be shown apart."""
    return _METRICS[table.kind.name](table, predictions, excluded)


def _pick(table: Table, metric: str, error: FloatArray, counts: BoolArray, grouping: Sequence[str]) -> Errors:
    rows = [int(i) for i in np.flatnonzero(counts)]
    groups = {}
    for name in grouping:
        labels = table.column(name)
        if any(labels[i] for i in rows):
            groups[name] = [labels[i] or "not stated" for i in rows]
    return Errors(metric, rows, error[rows], groups)


def _kept(excluded: Sequence[str]) -> BoolArray:
    return np.array([rule == "" for rule in excluded], bool)


def _kernels(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    measured = table.measured("time_us")
    error = relative(predictions.values["time_us"], measured)
    kept = _kept(excluded)
    names = kernel_groups(table)
    headline = _pick(table, "time_us", error, kept, ("device", "dtype", "stack", "op", "routing"))
    headline.groups[GROUP] = [names[i] for i in headline.rows]
    found = [headline]
    if table.kind.name == "gemm" and kept.any():
        size = table.numbers("m") * table.numbers("n") * table.numbers("k")
        large = kept & (size >= np.quantile(size[kept], 0.75))
        found.append(_pick(table, "time_us, largest quarter of the shapes", error, large, ("device",)))
    slow = kept & np.isin(names, slow_groups(names, measured, kept))
    if slow.any():
        found.append(_pick(table, "time_us, groups slower than 50 us (in the headline too)", error, slow, ("device",)))
    host = np.array([rule == "host-bound" for rule in excluded], bool)
    if host.any():
        found.append(_pick(table, "time_us, host-bound (apart)", error, host, ("device",)))
    return found


def kernel_groups(table: Table) -> list[str]:
    """Device, formats and stack of each row of a kernel table, as one label [n]."""
    columns = [table.column(name) for name in ("device", "dtype", "kv_dtype", "stack")]
    return [" ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]


def slow_groups(names: Sequence[str], measured: FloatArray, kept: BoolArray) -> list[str]:
    """Groups whose rows that count all but never take less than 50 us: a host may hide behind them."""
    members: dict[str, list[int]] = defaultdict(list)
    for index in np.flatnonzero(kept):
        members[names[int(index)]].append(int(index))
    return [name for name, rows in members.items() if np.quantile(measured[rows], 0.02) > SLOW_US]


def training_target(table: Table, predictions: Predictions) -> FloatArray:
    """Error of the step time: of the first target that the row states; for rates it is inverted [n]."""
    error = np.full(len(table), math.nan)
    for name in reversed(TRAINING_TARGETS):
        measured, predicted = table.measured(name), predictions.values[name]
        if name != TRAINING_TARGETS[0]:
            predicted, measured = measured, predicted
        stated = ~np.isnan(table.measured(name))
        error[stated] = relative(predicted, measured)[stated]
    return error


def _training(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    error = training_target(table, predictions)
    tiers = np.array(training_tiers(table), dtype=object)
    found = [
        _pick(table, f"tier {tier}", error, tiers == tier, ("source", "device"))
        for tier in sorted({str(t) for t in tiers if not t.startswith("x:")})
    ]
    for rule in ("lora",):
        if (tiers == f"x:{rule}").any():
            found.append(_pick(table, f"{rule} (apart)", error, tiers == f"x:{rule}", ("source", "device")))
    memory = relative(predictions.values["memory_gb_per_device"], table.measured("memory_gb_per_device"))
    if (table.measured("memory_gb_per_device") > 0).any():
        found.append(_pick(table, "memory", memory, table.measured("memory_gb_per_device") > 0, ("source", "device")))
    return found


def _serving(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    ttft, tpot = table.measured("ttft_ms"), table.measured("tpot_ms")
    more = table.numbers("output_tokens") - 1.0
    guessed = predictions.values["ttft_ms"] + predictions.values["tpot_ms"] * more
    errors = {
        "tpot": relative(predictions.values["tpot_ms"], tpot),
        "ttft": relative(predictions.values["ttft_ms"], ttft),
        "tokens per s per chip": relative(ttft + tpot * more, guessed),
    }
    kept, mode = _kept(excluded), np.array(table.column("mode"), dtype=object)
    warm = warming_up(table, kept)
    return [
        _pick(
            table,
            f"{each}: {name}",
            error,
            kept & (mode == each) & ~(warm & (name == "ttft")),
            ("device", "engine", "model"),
        )
        for each in sorted(set(mode[kept]))
        for name, error in errors.items()
    ]


_SAME_RUN = (
    "model",
    "device",
    "engine",
    "engine_version",
    "precision",
    "mode",
    "input_tokens",
    "output_tokens",
    "tp_size",
    "attention_dp_size",
    "moe_ep_size",
)


def warming_up(table: Table, kept: BoolArray) -> BoolArray:
    """Rows whose TTFT exceeds 1.3 times that of the same configuration at a higher concurrency [n]."""
    ttft, concurrency = table.measured("ttft_ms"), np.nan_to_num(table.numbers("concurrency"), nan=-1.0)
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(*(table.column(name) for name in _SAME_RUN), strict=True)):
        if kept[index]:
            groups[key].append(index)
    out = np.zeros(len(table), bool)
    for members in groups.values():
        for index in members:
            higher = [ttft[other] for other in members if concurrency[other] > concurrency[index]]
            out[index] = ttft[index] > 1.3 * min(higher, default=math.inf)
    return out


SECONDARY = ("input_tokens_per_s", "requests_per_s")
LATENCIES = (
    "prefill_latency_ms",
    "decode_latency_ms_per_token",
    "ttft_ms_p50",
    "tpot_ms_p50",
    "output_tokens_per_s",
)


def _inference(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    """One error for each measured cell; input tokens and requests a second only where a row has nothing else."""
    kept = _kept(excluded)
    targets = inference_targets(table)
    error = {name: relative(predictions.values[name], measured) for name, measured in targets.items()}
    families, devices, sources = (table.column(name) for name in ("device_family", "device", "source_id"))
    metrics: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for index in np.flatnonzero(kept):
        for name, measured in targets.items():
            if measured[index] > 0:
                metrics[families[index]].append((int(index), float(error[name][index])))
    return [
        Errors(
            family,
            [row for row, _ in pairs],
            np.array([value for _, value in pairs]),
            {"device": [devices[row] for row, _ in pairs], "source": [sources[row] for row, _ in pairs]},
        )
        for family, pairs in sorted(metrics.items())
    ]


def inference_targets(table: Table) -> dict[str, FloatArray]:
    """Measured values that count, by column, NaN elsewhere [n]: input tokens and requests a second only of rows that state nothing
    else."""
    first = {name: np.where(table.measured(name) > 0, table.measured(name), math.nan) for name in LATENCIES}
    alone = np.all([np.isnan(column) for column in first.values()], axis=0)
    return {**first, **{name: np.where(alone, table.measured(name), math.nan) for name in SECONDARY}}


def _power(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    return [
        _pick(
            table,
            name,
            relative(predictions.values[name], table.measured(name)),
            _kept(excluded) & (table.measured(name) > 0),
            ("device", "system", "model"),
        )
        for name in table.kind.measured
    ]


def _collectives(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    error = relative(predictions.values["busbw_gb_s"], table.measured("busbw_gb_s"))
    by_time = relative(predictions.values["time_us"], table.measured("time_us"))
    error = np.where(np.isnan(error), by_time, error)
    size = table.numbers("bytes")
    ranges = {
        "64 MB and more": size >= 64e6,
        "1 to 64 MB": (size >= 1e6) & (size < 64e6),
        "below 1 MB": size < 1e6,
        "size not stated": np.isnan(size),
    }
    kept = _kept(excluded)
    return [
        _pick(table, name, error, kept & inside, ("system",))
        for name, inside in ranges.items()
        if (kept & inside).any()
    ]


def _campaigns(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    """Productive share in points (a share of 1), time between failures as a ratio."""
    share, between = table.kind.measured
    points = np.abs(predictions.values[share] - table.measured(share))
    ratio = relative(predictions.values[between], table.measured(between))
    return [
        _pick(table, "productive share, points", points, ~np.isnan(table.measured(share)), ("model",)),
        _pick(table, "time between failures", ratio, ~np.isnan(table.measured(between)), ("model",)),
    ]


def _operators(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[Errors]:
    """Distance from the figure, or from the nearest end of the bound or range; by family and device."""
    kept = _kept(excluded)
    error = np.abs(operator_errors(table, predictions))
    bound = np.array(table.column("bound"), dtype=object)
    apart = {"figures": kept & (bound == "equal"), "bounds and ranges": kept & (bound != "equal")}
    return [_pick(table, name, error, rows, ("device_family", "device")) for name, rows in apart.items() if rows.any()]


_METRICS: dict[str, Callable[[Table, Predictions, Sequence[str]], list[Errors]]] = {
    **dict.fromkeys(("gemm", "attention_prefill", "attention_decode", "moe", "collective"), _kernels),
    "training": _training,
    "serving": _serving,
    "inference": _inference,
    "power": _power,
    "collectives": _collectives,
    "campaigns": _campaigns,
    "operators": _operators,
}
