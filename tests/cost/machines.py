"""Machines of round numbers, made by hand, so that a closed form can be worked out on paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.catalog.calibrations import Calibration
from sim.catalog.chips import Chip, Family
from sim.catalog.clusters import Cluster
from sim.cost import Machine, machine
from sim.lowering.kernels import DTYPE_IDS, Kernels
from sim.lowering.kinds import KIND_IDS

PEAK = 1e15
MEMORY_RATE = 4e12
CLOCK = 1e9


def chip(**changes: Any) -> Chip:
    """100 units at 1 GHz, 1 PFLOP/s bf16, 4 TB/s, 50 MB of SRAM."""
    fields: dict[str, Any] = {
        "id": "round-chip",
        "name": "Round chip",
        "vendor": "nobody",
        "family": "round",
        "generation": "round",
        "matrix": {
            "bf16_flops_per_s": PEAK,
            "fp8_flops_per_s": 2 * PEAK,
            "fp32_flops_per_s": PEAK / 16,
            "units": 100,
            "array": 128,
            "clock_hz": CLOCK,
            "source": "made up",
        },
        "vector": {"fp32_flops_per_s": 5e13, "exp_exp_per_s": 2e12, "source": "made up"},
        "sram": {"capacity_bytes": 5e7, "bandwidth_bytes_per_s": 2e13, "source": "made up"},
        "memory": {"kind": "HBM", "capacity_bytes": 1e11, "bandwidth_bytes_per_s": MEMORY_RATE, "source": "made up"},
        "host": {"kind": "host", "bandwidth_bytes_per_s": 5e10, "source": "made up"},
        "power": {"tdp_w": 1000.0, "idle_w": 100.0, "source": "made up"},
        "sources": ("made up",),
    }
    return Chip.model_validate({**fields, **changes})


def family(mechanism: str = "tiles") -> Family:
    return Family.model_validate(
        {
            "id": "round",
            "name": "Round",
            "mechanism": mechanism,
            "default_stack": "any",
            "default_training_stack": "any",
            "scale_up_latency_s": 1e-6,
            "scale_out_latency_s": 4e-6,
            "idle_share": 0.1,
            "vector_share": 0.05,
            "sram_speedup": 5.0,
            "launch": "graph",
            "source": "made up",
        }
    )


def cluster(*tiers: dict[str, Any]) -> Cluster:
    """Of these tiers, or a switch of eight chips at 400 GB/s below one at 50 GB/s."""
    chosen = tiers or (
        {"name": "up", "kind": "switch", "size": 8, "bandwidth_bytes_per_s": 4e11},
        {"name": "out", "kind": "switch", "bandwidth_bytes_per_s": 5e10},
    )
    pool = {"chip": "round-chip", "chips_per_node": 8}
    return Cluster.model_validate(
        {"id": "round-cluster", "name": "Round", "pools": (pool,), "tiers": chosen, "sources": ("made up",)}
    )


def calibration(parameters: dict[str, dict[str, float]] | None = None, **changes: Any) -> Calibration:
    fields = {"id": "round--any", "subject": "round", "stack": "any", "basis": "calibrated", "source": "made up"}
    return Calibration.model_validate({**fields, "parameters": parameters or {}, **changes})


def build(
    mechanism: str = "tiles",
    parameters: dict[str, dict[str, float]] | None = None,
    tiers: tuple[dict[str, Any], ...] = (),
    **chip_changes: Any,
) -> Machine:
    """A machine of that mechanism with these parameters over the defaults."""
    return machine(chip(**chip_changes), family(mechanism), calibration(parameters), cluster(*tiers))


def kernels(kind: str, rows: list[list[float]], dtype: str = "bf16", stored: str | None = None) -> Kernels:
    """Rows of one kind."""
    n = len(rows)
    dims = np.zeros((n, 8))
    for index, row in enumerate(rows):
        dims[index, : len(row)] = row
    ids = (KIND_IDS[kind], DTYPE_IDS[dtype], DTYPE_IDS[stored or dtype])
    small = [np.full(n, value, dtype=np.int16) for value in (*ids, 0, 0)]
    return Kernels(
        kind=small[0],
        dtype=small[1],
        stored=small[2],
        dims=dims,
        count=np.ones(n),
        part=small[3],
        phase=small[4],
        stage=np.zeros(n, dtype=np.int32),
        owner=np.zeros(n, dtype=np.int32),
        site=np.zeros(n, dtype=np.int16),
    )
