"""Records of InferenceX's tables (agg_*.json): keys of its utils/process_result.py (2026); latencies in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .served import Served
from .serving_source import Shape, Source, engine_of, run_of

MARKS = frozenset(("hw", "isl", "osl", "conc"))


def read(source: Source) -> Served:
    """One record: an aggregated engine, or prefill and decode workers."""
    disagg = _true(source.record.get("disagg"))
    source.used.update(("disagg", "dp_attention"))
    degrees: dict[str, int] = {}
    for prefix in ("prefill_", "decode_") if disagg else ("",):
        degrees |= _workers(source, prefix)
    ttft_s, tpot_s = source.need("mean_ttft"), source.number("mean_tpot")
    run = run_of(
        source,
        ("inferencex", source.text("model", "infmax_model_prefix"), engine_of(source.text("framework"))),
        Shape(source.need("isl"), source.need("osl"), source.need("conc")),
        (ttft_s * 1e3, None if tpot_s is None else tpot_s * 1e3),
        degrees,
    )
    hardware = source.text("hw").lower().split("-")[0]
    precision, mode = source.text("precision").lower(), "disagg" if disagg else "agg"
    return replace(run, device=hardware, precision=precision, mode=mode, ignored=source.rest())


def _workers(source: Source, prefix: str) -> dict[str, int]:
    """Columns of one kind of worker; under data-parallel attention every rank keeps whole heads."""
    tp, pp, ep = (source.degree(prefix + name) for name in ("tp", "pp", "ep"))
    spread = source.record.get(prefix + "dp_attention", source.record.get("dp_attention"))
    source.used.add(prefix + "dp_attention")
    ranks = tp if _true(spread) else 1
    found = {
        "tp_size": tp // ranks,
        "pp_size": pp,
        "attention_dp_size": ranks,
        "moe_ep_size": ep,
        "moe_tp_size": max(1, tp // ep),
    }
    if prefix:
        found["num_workers"] = source.degree(prefix + "num_workers")
    return {prefix + name: value for name, value in found.items()}


def _true(value: Any) -> bool:
    return value in (True, 1, "true", "True", "1")
