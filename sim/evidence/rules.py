"""Which rows are scored: the exclusion rules of each kind of table, by columns and ids only, never by a prediction.

Each rule has a name, which becomes the row's `excluded_by`; the first rule that holds counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .tables import FloatArray, Row, Table

BoolArray = NDArray[np.bool_]
TRAINING_TARGETS = ("step_time_s", "tokens_per_s_per_device", "tflops_per_device", "mfu_pct")
_DOUBT = re.compile(r"implausible|doubtful|NEAR-TWIN|functional run|not tuned|untuned", re.IGNORECASE)


def excluded_by(table: Table) -> list[str]:
    """Name of the rule that takes a row out of the score, "" for rows that stay [n]."""
    return _RULES[table.kind.name](table)


def _contains(table: Table, column: str, pattern: str) -> BoolArray:
    return np.array([re.search(pattern, text, re.IGNORECASE) is not None for text in table.column(column)], bool)


def _is(table: Table, column: str, *values: str) -> BoolArray:
    return np.isin(np.array(table.column(column), dtype=object), values)


def _first(n: int, *rules: tuple[str, BoolArray]) -> list[str]:
    names = np.full(n, "", dtype=object)
    for name, holds in rules:
        names[(names == "") & holds] = name
    return [str(name) for name in names]


def _kernels(table: Table) -> list[str]:
    decode = table.kind.name == "attention_decode"
    reused = _is(table, "device", "a100-sxm-80gb") & _is(table, "stack", "trtllm")
    blocks = _is(table, "dtype", "fp8_block") & _is(table, "stack", "vllm")
    return _first(
        len(table),
        ("no time", ~(table.measured("time_us") > 0)),
        ("cache reused", reused if decode else np.zeros(len(table), bool)),
        ("host-bound", blocks if table.kind.name == "gemm" else np.zeros(len(table), bool)),
    )


def _training(table: Table) -> list[str]:
    return [tier[2:] if tier.startswith("x:") else "" for tier in training_tiers(table)]


def training_tiers(table: Table) -> list[str]:
    """Tier of each row of a training table, or `x:rule` for one that is not scored [n].

    D dense GPU with the whole layout stated, Dn without micro_batch, L without layout, M MoE on GPU, T TPU dense, Tm TPU MoE,
    A Trainium and Gaudi, V1 and Vn vTrain on one node and on several.
    """
    return [_tier(row) for row in table.rows()]


def _tier(row: Row) -> str:
    cells = row.cells

    def blank(column: str) -> bool:
        return row.text(column) == ""

    def degree(column: str) -> float:
        value = row.number(column)
        return 1.0 if value is None else value

    precision, source, device = (cells.get(name, "").strip() for name in ("precision", "source", "device"))
    precision = precision.lower()
    trainium = device.startswith("Trainium")
    layout = not any(blank(name) for name in ("TP", "PP", "DP"))
    ranks = degree("TP") * degree("PP") * degree("DP") * degree("CP")
    if all(blank(name) for name in TRAINING_TARGETS):
        return "x:no target"
    if "lora" in (cells.get("model", "") + cells.get("id", "")).lower():
        return "x:lora"
    if any(blank(name) for name in ("layers", "hidden", "ffn", "seq_len", "num_devices", "global_batch")):
        return "x:missing"
    if precision == "" or "inferred" in precision or "unknown" in precision:
        return "x:precision"
    if source == "deepseek-v3" or cells.get("id", "").startswith("palm-ref"):
        return "x:source"
    if not device.startswith("TPU") and layout and ranks != degree("num_devices") * (2 if trainium else 1):
        return "x:layout"
    if _DOUBT.search(cells.get("notes", "")):
        return "x:doubtful"
    return _scored_tier(source, device, degree("num_experts") > 1, layout, blank)


def _scored_tier(source: str, device: str, moe: bool, layout: bool, blank: Callable[[str], bool]) -> str:
    for prefix, tier in (("vtrain-single", "V1"), ("vtrain-multi", "Vn")):
        if source.startswith(prefix):
            return tier
    if device.startswith("TPU"):
        return "Tm" if moe else "T"
    if device.startswith(("Trainium", "Gaudi")):
        return "A"
    if moe:
        return "M"
    if not layout:
        return "L"
    return "Dn" if blank("micro_batch") else "D"


def _one(values: FloatArray) -> FloatArray:
    return np.where(np.isnan(values), 1.0, values)


def _serving(table: Table) -> list[str]:
    agg = _is(table, "mode", "agg")
    tp, dp = table.numbers("tp_size"), _one(table.numbers("attention_dp_size"))
    moe_tp, moe_ep = table.numbers("moe_tp_size"), table.numbers("moe_ep_size")
    moe = ~np.isnan(moe_tp) & ~np.isnan(moe_ep) & ~_contains(table, "model", "Llama|Qwen3-32B|Qwen3-8B")
    span = _one(moe_tp) * _one(moe_ep)
    concurrency, batch = table.numbers("concurrency"), table.numbers("batch_size")
    late = table.measured("ttft_ms") > 0.5 * table.measured("tpot_ms") * table.numbers("output_tokens")
    return _first(
        len(table),
        ("tp*dp", agg & ((tp * dp > 8) | ~np.isin(tp, (1, 2, 4, 8)))),
        ("moe", agg & moe & (span != 1) & (span != tp * dp)),
        ("zero", agg & ((tp == 0) | (moe_tp == 0) | (moe_ep == 0))),
        ("batch", agg & (batch * dp != concurrency)),
        ("mtp", agg & _speculative(table)),
        ("workers", ~agg & np.isnan(table.numbers("decode_num_workers"))),
        ("repeat", _repeats(table)),
        ("admission", agg & late),
    )


def _speculative(table: Table) -> BoolArray:
    """Engine versions whose DeepSeek runs may or may not have used multi-token prediction."""
    deepseek = _contains(table, "model", "DeepSeek")
    version = "^(1\\.1\\.0rc2\\.post2$|1\\.2\\.0rc2|1\\.2\\.0rc6\\.post3$)"
    trtllm = _is(table, "engine", "trtllm") & _contains(table, "engine_version", version)
    sglang = _is(table, "engine", "sglang") & _is(table, "engine_version", "0.5.9") & _is(table, "device", "b200")
    sglang &= _is(table, "precision", "fp8") & (_one(table.numbers("moe_ep_size")) == 1)
    return deepseek & (trtllm | sglang)


def _repeats(table: Table) -> BoolArray:
    texts = [table.column(name) for name in ("device", "engine")]
    values = [table.numbers(name) for name in ("input_tokens", "output_tokens", "concurrency")]
    values += [np.round(table.measured(name), 1) for name in ("ttft_ms", "tpot_ms")]
    seen: set[tuple[object, ...]] = set()
    out = np.zeros(len(table), bool)
    for index, key in enumerate(zip(*texts, *values, strict=True)):
        blank_free = tuple(None if isinstance(part, float) and math.isnan(part) else part for part in key)
        out[index] = blank_free in seen
        seen.add(blank_free)
    return out


def _inference(table: Table) -> list[str]:
    blank = {name: _is(table, name, "") for name in ("layers", "input_tokens", "TP", "EP")}
    return _first(
        len(table),
        ("operator", _is(table, "phase", "op", "train")),
        ("mlperf", np.array([text.startswith("mlperf") for text in table.column("source_id")], bool)),
        ("recalled", _is(table, "recalled", "yes")),
        ("confidence", _is(table, "confidence", "low")),
        ("architecture", blank["layers"]),
        ("input length", blank["input_tokens"] & ~_is(table, "phase", "encoder")),
        ("layout", blank["TP"] & blank["EP"]),
        ("notes", _contains(table, "notes", "specul|implausib")),
    )


def _power(table: Table) -> list[str]:
    estimate = np.array([text.startswith("ESTIMATE") for text in table.column("scope")], bool)
    return _first(len(table), ("estimate", estimate))


def _collectives(table: Table) -> list[str]:
    return _first(len(table), ("notes", _contains(table, "notes", "implausible|doubtful")))


def _campaigns(table: Table) -> list[str]:
    return [""] * len(table)


_RULES: dict[str, Callable[[Table], list[str]]] = {
    **dict.fromkeys(("gemm", "attention_prefill", "attention_decode", "moe", "collective"), _kernels),
    "training": _training,
    "serving": _serving,
    "inference": _inference,
    "power": _power,
    "collectives": _collectives,
    "campaigns": _campaigns,
    "operators": lambda table: [""] * len(table),
}
