"""Layers as kernels: what one rank does for one layer in the forward direction, with the collectives that sharding brings.

`p.tokens` are the tokens that a rank's linear layers see; with sequence parallelism norms and residuals see 1/tp of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import (
    Attention,
    Block,
    CrossAttention,
    Dense,
    EmbeddingBags,
    LatentAttention,
    LinearAttention,
    Mlp,
    Model,
    Moe,
)
from .kernels import stored_bytes
from .rows import Rows, Value
from .sharding import Column, Columns, Step

ACTIVATION_BYTES = 2.0
SOFTMAX_PASSES = (
    4.0  # over the scores of unfused attention: a fused mask, scale and softmax, then dropout, each reads and writes
)


class Look(NamedTuple):
    """Sequences of one kind in a pass, as one rank's attention sees them: kv keys up to the last query in the mean, `keys` in all."""

    decode: bool
    batch: Value
    query: Value
    kv: Value
    keys: Value


@dataclass(frozen=True)
class Pass:
    """One pass of a batch of plans: rows to fill, the plans as columns, tokens a rank sees, and what attention looks at."""

    rows: Rows
    c: Columns
    model: Model
    tokens: Column
    looks: tuple[Look, ...]
    skew: float

    @property
    def sequence_tokens(self) -> Column:
        return np.where(self.c.sequence_parallel, self.tokens / self.c.tp, self.tokens)


def look(c: Columns, step: Step) -> Look:
    """How attention of one rank sees a step: sequences are split over attention_dp, queries over cp (balanced, so that each
    rank's causal pairs are 1/cp of all). In decode cp splits the keys instead: every rank has all queries (Helix, 2025)."""
    batch = (c.micro_batch if c.training else step.sequences) / c.attention_dp
    if step.phase == "decode":
        return Look(True, batch, step.query_tokens, step.kv_tokens, step.kv_tokens)
    query = step.query_tokens / c.cp
    first = (step.kv_tokens - step.query_tokens) + np.where(c.cp > 1, (step.query_tokens - query) / 2.0, 0.0)
    return Look(step.phase == "decode", batch, query, first + query, step.kv_tokens)


def layer(p: Pass, block: Block) -> None:
    """One layer of a block."""
    _norms(p, block)
    if block.mixer is not None:
        _enter(p, block.parallel)
        if isinstance(block.mixer, Attention):
            attention(p, block.mixer)
        elif isinstance(block.mixer, LatentAttention):
            latent_attention(p, block.mixer)
        else:
            linear_attention(p, block.mixer)
        if not block.parallel:
            _leave(p)
    if block.cross is not None:
        _enter(p, False)
        cross_attention(p, block.cross)
        _leave(p)
    if block.ffn is not None:
        feed_forward(p, block)


def feed_forward(p: Pass, block: Block) -> None:
    ffn = block.ffn
    if isinstance(ffn, Dense):
        if not block.parallel:
            _enter(p, False)
        dense(p, ffn.width, ffn.gated)
        _leave(p)
    elif isinstance(ffn, Moe):
        moe(p, ffn)
    elif isinstance(ffn, EmbeddingBags):
        embedding_bags(p, ffn)
    elif isinstance(ffn, Mlp):
        mlp(p, ffn)


def _norms(p: Pass, block: Block) -> None:
    """A norm reads and writes once; the residual sum before it reads twice and writes once."""
    moved = 5.0 * ACTIVATION_BYTES * p.sequence_tokens * p.model.hidden
    p.rows.emit("memory", "norm", (moved, 8.0 * p.sequence_tokens * p.model.hidden, 1.0), count=float(block.norms))


def _enter(p: Pass, shared: bool) -> None:
    """Sequence parallelism gathers the tokens before the matrices."""
    size = ACTIVATION_BYTES * p.tokens * p.model.hidden
    p.rows.emit("all_gather", "tp_traffic", (size, p.c.tp, 1.0, 1.0), count=_flag(p.c.sequence_parallel & (p.c.tp > 1)))


def _leave(p: Pass) -> None:
    """Partial sums of the tp ranks are added: scattered over tokens with sequence parallelism, else everywhere."""
    size = ACTIVATION_BYTES * p.tokens * p.model.hidden
    many = p.c.tp > 1
    p.rows.emit("reduce_scatter", "tp_traffic", (size, p.c.tp, 1.0, 1.0), count=_flag(many & p.c.sequence_parallel))
    p.rows.emit("all_reduce", "tp_traffic", (size, p.c.tp, 1.0, 1.0), count=_flag(many & ~p.c.sequence_parallel))


def _flag(condition: NDArray[np.bool_]) -> Column:
    return condition.astype(np.float64)


def project(p: Pass, n: Value, k: Value, *, m: Value | None = None, batch: Value = 1.0) -> None:
    """A projection of attention."""
    c = p.c
    p.rows.emit(
        "gemm", "projection", (p.tokens if m is None else m, n, k, batch), dtype=c.attention_in, stored=c.attention
    )


