"""What must be held, in bytes a rank; one array entry a plan. Needs no Numba: `fit` answers from this alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Attention, Block, Dense, LatentAttention, LinearAttention, Model, Moe
from ..catalog.plans import Plan
from .kernels import ELEMENT_BYTES, stored_bytes
from .sharding import SCHEDULES, SHARDING, Column, Columns, columns
from .weights import Weights, weights

ACTIVATION_BYTES = 2.0


@dataclass(frozen=True)
class Footprint:
    """Bytes of one rank of the stage that holds most, float64[n]; `stage` says which that is.

    kv_per_token: KV cache of one token of one sequence (all layers of a stage); state: what a sequence holds whatever its
    length (linear attention); both 0 in training.
    """

    weights: Column
    gradients: Column
    optimizer: Column
    activations: Column
    workspace: Column
    kv_per_token: Column
    state: Column
    stage: NDArray[np.int32]

    @property
    def total(self) -> Column:
        """Everything that does not grow with running sequences."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.workspace

    def parts(self, plan: int = 0) -> dict[str, float]:
        """The parts of one plan by name."""
        names = ("weights", "gradients", "optimizer", "activations", "workspace")
        return {name: float(getattr(self, name)[plan]) for name in names}


def training_footprint(model: Model, plans: Sequence[Plan] | Columns, seq_len: float) -> Footprint:
    """Memory of one optimizer step at its peak under 1F1B: the first stage, with most micro-batches in flight, or the last,
    with the logits. Activations by tensor as Korthikanti et al. (2022) count them, without dropout masks."""
    c = columns(model, plans, True)
    held = weights(model, c)
    first = _training_stage(model, c, held, seq_len, last=False)
    last = _training_stage(model, c, held, seq_len, last=True)
    binds = (sum(last) > sum(first)) & (c.pp > 1)
    chosen = [np.where(binds, b, a) for a, b in zip(first, last, strict=True)]
    zero = np.zeros(c.n)
    held_bytes, gradients, optimizer, activations, workspace = chosen
    stage = np.where(binds, c.pp - 1, 0).astype(np.int32)
    return Footprint(held_bytes, gradients, optimizer, activations, workspace, zero, zero, stage)


def _training_stage(model: Model, c: Columns, held: Weights, seq_len: float, last: bool) -> list[Column]:
    """[weights, gradients, optimizer, activations, workspace] of the first or last stage."""
    layers = model.layers / c.pp
    layers = np.floor(layers) if last else np.ceil(layers)
    share = np.where(c.pp > 1, layers / model.layers, 1.0)
    dense = sum((b.layers * d for b, d in zip(model.blocks, held.dense, strict=True)), np.zeros(c.n)) * share
    experts = sum((b.layers * e for b, e in zip(model.blocks, held.experts, strict=True)), np.zeros(c.n)) * share
    both = held.embedding + held.head
    dual = c.schedule == SCHEDULES["dualpipe"]  # a stage holds its layers and those of its mirror image
    dense, experts = dense * (1.0 + dual), experts * (1.0 + dual)
    one = held.head if last else held.embedding
    folded = np.where(last, 0.0, both)
    dense = dense + np.where((c.pp == 1) | dual, both, np.where(c.folded, folded, one))
    expert_ways = np.maximum(1.0, c.dp * c.cp * c.tp / (c.ep * c.expert_tp))

    def spread(level: str, each_dense: Column, each_experts: Column) -> Column:
        """Bytes per byte that is left of (dense, expert) parameters when their data-parallel ranks shard this level."""
        limit = np.where(c.sharding == SHARDING["zero3"], c.shard, np.inf)
        sharded = c.sharding >= SHARDING[level]
        ways = [np.where(sharded, np.minimum(ranks, limit), 1.0) for ranks in (c.dp * c.cp, expert_ways)]
        return np.asarray(each_dense / ways[0] + each_experts / ways[1])

    copies = c.parameter_bytes + np.where(ELEMENT_BYTES[c.linear_in] < 2.0, ELEMENT_BYTES[c.linear_in], 0.0)
    optimizer = c.optimizer_bytes * spread("zero1", held.trained(c, dense), held.trained(c, experts))
    per_layer = layer_activations(model, c, seq_len)
    flight = _in_flight(c, last)
    workspace = _workspace(model, c, held, seq_len, last) + np.where(c.recompute == 2, per_layer[0], 0.0)
    return [
        copies * spread("zero3", dense, experts),
        c.gradient_bytes * spread("zero2", held.trained(c, dense), held.trained(c, experts)),
        np.where(c.offload, 0.0, optimizer),
        per_layer[1] * layers * flight,
        workspace,
    ]


