"""Training plans of one question, priced in one batch: the figures of `train`, a row a plan, bit for bit for any batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.clusters import sliced
from ..catalog.library import Library
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.scenarios import Economy, Scenario, TokenBudget
from ..catalog.targets import Target, adjusted, check_size, modified, target
from ..economics import Usage, bill_figures, device_hour
from ..errors import InputError
from ..lowering import PARTS, columns, model_flops
from ..lowering.check import check, resolved
from ..lowering.kernels import DTYPE_NAMES
from ..lowering.sharding import RECOMPUTE, Columns
from ..result import BASES
from ..training.figures import PARTS_OF_TRAFFIC, executed_flops
from ..training.memory import footprint, held_bytes, usable_bytes
from ..training.pricing import Priced, price
from ..units import text

FloatArray = NDArray[np.float64]
NONE: FloatArray = np.empty(0)
COUNTS = ("fraction", "chips", "slices", "steps", "requests")


class Row(NamedTuple):
    """One point's answer. status: ok | infeasible | error; names, values: its figures by column, NaN = unknown."""

    status: str
    error: str = ""
    basis: str = ""
    names: tuple[str, ...] = ()
    values: FloatArray = NONE


def column_name(name: str, unit: str) -> str:
    """A figure's column: its unit stands last, unless the name says it already or it is a count."""
    return name if unit in COUNTS or f"_{unit}_" in f"_{name}_" else f"{name}_{unit}"


class Question(NamedTuple):
    """What the plans share."""

    library: Library
    model: Model
    target: Target
    devices: int
    paid: int
    slices: int
    demand: TokenBudget
    economy: Economy


def train_rows(library: Library, scenario: Scenario, plans: Sequence[Plan]) -> list[Row]:
    """Rows of plans that share all else of a scenario. A plan that is not legal becomes a row with its error.

    Raises the error that all plans have in common.
    """
    q = question(library, scenario)
    ranks = q.devices * q.target.chip.ranks
    out: list[Row | None] = [None] * len(plans)
    legal: list[Plan] = []
    places: list[int] = []
    for place, plan in enumerate(plans):
        try:
            found = resolved(plan, ranks, q.model)
            if not found.global_batch:
                found = found.with_(global_batch=found.micro_batch * (found.dp or 1))
            check(q.model, found, True)
        except InputError as error:
            out[place] = Row("error", str(error))
            continue
        legal.append(found)
        places.append(place)
    if legal:
        for place, row in zip(places, _rows(q, legal), strict=True):
            out[place] = row
    return [row for row in out if row is not None]


def question(library: Library, scenario: Scenario) -> Question:
    """What a scenario asks of a library. Its group says how many devices. Raises InputError and Infeasible as `train` does."""
    group, demand = scenario.groups[0], scenario.demand
    assert isinstance(demand, TokenBudget) and group.devices is not None  # `batched` asks for both
    found = adjusted(target(library, group.cluster, group.stack, "train"), group)
    check_size(found.cluster, group.devices)
    paid = found.cluster.paid(group.devices)
    cluster, slices = sliced(found.cluster, group.devices)
    found = found._replace(cluster=cluster)
    model = modified(library.model(group.model), group)
    return Question(library, model, found, group.devices, paid, slices, demand, scenario.economy)


def _rows(q: Question, plans: list[Plan]) -> list[Row]:
    c = settled_all(q.model, plans, q.target, q.demand.seq_len)
    priced = price(q.model, c, q.target, q.demand.seq_len)
    figures = {**_step_figures(q, c, priced), **_run_figures(q, c, priced)}
    names = tuple(figures)
    table = np.stack(
        [np.broadcast_to(np.asarray(column, dtype=np.float64), (c.n,)) for column in figures.values()], axis=1
    )
    usable = usable_bytes(q.target)
    fits = priced.memory_bytes <= usable * (1.0 + 1e-9)
    out = []
    for i in range(c.n):
        over = (
            ""
            if fits[i]
            else f"does not fit: {text(float(priced.memory_bytes[i]), 'bytes')} of {text(usable, 'bytes')} a chip"
        )
        out.append(Row("ok" if fits[i] else "infeasible", over, BASES[int(priced.basis[i])], names, table[i]))
    return out


