"""How far the seconds of kernels may be off, and what they rest on, by their calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..lowering.kernels import Kernels
from ..lowering.kinds import KINDS
from .core import seconds
from .machine import BASES, CLOCK_HZ, Machine
from .parameters import TABLES, column

FloatArray = NDArray[np.float64]
LAUNCH_BOUND, LARGE = 2.0, 20.0  # launches that a kernel is long
# what an e-fold outside the fitted ranges adds to the logarithm of either end: four fifths of the largest quarter of the
# shapes, left out of a fit on five GPUs, then lie inside (collectives: of those over several nodes too)
PER_FOLD_OF = {"gemm": 0.02, "attention_decode": 0.03, "attention_prefill": 0.06, "moe": 0.07}
PER_FOLD_OF_COLLECTIVES, PER_FOLD_OF_OTHERS = 0.2, 0.1
_LEAST = 1e-6  # of a limit: a dim of 0 is no farther below it
_COLLECTIVE = np.array([kind.collective for kind in KINDS])
PER_FOLD = np.array(
    [PER_FOLD_OF.get(kind.name, PER_FOLD_OF_COLLECTIVES if kind.collective else PER_FOLD_OF_OTHERS) for kind in KINDS]
)
_LAUNCHES = np.array([column(TABLES[kind.name], "launch_clocks") for kind in KINDS])


def size_classes(kernels: Kernels, machine: Machine, times: FloatArray) -> NDArray[np.intp]:
    """Index of machine.SIZES of each row, intp[n]: bound by its launch (less than LAUNCH_BOUND launches long), between, large
    (more than LARGE launches). times: its seconds."""
    launch = machine.parameters[kernels.kind, kernels.dtype, kernels.stored, _LAUNCHES[kernels.kind]]
    launches = times * machine.chip_values[CLOCK_HZ] / np.maximum(launch, 1.0)
    return np.asarray(np.searchsorted((LAUNCH_BOUND, LARGE), launches))


def interval(kernels: Kernels, machine: Machine, times: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Low and high of each kernel's time [s], float64[n] each: the 10th and 90th percentile of measured over predicted
    times of its kind and size (`size_classes`), where the calibration knows them, else a factor of two either way; wider by
    PER_FOLD for each e-fold that it lies outside the fitted ranges (`beyond`)."""
    if times is None:
        times = seconds(kernels, machine)
    size = size_classes(kernels, machine, times)
    spread = machine.residuals[kernels.kind, kernels.dtype, kernels.stored, size]
    wider = PER_FOLD[kernels.kind] * beyond(kernels, machine)
    return times * np.exp(np.minimum(spread[:, 0], 0.0) - wider), times * np.exp(np.maximum(spread[:, 1], 0.0) + wider)


def sizes(kernels: Kernels) -> FloatArray:
    """What ranges are of: the eight dims of each row, and its work: FLOPs, of a collective bytes, float64[n, 9]."""
    work = np.where(_COLLECTIVE[kernels.kind], kernels.dims[:, 0], kernels.flops())
    return np.concatenate((kernels.dims, work[:, None]), axis=1)


def beyond(kernels: Kernels, machine: Machine) -> FloatArray:
    """How far each row lies outside the fitted ranges, by the dim (or work) that is farthest: the logarithm of its ratio to the
    limit, float64[n]; 0 inside, and where no ranges are known."""
    limits = machine.ranges[kernels.kind, kernels.dtype, kernels.stored]
    low, high, found = limits[..., 0], limits[..., 1], sizes(kernels)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(found > high, np.log(found / high), 0.0)
        below = np.where(found < low, np.log(low / np.maximum(found, _LEAST * low)), 0.0)
    out: FloatArray = np.maximum(above, below).max(axis=1)
    return out


def basis(kernels: Kernels, machine: Machine) -> NDArray[np.int8]:
    """Index of BASES of each row, int8[n]: the calibration's, at best `extrapolated` outside the fitted ranges."""
    inside = beyond(kernels, machine) <= 0.0
    fitted = machine.basis[kernels.kind, kernels.dtype, kernels.stored]
    return np.where(inside, fitted, np.maximum(fitted, BASES.index("extrapolated"))).astype(np.int8)
