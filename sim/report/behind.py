"""What stands behind a stored result and is not in its file: kernels of a pass, memory of every stage; made from its scenario."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import cost
from ..catalog.clusters import sliced
from ..catalog.library import Library
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.scenarios import Group, Scenario, TokenBudget, serving_groups
from ..catalog.targets import Target, adjusted, modified, target
from ..lowering import PARTS, SEND, STEP, Kernels, columns, units
from ..lowering.kernels import DTYPE_NAMES
from ..lowering.kinds import KINDS, PHASES
from ..lowering.sharding import Step
from ..result import Result
from ..serving.settings import as_served
from ..studies.provenance import resolved_plan
from ..training.memory import memory_by_stage, settled
from ..training.times import executed, times_of
from .charts_rows import Kernel, Roof

FloatArray = NDArray[np.float64]
DEFAULT_SEQ_LEN = 2048


class Pass(NamedTuple):
    """Kernels of a pass under the roofs of a rank. seconds_off: share of its time that has no place under a roof (traffic)."""

    name: str
    kernels: tuple[Kernel, ...]
    roof: Roof
    off_share: float


class Behind(NamedTuple):
    """passes: of a training step, or prefill and decode; stages: memory of each pipeline stage by part; idle_w: of a chip."""

    passes: tuple[Pass, ...] = ()
    stages: tuple[dict[str, float], ...] = ()
    idle_w: float | None = None


def behind(scenario: Scenario, library: Library, result: Result) -> Behind:
    """What the first group of a scenario runs; result: its answer, for the mean batch of a serving run. Raises UnknownFigure if
    the chip lacks a rate."""
    if scenario.groups[0].role == "train":
        return _training(scenario, library)
    return _serving(scenario, library, result)


def _looked_up(group: Group, library: Library, role: str, devices: int | None) -> tuple[Model, Target]:
    found = adjusted(target(library, group.cluster, group.stack, role), group)
    if devices:
        cluster, _ = sliced(found.cluster, devices)
        found = found._replace(cluster=cluster)
    return modified(library.model(group.model), group), found


def _training(scenario: Scenario, library: Library) -> Behind:
    plan, devices = resolved_plan(library, scenario)
    model, found = _looked_up(scenario.groups[0], library, "train", devices)
    seq_len = scenario.demand.seq_len if isinstance(scenario.demand, TokenBudget) else DEFAULT_SEQ_LEN
    plan = settled(model, plan, found, seq_len)
    c = columns(model, [plan], True)
    rows = executed(units(model, c, Step("train", 1.0, seq_len, seq_len)), found)
    alone = cost.seconds(rows, _machine(found))
    spent = times_of(rows, c, alone, len(model.blocks)).spent(found) * _runs(rows, model, plan)
    stages = tuple(memory_by_stage(model, plan, found, seq_len))
    return Behind((_pass("one step", rows, alone, spent, found),), stages, _idle_w(found))


def _runs(rows: Kernels, model: Model, plan: Plan) -> FloatArray:
    """How often a row runs on all stages together for each micro-batch."""
    layers = np.array([float(block.layers) for block in model.blocks])
    runs = np.where(rows.site >= 0, layers[np.maximum(rows.site, 0)], 1.0)
    passes = (plan.global_batch or 1) / (plan.micro_batch * (plan.dp or 1))
    runs = np.where(rows.site == SEND, plan.pp - 1.0, runs)
    out: FloatArray = np.where(rows.site == STEP, plan.pp / max(passes, 1.0), runs)
    return out


def _serving(scenario: Scenario, library: Library, result: Result) -> Behind:
    group = serving_groups(scenario)[0]
    model, found = _looked_up(group, library, group.role, None)
    plan = as_served(group.plan.with_(dp=1), model, found.chip)
    passes = []
    for name, step in _steps(result).items():
        rows = units(model, [plan], step)
        alone = cost.seconds(rows, _machine(found))
        layers = np.array([float(block.layers) for block in model.blocks])
        runs = np.where(rows.site >= 0, layers[np.maximum(rows.site, 0)], 1.0)
        runs = np.where(rows.site == SEND, plan.pp - 1.0, runs)
        passes.append(_pass(name, rows, alone, alone * rows.count * runs, found))
    return Behind(tuple(passes), (), _idle_w(found))


def _steps(result: Result) -> dict[str, Step]:
    """The mean prompt, and the mean decode batch of a replica (Little's law) over the mean context."""
    columns = result.requests
    if columns is None:
        return {}
    first, last = columns["first_token_s"], columns["finish_s"]
    done = np.isfinite(first) & np.isfinite(last)
    if not done.any():
        return {}
    prompt, made = (float(columns[name][done].mean()) for name in ("input_tokens", "output_tokens"))
    steps = {f"prefill of {prompt:,.0f} tokens": Step("prefill", 1.0, prompt, prompt)}
    replicas = len(np.unique(columns["replica"][done]))
    length_s = float(last[done].max() - columns["arrival_s"][done].min())
    batch = float((last - first)[done].sum()) / max(length_s, 1e-12) / replicas
    if made > 1.0:
        batch = max(1.0, round(batch))
        steps[f"decode of {batch:,.0f} sequences"] = Step("decode", batch, 1.0, prompt + made / 2.0)
    return steps


def _machine(found: Target) -> cost.Machine:
    return cost.machine(found.chip, found.family, found.calibration, found.cluster)


def _idle_w(found: Target) -> float | None:
    power = found.chip.power
    return power.idle_w or (found.family.idle_share * power.tdp_w if power.tdp_w else None)


def _pass(name: str, rows: Kernels, alone: FloatArray, spent: FloatArray, found: Target) -> Pass:
    """Rows of one pass as kernels, equal ones added up, the longest first."""
    flops, moved = rows.flops(), rows.bytes()
    total = float(spent.sum()) or 1.0
    placed = (flops > 0.0) & (moved > 0.0)
    key = np.column_stack([rows.kind, rows.part, rows.phase, rows.dtype, rows.dims[:, :6]])
    _, first, which = np.unique(key[placed], axis=0, return_index=True, return_inverse=True)
    shares = np.bincount(which.ravel(), weights=spent[placed], minlength=len(first)) / total
    places = np.flatnonzero(placed)[first]
    kernels = [
        Kernel(_named(rows, row), PARTS[rows.part[row]], float(flops[row]), float(moved[row]), float(alone[row]), share)
        for row, share in zip(places.tolist(), shares.tolist(), strict=True)
    ]
    kernels = sorted((each for each in kernels if each.share > 0.0), key=lambda each: -each.share)
    return Pass(name, tuple(kernels), _roof(rows, found), float(spent[~placed].sum()) / total)


def _named(rows: Kernels, row: int) -> str:
    kind, phase = KINDS[rows.kind[row]], PHASES[rows.phase[row]]
    part = PARTS[rows.part[row]].replace("_", " ")
    sizes = rows.dims[row, : len(kind.dims)]
    if kind.name == "gemm":
        shape = " × ".join(f"{size:,.0f}" for size in sizes[:3])
    else:
        shape = ", ".join(f"{d.replace('_', ' ')} {s:,.4g}" for d, s in zip(kind.dims, sizes, strict=True) if s)
    return f"{part}, {phase}: {kind.name.replace('_', ' ')} {shape}"


def _roof(rows: Kernels, found: Target) -> Roof:
    """Peaks of a rank by data sheet in the formats that the rows multiply in."""
    dtyped = np.array([kind.dtyped for kind in KINDS])[rows.kind]
    names = dict.fromkeys(DTYPE_NAMES[i].partition("_")[0] for i in np.unique(rows.dtype[dtyped]).tolist())
    ranks = found.chip.ranks
    peaks = {name: found.chip.matmul_flops_per_s(name) / ranks for name in names}
    return Roof(peaks, found.chip.memory.bandwidth_bytes_per_s / ranks)