def _in_flight(c: Columns, last: bool) -> Column:
    """Micro-batches whose activations a stage holds, of all its layers: 1F1B p on the first and 1 on the last, more when
    interleaved; the other schedules the same on all (engine/pipeline_blocks.py)."""
    interleaved = c.pp + (c.pp - 1.0) / c.virtual_stages
    plain = np.where(c.virtual_stages > 1, interleaved, c.pp)
    wanted = [np.ones(c.n) if last else plain, c.micro_batches, c.pp, c.pp, c.pp / 2 + 1, c.pp / 3 + 2, c.pp + 1]
    # dualpipe's p + 1 are of one copy's layers each; `layers` counts one copy
    return np.asarray(np.minimum(np.choose(c.schedule, wanted), c.micro_batches))


def _workspace(model: Model, c: Columns, held: Weights, seq_len: float, last: bool) -> Column:
    """Logits in fp32 with their gradient in 16 bits where the head lives; two gathered layers under ZeRO-3."""
    tokens = c.micro_batch * seq_len / c.cp
    head = (
        (c.pp == 1) | np.where(c.folded, not last, last) | (c.schedule == SCHEDULES["dualpipe"])
        if model.head == "tokens" and model.vocab
        else np.zeros(c.n, dtype=bool)
    )
    logits = np.where(head, 6.0 * tokens * model.vocab / c.tp, 0.0)
    largest = np.max([d + e for d, e in zip(held.dense, held.experts, strict=True)], axis=0)
    gathered = np.where((c.sharding == SHARDING["zero3"]) & (c.shard > 1), 2.0 * c.parameter_bytes * largest, 0.0)
    return np.asarray(logits + gathered)


def layer_activations(model: Model, c: Columns, seq_len: float) -> tuple[Column, Column]:
    """(whole, kept): bytes that one micro-batch leaves in an average layer for the backward pass, before recomputation and
    after it."""
    tokens = c.micro_batch * seq_len / c.cp
    whole, kept = np.zeros(c.n), np.zeros(c.n)
    for block in model.blocks:
        inputs = np.where(c.sequence_parallel, tokens / c.tp, tokens) * ACTIVATION_BYTES * model.hidden
        scores = _scores(c, block, seq_len)
        layer = _mixer_activations(c, block, tokens, inputs) + _ffn_activations(model, c, block, tokens, inputs)
        selective = layer + np.where(c.recompute == 1, 1.0 - c.recompute_share, 1.0) * scores
        full = c.recompute_share * inputs + (1.0 - c.recompute_share) * (layer + scores)
        whole = whole + block.layers * (layer + scores)
        kept = kept + block.layers * np.where(c.recompute == 2, full, selective)
    return whole / model.layers, kept / model.layers


def _scores(c: Columns, block: Block, seq_len: float) -> Column:
    """Unfused attention keeps its scores, the softmax and a mask: 5 bytes each."""
    heads = getattr(block.mixer, "heads", 0)
    return np.where(c.flash, 0.0, 5.0 * c.micro_batch * heads / c.tp * seq_len * seq_len / c.cp)


def _mixer_activations(c: Columns, block: Block, tokens: Column, inputs: Column) -> Column:
    mixer = block.mixer
    if isinstance(mixer, Attention):
        values = (2 * mixer.heads + 2 * mixer.kv_heads) * mixer.head_dim
    elif isinstance(mixer, LatentAttention):
        score = mixer.nope_dim + mixer.rope_dim
        values = mixer.heads * (2 * score + 2 * mixer.value_dim)
        low_rank = ACTIVATION_BYTES * tokens * ((mixer.query_rank or 0) + mixer.kv_rank + mixer.rope_dim)
        return 2.0 * inputs + ACTIVATION_BYTES * tokens * values / c.tp + low_rank
    elif isinstance(mixer, LinearAttention):
        values = 2 * mixer.key_heads * mixer.key_dim + 3 * mixer.value_heads * mixer.value_dim
    else:
        return np.zeros(c.n)
    return 2.0 * inputs + ACTIVATION_BYTES * tokens * values / c.tp


