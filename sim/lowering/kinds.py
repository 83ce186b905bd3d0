"""Kernel kinds: one declaration each (name, dims, flops, bytes). Columns of measured tables and of `Kernels.dims` derive from it.

Collectives are kinds too. `flops` and `bytes` are compulsory: what must be computed and moved even by a perfect kernel.
Element sizes: `w` of what is stored (weights, KV), `a` of activations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Dims = NDArray[np.float64]
Formula = Callable[
    [Dims, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]
]  # (dims[n,8], w[n], a[n]) -> [n]


class Kind(NamedTuple):
    """A kernel kind. `dims` names the columns of Kernels.dims in order; what is not used is 0."""

    name: str
    dims: tuple[str, ...]
    flops: Formula
    bytes: Formula
    collective: bool = False
    dtyped: bool = True  # is its rate that of a dtype's matrix units?


def _zero(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.zeros(len(d))


def attention_pairs(d: Dims) -> NDArray[np.float64]:
    """Query-key pairs of one head of one sequence: `q` last queries of `kv` tokens; causal, windowed and top-k."""
    q, kv, causal, limit = d[:, 1], d[:, 2], d[:, 6], d[:, 7]
    limit = np.where(limit > 0, limit, np.inf)
    first = kv - q  # keys that already stand before the first query
    ramp = np.clip(limit - first, 0.0, q)  # queries whose causal reach is still below the limit
    causal_pairs = ramp * first + ramp * (ramp + 1) / 2 + (q - ramp) * np.minimum(limit, kv)
    return np.where(causal > 0, causal_pairs, q * np.minimum(kv, limit))


def _attention_flops(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    return 4.0 * d[:, 0] * d[:, 3] * d[:, 5] * attention_pairs(d)


def _attention_bytes(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    limit = np.where(d[:, 7] > 0, d[:, 7] + d[:, 1], np.inf)
    kv = np.minimum(d[:, 2], limit)
    return d[:, 0] * d[:, 5] * (2.0 * a * d[:, 1] * d[:, 3] + 2.0 * w * kv * d[:, 4])


def _decode_flops(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2.0 * d[:, 0] * d[:, 1] * d[:, 2] * (d[:, 4] + d[:, 5])


def _decode_bytes(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    return d[:, 0] * (w * d[:, 1] * d[:, 3] * d[:, 6] + a * d[:, 2] * (d[:, 4] + d[:, 5]))


def experts_touched(assignments: NDArray[np.float64], experts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected number of experts that get at least one of so many independent, evenly spread assignments."""
    safe = np.maximum(experts, 1.0)
    missed = np.exp(np.maximum(assignments, 0.0) * np.log1p(-1.0 / np.maximum(safe, 1.0 + 1e-9)))
    return np.where(experts <= 1.0, np.minimum(experts, assignments), safe * (1.0 - missed))