def attention(p: Pass, a: Attention) -> None:
    """Softmax attention. KV heads are split over tp, and copied where tp is larger."""
    c, h = p.c, p.model.hidden
    heads, kv_heads = a.heads / c.tp, np.maximum(1.0, a.kv_heads / c.tp)
    project(p, (heads * (2.0 if a.gate else 1.0) + 2.0 * kv_heads) * a.head_dim, h)
    rotated = 2.0 * ACTIVATION_BYTES * p.tokens * (heads + kv_heads) * a.head_dim
    p.rows.emit("memory", "attention", (rotated, 3.0 * p.tokens * (heads + kv_heads) * a.head_dim, 1.0))
    for seen in p.looks:
        softmax_attention(p, seen, (heads, kv_heads, a.head_dim), a.causal, float(a.window or 0))
    _context_traffic(p, 2.0 * kv_heads * a.head_dim)
    project(p, h, heads * a.head_dim)


def softmax_attention(p: Pass, seen: Look, heads: tuple[Value, Value, float], causal: bool, limit: float) -> None:
    """Scores, softmax, weighted sum of one kind of sequences; heads: (query heads, KV heads, head dim)."""
    query_heads, kv_heads, dim = heads
    if seen.decode:
        kv = np.minimum(seen.kv, limit) if limit else seen.kv
        rows = query_heads * seen.query  # queries of a sequence share its keys, as heads of a group do
        dims: tuple[Value, ...] = (seen.batch, kv / p.c.cp, rows, kv_heads, dim, dim, 2.0 * dim)
        p.rows.emit("attention_decode", "attention", dims, stored=p.c.kv)
        _combine_traffic(p, seen.batch * rows, dim)
        return
    keys = seen.kv if causal else seen.keys
    dims = (seen.batch, seen.query, keys, query_heads, kv_heads, dim, float(causal), limit)
    p.rows.emit("attention_prefill", "attention", dims, count=_flag(p.c.flash), stored=p.c.kv)
    plain = _flag(~p.c.flash)
    scores = seen.batch * query_heads * seen.query * seen.keys
    p.rows.emit("gemm", "attention", (seen.query, seen.keys, dim, seen.batch * query_heads), count=plain)
    p.rows.emit("memory", "attention", (SOFTMAX_PASSES * ACTIVATION_BYTES * scores, 5.0 * scores, 5.0), count=plain)
    p.rows.emit("gemm", "attention", (seen.query, dim, seen.keys, seen.batch * query_heads), count=plain)


def _context_traffic(p: Pass, kv_values: Value) -> None:
    """Context parallelism: keys and values of the other ranks pass by once."""
    for seen in p.looks:
        if not seen.decode:
            size = ACTIVATION_BYTES * seen.batch * seen.query * p.c.cp * kv_values
            p.rows.emit("all_gather", "cp_traffic", (size, p.c.cp, p.c.stride("cp"), 1.0), count=_flag(p.c.cp > 1))


def _combine_traffic(p: Pass, rows: Value, dim: float) -> None:
    """Decode under context parallelism: each rank has looked at its own keys; sums of exponentials (fp32) are gathered, outputs
    added."""
    many, stride = _flag(p.c.cp > 1), p.c.stride("cp")
    p.rows.emit("all_gather", "cp_traffic", (4.0 * rows * p.c.cp, p.c.cp, stride, 1.0), count=many)
    p.rows.emit("all_reduce", "cp_traffic", (ACTIVATION_BYTES * rows * dim, p.c.cp, stride, 1.0), count=many)


def latent_attention(p: Pass, a: LatentAttention) -> None:
    """MLA. Prefill and training expand keys and values; decode multiplies the expansion into queries and outputs instead."""
    c, h = p.c, p.model.hidden
    heads, score = a.heads / c.tp, float(a.nope_dim + a.rope_dim)
    if a.query_rank:
        project(p, float(a.query_rank), h)
        project(p, heads * score, float(a.query_rank))
    else:
        project(p, heads * score, h)
    project(p, float(a.kv_rank + a.rope_dim), h)
    moved = 2.0 * ACTIVATION_BYTES * p.tokens * (heads * score + a.kv_rank)
    p.rows.emit("memory", "attention", (moved, 3.0 * p.tokens * heads * score, 2.0))
    if a.index_heads:
        _indexer(p, a)
    for seen in p.looks:
        tokens = seen.batch * seen.query
        if seen.decode:
            kv = np.minimum(seen.kv, a.index_topk) if a.index_topk else seen.kv
            project(p, float(a.kv_rank), float(a.nope_dim), m=tokens, batch=heads)
            dims = (
                seen.batch,
                kv / c.cp,
                heads * seen.query,
                1.0,
                float(a.kv_rank + a.rope_dim),
                float(a.kv_rank),
                float(a.kv_rank + a.rope_dim),
            )
            p.rows.emit("attention_decode", "attention", dims, stored=c.kv)
            _combine_traffic(p, seen.batch * heads * seen.query, float(a.kv_rank))
            project(p, float(a.value_dim), float(a.kv_rank), m=tokens, batch=heads)
        else:
            project(p, heads * (a.nope_dim + a.value_dim), float(a.kv_rank), m=tokens)
            softmax_attention(p, seen, (heads, heads, (score + a.value_dim) / 2.0), True, float(a.index_topk))
    _context_traffic(p, float(a.kv_rank + a.rope_dim))
    project(p, h, heads * a.value_dim)


