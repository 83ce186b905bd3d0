"""The fitted numbers of serving (serving_numbers.py) from closed-loop runs: robust least squares of the logarithms of time a token
and time to first token around their priors.

Runs are simulated once, with the numbers of the catalogue. A trial moves each simulated time by what the numbers do to the mean
step of its replica and to a pass of one prompt, whose kernels are lowered and priced once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from .. import cost
from ..catalog.calibrations import Stack
from ..catalog.library import Library
from ..errors import GambrelError
from ..lowering.kernels import Kernels
from ..seeds import generator
from ..serving.lowered import CLASSES, Lowered, classes, launches, small_kernel
from ..serving.settings import as_served
from .context import Context
from .joint import FOLDS, solver
from .limits import scored_by
from .predictions import Predictions, Progress, silent
from .score import warming_up
from .serving_numbers import NUMBERS, Number
from .serving_rows import interval_of, lengths, model_named, predict, target_of, worker
from .tables import FloatArray, Row, Skip, Table

SOFT_TPOT, SOFT_TTFT = 0.1, 0.15  # a residual beyond weighs less than by its square
CROWD, SHARE = (
    50.0,
    -0.35,
)  # rows of a model under a stack weigh (n / CROWD)^SHARE each, so that crowds do not decide alone
FEWEST = 20  # rows that quantiles are taken of
STEPS = 40
FIELDS = (
    "step_host_s", "sequence_host_s", "prompt_host_s", "kernels_per_layer", "request_host_s", "ahead_steps",
    "prompt_gaps", "launch_hidden_s", *(f"{name}_passes" for name in CLASSES),
)  # fmt: skip
STEP, SEQUENCE, PROMPT, SMALL, REQUEST, AHEAD, GAPS, HIDDEN = range(8)
FIRST_KIND = 8


class Flat(NamedTuple):
    """Kernels of all runs, one after another: seconds alone, launches, class (serving.lowered.CLASSES), run, and how often each
    one runs in a mean step and in a pass of one prompt."""

    alone_s: FloatArray
    launches: FloatArray
    kind: np.ndarray
    run: np.ndarray
    step: FloatArray
    prompt: FloatArray


class Runs(NamedTuple):
    """n runs. rows: their numbers in the table; stack: index into `stacks`; simulated and measured times [s]; counts[n, 4] in a
    mean step: passes, sequences of a rank, passes with prompts, layers that run; small_s: a launch that does nothing;
    first: does its time to first token count?; labels by split."""

    rows: np.ndarray
    stacks: tuple[str, ...]
    stack: np.ndarray
    tpot_s: FloatArray
    ttft_s: FloatArray
    measured_tpot_s: FloatArray
    measured_ttft_s: FloatArray
    counts: FloatArray
    small_s: FloatArray
    first: np.ndarray
    labels: dict[str, np.ndarray]
    kernels: Flat


class _Mix(NamedTuple):
    """Kernels of one run, and its counts as in Runs."""

    kernels: Kernels
    alone_s: FloatArray
    step: FloatArray
    prompt: FloatArray
    counts: tuple[float, float, float, float]
    small_s: float
    model: object


def _mix(row: Row, context: Context) -> _Mix:
    """The mean step of a run's replica, or of its decode worker: a step of all clients, and the share of a prompt's pass that
    falls on each token."""
    target = target_of(row, context)
    alone = row.text("mode") == "disagg"
    model, plan = worker(row, "decode_" if alone else "", model_named(row, context), target.chip)
    plan = as_served(plan, model, target.chip)
    tokens_in, tokens_out, spread = lengths(row)
    given, made = tokens_in * (1.0 - spread / 2.0), tokens_out * (1.0 - spread / 2.0)
    workers = (row.count("decode_num_workers") or 1) if alone else 1
    clients = float(max(1, -(-row.need("concurrency") // workers)))
    share = 0.0 if alone else min((clients - 1.0) / made, 1.0)  # of steps that carry a prompt of another client
    whole = target.stack.engine.scheduler == "prefill_first"  # prompts go alone, beside no decode
    seen: list[Kernels] = []

    def keep(rows: Kernels) -> FloatArray:
        seen.append(rows)
        return np.zeros(len(rows))

    lowered = Lowered(model, plan, keep, target.stack)
    ends = _passes(lowered, seen, (clients, given, made, plan.attention_dp), 0.0 if whole else clients)
    kept = (1.0 if whole else 1.0 - share, 1.0, share)  # of what all tokens share, what decodes look at, prompts
    which = [sum(i >= end for end in ends) for i in range(len(seen))]
    step = np.concatenate([rows.count * kept[part] for rows, part in zip(seen, which, strict=True)])
    prompt = np.concatenate([rows.count * (part == 2) for rows, part in zip(seen, which, strict=True)])
    every = _joined(seen)
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
    small_s = float(cost.seconds(small_kernel(), machine)[0])
    passes = 1.0 + share if whole else 1.0
    counts = (passes, float(math.ceil(clients / plan.attention_dp)), share, passes * model.layers)
    return _Mix(every, context.seconds(every, machine), step, prompt, counts, small_s, (model.hidden, model.blocks))


def _passes(
    lowered: Lowered, seen: list[Kernels], sizes: tuple[float, float, float, int], beside: float
) -> tuple[int, int]:
    """Let `lowered` price a decode step and a pass of one prompt; where in `seen` the parts of both begin, after what all tokens of
    the step share. sizes: clients, tokens in and out, attention-DP ranks; beside: decodes in the prompt's pass."""
    clients, given, made, ranks = sizes
    seen.clear()
    lowered.trunk_s(np.array([clients]))
    lowered.logits_s(np.array([clients]))
    decodes = len(seen)
    lowered.decode_s(np.array([float(math.ceil(clients / ranks))]), np.array([given + made / 2.0]))
    prompts = len(seen)
    lowered.trunk_s(np.array([given * ranks + beside]))
    lowered.prefill_s(np.ones(1), np.array([given]), np.array([given]))
    return decodes, prompts


