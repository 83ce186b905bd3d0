"""The floor of each kind of table: the plainest model with at most one constant a family. What loses to it is worth nothing.

Kernels: the plain roofline, no constant. Training: model FLOPs over peak, times one constant a family (about half of peak on
GPUs). Serving and inference: the roofline of the pass, times one. Power: the limit, times one. Collectives: bytes over the
port's rate, times one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..catalog.calibrations import Stack
from ..cost.machine import MEMORY_RATE, Machine
from ..lowering import model_flops
from ..lowering.kernels import Kernels
from ..lowering.kinds import KINDS
from ..serving.steady import Replica
from . import collective_rows, inference_rows, kernel_rows, serving_rows
from .context import Context
from .predictions import Answer, Predictions, nothing, predict_rows, silent
from .row_models import model_of
from .score import errors_of
from .tables import FloatArray, Row, Skip, Table
from .training_plans import dtypes_of

_NO_CONSTANT = ("gemm", "attention_prefill", "attention_decode", "moe", "collective")


class Roofline(Context):
    """A context in which every kernel takes the longer of its FLOPs over the peak and its bytes over the bandwidth."""

    def stack(self, *names: str) -> Stack:
        return (
            super().stack(*names).with_(step_host_s=0.0, sequence_host_s=0.0, kernels_per_layer=0.0, launch="compiled")
        )

    def seconds(self, rows: Kernels, packed: Machine) -> FloatArray:
        return roofline_s(rows, packed)


def roofline_s(rows: Kernels, packed: Machine) -> FloatArray:
    """Plain roofline of each kernel [s]; collectives take their bytes over the innermost link."""
    rate = np.nan_to_num(packed.rates[rows.dtype], nan=math.inf)
    local = np.maximum(rows.flops() / rate, rows.bytes() / packed.chip_values[MEMORY_RATE])
    collective = np.array([kind.collective for kind in KINDS])[rows.kind]
    shares = (rows.dims[:, 1] - 1.0) / np.maximum(rows.dims[:, 1], 1.0)
    twice = np.array([2.0 if kind.name == "all_reduce" else 1.0 for kind in KINDS])[rows.kind]
    sent = twice * shares * rows.dims[:, 0] / packed.levels[0, 1]
    out: FloatArray = np.where(collective, sent, local)
    return out


def floor_errors(table: Table, excluded: Sequence[str], context: Context) -> list[FloatArray]:
    """Errors of the floor, metric by metric as `score.errors_of` lists them. The constants are fitted to the scored rows."""
    plain = Roofline(context.library, "datasheet")
    raw = _FLOORS[table.kind.name](table.configuration(), plain)
    if table.kind.name not in _NO_CONSTANT:
        raw = _scaled(table, raw, excluded, plain)
    return [errors.error for errors in errors_of(table, raw, excluded)]


def _scaled(table: Table, raw: Predictions, excluded: Sequence[str], context: Context) -> Predictions:
    """Each family's values times the median of measured over raw of its scored rows."""
    families = _families(table, context)
    kept = np.array([rule == "" for rule in excluded], bool)
    values = {}
    for name, column in raw.values.items():
        measured, scaled = table.measured(name), column.copy()
        for members in families.values():
            ratio = np.array(
                [measured[i] / column[i] for i in members if kept[i] and measured[i] > 0 and column[i] > 0]
            )
            if ratio.size:
                scaled[members] *= float(np.median(ratio))
        values[name] = scaled
    return Predictions(values, raw.reason, raw.low, raw.high, raw.basis, raw.fits)


def _families(table: Table, context: Context) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(table.column("device")):
        try:
            found[context.chip(label).family].append(index)
        except Skip:
            continue
    return found


def _kernels(table: Table, context: Context) -> Predictions:
    return kernel_rows.predict(table, context, silent)


def _training(table: Table, context: Context) -> Predictions:
    def answer(row: Row) -> Answer:
        model = model_of(context, row, "num_experts", "experts_per_token", "ffn")
        chip, seq_len = context.chip(row.text("device")), row.need("seq_len")
        peak = chip.matmul_flops_per_s(str(dtypes_of(row).weights))
        rate = peak / model_flops(model, float(seq_len))
        step = row.need("global_batch") * seq_len / rate / row.need("num_devices")
        values = {
            "step_time_s": step,
            "tokens_per_s_per_device": rate,
            "tflops_per_device": peak / 1e12,
            "mfu_pct": 100.0,
        }
        return Answer(values, "datasheet-only")

    return predict_rows(table, answer, silent)


def _serving(table: Table, context: Context) -> Predictions:
    replicas: dict[object, Replica] = {}

    def answer(row: Row) -> Answer:
        target = serving_rows.target_of(row, context)
        model = serving_rows.model_named(row, context)
        prefix = "decode_" if row.text("mode") == "disagg" else ""
        replica = serving_rows.replica_of(row, prefix, model, target, (context, replicas))
        given, made = row.need("input_tokens"), row.need("output_tokens")
        step = replica.decode_s(row.need("concurrency"), given + made / 2.0)
        return Answer({"ttft_ms": replica.prefill_s(1, given) * 1e3, "tpot_ms": step * 1e3}, "datasheet-only")

    return predict_rows(table, answer, silent)


def _power(table: Table, context: Context) -> Predictions:
    def answer(row: Row) -> Answer:
        chip = context.chip(row.text("device"))
        if chip.power.tdp_w is None:
            raise Skip("power limit is not known")
        return Answer({"measured_power_w": chip.power.tdp_w * row.need("num_devices")}, "datasheet-only")

    return predict_rows(table, answer, silent)


def _no_floor(table: Table, context: Context) -> Predictions:
    return nothing(table, "no floor")


_FLOORS = {
    **dict.fromkeys(_NO_CONSTANT, _kernels),
    "training": _training,
    "serving": _serving,
    "inference": lambda table, context: inference_rows.predict(table, context, silent),
    "power": _power,
    "collectives": lambda table, context: collective_rows.predict(table, context, silent),
    "campaigns": _no_floor,
    "operators": _no_floor,
}
