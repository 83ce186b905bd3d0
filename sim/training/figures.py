"""Figures of a training answer: names, units, intervals, basis; where the time of a step goes; what binds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..lowering import PARTS, columns, model_flops, units
from ..lowering.kernels import DTYPE_NAMES
from ..lowering.kinds import PHASE_IDS
from ..lowering.sharding import Columns, Step
from ..result import BASES, Figure
from .pricing import Priced
from .stages import DIRECTIONS

FloatArray = NDArray[np.float64]
PARTS_OF_TRAFFIC = ("tp_traffic", "cp_traffic", "ep_traffic", "dp_traffic", "pp_traffic")


def step_figures(model: Model, plan: Plan, target: Target, seq_len: int, priced: Priced) -> dict[str, Figure]:
    """Figures of one step (row 0 of `priced`). MFU: model FLOPs (no recomputation, attention in full) over the peak of the
    format that the matrices multiply in; HFU: FLOPs executed."""
    devices = devices_of(plan, target)
    step, basis = float(priced.step_s[0]), BASES[int(priced.basis[0])]
    low, high = float(priced.low_s[0]), float(priced.high_s[0])
    tokens = float((plan.global_batch or 1) * seq_len)
    flops = model_flops(model, seq_len) * tokens / devices
    causal = model_flops(model, seq_len, causal=True) * tokens / devices
    c = columns(model, [plan], True)
    dtype = DTYPE_NAMES[int(c.linear_in[0])]
    peak = target.chip.matmul_flops_per_s(dtype)

    def rate(amount: float, unit: str) -> Figure:
        return Figure(amount / step, unit, amount / high, amount / low, basis)

    return {
        "step_time": Figure(step, "s", low, high, basis),
        "tokens_per_s": rate(tokens, "tokens_per_s"),
        "tokens_per_s_per_device": rate(tokens / devices, "tokens_per_s"),
        "model_flops_per_s_per_device": rate(flops, "flops_per_s"),
        "mfu": rate(flops / peak, "fraction"),
        "mfu_causal": rate(causal / peak, "fraction"),
        "hfu": rate(float(executed_flops(model, c, seq_len)[0]) * target.chip.ranks / peak, "fraction"),
        "bubble_share": Figure(float(priced.parts[0, PARTS.index("bubble")].sum()) / step, "fraction", basis=basis),
        "traffic_share": Figure(
            float(sum(priced.parts[0, PARTS.index(part)].sum() for part in PARTS_OF_TRAFFIC)) / step,
            "fraction",
            basis=basis,
        ),
    }


def devices_of(plan: Plan, target: Target) -> int:
    """Chips that a plan with dp set uses."""
    return plan.tp * plan.pp * (plan.dp or 1) * plan.cp // target.chip.ranks


def executed_flops(model: Model, c: Columns, seq_len: int) -> FloatArray:
    """Matrix FLOPs that a mean rank of each plan executes in a step [n]: causal tiles skipped, recomputation counted."""
    rows = units(model, c, Step("train", 1.0, seq_len, seq_len))
    layers = np.array([float(block.layers) for block in model.blocks] + [1.0, 1.0, 0.0, 0.0])
    times = layers[np.where(rows.site >= 0, rows.site, len(model.blocks) - 1 - rows.site)]
    products = np.flatnonzero(rows.phase != PHASE_IDS["optimizer"])
    done = (rows.flops() * rows.count * times)[products]
    summed: FloatArray = np.bincount(rows.owner[products], done, minlength=c.n) * (c.micro_batches / c.pp)
    return summed


def breakdown(priced: Priced) -> dict[tuple[str, str], float]:
    """Seconds of a step on the mean stage by part and direction; they sum to the step."""
    return {
        (part, direction): float(priced.parts[0, index, d])
        for index, part in enumerate(PARTS)
        for d, direction in enumerate(DIRECTIONS)
        if priced.parts[0, index, d] > 0
    }


def why(parts: dict[tuple[str, str], float]) -> str:
    """One line: the three largest parts of the time."""
    sums: dict[str, float] = {}
    for (part, _), seconds in parts.items():
        sums[part] = sums.get(part, 0.0) + seconds
    total = math.fsum(sums.values())
    largest = sorted(sums.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{name.replace('_', ' ')} {seconds / total:.0%}" for name, seconds in largest)