def _joined(tables: list[Kernels]) -> Kernels:
    names = Kernels.__dataclass_fields__
    return Kernels(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in names})


def runs_of(table: Table, context: Context, progress: Progress = silent) -> Runs:
    """Every run that counts and can be simulated, as its kernels. Takes minutes for a thousand runs."""
    excluded = scored_by(table, context)
    chosen = [i for i, rule in enumerate(excluded) if not rule]
    part = table.select(chosen)
    found = predict(part.configuration(), context, progress)
    warm = warming_up(part, np.ones(len(part), bool))
    mixes, rows, first, names = [], [], [], []
    for place, row in enumerate(part.rows()):
        try:
            if found.reason[place] or not (part.measured("tpot_ms")[place] > 0.0):
                continue
            mixes.append(_mix(row, context))
        except (Skip, GambrelError):
            continue
        rows.append(place)
        first.append(row.text("mode") == "agg" and not warm[place] and part.measured("ttft_ms")[place] > 0.0)
        names.append((target_of(row, context).stack.id, context.chip(row.text("device")).id, row.text("model")))
    at = np.array(rows, dtype=np.intp)
    stacks = tuple(sorted({name[0] for name in names}))
    return Runs(
        rows=np.array(chosen, dtype=np.intp)[at],
        stacks=stacks,
        stack=np.array([stacks.index(name[0]) for name in names]),
        tpot_s=found.values["tpot_ms"][at] / 1e3,
        ttft_s=found.values["ttft_ms"][at] / 1e3,
        measured_tpot_s=part.measured("tpot_ms")[at] / 1e3,
        measured_ttft_s=part.measured("ttft_ms")[at] / 1e3,
        counts=np.array([mix.counts for mix in mixes]),
        small_s=np.array([mix.small_s for mix in mixes]),
        first=np.array(first),
        labels=_labels(names, [mix.model for mix in mixes]),
        kernels=_flat(mixes),
    )


def _labels(names: list[tuple[str, str, str]], models: list[object]) -> dict[str, np.ndarray]:
    """Label of the refit that leaves a run out, by split; models of equal layers are one."""
    same: dict[object, str] = {}
    known = [same.setdefault(model, name[2]) for model, name in zip(models, names, strict=True)]
    shuffled = generator(0, "leave-out", "serving").permutation(len(names))
    fifths = [f"fifth {place % FOLDS + 1}" for place in np.argsort(shuffled)]
    columns = {"model": known, "device": [n[1] for n in names], "stack": [n[0] for n in names], "random": fifths}
    return {name: np.array(column, dtype=object) for name, column in columns.items()}


