"""Rows of measured power and energy -> mean draw of a serving deployment or a training job, and energy of a token.

A row's notes hold configuration (degrees, batch limit, output length) and measured figures; only the former are read.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..catalog.chips import Chip
from ..catalog.library import cluster_of
from ..catalog.models import Model
from ..catalog.plans import Dtypes, Engine, Plan
from ..catalog.targets import Target
from ..cost import Machine
from ..errors import Infeasible, UnknownFigure
from ..lowering import check
from ..serving.steady import Batch, Replica
from ..training import price
from ..training.memory import settled
from .context import Context
from .power_load import Load, decoding, encoding
from .predictions import Answer, Predictions, Progress, predict_rows
from .row_models import padded
from .serving_stacks import dtypes_of, format_of, serving_stack
from .tables import Row, Skip, Table
from .training_plans import LORA_RANK

INPUT_TOKENS, OUTPUT_TOKENS = (
    256,
    256,
)  # chat prompts and answers where a row states no length (their order of magnitude)
ENCODER_TOKENS, ENCODER_BATCH = 384, 128  # SQuAD questions of MLPerf's BERT; batch that fills a GPU
TRAINED_TOKENS = {"bert": 512}  # sequence length of MLPerf's BERT; 8192 of its LoRA, which the notes state
SEQUENCE = 8192
# What a host draws of what it is provisioned for: MLPerf training v4.0, SMC node, 6.7 kW at the DC side with 8 H100 at 700 W.
HOST_SHARE = (6704.0 - 8 * 700.0) / 4600.0
AC_OVER_DC = 1.025  # conversion losses: 2 to 3% between both sides of the same power shelf (same runs)
INTERVAL = (0.8, 1.25)


class Draw(NamedTuple):
    """chip_w of one chip, tokens_per_s of all chips (NaN where energy of a token has no meaning)."""

    chip_w: float
    tokens_per_s: float


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Mean power [W] in the row's scope, and energy of a token [J]."""
    return predict_rows(table, lambda row: _answer(row, context), progress)


def _answer(row: Row, context: Context) -> Answer:
    chip = context.chip(row.text("device"))
    phase = row.text("phase")
    model = context.model_named(row.text("model"))
    if model is None:
        raise Skip(f"model {row.text('model')!r} is not in the catalogue")
    if phase.startswith("training"):
        target = _target(context, chip, context.family(chip).default_training_stack)
        draw = _trained(row, model, target)
    elif phase.startswith("inference"):
        target = serving_target(row, context, chip)
        draw = serving(row, model, target).draw
    else:
        raise Skip(f"the load of phase {phase!r} is not stated")
    if math.isnan(draw.chip_w):
        raise UnknownFigure(f"power.tdp_w ({chip.id})")
    watts = _scope_w(row, context, chip, draw.chip_w * row.need("num_devices"))
    return answer_of(watts, draw.tokens_per_s, target)


def answer_of(watts: float, tokens_per_s: float, target: Target) -> Answer:
    """Mean power and energy of a token, with their interval."""
    values = {"measured_power_w": watts, "energy_j_per_token": watts / tokens_per_s}
    return Answer(values, target.calibration.basis, *INTERVAL)


def _target(context: Context, chip: Chip, *stacks: str) -> Target:
    found = context.stack(*stacks)
    return Target(chip, context.family(chip), cluster_of(chip), found, context.calibration(chip, found))


def serving_target(row: Row, context: Context, chip: Chip) -> Target:
    """The chip by its own ports, under the release of the engine that the row's year had."""
    stack = serving_stack(context, chip, row.text("engine")).id
    return _target(context, chip, f"{stack}-{row.text('year')}", stack)


