"""Fit of the parameters of a family's draw to measured power of serving deployments, and what it is worth on rows left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..cost.parameters import POWER
from ..cost.power import with_draw
from ..errors import Infeasible, InputError
from .context import Context
from .joint import solver
from .power_rows import Draw, Serving, serving, serving_target
from .tables import FloatArray, Skip, Table

FITTED = (
    "wait_share",
    "matrix_pj",
)  # what measured draws tell apart; energy of a byte is known from memories' own figures
FEWEST = 8  # rows that a fit needs
OUTLIER = 0.1  # log error from which a row pulls less than by its square


class Measured(NamedTuple):
    """One deployment: its load as configured, measured draw of a device [W] and energy of an output token [J], labels."""

    served: Serving
    device_w: float
    token_j: float
    devices: int
    model: str
    device: str


class LeftOut(NamedTuple):
    """Relative errors of draw and of energy a token [n] when each group in turn was left out of the fit."""

    draw: FloatArray
    energy: FloatArray


def measured(table: Table, context: Context) -> list[Measured]:
    """The rows of a table that hold the draw of the devices of a serving deployment, and whose model the catalogue has."""
    found = []
    for row in table.rows():
        model, watts, joules = (
            context.model_named(row.text("model")),
            row.number("measured_power_w"),
            row.number("energy_j_per_token"),
        )
        if model is None or watts is None or joules is None or not row.text("scope").startswith("GPUs"):
            continue
        try:
            chip = context.chip(row.text("device"))
            served = serving(row, model, serving_target(row, context, chip))
        except (Skip, Infeasible):
            continue
        devices = row.need("num_devices")
        found.append(Measured(served, watts / devices, joules, devices, model.id, chip.id))
    return found


def fit(rows: Sequence[Measured]) -> dict[str, float]:
    """Parameters of the draw (`power` of a family's calibration): robust least squares on the logarithm of the draw.

    Raises InputError for fewer than 8 rows, or if SciPy is not installed.
    """
    if len(rows) < FEWEST:
        raise InputError(
            f"{len(rows)} rows hold the draw of a serving deployment; a fit needs {FEWEST}. Give more rows."
        )
    start = np.array([POWER[_column(name)].default for name in FITTED])
    watts = np.array([row.device_w for row in rows])

    def misses(logs: FloatArray) -> FloatArray:
        out: FloatArray = np.log(np.array([_draw(row, np.exp(logs)).chip_w for row in rows]) / watts)
        return out

    found = solver()(misses, np.log(start), loss="soft_l1", f_scale=OUTLIER, diff_step=1e-3)
    return dict(zip(FITTED, np.exp(found.x).tolist(), strict=True))


def left_out(rows: Sequence[Measured], label: Callable[[Measured], str]) -> LeftOut:
    """Errors of every row under a fit to the rows of all other groups (a model, a device)."""
    draw, energy = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for group in sorted({label(row) for row in rows}):
        values = np.array(list(fit([row for row in rows if label(row) != group]).values()))
        for index, row in enumerate(rows):
            if label(row) == group:
                guess = _draw(row, values)
                draw[index] = guess.chip_w / row.device_w - 1.0
                energy[index] = guess.chip_w * row.devices / guess.tokens_per_s / row.token_j - 1.0
    return LeftOut(draw, energy)


def _draw(row: Measured, values: FloatArray) -> Draw:
    power = row.served.machine.power.copy()
    for name, value in zip(FITTED, values, strict=True):
        power[_column(name)] = value
    return row.served.draw(with_draw(row.served.machine, power))


def _column(name: str) -> int:
    return [parameter.name for parameter in POWER].index(name)
