"""Hard floor of a training row: its FLOPs at the best rate of a product that was ever measured on its chip. What is predicted
faster is wrong, whatever the measurement says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..catalog.library import Library, package_root
from ..catalog.models import Model
from ..lowering import model_flops
from .context import Context
from .kernel_rows import FORMATS
from .predictions import Predictions
from .row_models import model_of
from .tables import Table, read_table
from .training_plans import dtypes_of

LORA_SHARE = 2.0 / 3.0  # of the FLOPs of a step: frozen weights have no gradients

Rates = Mapping[tuple[str, str], float]


class LeastTime(NamedTuple):
    """Rows of one table with a floor, and those predicted under it: (id, floor over predicted time, above 1)."""

    rows: int
    under: tuple[tuple[str, float], ...]


def best_rates(library: Library) -> Rates:
    """FLOP/s of the fastest measured product by (chip id, format), from the shipped table of products."""
    table = read_table(package_root() / "devices" / "measured" / "gemm.csv", library)
    flops = 2.0 * table.numbers("m") * table.numbers("n") * table.numbers("k")
    rates = flops / (table.measured("time_us") * 1e-6)
    best: dict[tuple[str, str], float] = {}
    for device, label, rate in zip(table.column("device"), table.column("dtype"), rates, strict=True):
        key = library.chip(device).id, FORMATS[label][0]
        best[key] = max(best.get(key, 0.0), float(rate))
    return best


def least_times(table: Table, predictions: Predictions, context: Context) -> LeastTime | None:
    """The rows of a table of training runs whose predicted tokens per second need more FLOP/s than the best measured product
    of their format on their chip, or than its datasheet where none is measured. None for other tables."""
    if table.kind.name != "training":
        return None
    best, under, rows = best_rates(context.library), [], 0
    for row, rate in zip(table.rows(), predictions.values["tokens_per_s_per_device"], strict=True):
        if not np.isfinite(rate):
            continue
        rows += 1
        chip = context.chip(row.text("device"))
        dtype = str(dtypes_of(row).weights)
        limit = best.get((chip.id, dtype), chip.matmul_flops_per_s(dtype))
        model = model_of(context, row, "num_experts", "experts_per_token", "ffn")
        share = LORA_SHARE if "lora" in (row.text("model") + row.text("id")).lower() else 1.0
        needed = float(rate) * share * _flops(model, row.need("seq_len"))
        if needed > limit:
            under.append((row.text("id"), needed / limit))
    return LeastTime(rows, tuple(under))


@lru_cache(maxsize=512)
def _flops(model: Model, seq_len: int) -> float:
    return model_flops(model, seq_len, causal=True)
