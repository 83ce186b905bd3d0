"""Fit of what serving deployments draw to measured power and rates, and predictions of rows that a fit has not seen.

Four numbers: two of the draw (`power` of a family's calibration), two of the engine's host time (its stack).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..catalog.targets import Target
from ..cost.parameters import POWER
from ..cost.power import with_draw
from ..errors import InputError
from .context import Context
from .joint import solver
from .power_rows import Draw, Serving, answer_of, serving, serving_target
from .predictions import Answer, Predictions, Progress, answered, collect
from .tables import FloatArray, Row, Skip, Table

DRAW = ("wait_share", "matrix_pj")  # what measured draws tell apart; the energy of a byte is known from memories
HOST = ("step_host_s", "sequence_host_s")
FEWEST = 8  # rows that a fit needs
OUTLIER = 0.1  # log error from which a row pulls less than by its square


class Measured(NamedTuple):
    """One deployment: its load as configured, what it runs on, draw of a device [W] and output tokens a second, labels."""

    served: Serving
    target: Target
    device_w: float
    tokens_per_s: float
    devices: int
    model: str


def measured(row: Row, context: Context) -> Measured:
    """A row that holds the draw of the devices of a serving deployment. Raises Skip for any other."""
    model, watts, rate = (
        context.model_named(row.text("model")),
        row.number("measured_power_w"),
        row.number("tokens_per_s"),
    )
    if model is None:
        raise Skip(f"model {row.text('model')!r} is not in the catalogue")
    if watts is None or rate is None or not row.text("scope").startswith("GPUs"):
        raise Skip("no draw of the devices of a serving deployment")
    target = serving_target(row, context, context.chip(row.text("device")))
    devices = row.need("num_devices")
    return Measured(serving(row, model, target), target, watts / devices, rate, devices, model.id)


def fit(rows: Sequence[Measured]) -> dict[str, float]:
    """DRAW and HOST: robust least squares on the logarithm of the rate, then of the draw at that rate.

    Raises InputError for fewer than 8 rows, or if SciPy is not installed.
    """
    if len(rows) < FEWEST:
        raise InputError(
            f"{len(rows)} rows hold the draw of a serving deployment; a fit needs {FEWEST}. Give more rows."
        )
    stack = rows[0].target.stack
    rates = np.array([row.tokens_per_s for row in rows])
    running = np.array([row.served.running for row in rows])
    device = np.array([_step_s(row, np.zeros(2)) for row in rows])
    sequences = np.array([row.served.sequences for row in rows])
    host = _solve(
        lambda at: np.log(running / (device + at[0] + at[1] * sequences) / rates),
        np.array([stack.step_host_s or 1e-4, stack.sequence_host_s or 1e-5]),
    )
    watts = np.array([row.device_w for row in rows])
    draw = _solve(
        lambda at: np.log(np.array([_draw(row, at, host).chip_w for row in rows]) / watts),
        np.array([POWER[_column(name)].default for name in DRAW]),
    )
    return dict(zip((*DRAW, *HOST), (*draw.tolist(), *host.tolist()), strict=True))


def leave_out(table: Table, split: str, context: Context, progress: Progress) -> Predictions:
    """Every row by a fit that has not seen its model or its device (`split`). Raises InputError if SciPy is not installed."""
    found = [answered(row, lambda each: measured(each, context)) for row in table.rows()]
    labels = [None if isinstance(each, str) else _label(each, split) for each in found]
    groups = sorted({label for label in labels if label is not None})
    answers: list[Answer | str] = [each if isinstance(each, str) else "" for each in found]
    for done, group in enumerate(groups):
        seen = [each for each in found if not isinstance(each, str) and _label(each, split) != group]
        values = np.array(list(fit(seen).values()))
        for index, each in enumerate(found):
            if not isinstance(each, str) and labels[index] == group:
                draw = _draw(each, values[:2], values[2:])
                answers[index] = answer_of(draw.chip_w * each.devices, draw.tokens_per_s, each.target)
        progress(done + 1, len(groups))
    return collect(table, answers)


def _label(row: Measured, split: str) -> str:
    return row.model if split == "model" else row.target.chip.id


def _solve(misses: Callable[[FloatArray], FloatArray], start: FloatArray) -> FloatArray:
    def of_logs(logs: FloatArray) -> FloatArray:
        return misses(np.exp(logs))

    found = solver()(of_logs, np.log(start), loss="soft_l1", f_scale=OUTLIER, diff_step=1e-3)
    return np.exp(np.asarray(found.x, dtype=np.float64))


def _step_s(row: Measured, host: FloatArray) -> float:
    """Length of a step with other host times than the stack's."""
    stack, sequences = row.target.stack, row.served.sequences
    own = stack.step_host_s + stack.sequence_host_s * sequences
    return row.served.load.step_s - own + float(host[0] + host[1] * sequences)


def _draw(row: Measured, draw: FloatArray, host: FloatArray) -> Draw:
    power = row.served.machine.power.copy()
    for name, value in zip(DRAW, draw, strict=True):
        power[_column(name)] = value
    load = row.served.load._replace(step_s=_step_s(row, host))
    return row.served._replace(load=load, machine=with_draw(row.served.machine, power)).draw


def _column(name: str) -> int:
    return [parameter.name for parameter in POWER].index(name)
