"""What plainer answers reach on the rows that a refit left out: the model must beat each of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import kernel_rows
from .context import Context
from .floors import Roofline
from .leave_out import LeftOut, usable_rows
from .neighbours import interpolated
from .predictions import silent
from .score import relative
from .splits import Labels
from .tables import FloatArray, Skip, Table

MODEL = "model"


class Beside(NamedTuple):
    """One group of left-out rows. median, p90: of the error, by answer; n: rows that the model answers."""

    grouping: str
    group: str
    n: int
    median: dict[str, float | None]
    p90: dict[str, float | None]


def beside(table: Table, found: LeftOut, excluded: Sequence[str], context: Context) -> tuple[Beside, ...]:
    """The model and plainer answers on the left-out rows that count: all of them, and by device.

    family: the refit's values without what differs by generation and chip; datasheet: the values of no stack; roofline, and
    one constant times it for each family, of the rows that were not left out; neighbours: interpolation of these.
    """
    configuration = table.configuration()
    usable = usable_rows(table, excluded)
    roofline = kernel_rows.predict(configuration, Roofline(context.library, "datasheet"), silent).values["time_us"]
    plain = kernel_rows.predict(configuration, Context(context.library, "datasheet"), silent).values["time_us"]
    answers = {
        MODEL: found.predictions.values["time_us"],
        "family": found.family_us,
        "datasheet": plain,
        "neighbours": interpolated(table, found.labels, usable),
        "constant": _one_constant(table, found.labels, roofline, usable, context),
        "roofline": roofline,
    }
    measured = table.measured("time_us")
    errors = {name: relative(values, measured) for name, values in answers.items()}
    kept = np.array([rule == "" for rule in excluded], bool) & np.isfinite(errors[MODEL])
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, device in enumerate(table.column("device")):
        if kept[index]:
            members["all", "all"].append(index)
            members["device", device].append(index)
    return tuple(_line(key, np.array(rows, dtype=np.intp), errors) for key, rows in sorted(members.items()))


def _line(key: tuple[str, str], rows: Any, errors: dict[str, FloatArray]) -> Beside:
    median: dict[str, float | None] = {}
    p90: dict[str, float | None] = {}
    for name, values in errors.items():
        known = values[rows][np.isfinite(values[rows])]
        median[name] = float(np.median(known)) if known.size else None
        p90[name] = float(np.quantile(known, 0.9)) if known.size else None
    return Beside(*key, len(rows), median, p90)


def _one_constant(
    table: Table, labels: Labels, roofline: FloatArray, usable: np.ndarray[Any, Any], context: Context
) -> FloatArray:
    """Each family's median of measured over roofline of the rows of other labels, times the roofline [n]."""
    families = np.array([_family(label, context) for label in table.column("device")], dtype=object)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = table.measured("time_us") / roofline
    known = usable & np.isfinite(ratio)
    out = np.full(len(table), math.nan)
    for family in set(families) - {""}:
        for label in set(labels) - {""}:
            of = families == family
            seen = ratio[of & known & (labels != label)]
            rows = of & (labels == label)
            if seen.size:
                out[rows] = roofline[rows] * float(np.median(seen))
    return out


def _family(label: str, context: Context) -> str:
    try:
        return context.chip(label).family
    except Skip:
        return ""