def _ffn_activations(model: Model, c: Columns, block: Block, tokens: Column, inputs: Column) -> Column:
    ffn = block.ffn
    if isinstance(ffn, Dense):
        return 2.0 * inputs + (3.0 if ffn.gated else 2.0) * ACTIVATION_BYTES * tokens * ffn.width / c.tp
    if isinstance(ffn, Moe):
        own = tokens * c.expert_tp / c.tp
        rows, wide = own * ffn.topk, 3.0 if ffn.gated else 2.0
        routed = (
            ACTIVATION_BYTES * rows * (2.0 * model.hidden + wide * ffn.width / c.expert_tp) + 8.0 * own * ffn.experts
        )
        beside = wide * ACTIVATION_BYTES * tokens * (ffn.shared_width + ffn.dense_width) / c.tp
        return 2.0 * inputs + routed + beside
    return inputs


def serving_footprint(model: Model, plans: Sequence[Plan], batched_tokens: float) -> Footprint:
    """Memory of a serving rank: weights as stored, the widest tensors of one iteration of `batched_tokens`, KV per token."""
    c = columns(model, plans, False)
    held = weights(model, c)
    attention_share = _attention_share(model)
    zero = np.zeros(c.n)
    dense_bytes = attention_share * stored_bytes(c.attention) + (1.0 - attention_share) * stored_bytes(c.linear)
    dense, experts = held.layer_sums(c)
    base = ELEMENT_BYTES[c.attention_in].clip(2.0)
    stored = dense * dense_bytes + experts * stored_bytes(c.experts) + (held.embedding + held.head) * base
    widest = max(_widest(block) for block in model.blocks)
    workspace = ACTIVATION_BYTES * batched_tokens * (4.0 * model.hidden + 3.0 * widest / c.tp) / c.attention_dp
    kv, state = _kv(model, c)
    stages = np.maximum(1.0, c.pp)
    return Footprint(stored, zero, zero, zero, workspace, kv / stages, state / stages, np.zeros(c.n, dtype=np.int32))


def _attention_share(model: Model) -> float:
    """Share of the dense (not routed) parameters of the layers that are attention's."""
    from .parameters import block_parameters

    attention = total = 0.0
    for block in model.blocks:
        parts = block_parameters(block, model)
        attention += block.layers * parts["attention"]
        total += block.layers * (sum(parts.values()) - parts["experts"])
    return attention / total if total else 0.0


def _widest(block: Block) -> float:
    ffn = block.ffn
    if isinstance(ffn, Dense):
        return float(ffn.width)
    if isinstance(ffn, Moe):
        return float(ffn.topk * ffn.width + ffn.shared_width)
    return 0.0


def _kv(model: Model, c: Columns) -> tuple[Column, Column]:
    """(bytes of a token, bytes of a sequence) that all layers of one rank cache. KV heads are copied where tp is larger; a
    latent cache is whole on each rank; a window is counted as if it were full length (paged caches allocate it so)."""
    per_value = ELEMENT_BYTES[c.kv]
    token, sequence = np.zeros(c.n), np.zeros(c.n)
    for block in model.blocks:
        mixer = block.mixer
        if isinstance(mixer, Attention) and mixer.causal:
            token = token + block.layers * 2.0 * np.maximum(1.0, mixer.kv_heads / c.tp) * mixer.head_dim * per_value
        elif isinstance(mixer, LatentAttention):
            token = token + block.layers * (mixer.kv_rank + mixer.rope_dim + mixer.index_dim) * per_value
        elif isinstance(mixer, LinearAttention):
            state = mixer.value_heads * mixer.key_dim * mixer.value_dim / c.tp
            conv = mixer.conv_width * (2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim) / c.tp
            sequence = sequence + block.layers * ACTIVATION_BYTES * (state + conv)
    return token, sequence
