"""The points of a sweep: which value every varied key takes at each, as columns; enumerated, drawn, and chosen by conditions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.records import Record
from ..catalog.sweeps import Draw, Sample, Sweep, Value
from ..errors import InputError
from ..seeds import generator
from .conditions import Column, holds

MOST = 20_000_000
OPERATORS = ("*=", "+=", "=")


class Points(NamedTuple):
    """n points. keys: what is varied; values: those that a key takes; at[key]: which one a point has [n]."""

    n: int
    keys: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]
    at: tuple[NDArray[np.int64], ...]

    def rows(self, places: NDArray[np.int64]) -> list[tuple[Value, ...]]:
        """The values of some points, in the order of the keys."""
        columns = [[values[i] for i in at[places]] for values, at in zip(self.values, self.at, strict=True)]
        return list(zip(*columns, strict=True)) if columns else [() for _ in places]

    def column(self, key: int) -> list[Value]:
        """The values of one key at all points."""
        values = self.values[key]
        return [values[i] for i in self.at[key]]


def points(sweep: Sweep) -> Points:
    """Every combination of the axes' values, the cases and the draws, the last key fastest, that keeps all conditions.

    Raises InputError if there are too many, or none.
    """
    drawn = _draws(sweep.sample, sweep.seed) if sweep.sample else ()
    sizes = [len(values) for _, values in sweep.axes]
    sizes += [len(sweep.cases)] * bool(sweep.cases) + [sweep.sample.count if sweep.sample else 1]
    total = math.prod(sizes)
    if total > MOST:
        raise InputError(f"sweep {sweep.name}: {total:,} points before conditions; {MOST:,} at most. Use fewer values.")
    at = np.unravel_index(np.arange(total), sizes)
    keys = [key for key, _ in sweep.axes]
    values = [each for _, each in sweep.axes]
    places = list(at[: len(keys)])
    for key in sweep.cases[0] if sweep.cases else ():
        keys.append(key)
        values.append(tuple(case[key] for case in sweep.cases))
        places.append(at[len(sweep.axes)])
    for key, column in drawn:
        keys.append(key)
        values.append(column)
        places.append(at[-1])
    kept = np.flatnonzero(_kept(sweep, keys, [_array(v)[p] for v, p in zip(values, places, strict=True)], total))
    if not kept.size:
        raise InputError(f"sweep {sweep.name}: none of {total:,} points keeps every condition. Loosen `where`.")
    return Points(kept.size, tuple(keys), tuple(values), tuple(np.asarray(p, dtype=np.int64)[kept] for p in places))


def _kept(sweep: Sweep, keys: list[str], columns: list[Column], n: int) -> NDArray[np.bool_]:
    out = np.ones(n, dtype=bool)
    if not sweep.where:
        return out
    names = {**_names(sweep), **_of_keys(keys, columns)}
    for text in sweep.where:
        out &= holds(text, names, n)
    return out


def _of_keys(keys: list[str], columns: list[Column]) -> dict[str, Column]:
    """Columns by key, and by its last step where that says which."""
    names: dict[str, Column] = {}
    plain = [_plain(key) for key in keys]
    last = [key.rsplit(".", 1)[-1] for key in plain]
    for key, short, column in zip(plain, last, columns, strict=True):
        names[key] = column
        if last.count(short) == 1:
            names[short] = column
    return names


def _plain(key: str) -> str:
    """`chip.memory.bandwidth*=` is named chip.memory.bandwidth; groups.0 is left out."""
    stem = next((key.removesuffix(each) for each in OPERATORS if key.endswith(each)), key)
    return stem.strip().removeprefix("groups.0.").replace("-", "_")


def _names(sweep: Sweep) -> dict[str, Column]:
    """What the scenario itself says, defaults included: plan.tp and tp, demand.seq_len and seq_len, devices."""
    group = sweep.base.groups[0]
    records: list[tuple[str, Record]] = [
        ("plan.", group.plan),
        ("engine.", group.engine),
        ("demand.", sweep.base.demand),
        ("slo.", sweep.base.slo),
        ("economy.", sweep.base.economy),
        ("", group),
    ]
    names: dict[str, Column] = {}
    for head, record in records:
        for field in type(record).model_fields:
            value = getattr(record, field)
            if isinstance(value, bool | int | float | str) or value is None:
                names[head + field] = names[field] = _array((value,))
    return names


def _array(values: tuple[Value, ...]) -> Column:
    """Numbers as float64 (unknown as NaN where others are numbers); anything else as objects."""
    if all(isinstance(value, int | float) for value in values):
        return np.array([float(value) for value in values if value is not None])
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _draws(sample: Sample, seed: int) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    """(key, values) of each sampled key."""
    unit = _unit_cube(sample, seed)
    return tuple((key, _spread(draw, unit[:, i])) for i, (key, draw) in enumerate(sample.over.items()))


def _unit_cube(sample: Sample, seed: int) -> NDArray[np.float64]:
    """[count, keys] in [0, 1)."""
    chance, size = generator(seed, "sweep"), (sample.count, len(sample.over))
    if sample.method == "random":
        return chance.random(size)
    try:
        from scipy.stats import qmc
    except ImportError:
        raise InputError(
            f"sample.method = {sample.method} needs SciPy. Install gambrel[sweep], or use method: random."
        ) from None
    if sample.method == "lhs":
        return np.asarray(qmc.LatinHypercube(size[1], rng=chance).random(size[0]))
    power = max(0, math.ceil(math.log2(size[0])))
    return np.asarray(qmc.Sobol(size[1], rng=chance).random_base2(power)[: size[0]])


def _spread(draw: Draw, unit: NDArray[np.float64]) -> tuple[Value, ...]:
    ends: Any = draw.uniform or draw.log_uniform
    if ends is None:
        return tuple(draw.choice[int(place)] for place in np.minimum(unit * len(draw.choice), len(draw.choice) - 1))
    low, high = map(float, ends)
    if draw.uniform is not None:
        found = low + (high - low) * unit
    else:
        found = np.exp(math.log(low) + (math.log(high) - math.log(low)) * unit)
    return tuple(map(int, np.rint(found))) if draw.whole else tuple(found.tolist())