def _scope_w(row: Row, context: Context, chip: Chip, chips_w: float) -> float:
    """Chips alone, or whole servers with the host's draw, at the DC or the AC side."""
    scope = row.text("scope")
    if not scope.startswith("system"):
        return chips_w
    for entry in context.library.entries("cluster"):
        cluster = context.library.cluster(entry.id)
        if cluster.chip == chip.id and cluster.host.power_w:
            nodes = -(-row.need("num_devices") // cluster.chips_per_node)
            whole_w = chips_w + nodes * HOST_SHARE * cluster.host.power_w
            return whole_w * (AC_OVER_DC if "AC" in scope else 1.0)
    raise Skip(f"no cluster of the catalogue states the host power of {chip.id}")


def _noted(row: Row, pattern: str) -> int | None:
    match = re.search(pattern, row.text("notes"))
    return int(match[1]) if match else None


class Serving(NamedTuple):
    """A deployment that never runs empty: load of a rank, its machine, ranks a device; sequences that a rank runs, and that
    all run (NaN where tokens have no meaning)."""

    load: Load
    machine: Machine
    ranks: float
    sequences: float
    running: float

    @property
    def draw(self) -> Draw:
        """Draw of a device and tokens a second of all."""
        return Draw(self.load.draw_w(self.machine) * self.ranks, self.running / self.load.step_s)


def serving(row: Row, model: Model, target: Target) -> Serving:
    """The load of a row of inference, from its configuration. Raises Skip where the model does not fit."""
    if model.encoder_only:
        return _encoded(row, model, target)
    devices = row.need("num_devices")
    replica, copies = _replica(row, model, target, devices)
    made = _noted(row, r"mean output (\d+) tokens") or OUTPUT_TOKENS
    room = replica.capacity(INPUT_TOKENS + made / 2.0)
    text = row.text("batch_or_concurrency")
    running = min(int(text) if _is_count(text) else room, room)
    load = decoding(replica, Batch(running, INPUT_TOKENS, made))
    ranks = replica.plan.tp * replica.plan.pp * replica.plan.attention_dp * copies
    return Serving(load, replica.machine, ranks / devices, replica.share(running), float(running * copies))


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= 12


def _replica(row: Row, model: Model, target: Target, devices: int) -> tuple[Replica, int]:
    """One replica and how many there are; expert parallelism spans its tensor-parallel ranks, as in vLLM."""
    stated = re.search(r"TP([1-9]\d{0,5}) EP([1-9]\d{0,5}) DP([1-9]\d{0,5})", row.text("notes"))
    dtypes = dtypes_of(model, target.chip, row.text("precision"))
    ranks = devices * target.chip.ranks
    text = row.text("batch_or_concurrency")
    engine = Engine(max_num_seqs=max(int(text) if _is_count(text) else 1, target.stack.engine.max_num_seqs or 1))
    if stated:
        tp, ep, dp = (int(group) for group in stated.groups())
        degrees = [max(tp, ranks // dp)]
    else:
        ep, degrees = 1, [2**e for e in range(ranks.bit_length())]
    for tp in degrees:
        plan = Plan(tp=tp, ep=ep if ep <= tp else 1, dtypes=dtypes)
        fitted = padded(model, tp, plan.ep)
        check(fitted, plan, training=False)
        replica = Replica(fitted, plan, target, engine)
        try:
            replica.capacity(INPUT_TOKENS + OUTPUT_TOKENS)
        except Infeasible:
            continue
        return replica, ranks // tp
    raise Skip(f"{model.id} does not fit {devices} x {target.chip.id}")


def _encoded(row: Row, model: Model, target: Target) -> Serving:
    plan = Plan(dtypes=dtypes_of(model, target.chip, row.text("precision")))
    engine = Engine(max_num_seqs=ENCODER_BATCH, max_batched_tokens=ENCODER_BATCH * ENCODER_TOKENS)
    replica = Replica(model, plan, target, engine)
    load = encoding(replica, ENCODER_BATCH, ENCODER_TOKENS)
    return Serving(load, replica.machine, target.chip.ranks, ENCODER_BATCH, math.nan)


def _trained(row: Row, model: Model, target: Target) -> Draw:
    devices = row.need("num_devices")
    seq_len = next((n for name, n in TRAINED_TOKENS.items() if name in row.text("model").lower()), None)
    seq_len = _noted(row, r"seq (\d+)") or seq_len or SEQUENCE
    lora = "lora" in row.text("model").lower()
    batch = _noted(row, r"global batch (\d+)") or devices
    tp = 4 if lora else 1  # MLPerf's LoRA runs of a 70B model: two replicas a node (their submitted configurations)
    dp = min(batch, devices // tp)
    plan = Plan(
        tp=tp,
        dp=dp,
        cp=devices // (tp * dp),
        global_batch=batch,
        trainable="lora" if lora else "all",
        lora_rank=LORA_RANK if lora else 0,
        dtypes=Dtypes(weights=format_of(row.text("precision")) or "bf16"),
    )
    check(model, plan, training=True)
    priced = price(model, [settled(model, plan, target, float(seq_len))], target, float(seq_len))
    step_s = float(priced.step_s[0])
    return Draw(float(priced.joules[0]) / step_s, batch * seq_len / step_s if lora else math.nan)


LEAST, MOST = 8, 512  # batches that a contrast lies between
NEAR = 0.2
_SAME = re.compile(r"^[^;]*|TP\d+ EP\d+ DP\d+")  # data set and degrees of a row's notes


def batch_contrasts(table: Table, predictions: Predictions, excluded: Sequence[str]) -> list[tuple[str, float, int]]:
    """What a larger batch saves: ratio of the energy of a token at batch 8 and at the largest up to 512 of a deployment.

    Name, value, deployments: median error of the predicted ratio, and how many are within 20%.
    """
    measured, guessed = table.measured("energy_j_per_token"), predictions.values["energy_j_per_token"]
    batches: dict[tuple[str, ...], dict[int, int]] = defaultdict(dict)
    for index, row in enumerate(table.rows()):
        batch = row.text("batch_or_concurrency")
        if not excluded[index] and batch.isdigit() and measured[index] > 0 and guessed[index] > 0:
            same = (*(row.text(name) for name in ("model", "device", "num_devices")), *_SAME.findall(row.text("notes")))
            batches[same][int(batch)] = index
    errors = []
    for rows in batches.values():
        most = max((batch for batch in rows if batch <= MOST), default=LEAST)
        if LEAST in rows and most > LEAST:
            small, large = rows[LEAST], rows[most]
            errors.append(abs(guessed[small] / guessed[large] / (measured[small] / measured[large]) - 1.0))
    within = sum(bool(error <= NEAR) for error in errors)
    return [
        (
            "error of the energy saved from batch 8 to 512",
            float(np.median(errors)) if errors else math.nan,
            len(errors),
        ),
        ("share of these within 20%", float(within) / len(errors) if errors else math.nan, len(errors)),
    ]