def _indexer(p: Pass, a: LatentAttention) -> None:
    """DSA: a small scorer (index_heads of index_dim, one shared key, not split over tp) picks each query's keys."""
    project(p, float(a.index_heads * a.index_dim), float(a.query_rank or p.model.hidden))
    project(p, float(a.index_dim + a.index_heads), float(p.model.hidden))
    for seen in p.looks:
        if seen.decode:
            rows = a.index_heads * seen.query
            dims = (seen.batch, seen.kv / p.c.cp, rows, 1.0, float(a.index_dim), 0.0, float(a.index_dim))
            p.rows.emit("attention_decode", "attention", dims, stored=p.c.kv)
        else:
            reach = np.maximum(seen.kv - seen.query, 0.0) + seen.query / 2.0
            p.rows.emit("gemm", "attention", (seen.query, reach, float(a.index_dim), seen.batch * a.index_heads))
        scores = 4.0 * seen.batch * seen.query * seen.kv / (p.c.cp if seen.decode else 1.0)
        p.rows.emit("memory", "attention", (2.0 * scores, scores, 2.0))


def linear_attention(p: Pass, a: LinearAttention) -> None:
    """Gated delta net: queries, keys, values, gate, two scalars a head; a short convolution; the scan; a gated norm."""
    c, h = p.c, p.model.hidden
    keys, values = a.key_heads * a.key_dim / c.tp, a.value_heads * a.value_dim / c.tp
    project(p, 2.0 * keys + 2.0 * values + 2.0 * a.value_heads / c.tp, h)
    mixed = 2.0 * keys + values
    p.rows.emit(
        "memory", "attention", (2.0 * ACTIVATION_BYTES * p.tokens * mixed, 2.0 * a.conv_width * p.tokens * mixed, 1.0)
    )
    for seen in p.looks:
        dims = (seen.batch, seen.query, a.value_heads / c.tp, float(a.key_dim), float(a.value_dim))
        p.rows.emit("linear_attention", "attention", dims)
    p.rows.emit("memory", "attention", (3.0 * ACTIVATION_BYTES * p.tokens * values, 8.0 * p.tokens * values, 1.0))
    project(p, h, values)


def cross_attention(p: Pass, a: CrossAttention) -> None:
    """A decoder's look at the encoder's output; its keys and values are projected once, in prefill and training."""
    c, h = p.c, p.model.hidden
    heads, kv_heads = a.heads / c.tp, np.maximum(1.0, a.kv_heads / c.tp)
    project(p, heads * a.head_dim, h)
    for seen in p.looks:
        source = seen.keys / p.model.decoder_share
        if not seen.decode:
            project(p, 2.0 * kv_heads * a.head_dim, h, m=seen.batch * source)
        there = Look(seen.decode, seen.batch, seen.query, source, source)
        softmax_attention(p, there, (heads, kv_heads, float(a.head_dim)), False, 0.0)
    project(p, h, heads * a.head_dim)


def dense(p: Pass, width: float, gated: bool, *, part: str = "ffn", tp: Column | None = None) -> None:
    """Two matrices and an activation between them, three if gated (gate and up are one product)."""
    c, h = p.c, p.model.hidden
    local = width / (c.tp if tp is None else tp)
    up = 2.0 if gated else 1.0
    p.rows.emit("gemm", part, (p.tokens, up * local, h, 1.0), dtype=c.linear_in, stored=c.linear)
    p.rows.emit("memory", part, ((up + 1.0) * ACTIVATION_BYTES * p.tokens * local, 6.0 * p.tokens * local, 1.0))
    p.rows.emit("gemm", part, (p.tokens, h, local, 1.0), dtype=c.linear_in, stored=c.linear)


