"""What a backward pass recomputes, by policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernels import DTYPE_IDS, Kernels
from .kinds import KIND_IDS, PART_IDS, PHASE_IDS
from .sharding import RECOMPUTE, Columns

_K = KIND_IDS
NARROW = [DTYPE_IDS[name] for name in ("fp8", "fp8_block", "int8", "fp4")]
# what the policy of operators keeps: attention, sums scattered over a group, and what experts sent
_KEPT = [_K[name] for name in ("attention_prefill", "reduce_scatter", "all_reduce")]
_MOVED = [PART_IDS["ep_traffic"]]
_LIGHT = [PART_IDS[name] for name in ("norm", "ffn")]  # what Megatron's modules of selective recomputation redo


def in_phase(table: Kernels, name: str) -> dict[str, NDArray[np.generic]]:
    return {"phase": np.full(len(table), PHASE_IDS[name], dtype=np.int16)}


def recomputed(layers: Kernels, c: Columns) -> Kernels:
    """Full: the layers again; selective: what lies between queries and the output projection (Korthikanti et al., 2022);
    operators: all but attention, scattered sums and, of products in 16 bits, every other one (the list of operators that
    torchtitan keeps names `mm` and not the scaled products of 8 bits); behind_attention: what follows attention, as MaxText's
    policies of names; elementwise: norms and activation functions. But for full, a layer's last product is not redone: nothing
    that is missing needs it."""
    mode = c.recompute[layers.owner]
    core = layers.part == PART_IDS["attention"]
    kept = np.isin(layers.kind, _KEPT) | np.isin(layers.part, _MOVED)
    again = (mode == RECOMPUTE["full"]) | ((mode == RECOMPUTE["selective"]) & core)
    again |= (mode == RECOMPUTE["elementwise"]) & (layers.kind == _K["memory"]) & np.isin(layers.part, _LIGHT)
    parted = np.isin(mode, [RECOMPUTE["operators"], RECOMPUTE["behind_attention"]])
    if parted.any():
        before = (mode == RECOMPUTE["behind_attention"]) & ~_behind_attention(layers)
        again |= parted & ~kept & ~before & ~last_products(layers)
    rows = np.flatnonzero(again)
    table = layers.take(rows)
    wide = (mode[rows] == RECOMPUTE["operators"]) & (table.kind == _K["gemm"]) & ~np.isin(table.dtype, NARROW)
    share = c.recompute_share[table.owner] * np.where(wide, 0.5, 1.0)
    return table.take(np.arange(len(rows)), count=table.count * share, **in_phase(table, "recompute"))


def last_products(table: Kernels) -> NDArray[np.bool_]:
    """Which rows are the last dense product of their plan's and site's layer [rows]? Its output is the layer's own."""
    out = np.zeros(len(table), dtype=bool)
    rows = np.flatnonzero((table.kind == _K["gemm"]) & (table.part == PART_IDS["ffn"]))[::-1]
    keys = table.owner[rows].astype(np.int64) * 4096 + table.site[rows]
    out[rows[np.unique(keys, return_index=True)[1]]] = True
    return out


def _behind_attention(table: Kernels) -> NDArray[np.bool_]:
    """Which rows follow the attention of their plan's and site's layer [rows]?"""
    keys = table.owner.astype(np.int64) * 4096 + table.site
    core = np.flatnonzero(table.kind == _K["attention_prefill"])
    found, first = np.unique(keys[core], return_index=True)
    if not found.size:
        return np.zeros(len(table), dtype=bool)
    place = np.minimum(np.searchsorted(found, keys), found.size - 1)
    return np.asarray((found[place] == keys) & (np.arange(len(table)) > core[first][place]))
