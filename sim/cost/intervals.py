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
_LAUNCHES = np.array([column(TABLES[kind.name], "launch_clocks") for kind in KINDS])


def size_classes(kernels: Kernels, machine: Machine, times: FloatArray) -> NDArray[np.intp]:
    """Index of machine.SIZES of each row, intp[n]: bound by its launch (less than LAUNCH_BOUND launches long), between, large
    (more than LARGE launches). times: its seconds."""
    launch = machine.parameters[kernels.kind, kernels.dtype, kernels.stored, _LAUNCHES[kernels.kind]]
    launches = times * machine.chip_values[CLOCK_HZ] / np.maximum(launch, 1.0)
    return np.asarray(np.searchsorted((LAUNCH_BOUND, LARGE), launches))


def interval(kernels: Kernels, machine: Machine, times: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Low and high of each kernel's time [s], float64[n] each: the 10th and 90th percentile of measured over predicted
    times of its kind and size (`size_classes`), where the calibration knows them, else a factor of two either way."""
    if times is None:
        times = seconds(kernels, machine)
    sizes = size_classes(kernels, machine, times)
    spread = machine.residuals[kernels.kind, kernels.dtype, kernels.stored, sizes]
    return times * np.exp(np.minimum(spread[:, 0], 0.0)), times * np.exp(np.maximum(spread[:, 1], 0.0))


def basis(kernels: Kernels, machine: Machine) -> NDArray[np.int8]:
    """Index of BASES of each row, int8[n]: the calibration's, at best `extrapolated` outside the fitted ranges."""
    limits = machine.ranges[kernels.kind, kernels.dtype, kernels.stored]
    inside = np.all((kernels.dims >= limits[..., 0]) & (kernels.dims <= limits[..., 1]), axis=1)
    fitted = machine.basis[kernels.kind, kernels.dtype, kernels.stored]
    return np.where(inside, fitted, np.maximum(fitted, BASES.index("extrapolated"))).astype(np.int8)
