"""What must be held, in bytes a rank; one array entry a plan. Needs no Numba: `fit` answers from this alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Attention, Block, Dense, LatentAttention, LinearAttention, Model, Moe
from ..catalog.plans import Plan
from .kernels import ELEMENT_BYTES, stored_bytes
from .sharding import RECOMPUTE, SCHEDULES, SHARDING, Column, Columns, columns
from .weights import Weights, weights

ACTIVATION_BYTES = 2.0
CHEAP = [RECOMPUTE["selective"], RECOMPUTE["elementwise"]]  # what they drop costs no product
FURTHER_INPUTS = (
    5.0  # of a multi-token-prediction module: two norms' inputs, both halves of the projection's, the last norm's
)


class Software(NamedTuple):
    """How a stack keeps what a training step needs; facts of the program, the same for every plan and model.

    weight_copies: bytes a parameter that is multiplied with beside the fp32 master copy: 1 = those of its format, 0 = a cast
    that the compiler makes where it is needed (XLA); gradient_copy_bytes: 16-bit gradients that stay beside fp32 sums
    (DeepSpeed's BF16 optimizer); logits_bytes: an element of the logits while the loss is taken; gather_unit: share of a
    layer that one ZeRO-3 gather holds whole; output_copies: 1 where a stage keeps what it sent on until its gradient returns
    (DeepSpeed's pipeline; Megatron-LM frees it).
    """

    weight_copies: float = 1.0
    gradient_copy_bytes: float = 0.0
    logits_bytes: float = 6.0
    gather_unit: float = 1.0
    output_copies: float = 0.0


PLAIN = Software()
HELD = ("weights", "gradients", "optimizer", "activations", "workspace", "buffers")


@dataclass(frozen=True)
class Footprint:
    """Bytes of one rank of the stage that holds most, float64[n]; `stage` says which that is.

    activations: what all micro-batches in flight keep for their backward pass; workspace: what one pass needs for a moment
    (logits, a layer that is recomputed and its gradients); buffers: layers that ZeRO-3 gathered and their gradients whole;
    communicators: how many groups a rank talks in, one for each degree, a pipeline's two, and all ranks; sharded: 1
    where data-parallel ranks share states out, else 0; kv_per_token: KV cache of one token of one sequence (all
    layers of a stage); state: what a sequence holds whatever its length (linear attention); both 0 in training.
    """

    weights: Column
    gradients: Column
    optimizer: Column
    activations: Column
    workspace: Column
    buffers: Column
    communicators: Column
    sharded: Column
    kv_per_token: Column
    state: Column
    stage: NDArray[np.int32]

    @property
    def total(self) -> Column:
        """Everything that does not grow with running sequences."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.workspace + self.buffers

    def parts(self, plan: int = 0) -> dict[str, float]:
        """The parts of one plan by name."""
        return {name: float(getattr(self, name)[plan]) for name in HELD}


def training_footprint(
    model: Model, plans: Sequence[Plan] | Columns, seq_len: float, software: Software = PLAIN
) -> Footprint:
    """Memory of one optimizer step at its peak: of the first stage, with most micro-batches in flight, the second, which may
    hold a layer more, or the last, with the logits. Activations by tensor as Korthikanti et al. (2022) count them, states as
    Rajbhandari et al. (2020) do."""
    c = columns(model, plans, True)
    held = weights(model, c)
    stages = np.stack([np.zeros(c.n), np.minimum(1.0, c.pp - 1.0), c.pp - 1.0])
    each = np.stack([np.stack(_stage(model, c, held, seq_len, stage, software)) for stage in stages])
    fullest = np.argmax(each.sum(axis=1), axis=0)  # the first of equals
    rows = np.arange(c.n)
    groups = sum(((ways > 1) * 1.0 for ways in (c.tp, c.cp, c.ep, c.dp)), 2.0 * (c.pp > 1))
    groups, sharded = groups + (groups > 1), (c.sharding > SHARDING["none"]) & (c.dp * c.cp > 1)
    zero = np.zeros(c.n)
    stage = stages[fullest, rows].astype(np.int32)
    held_bytes, gradients, optimizer, activations, workspace, buffers = each[fullest, :, rows].T
    step = (held_bytes, gradients, optimizer, activations, workspace, buffers)
    return Footprint(*step, np.asarray(groups), np.asarray(sharded * 1.0), zero, zero, stage)


def stage_parts(model: Model, plan: Plan, seq_len: float, software: Software = PLAIN) -> list[dict[str, float]]:
    """Bytes of one rank of each pipeline stage by part; `training_footprint` has those of the fullest."""
    c = columns(model, [plan], True)
    held = weights(model, c)
    stages = [_stage(model, c, held, seq_len, np.full(c.n, float(stage)), software) for stage in range(plan.pp)]
    return [{name: float(value[0]) for name, value in zip(HELD, each, strict=True)} for each in stages]


def _stage(model: Model, c: Columns, held: Weights, seq_len: float, stage: Column, software: Software) -> list[Column]:
    """[weights, gradients, optimizer, activations, workspace, buffers] of one stage."""
    first, last = stage == 0, stage == c.pp - 1
    layers = _layers(model, c, stage)
    dense, experts = _stage_parameters(c, held, layers, (first, last))
    expert_ways = np.maximum(1.0, c.dp * c.cp * c.tp / (c.ep * c.expert_tp))

    def spread(level: str, each_dense: Column, each_experts: Column) -> Column:
        """Bytes per byte that is left of (dense, expert) parameters when their data-parallel ranks shard this level."""
        limit = np.where(c.sharding == SHARDING["zero3"], c.shard, np.inf)
        sharded = c.sharding >= SHARDING[level]
        if level != "zero1":
            sharded &= ~c.settles
        ways = [np.where(sharded, np.minimum(ranks, limit), 1.0) for ranks in (c.dp * c.cp, expert_ways)]
        return np.asarray(each_dense / ways[0] + each_experts / ways[1])

    copies = c.parameter_bytes + np.where(ELEMENT_BYTES[c.linear_in] < 2.0, ELEMENT_BYTES[c.linear_in], 0.0)
    copies = np.where(c.frozen, copies, copies * software.weight_copies)
    gradient = c.gradient_bytes + np.where(c.gradient_bytes > 2.0, software.gradient_copy_bytes, 0.0)
    optimizer = c.optimizer_bytes * spread("zero1", held.trained(c, dense), held.trained(c, experts))
    kept, moment = _activations(model, c, seq_len, layers)
    sent = software.output_copies * _boundary(model, c, seq_len)
    head = (c.pp == 1) | np.where(c.folded, first, last) | (c.schedule == SCHEDULES["dualpipe"])
    return [
        copies * spread("zero3", dense, experts),
        gradient * spread("zero2", held.trained(c, dense), held.trained(c, experts)),
        np.where(c.offload, 0.0, optimizer),
        (kept + sent * (stage < c.pp - 1)) * _in_flight(c, stage) + _further(model, c, seq_len, stage),
        np.maximum(_logits(model, c, seq_len, head) * (1 + model.mtp_layers) * software.logits_bytes, moment),
        _gathered(c, held, software),
    ]


def _layers(model: Model, c: Columns, stage: Column) -> list[Column]:
    """Layers of each block on a stage, as `layers_on_stages` places them: the first chunks larger, but where two layers miss
    for even chunks, the two ends, which hold the embedding and the head, go without. A stage of several chunks holds layers
    of all depths: of each block its share."""
    total, slots = model.layers, c.pp * c.virtual_stages
    base = np.floor(total / slots)
    rest = total - base * slots
    skipped = (rest == slots - 2) & (slots > 2)
    before, after = (base * k + np.clip(k - skipped, 0.0, rest) for k in (stage, stage + 1.0))
    larger = np.where(
        skipped, c.virtual_stages - (stage == 0) - (stage == c.pp - 1), rest // c.pp + (stage < rest % c.pp)
    )
    chunks = c.virtual_stages * base + larger
    spread = (c.virtual_stages > 1) | (c.schedule > SCHEDULES["zb-h1"])
    out, edge = [], 0.0
    for block in model.blocks:
        inside = np.minimum(after, edge + block.layers) - np.maximum(before, edge)
        edge += block.layers
        out.append(np.where(spread, chunks * block.layers / total, np.maximum(inside, 0.0)))
    return out


def _stage_parameters(
    c: Columns, held: Weights, layers: list[Column], at: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> tuple[Column, Column]:
    """(dense, expert) parameters of a stage with so many layers of each block; at: is it the first, the last stage?"""
    first, last = at
    dense = sum((n * d for n, d in zip(layers, held.dense, strict=True)), np.zeros(c.n))
    experts = sum((n * e for n, e in zip(layers, held.experts, strict=True)), np.zeros(c.n))
    both, dense_further, experts_further = held.embedding + held.head + held.further[0], *held.further
    dual = c.schedule == SCHEDULES["dualpipe"]  # a stage holds its layers and those of its mirror image
    dense, experts = dense * (1.0 + dual), experts * (1.0 + dual)
    folded = np.where(first, both, 0.0)
    ends = np.where(first, held.embedding, 0.0) + np.where(last, held.head + dense_further, 0.0)
    experts = experts + np.where(np.where(dual, first | last, np.where(c.folded, first, last)), experts_further, 0.0)
    return dense + np.where(dual & (first | last), both, np.where(c.folded, folded, ends)), experts


def _in_flight(c: Columns, stage: Column) -> Column:
    """Micro-batches whose activations a stage holds, of all its layers: 1F1B p on the first and 1 on the last, when
    interleaved p and more on the first (Korthikanti et al. 2022, section 4.2.3); the other schedules the same on all
    (engine/pipeline_blocks.py)."""
    interleaved = c.pp + (c.pp - 1.0 - 2.0 * stage) / c.virtual_stages  # 2 (p - 1 - k) + (v - 1) p + 1 chunks of v
    plain = np.where((c.virtual_stages > 1) & (c.pp > 1), interleaved, c.pp - stage)
    wanted = [plain, c.micro_batches, c.pp, c.pp, c.pp / 2 + 1, c.pp / 3 + 2, c.pp + 1]
    # dualpipe's p + 1 are of one copy's layers each; `layers` counts one copy
    return np.asarray(np.minimum(np.choose(c.schedule, wanted), c.micro_batches))


def _boundary(model: Model, c: Columns, seq_len: float) -> Column:
    """Bytes of a micro-batch between two layers."""
    return ACTIVATION_BYTES * model.hidden * c.micro_batch * seq_len / c.cp / np.where(c.sequence_parallel, c.tp, 1.0)


def _logits(model: Model, c: Columns, seq_len: float, head: NDArray[np.bool_]) -> Column:
    """Elements of the logits of a micro-batch on a rank that holds the head."""
    vocab = model.vocab if model.head == "tokens" else 0
    return np.where(head, c.micro_batch * seq_len / c.cp * vocab / c.tp, 0.0)


def _further(model: Model, c: Columns, seq_len: float, stage: Column) -> Column:
    """Bytes that multi-token-prediction modules keep on the stage with the head, whose backward pass follows at once: of one
    micro-batch, but under GPipe of all."""
    if not model.mtp_layers:
        return np.zeros(c.n)
    layers = [*([np.zeros(c.n)] * (len(model.blocks) - 1)), np.full(c.n, float(model.mtp_layers))]
    kept, _ = _activations(model, c, seq_len, layers)
    first, last = stage == 0, stage == c.pp - 1
    there = np.where(c.schedule == SCHEDULES["dualpipe"], first | last, np.where(c.folded, first, last))
    at_once = np.where(c.schedule == SCHEDULES["gpipe"], c.micro_batches, 1.0)
    each = kept + model.mtp_layers * FURTHER_INPUTS * _boundary(model, c, seq_len)
    return np.asarray(there * at_once * each)


def _gathered(c: Columns, held: Weights, software: Software) -> Column:
    """ZeRO-3: the weights in use and those prefetched, whole, and the gradients of the former before they are scattered."""
    layers = np.max([d + e for d, e in zip(held.dense, held.experts, strict=True)], axis=0)
    each = 2.0 * c.parameter_bytes + np.where(c.frozen, 0.0, c.parameter_bytes)
    return np.where(
        (c.sharding == SHARDING["zero3"]) & ~c.settles & (c.shard > 1), software.gather_unit * each * layers, 0.0
    )


def _activations(model: Model, c: Columns, seq_len: float, layers: list[Column]) -> tuple[Column, Column]:
    """(kept, moment): bytes that one micro-batch leaves in these layers of each block for its backward pass, and bytes that
    this pass needs while it runs through the widest of them: what is recomputed, and gradients of its input and its widest
    tensor. Of inputs that went to the host, those of the layer in use and of the next one are on the device.

    Selective recomputation drops the scores of unfused attention (Korthikanti et al.); with a fused kernel there are none,
    and it drops what costs no product: norms, activation functions, the up-projections of latent attention.
    """
    tokens = c.micro_batch * seq_len / c.cp
    kept, moment, inputs = np.zeros(c.n), np.zeros(c.n), _boundary(model, c, seq_len)
    share, full = c.recompute_share, c.recompute == RECOMPUTE["full"]
    for block, count in zip(model.blocks, layers, strict=True):
        scores = _scores(c, block, seq_len)
        layer = scores + np.where(c.flash, 0.0, inputs * _dropouts(block) / 2.0)  # masks of one byte
        less, widest = scores, np.zeros(c.n)
        for part in (_mixer_activations(c, block, tokens, inputs), _ffn_activations(model, c, block, tokens, inputs)):
            layer, less = layer + part[0], less + np.where(c.flash, part[1], 0.0)
            widest = np.maximum(widest, inputs + part[2])
        dropped = np.where(full, layer - inputs, np.where(np.isin(c.recompute, CHEAP), less, 0.0))
        dropped = np.where(c.recompute == RECOMPUTE["operators"], (layer - inputs) / 2.0, dropped)
        behind = part[0] + inputs * _product_bytes(c) / ACTIVATION_BYTES  # the network's and what its first norm gave
        dropped = np.where(c.recompute == RECOMPUTE["behind_attention"], behind, dropped)
        kept = kept + count * (layer - share * dropped)
        moment = np.maximum(moment, np.where(count > 0, np.where(share > 0, dropped, 0.0) + widest, 0.0))
    moved = c.offload_inputs & full
    return np.where(moved, np.minimum(kept, 2.0 * inputs + (1.0 - share) * kept), kept), moment


def _scores(c: Columns, block: Block, seq_len: float) -> Column:
    """Unfused attention keeps its scores, the softmax and a mask: 5 bytes each."""
    heads = getattr(block.mixer, "heads", 0)
    return np.where(c.flash, 0.0, 5.0 * c.micro_batch * heads / c.tp * seq_len * seq_len / c.cp)


def _dropouts(block: Block) -> int:
    """Residual additions that dropped elements at random, when attention was not yet fused."""
    return (block.mixer is not None) + (block.ffn is not None)


def _product_bytes(c: Columns) -> Column:
    """Bytes of an input of a product that is kept for the gradient of its weights: in the format it was multiplied in."""
    return np.where(ELEMENT_BYTES[c.linear_in] < 2.0, 1.0, ACTIVATION_BYTES)


Tensors = tuple[Column, Column, Column]


def _mixer_activations(c: Columns, block: Block, tokens: Column, inputs: Column) -> Tensors:
    """(bytes of the tensors that a mixer keeps, of those without products before them, of the widest one)"""
    mixer, low_rank = block.mixer, np.zeros(c.n)
    normed = inputs * _product_bytes(c) / ACTIVATION_BYTES
    if isinstance(mixer, Attention):
        values, cheap = (2 * mixer.heads + 2 * mixer.kv_heads) * mixer.head_dim, 0
    elif isinstance(mixer, LatentAttention):
        score = mixer.nope_dim + mixer.rope_dim
        values, cheap = mixer.heads * (2 * score + 2 * mixer.value_dim), mixer.heads * (2 * score + mixer.value_dim)
        low_rank = ACTIVATION_BYTES * tokens * ((mixer.query_rank or 0) + mixer.kv_rank + mixer.rope_dim)
    elif isinstance(mixer, LinearAttention):
        values, cheap = 2 * mixer.key_heads * mixer.key_dim + 3 * mixer.value_heads * mixer.value_dim, 0
    else:
        return np.zeros(c.n), np.zeros(c.n), np.zeros(c.n)
    each = ACTIVATION_BYTES * tokens / c.tp
    return inputs + normed + each * values + low_rank, normed + each * cheap, each * values


def _ffn_activations(model: Model, c: Columns, block: Block, tokens: Column, inputs: Column) -> Tensors:
    """As `_mixer_activations`: inputs before and after the norm, what the activation function reads and what it gives."""
    ffn, product = block.ffn, _product_bytes(c)
    normed = inputs * product / ACTIVATION_BYTES
    each = ACTIVATION_BYTES * tokens / c.tp
    if isinstance(ffn, Dense):
        read = (2.0 if ffn.gated else 1.0) * each * ffn.width
        given = product * tokens / c.tp * ffn.width
        return inputs + normed + read + given, normed + given, read
    if isinstance(ffn, Moe):
        own = tokens * c.expert_tp / c.tp
        rows, wide = own * ffn.topk, 2.0 if ffn.gated else 1.0
        read = ACTIVATION_BYTES * rows * wide * ffn.width / c.expert_tp
        given, returned = product * rows * ffn.width / c.expert_tp, ACTIVATION_BYTES * rows * model.hidden
        beside = (wide * each + product * tokens / c.tp) * (ffn.shared_width + ffn.dense_width)
        routed = product * rows * model.hidden + returned + read + given + 8.0 * own * ffn.experts
        return inputs + normed + routed + beside, normed + given + returned, read + returned
    return inputs, np.zeros(c.n), inputs


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
    workspace = ACTIVATION_BYTES * batched_tokens * (4.0 * model.hidden + 3.0 * widest / c.tp) / (c.attention_dp * c.cp)
    kv, state = _kv(model, c)
    stages = np.maximum(1.0, c.pp)
    beside = (zero, zero, zero, workspace, zero, zero, zero)
    return Footprint(stored, *beside, kv / stages, state / stages, np.zeros(c.n, dtype=np.int32))


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
    latent cache is whole on each rank; cp splits the tokens of a sequence; a window is counted as if it were full length
    (paged caches allocate it so)."""
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
    return token / c.cp, sequence