def moe(p: Pass, m: Moe) -> None:
    """Router, dispatch, the experts of this rank, combine; shared experts beside them are split over tp.

    Served without attention data parallelism every rank of tp has all tokens: it takes the rows of its experts where they are,
    and partial sums are added. Elsewhere a rank's tokens travel to their experts and back.
    """
    c, h = p.c, p.model.hidden
    own = p.tokens * c.expert_tp / c.tp  # tokens that this rank and its expert_tp group see
    everywhere = (c.tp > 1) & (c.attention_dp == 1) & ~(c.sequence_parallel | c.training)
    seen = np.where(everywhere, p.tokens, own)
    p.rows.emit("gemm", "router", (seen, float(m.experts), h, 1.0))
    p.rows.emit("memory", "router", (seen * (8.0 * m.experts + 8.0 * m.topk), 6.0 * seen * m.experts, 4.0))
    rows = own * m.topk
    size = ACTIVATION_BYTES * rows * h
    p.rows.emit("memory", "router", (4.0 * size, rows * h, 2.0))  # permute before, weigh and add after
    split = _flag((c.ep > 1) & ~everywhere)
    _to_experts(p, m, own, split)
    ranks = np.where(everywhere, c.tp, c.expert_tp)
    p.rows.emit("all_reduce", "tp_traffic", (ACTIVATION_BYTES * seen * h, ranks, 1.0, 1.0), count=_flag(ranks > 1))
    (_grouped if c.training else _served)(p, m, rows)
    beside = m.shared_width + m.dense_width
    if beside:
        dense(p, float(beside), m.gated)
        _leave(p)


def _grouped(p: Pass, m: Moe, rows: Column) -> None:
    """Experts in training: two grouped products, each a batch of one product an expert, and the activation function between."""
    c, h = p.c, float(p.model.hidden)
    experts, width, up = np.maximum(1.0, m.experts / c.ep), m.width / c.expert_tp, 2.0 if m.gated else 1.0
    p.rows.emit("gemm", "experts", (rows / experts, up * width, h, experts), dtype=c.experts_in, stored=c.experts)
    p.rows.emit("memory", "ffn", ((up + 1.0) * ACTIVATION_BYTES * rows * width, 6.0 * rows * width, 1.0))
    p.rows.emit("gemm", "experts", (rows / experts, h, width, experts), dtype=c.experts_in, stored=c.experts)


def _served(p: Pass, m: Moe, rows: Column) -> None:
    """Experts of a server: one fused kernel."""
    c = p.c
    local, matrices = m.width / c.expert_tp, 3.0 if m.gated else 2.0
    dims = (rows, float(p.model.hidden), local, np.maximum(1.0, m.experts / c.ep), p.skew, matrices, float(m.topk))
    p.rows.emit("moe", "experts", (*dims, 1.0 / c.ep), dtype=c.experts_in, stored=c.experts)


def _to_experts(p: Pass, m: Moe, own: Column, times: Column) -> None:
    """Tokens to the ranks of their experts and sums back. Engines send a token once to each rank that holds one of its experts, as it
    is multiplied; frameworks of training send a copy for each expert."""
    c = p.c
    distinct = np.maximum(1.0, c.ep * (1.0 - (1.0 - 1.0 / c.ep) ** m.topk))
    copies = np.where(c.training, float(m.topk), distinct)
    value = np.where(c.training, ACTIVATION_BYTES, np.minimum(ACTIVATION_BYTES, stored_bytes(c.experts_in)))
    for element in (value, ACTIVATION_BYTES):
        sent = element * own * p.model.hidden * copies
        p.rows.emit("all_to_all", "ep_traffic", (sent, c.ep, c.expert_tp, 1.0, copies), count=times)


def embedding_bags(p: Pass, e: EmbeddingBags) -> None:
    """Tables are split over the tp ranks; their sums are exchanged so that each rank ends with its own samples."""
    c = p.c
    row = ACTIVATION_BYTES * e.dim
    dims = (p.tokens * e.tables * e.lookups, row, e.rows * e.tables * row / c.tp, e.skew)
    p.rows.emit("gather", "embedding", dims)
    size = ACTIVATION_BYTES * p.tokens * e.tables * e.dim
    p.rows.emit("all_to_all", "ep_traffic", (size, c.tp, 1.0, 1.0), count=_flag(c.tp > 1))


def mlp(p: Pass, m: Mlp) -> None:
    """Plain layers; before them the dot products of every pair of vectors, if any."""
    if m.interactions:
        n, dim = float(m.interactions), float(m.interaction_dim)
        p.rows.emit("gemm", "ffn", (n, n, dim, p.tokens))
        p.rows.emit("memory", "ffn", (ACTIVATION_BYTES * p.tokens * n * (n + 2.0 * dim), p.tokens * n, 2.0))
    for k, n in zip(m.widths, m.widths[1:], strict=False):
        p.rows.emit("gemm", "ffn", (p.tokens, float(n), float(k), 1.0), dtype=p.c.linear_in, stored=p.c.linear)
        p.rows.emit("memory", "ffn", (2.0 * ACTIVATION_BYTES * p.tokens * n, 2.0 * p.tokens * n, 1.0))