def _moe_flops(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2.0 * d[:, 0] * d[:, 1] * d[:, 2] * d[:, 5]


def _moe_bytes(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    touched = experts_touched(d[:, 0], d[:, 3])
    return w * touched * d[:, 1] * d[:, 2] * d[:, 5] + 2.0 * a * d[:, 0] * d[:, 1]


def _linear_flops(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    return 6.0 * d[:, 0] * d[:, 1] * d[:, 2] * d[:, 3] * d[:, 4]


def _linear_bytes(d: Dims, w: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    state = 2.0 * w * d[:, 0] * d[:, 2] * d[:, 3] * d[:, 4]
    return state + a * d[:, 0] * d[:, 1] * d[:, 2] * (2.0 * d[:, 3] + 2.0 * d[:, 4])


KINDS: tuple[Kind, ...] = (
    # C[m,n] = A[m,k] B[k,n], `batch` times; B is stored (weights)
    Kind(
        "gemm",
        ("m", "n", "k", "batch"),
        lambda d, w, a: 2.0 * d[:, 0] * d[:, 1] * d[:, 2] * d[:, 3],
        lambda d, w, a: d[:, 3] * (a * d[:, 0] * d[:, 2] + w * d[:, 1] * d[:, 2] + a * d[:, 0] * d[:, 1]),
    ),
    # `query` new tokens of each sequence attend to `kv` tokens (theirs included); limit: window or top-k, 0 = none
    Kind(
        "attention_prefill",
        ("batch", "query", "kv", "heads", "kv_heads", "head_dim", "causal", "limit"),
        _attention_flops,
        _attention_bytes,
    ),
    # its backward pass: two and a half times the work (dQ, dK, dV, dP and the scores again), four times the traffic
    Kind(
        "attention_backward",
        ("batch", "query", "kv", "heads", "kv_heads", "head_dim", "causal", "limit"),
        lambda d, w, a: 2.5 * _attention_flops(d, w, a),
        lambda d, w, a: 4.0 * _attention_bytes(d, w, a),
    ),
    # one token a sequence; score_dim and value_dim of a head; kv_values = stored values of one KV head and token (K and V)
    Kind(
        "attention_decode",
        ("batch", "kv", "heads", "kv_heads", "score_dim", "value_dim", "kv_values"),
        _decode_flops,
        _decode_bytes,
    ),
    # gated delta net: chunked scan over `query` tokens of `batch` sequences; `heads` value heads
    Kind("linear_attention", ("batch", "query", "heads", "key_dim", "value_dim"), _linear_flops, _linear_bytes),
    # the expert FFN of one rank: `rows` token-expert pairs over `experts` local experts; matrices 3 (gated) or 2;
    # skew: exponent of the power law of the loads (0: at random among equals, -1: the same for all); pairs: token-expert
    # pairs that lie on the rank, `rows` where tokens were exchanged, else those of the whole group; share: this rank's part
    # of all experts
    Kind("moe", ("rows", "hidden", "width", "experts", "skew", "matrices", "topk", "share"), _moe_flops, _moe_bytes),
    # passes over memory; `bytes` in all, `flops` vector operations, `kernels` launches
    Kind("memory", ("bytes", "flops", "kernels"), lambda d, w, a: d[:, 1], lambda d, w, a: d[:, 0], dtyped=False),
    # gather of `rows` rows of `row_bytes` from tables of `table_bytes`; skew: Zipf exponent of the access
    Kind(
        "gather", ("rows", "row_bytes", "table_bytes", "skew"), _zero, lambda d, w, a: d[:, 0] * d[:, 1], dtyped=False
    ),
    # `parameters` updated with `bytes_each` moved for each; offloaded 1: over the host port
    Kind(
        "optimizer",
        ("parameters", "bytes_each", "offloaded"),
        lambda d, w, a: 12.0 * d[:, 0],
        lambda d, w, a: d[:, 0] * d[:, 1],
        dtyped=False,
    ),
    # collectives: `bytes` as nccl-tests counts them (whole buffer; all_to_all: what a rank sends), over `ranks` ranks that
    # stand `stride` apart in rank order; skew >= 1: the busiest rank's share over the mean;
    # copies: how many of a rank's bytes are the same token for different destinations (0: none)
    Kind("all_reduce", ("bytes", "ranks", "stride", "skew"), _zero, _zero, True, False),
    Kind("all_gather", ("bytes", "ranks", "stride", "skew"), _zero, _zero, True, False),
    Kind("reduce_scatter", ("bytes", "ranks", "stride", "skew"), _zero, _zero, True, False),
    Kind("all_to_all", ("bytes", "ranks", "stride", "skew", "copies"), _zero, _zero, True, False),
    Kind("send_recv", ("bytes", "ranks", "stride", "skew"), _zero, _zero, True, False),
)
KIND_IDS: dict[str, int] = {kind.name: index for index, kind in enumerate(KINDS)}
PHASES = ("forward", "recompute", "backward", "optimizer", "prefill", "decode", "weights")
PARTS = (
    "embedding",
    "norm",
    "attention",
    "projection",
    "ffn",
    "router",
    "experts",
    "logits",
    "loss",
    "optimizer",
    "tp_traffic",
    "cp_traffic",
    "ep_traffic",
    "dp_traffic",
    "pp_traffic",
    "casts",
    "gradients",
    "bubble",
    "host",
    "draft",
    "kv_traffic",
)
PHASE_IDS = {name: index for index, name in enumerate(PHASES)}
PART_IDS = {name: index for index, name in enumerate(PARTS)}
