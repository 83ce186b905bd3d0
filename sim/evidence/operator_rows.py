"""Operator and micro-benchmark rows (phase `op`): the metric that a row names, from the price of one kernel."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..catalog.chips import Chip
from ..cost import Machine, seconds_of
from .context import Context
from .predictions import Answer
from .serving_stacks import format_of, serving_stack
from .tables import Row, Skip

FAVOURABLE = 4096  # side of a square product that fills any chip, where a row says only that shapes were favourable
INTERVAL = (0.5, 2.0)  # where nothing better is known: a factor of two either way
STREAMED_BYTES, SHARED_BYTES = 2.0**33, 2.0**30  # large enough that fixed costs vanish


class _Bench:
    """One chip and what a row says of its operator."""

    def __init__(self, row: Row, chip: Chip, packed: Machine) -> None:
        self.chip, self.packed = chip, packed
        self.devices = row.count("num_devices") or 1
        self.dtype = format_of(row.text("weight_dtype")) or "bf16"
        shape = re.search(r"(\d+)x(\d+)x(\d+)", row.text("model"))
        self.shape = tuple(float(n) for n in shape.groups()) if shape else (float(FAVOURABLE),) * 3

    def gemm_percent(self) -> float:
        """Percent of the peak that a product reaches."""
        m, n, k = self.shape
        taken = seconds_of("gemm", m, n, k, 1.0, machine=self.packed, dtype=self.dtype)
        return 100.0 * 2.0 * m * n * k / taken / (self.chip.matmul_flops_per_s(self.dtype) / self.chip.ranks)

    def launch_us(self) -> float:
        return 1e6 * seconds_of("memory", 1.0, 1.0, 1.0, machine=self.packed)

    def memory_tb_per_s(self) -> float:
        return (
            STREAMED_BYTES
            / seconds_of("memory", STREAMED_BYTES, 1.0, 1.0, machine=self.packed)
            / 1e12
            * self.chip.ranks
        )

    def collective_gb_per_s(self) -> float:
        """Bus bandwidth of a large all-reduce."""
        n = float(self.devices)
        taken = seconds_of("all_reduce", SHARED_BYTES, n, float(self.chip.ranks), 1.0, machine=self.packed)
        return 2.0 * (n - 1.0) / n * SHARED_BYTES / taken / 1e9


_METRICS: dict[str, Callable[[_Bench], float]] = {
    "gemm_fraction_of_peak_pct": _Bench.gemm_percent,
    "gemm_fraction_of_roofline_pct": _Bench.gemm_percent,
    "compute_efficiency_pct": _Bench.gemm_percent,
    "job_launch_us": _Bench.launch_us,
    "hbm_bandwidth_TB_s": _Bench.memory_tb_per_s,
    "collective_bandwidth_GB_s": _Bench.collective_gb_per_s,
}


def answer(row: Row, context: Context) -> Answer:
    """The metric of one operator row. Raises Skip for one that is no time or rate of one kernel."""
    metric = row.text("other_metric").split(" ")[0]
    if metric not in _METRICS:
        raise Skip(f"operator metric {metric!r} is not the time or rate of one kernel")
    chip = context.chip(row.text("device"))
    stack = serving_stack(context, chip, row.text("engine"))
    bench = _Bench(row, chip, context.machine(chip, stack))
    values = {"other_value": _METRICS[metric](bench)}
    if metric.endswith("_pct"):
        values["mfu_pct"] = values["other_value"]
    return Answer(values, context.calibration(chip, stack).basis, *INTERVAL)