def _flat(mixes: list[_Mix]) -> Flat:
    return Flat(
        np.concatenate([mix.alone_s for mix in mixes]),
        np.concatenate([launches(mix.kernels) for mix in mixes]),
        np.concatenate([classes(mix.kernels) for mix in mixes]),
        np.repeat(np.arange(len(mixes)), [len(mix.kernels) for mix in mixes]),
        np.concatenate([mix.step for mix in mixes]),
        np.concatenate([mix.prompt for mix in mixes]),
    )


class ServingFit:
    """Runs, and how they move with the numbers. values: of NUMBERS by name."""

    def __init__(self, runs: Runs, library: Library) -> None:
        self.runs, self.library = runs, library
        self._kept: dict[bytes, tuple[FloatArray, FloatArray]] = {}
        self.now = {number.name: value_now(number, library) for number in NUMBERS}
        self.base = np.array([[_held(library.stack(stack), field) for field in FIELDS] for stack in runs.stacks])
        self.step_now, self.prompt_now = self._means(self.base)

    def _table(self, values: dict[str, float]) -> FloatArray:
        table = self.base.copy()
        for number in NUMBERS:
            for stack in set(number.stacks) & set(self.runs.stacks):
                table[self.runs.stacks.index(stack), FIELDS.index(number.field)] = values[number.name]
        return table

    def _means(self, table: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Seconds of the mean step and of a pass of one prompt of each run [n]; table[stacks, FIELDS]: values."""
        runs = self.runs
        of = table[runs.stack]
        hidden = of[:, HIDDEN]
        by_kind = [(sums * of[:, FIRST_KIND:]).sum(axis=1) for sums in self._by_kind(table[:, HIDDEN])]
        small = (
            of[:, SMALL] * np.maximum(runs.small_s - hidden, 0.5 * runs.small_s) * of[:, FIELDS.index("memory_passes")]
        )
        passes, sequences, prompts, layers = runs.counts.T
        step = by_kind[0] + small * layers + of[:, STEP] * passes
        kernels = by_kind[1] + small * layers / passes
        step += of[:, SEQUENCE] * sequences + (of[:, PROMPT] + of[:, GAPS] * kernels) * prompts
        prompt = kernels * (1.0 + of[:, GAPS]) + of[:, STEP] + of[:, PROMPT]
        return step, prompt

    def _by_kind(self, hidden_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Seconds of a mean step and of a pass of one prompt by kind of kernel [n, CLASSES], before the factors of the kinds;
        hidden_s [stacks]: what a graph hides of a launch. Kept, as most trials move something else."""
        key = hidden_s.tobytes()
        if key not in self._kept:
            runs, k = self.runs, self.runs.kernels
            seconds = np.maximum(k.alone_s - hidden_s[runs.stack][k.run] * k.launches, 0.5 * k.alone_s)
            first, later = (self._by_class(seconds * times) for times in (k.step, k.prompt))
            self._kept = {**dict(list(self._kept.items())[-3:]), key: (first, later)}
        return self._kept[key]

    def _by_class(self, seconds: FloatArray) -> FloatArray:
        """Sums of kernels' seconds by run and class [runs, classes]."""
        shape, k = (len(self.runs.rows), len(CLASSES)), self.runs.kernels
        sums: FloatArray = np.bincount(k.run * shape[1] + k.kind, seconds, shape[0] * shape[1]).astype(np.float64)
        return sums.reshape(shape)

    def predicted(self, values: dict[str, float]) -> tuple[FloatArray, FloatArray]:
        """Time a token and time to first token of each run [n]."""
        runs, table = self.runs, self._table(values)
        step, prompt = self._means(table)
        tpot = runs.tpot_s * step / self.step_now
        was, now = self.base[runs.stack], table[runs.stack]
        queued = runs.ttft_s - was[:, REQUEST] - was[:, AHEAD] * runs.tpot_s
        queued = np.maximum(queued, 0.2 * np.minimum(self.prompt_now, runs.ttft_s)) * prompt / self.prompt_now
        return tpot, queued + now[:, REQUEST] + now[:, AHEAD] * tpot

    def fit(
        self, keep: np.ndarray | None = None, steps: int = STEPS, start: dict[str, float] | None = None
    ) -> dict[str, float]:
        """All numbers, fitted to the runs that `keep` marks (all). start: where the search sets out (the priors); it ends where these
        runs and the priors say. Needs SciPy; raises InputError if it is not installed."""
        runs = self.runs
        keep = np.ones(len(runs.rows), bool) if keep is None else keep
        prior = np.log([number.prior for number in NUMBERS])
        width = np.array([number.width for number in NUMBERS])
        weight = self._weights(keep)
        first = keep & runs.first

        def residuals(x: FloatArray) -> FloatArray:
            tpot, ttft = self.predicted(_named(x))
            token = np.log(tpot / runs.measured_tpot_s)[keep] * weight[keep] / SOFT_TPOT
            begin = np.log(ttft / runs.measured_ttft_s)[first] * weight[first] / SOFT_TTFT
            return np.concatenate([_soft(token), _soft(begin), (x - prior) / width])

        begin = prior if start is None else np.log([start[number.name] for number in NUMBERS])
        return _named(solver()(residuals, begin, max_nfev=steps).x)

    def _weights(self, keep: np.ndarray) -> FloatArray:
        crowd: dict[tuple[str, int], int] = defaultdict(int)
        keys = list(zip(self.runs.labels["model"], self.runs.stack.tolist(), strict=True))
        for key, kept in zip(keys, keep, strict=True):
            crowd[key] += bool(kept)
        return np.array([(max(crowd[key], 1) / CROWD) ** SHARE for key in keys])

    def left_out(self, split: str, progress: Progress = silent) -> tuple[FloatArray, FloatArray]:
        """Times as `predicted`, of each run by a fit that has seen no run of its label (split: a key of labels)."""
        labels = self.runs.labels[split]
        names = sorted(set(labels))
        out, whole = np.full((2, len(labels)), math.nan), self.fit()
        for done, name in enumerate(names):
            progress(done, len(names))
            inside = labels == name
            out[:, inside] = np.array(self.predicted(self.fit(~inside, start=whole)))[:, inside]
        return out[0], out[1]


def _named(x: FloatArray) -> dict[str, float]:
    return dict(zip((number.name for number in NUMBERS), np.exp(x).tolist(), strict=True))


def _soft(z: FloatArray) -> FloatArray:
    return np.asarray(np.sign(z) * np.sqrt(2.0 * (np.sqrt(1.0 + z * z) - 1.0)))


def _held(stack: Stack, field: str) -> float:
    if field in Stack.model_fields:
        return float(getattr(stack, field))
    return float(stack.factors.get(field, 1.0))


def value_now(number: Number, library: Library) -> float:
    """A number as the catalogue holds it."""
    return _held(library.stack(number.stacks[0]), number.field)


def residuals_of(runs: Runs, times: tuple[FloatArray, FloatArray]) -> dict[str, dict[str, float]]:
    """p10 and p90 of log(measured / predicted) of runs that a fit had not seen, by stack."""
    out: dict[str, dict[str, float]] = {}
    metrics = (("tpot", runs.measured_tpot_s, runs.first | True), ("ttft", runs.measured_ttft_s, runs.first))
    for place, stack in enumerate(runs.stacks):
        for (name, measured, counts), predicted in zip(metrics, times, strict=True):
            rows = (runs.stack == place) & counts
            if rows.sum() >= FEWEST:
                low, high = np.quantile(np.log(measured[rows] / predicted[rows]), (0.1, 0.9)).tolist()
                out.setdefault(stack, {}).update({f"{name}_p10": low, f"{name}_p90": high})
    return out


def leave_out(table: Table, split: str, context: Context, progress: Progress) -> Predictions:
    """Every scored run by a fit that has not seen its fifth, model, device or stack (`split`), the others by the numbers that
    ship. Raises InputError if SciPy is not installed."""
    solver()
    runs = runs_of(table, context, progress)
    tpot, ttft = ServingFit(runs, context.library).left_out(split)
    n = len(table)
    values = {name: np.full(n, math.nan) for name in ("ttft_ms", "tpot_ms")}
    values["ttft_ms"][runs.rows], values["tpot_ms"][runs.rows] = ttft * 1e3, tpot * 1e3
    reason = np.full(n, "not scored", dtype=object)
    reason[runs.rows] = ""
    spread = np.full((n, 2), math.nan)
    spread[runs.rows] = [interval_of(context.library.stack(runs.stacks[stack])) for stack in runs.stack]
    low, high = values["ttft_ms"] * spread[:, 0], values["ttft_ms"] * spread[:, 1]
    basis = tuple("" if text else "extrapolated" for text in reason)
    return Predictions(values, tuple(reason.tolist()), low, high, basis)