def settled_all(model: Model, plans: Sequence[Plan], target: Target, seq_len: float) -> Columns:
    """What `training.memory.settled` does with recompute = auto, of many plans at once."""
    c = columns(model, plans, True)
    auto = np.array([plan.recompute == "auto" for plan in plans])
    if not auto.any():
        return c
    every = np.arange(c.n)
    usable = usable_bytes(target)

    def needed(**changed: Any) -> FloatArray:
        return held_bytes(footprint(model, c.take(every, **changed), target, seq_len), target)

    whole = np.full(c.n, RECOMPUTE["full"], dtype=np.int16)
    plain = needed()
    before, after = needed(recompute=whole, recompute_share=np.full(c.n, 1e-9)), needed(recompute=whole)
    none = plain <= usable
    moves = (after > usable) & ~c.offload & ~c.offload_inputs & bool(target.stack.factors.get("offloads_inputs"))
    share = np.clip(np.divide(before - usable, before - after, out=np.ones(c.n), where=before > after), 0.0, 1.0)
    layers = np.ceil(model.layers / c.pp)
    some = np.minimum(1.0, np.ceil(share * layers) / layers)
    again = auto & ~none
    return c.take(
        every,
        recompute=np.where(again, RECOMPUTE["full"], c.recompute).astype(np.int16),
        recompute_share=np.where(again & ~moves, some, c.recompute_share),
        offload_inputs=c.offload_inputs | (again & moves),
    )


def _step_figures(q: Question, c: Columns, priced: Priced) -> dict[str, FloatArray | float]:
    """Columns of one step, as `training.figures.step_figures` has them."""
    tokens = c.global_batch * q.demand.seq_len
    peaks = {i: q.target.chip.matmul_flops_per_s(DTYPE_NAMES[i]) for i in set(c.linear_in.tolist())}
    peak = np.array([peaks[i] for i in c.linear_in.tolist()])
    flops = model_flops(q.model, q.demand.seq_len) * tokens / q.devices
    causal = model_flops(q.model, q.demand.seq_len, causal=True) * tokens / q.devices
    rates = {
        "tokens_per_s": tokens,
        "tokens_per_s_per_device": tokens / q.devices,
        "model_flops_per_s_per_device": flops,
        "mfu": flops / peak,
        "mfu_causal": causal / peak,
        "hfu": executed_flops(q.model, c, q.demand.seq_len) * q.target.chip.ranks / peak,
    }
    step, low, high = priced.step_s, priced.low_s, priced.high_s
    out: dict[str, FloatArray | float] = {"step_time_s": step, "step_time_s_low": low, "step_time_s_high": high}
    for name, amount in rates.items():
        out |= {name: amount / step, f"{name}_low": amount / high, f"{name}_high": amount / low}
    traffic = [PARTS.index(part) for part in PARTS_OF_TRAFFIC]
    out["bubble_share"] = priced.parts[:, PARTS.index("bubble")].sum(axis=1) / step
    out["traffic_share"] = priced.parts[:, traffic].sum(axis=(1, 2)) / step
    return out


def _run_figures(q: Question, c: Columns, priced: Priced) -> dict[str, FloatArray | float]:
    """Columns of the run, its size and its bill."""
    out: dict[str, FloatArray | float] = {}
    seconds = priced.step_s
    if q.demand.tokens is not None:
        steps = np.ceil(q.demand.tokens / (c.global_batch * q.demand.seq_len))
        out["steps"], seconds = steps, steps * priced.step_s
        for end, each in (("", priced.step_s), ("_low", priced.low_s), ("_high", priced.high_s)):
            out[f"days{end}"] = each * (steps / 86400.0)
    out["memory_per_device_bytes"] = priced.memory_bytes
    out["memory_capacity_bytes"] = q.target.chip.memory.capacity_bytes
    out["devices"], out["devices_paid"], out["slices"] = float(q.devices), float(q.paid), float(q.slices)
    return {**out, **_bill(q, seconds, priced)}


def _bill(q: Question, seconds: FloatArray, priced: Priced) -> dict[str, FloatArray | float]:
    """The bill of each plan; the price of an hour is looked up once, unless it is the owner's, which holds the job's electricity."""
    chip_w, spreads = priced.joules / priced.step_s, (priced.low_s / priced.step_s, priced.high_s / priced.step_s)
    usages = [
        Usage(q.devices, q.paid, each_s, each_w, "extrapolated", (low, high))
        for each_s, each_w, low, high in zip(*(each.tolist() for each in (seconds, chip_w, *spreads)), strict=True)
    ]
    rate = device_hour(q.library, q.target, q.economy, usages[0]).value
    owned = q.economy.owned is not None and q.economy.term in (None, "owned")
    economy = q.economy if owned else q.economy.with_(usd_per_device_hour=1.0 if rate is None else rate)
    rows = [bill_figures(q.library, q.target, usage, economy) for usage in usages]
    out: dict[str, FloatArray | float] = {}
    for name, first in rows[0].items():
        figures = [row[name] for row in rows]
        priceless = rate is None and name in ("cost", "usd_per_device_hour")
        for end, attribute in (("", "value"), ("_low", "low"), ("_high", "high")):
            values = [getattr(figure, attribute) for figure in figures]
            if (priceless and end) or (end and values[0] is None):
                continue
            out[column_name(name, first.unit) + end] = np.array(
                [math.nan if value is None or priceless else value for value in values], dtype=np.float64
            )
    return out
