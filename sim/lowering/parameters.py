"""How many parameters a model holds, layer by layer. Facts of its dimensions only: no plan, no chip, no Numba."""

from __future__ import annotations

import math

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

PARTS = ("attention", "ffn", "experts", "shared", "router", "norm", "tables")


def parameters(model: Model) -> float:
    """All parameters of the model, without its multi-token-prediction layers (see `mtp_parameters`)."""
    layers = math.fsum(block.layers * sum(block_parameters(block, model).values()) for block in model.blocks)
    return layers + sum(embedding_parameters(model).values())


def active_parameters(model: Model) -> float:
    """Parameters that one token is multiplied with: its top-k experts, and the output head; looking up a row is no product.

    A tied embedding counts once, as the head. Of a recommender's tables the rows that one sample gathers count.
    """
    total = 0.0
    for block in model.blocks:
        parts = block_parameters(block, model)
        if isinstance(block.ffn, Moe):
            parts["experts"] *= block.ffn.topk / block.ffn.experts
        if isinstance(block.ffn, EmbeddingBags):
            parts["tables"] *= min(1.0, block.ffn.lookups / block.ffn.rows)
        total += block.layers * sum(parts.values())
    head = _table(model) if model.head == "tokens" else 0
    return total + head + embedding_parameters(model)["norm"]


def mtp_parameters(model: Model) -> float:
    """Parameters of the multi-token-prediction layers: one layer like the last block's, a 2h x h projection, three norms.

    Embedding and head are those of the model. Source: DeepSeek-V3 technical report, section 2.2.
    """
    if model.mtp_layers == 0:
        return 0.0
    layer = sum(block_parameters(model.blocks[-1], model).values())
    return model.mtp_layers * (layer + 2.0 * model.hidden**2 + 3.0 * model.hidden)


def block_parameters(block: Block, model: Model) -> dict[str, float]:
    """Parameters of ONE layer of a block by part (every one of `PARTS`); biases and norms are counted."""
    counted = dict.fromkeys(PARTS, 0.0)
    counted["attention"] = _mixer(block, model.hidden)
    counted.update(_feed_forward(block.ffn, model.hidden))
    counted["norm"] = float(block.norms * _norm(block, model.hidden))
    return counted


def embedding_parameters(model: Model) -> dict[str, float]:
    """Parameters outside the layers by part: embedding (with position table and factorised projection), head, norm."""
    positions = (model.max_positions or 0) * (model.embedding_width or model.hidden) if model.learned_positions else 0
    untied = model.head == "tokens" and not model.tied
    stacks = {block.side: block for block in model.blocks if block.mixer is not None}
    return {
        "embedding": float(_table(model) + positions),
        "head": float(_table(model)) if untied else 0.0,
        "norm": float(sum(_norm(block, model.hidden) for block in stacks.values())),
    }


def _table(model: Model) -> int:
    """Weights between tokens and hidden values: one matrix, or a narrow one and its projection."""
    width = model.embedding_width or model.hidden
    return model.vocab * width + (width * model.hidden if width != model.hidden else 0)


def _norm(block: Block, hidden: int) -> int:
    """Weights of one norm; LayerNorm adds a bias, and goes with plain feed-forward networks that have biases."""
    ffn = block.ffn
    return 2 * hidden if isinstance(ffn, Dense | Moe) and ffn.bias and not ffn.gated else hidden


def _mixer(block: Block, hidden: int) -> float:
    mixer, total = block.mixer, 0
    if isinstance(mixer, Attention):
        total = _attention(mixer, hidden) + mixer.gate * hidden * mixer.heads * mixer.head_dim
        if mixer.bias:
            total += (mixer.heads + 2 * mixer.kv_heads) * mixer.head_dim + hidden
    elif isinstance(mixer, LatentAttention):
        total = _latent(mixer, hidden)
    elif isinstance(mixer, LinearAttention):
        keys, values = mixer.key_heads * mixer.key_dim, mixer.value_heads * mixer.value_dim
        inputs = hidden * (2 * keys + 2 * values + 2 * mixer.value_heads)  # q, k, v, gate; decay and beta of each head
        conv = mixer.conv_width * (2 * keys + values)
        total = inputs + conv + values * hidden + 2 * mixer.value_heads + mixer.value_dim
    if block.cross is not None:
        total += _attention(block.cross, hidden)
    return float(total)


def _attention(mixer: Attention | CrossAttention, hidden: int) -> int:
    return hidden * mixer.head_dim * (2 * mixer.heads + 2 * mixer.kv_heads)


def _latent(mixer: LatentAttention, hidden: int) -> int:
    """Source: DeepSeek-V3 technical report, section 2.1; indexer: DeepSeek-V3.2 technical report, section 2.1."""
    query = mixer.heads * (mixer.nope_dim + mixer.rope_dim)
    rank = mixer.query_rank
    queries = hidden * query if rank is None else (hidden + query + 1) * rank
    keys = hidden * (mixer.kv_rank + mixer.rope_dim) + mixer.kv_rank
    values = mixer.kv_rank * mixer.heads * (mixer.nope_dim + mixer.value_dim)
    index = (rank or hidden) * mixer.index_heads * mixer.index_dim + hidden * (mixer.index_dim + mixer.index_heads)
    return queries + keys + values + mixer.heads * mixer.value_dim * hidden + (index if mixer.index_heads else 0)


def _network(hidden: int, width: int, gated: bool, bias: bool) -> float:
    into = 2 if gated else 1
    return float((into + 1) * hidden * width + (into * width + hidden if bias else 0))


def _feed_forward(ffn: Dense | Moe | EmbeddingBags | Mlp | None, hidden: int) -> dict[str, float]:
    if isinstance(ffn, Dense):
        return {"ffn": _network(hidden, ffn.width, ffn.gated, ffn.bias)}
    if isinstance(ffn, Moe):
        return {
            "ffn": _network(hidden, ffn.dense_width, ffn.gated, ffn.bias) if ffn.dense_width else 0.0,
            "experts": ffn.experts * _network(hidden, ffn.width, ffn.gated, ffn.bias),
            "shared": _network(hidden, ffn.shared_width, ffn.gated, ffn.bias) if ffn.shared_width else 0.0,
            "router": float(ffn.experts * (hidden + ffn.bias)),
        }
    if isinstance(ffn, EmbeddingBags):
        return {"tables": float(ffn.tables * ffn.rows * ffn.dim)}
    if isinstance(ffn, Mlp):
        return {"ffn": float(sum((a + 1) * b for a, b in zip(ffn.widths, ffn.widths[1:], strict=False)))}
    return {}
