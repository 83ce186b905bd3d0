"""Operator and micro-benchmark figures: rows of an operator table, and rows of phase `op` of an inference table.

Each figure is the time or the rate of one kernel, the clock under a long product, or what a cache keeps. docs/other-families.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ..catalog.calibrations import Stack
from ..catalog.chips import Chip
from ..catalog.library import cluster_of
from ..cost import Machine, machine, seconds_of, seconds_of_rows
from ..cost.machine import BYTES_PER_S, CLOCK_HZ, HOST_RATE, MEMORY_RATE, SRAM_BYTES
from ..cost.memory import CACHE_SHARE, HOST_EFFICIENCY, cached_share
from ..cost.parameters import COLLECTIVE, column
from ..lowering.kernels import DTYPE_IDS
from ..lowering.kinds import KIND_IDS
from .context import Context
from .predictions import Answer, Predictions, Progress, predict_rows
from .serving_stacks import format_of, serving_stack
from .tables import Row, Skip, Table

FAVOURABLE = 4096  # side of a square product that fills any chip, where a row says only that shapes were favourable
LAYER = (512.0, 2048.0, 2048.0)  # of a ranking network: samples, width, width
SIDES = (1024.0, 2048.0, 4096.0, 6144.0, 8192.0, 10240.0, 12288.0, 16384.0)  # that a search for the best product tries
INTERVAL = (0.5, 2.0)  # where nothing better is known: a factor of two either way
STREAMED_BYTES, SHARED_BYTES = 2.0**33, 2.0**30  # large enough that fixed costs vanish

UNANSWERED = {
    "doorbell_saving_ns": "a saving between two ways to launch; a calibration knows one launch of a kind",
    "latency_saving_ns_per_operation": "a saving between two ways to launch; a calibration knows one launch of a kind",
    "preprocessing_ms": "sizes of the operators' inputs are not stated",
    "kernel_latency_ms": "sizes of the operators' inputs are not stated",
    "per_watt_over_gpu": "which GPU, product and draw it is over is not stated",
    "perf_per_watt_vs_gpu": "which GPU, product and draw it is over is not stated",
}


class _Bench:
    """One chip, calibrated under a stack, and what a row says of its operator."""

    def __init__(self, row: Row, context: Context, chip: Chip, stack: Stack) -> None:
        self.context, self.chip, self.stack = context, chip, stack
        cluster = context.library.cluster(row.text("cluster")) if row.text("cluster") else None
        self.packed = context.machine(chip, stack, cluster)
        if row.text("algorithm") == "ring":
            self.packed = _without_reduction(self.packed)
        self.row = row
        self.devices = float(row.count("num_devices") or 1)
        self.ranks = 1.0 if row.text("per") == "rank" else float(chip.ranks)  # a chip's figure is that of all its ranks
        self.dtype = format_of(row.text("dtype") or row.text("weight_dtype")) or "bf16"

    @property
    def shape(self) -> tuple[float, float, float] | None:
        named = re.search(r"(\d+)x(\d+)x(\d+)", self.row.text("model"))
        sizes = named.groups() if named else [self.row.count(name) or 0 for name in "mnk"]
        m, n, k = (float(size) for size in sizes)
        return (m, n, k) if m * n * k > 0.0 else None

    def product_s(self, m: float, n: float, k: float) -> float:
        return seconds_of("gemm", m, n, k, 1.0, machine=self.packed, dtype=self.dtype)

    def product_tflop_per_s(self) -> float:
        """The product of the row, or the fastest of all shapes of SIDES."""
        if self.shape is not None:
            m, n, k = self.shape
            return self.ranks * 2e-12 * m * n * k / self.product_s(m, n, k)
        shapes = np.array([(m, n, k) for m in SIDES for n in SIDES for k in SIDES])
        dims = np.zeros((len(shapes), 8))
        dims[:, :3], dims[:, 3] = shapes, 1.0
        kind, dtype = (np.full(len(shapes), i, np.int16) for i in (KIND_IDS["gemm"], DTYPE_IDS[self.dtype]))
        times = seconds_of_rows(kind, dtype, dtype, dims, self.packed)
        return self.ranks * 2e-12 * float((shapes.prod(axis=1) / times).max())

    def product_percent(self) -> float:
        """Percent of the printed peak that a product reaches."""
        m, n, k = self.shape or (float(FAVOURABLE),) * 3
        reached = 2.0 * m * n * k / self.product_s(m, n, k) * self.chip.ranks
        return 100.0 * reached / self.chip.matmul_flops_per_s(self.dtype)

    def clock_mhz(self) -> float:
        return 1e-6 * float(self.packed.chip_values[CLOCK_HZ])

    def launch_us(self) -> float:
        return 1e6 * seconds_of("memory", 1.0, 1.0, 1.0, machine=self.packed)

    def memory_tb_per_s(self) -> float:
        taken = seconds_of("memory", STREAMED_BYTES, 1.0, 1.0, machine=self.packed)
        return self.ranks * 1e-12 * STREAMED_BYTES / taken

    def ecc_percent(self) -> float:
        """Percent of the memory rate that error correction takes: against the same chip without it."""
        calibration = self.context.calibration(self.chip, self.stack)
        given = {**calibration.parameters.get("chip", {}), "ecc_share": 0.0}
        plain = calibration.with_(parameters={**calibration.parameters, "chip": given})
        without = machine(self.chip, self.context.family(self.chip), plain, cluster_of(self.chip))
        with_s, without_s = (seconds_of("memory", STREAMED_BYTES, 1.0, 1.0, machine=m) for m in (self.packed, without))
        return 100.0 * (1.0 - without_s / with_s)

    def dense_sram_percent(self) -> float:
        """Percent of the bytes of a dense layer that SRAM serves, from the time that they take where arithmetic takes none."""
        m, n, k = self.shape or LAYER
        free = self.packed._replace(rates=np.full_like(self.packed.rates, 1e30))
        none, all_of_it = _with(free, SRAM_BYTES, 0.0), _with(free, SRAM_BYTES, 1e18)
        here, far, near = (
            seconds_of("gemm", m, n, k, 1.0, machine=each, dtype=self.dtype) for each in (free, none, all_of_it)
        )
        return 100.0 * (far - here) / (far - near)

    def gather_sram_percent(self) -> float:
        """Percent of the accesses to tables that hit what SRAM holds of them."""
        each = self.row.number("bytes") or 256.0
        p = self.packed.parameters[KIND_IDS["gather"], 0, 0]
        held = float(p[CACHE_SHARE] * self.packed.chip_values[SRAM_BYTES]) / each
        return 100.0 * cached_share(
            held, (self.row.number("table_bytes") or 0.0) / each, self.row.number("skew") or 0.0
        )

    def all_reduce_us(self) -> float:
        size = self.row.number("bytes") or SHARED_BYTES
        n, stride = (self.devices, float(self.chip.ranks))
        return 1e6 * seconds_of("all_reduce", size, n, stride, 1.0, machine=self.packed)

    def all_reduce_gb_per_s(self) -> float:
        """Bus bandwidth of an all-reduce."""
        n, size = self.devices, self.row.number("bytes") or SHARED_BYTES
        return 2.0 * (n - 1.0) / n * size / (self.all_reduce_us() * 1e-6) / 1e9

    def collective_launch_us(self) -> float:
        p = self.packed.parameters[KIND_IDS["all_reduce"], 0, 0]
        return 1e6 * float(p[0] / self.packed.chip_values[CLOCK_HZ])

    def peer_gb_per_s(self) -> float:
        return (
            SHARED_BYTES
            / seconds_of("send_recv", SHARED_BYTES, 2.0, float(self.chip.ranks), 1.0, machine=self.packed)
            / 1e9
        )

    def host_gb_per_s(self) -> float:
        p = self.packed.parameters[KIND_IDS["optimizer"], 0, 0]
        return 1e-9 * float(p[HOST_EFFICIENCY] * self.packed.chip_values[HOST_RATE]) * self.ranks

    def beside_collectives_percent(self) -> float:
        """Percent by which a product slows while its links are full: what they carry is read from memory and written to it."""
        m, n, k = self.shape or (float(FAVOURABLE),) * 3
        left = float(self.packed.chip_values[MEMORY_RATE] - 2.0 * self.packed.levels[0, BYTES_PER_S])
        beside = seconds_of("gemm", m, n, k, 1.0, machine=_with(self.packed, MEMORY_RATE, left), dtype=self.dtype)
        return 100.0 * (beside / self.product_s(m, n, k) - 1.0)


def _with(packed: Machine, at: int, value: float) -> Machine:
    """The machine with another value of its chip."""
    values = packed.chip_values.copy()
    values[at] = value
    return packed._replace(chip_values=values)


def _without_reduction(packed: Machine) -> Machine:
    """The machine whose switches add nothing up."""
    parameters = packed.parameters.copy()
    parameters[KIND_IDS["all_reduce"], ..., column(COLLECTIVE, "reduce_efficiency")] = 0.0
    return packed._replace(parameters=parameters)


Metric = Callable[[_Bench], float]
METRICS: dict[str, Metric] = {
    "product_tflop_per_s": _Bench.product_tflop_per_s,
    "product_percent_of_peak": _Bench.product_percent,
    "product_clock_mhz": _Bench.clock_mhz,
    "launch_us": _Bench.launch_us,
    "memory_tb_per_s": _Bench.memory_tb_per_s,
    "ecc_percent": _Bench.ecc_percent,
    "dense_sram_percent": _Bench.dense_sram_percent,
    "gather_sram_percent": _Bench.gather_sram_percent,
    "all_reduce_bus_gb_per_s": _Bench.all_reduce_gb_per_s,
    "all_reduce_us": _Bench.all_reduce_us,
    "collective_launch_us": _Bench.collective_launch_us,
    "peer_gb_per_s": _Bench.peer_gb_per_s,
    "peer_gb_per_s_both_ways": lambda bench: 2.0 * bench.peer_gb_per_s(),
    "host_gb_per_s": _Bench.host_gb_per_s,
    "host_gb_per_s_both_ways": lambda bench: 2.0 * bench.host_gb_per_s(),
    "beside_collectives_percent": _Bench.beside_collectives_percent,
}
_OF_INFERENCE = {  # names of the same figures in inference tables
    "gemm_fraction_of_peak_pct": "product_percent_of_peak",
    "gemm_fraction_of_roofline_pct": "product_percent_of_peak",
    "compute_efficiency_pct": "product_percent_of_peak",
    "job_launch_us": "launch_us",
    "hbm_bandwidth_TB_s": "memory_tb_per_s",
    "throughput_penalty_pct": "ecc_percent",
    "sram_hit_rate_pct": "dense_sram_percent",
    "collective_bandwidth_GB_s": "all_reduce_bus_gb_per_s",
    "dispatch_us": "collective_launch_us",
    "compute_degradation_pct": "beside_collectives_percent",
}


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """The value of every row of an operator table. Raw products, copies and collectives run under the family's training
    stack: nothing of a serving engine stands around them."""
    return predict_rows(table, lambda row: _figure(row, context), progress)


def _figure(row: Row, context: Context) -> Answer:
    metric = row.text("metric")
    if metric not in METRICS:
        raise Skip(UNANSWERED.get(metric, f"metric {metric!r} is not the time or rate of one kernel"))
    chip = context.chip(row.text("device"))
    stack = context.stack(context.family(chip).default_training_stack)
    value = METRICS[metric](_Bench(row, context, chip, stack))
    return Answer({"value": value}, context.calibration(chip, stack).basis, *INTERVAL)


def answer(row: Row, context: Context) -> Answer:
    """The metric of one operator row of an inference table. Raises Skip for one that is no time or rate of one kernel."""
    named = row.text("other_metric").split(" ")[0]
    if named not in _OF_INFERENCE:
        reason = UNANSWERED.get(named)
        raise Skip(f"operator metric {named!r}: " + (reason or "not the time or rate of one kernel"))
    chip = context.chip(row.text("device"))
    stack = serving_stack(context, chip, row.text("engine"))
    values = {"other_value": METRICS[_OF_INFERENCE[named]](_Bench(row, context, chip, stack))}
    if named.endswith("_pct"):
        values["mfu_pct"] = values["other_value"]
    return Answer(values, context.calibration(chip, stack).basis, *INTERVAL)
