"""Whole passes: the layers of a model, its ends, and what happens once a step; as units, or placed on pipeline stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Block, Model
from ..catalog.plans import Plan
from .blocks import ACTIVATION_BYTES, Pass, layer, look
from .kernels import DTYPE_IDS, EMBEDDING, HEAD, SEND, STEP, Kernels, concatenate
from .kinds import KIND_IDS, PART_IDS, PHASE_IDS
from .recomputation import NARROW, in_phase, recomputed
from .rows import Rows
from .sharding import SHARDING, Columns, Step, columns
from .weights import Weights, weights

_K = KIND_IDS
# traffic of the backward direction: what was gathered is scattered, what was scattered is gathered
_TURNED = {"all_gather": "reduce_scatter", "reduce_scatter": "all_gather", "attention_prefill": "attention_backward"}
# passes of the backward direction over those of the forward one: elementwise reads two tensors and writes one instead of
# reading and writing one; scans have two gradients
_REPEATS = {"memory": 1.5, "linear_attention": 2.0, "gather": 3.0}

CAST_BYTES = 4.0  # 2 read, 1 written as it lies, 1 transposed


def kernels(model: Model, plan: Plan | Sequence[Plan], step: Step | Sequence[Step]) -> Kernels:
    """Everything that one rank of each stage does in one pass (training: one micro-batch, and the step's own work).

    Several steps are one mixed batch: linear layers see all tokens, attention each kind of sequences by itself.
    stage says where a row runs; count how often a pass. Rows of STEP run once an optimizer step.
    """
    plans = [plan] if isinstance(plan, Plan) else list(plan)
    table = units(model, plans, step)
    owners = [_placed(model, table.take(np.flatnonzero(table.owner == i)), p) for i, p in enumerate(plans)]
    return concatenate(owners)


def units(model: Model, plans: Sequence[Plan] | Columns, step: Step | Sequence[Step]) -> Kernels:
    """One layer of each block, the ends, one send, one step: not yet multiplied by how many layers a stage holds."""
    steps = [step] if isinstance(step, Step) else list(step)
    c = columns(model, plans, steps[0].phase == "train")
    tables = [pass_units(model, c, steps), between_units(model, c, steps)]
    return concatenate([t for t in tables if len(t)])


# columns that `pass_units` of training depends on; the rest moves only sends, the step's own work and the schedule
PASS_COLUMNS = (
    *("tp", "cp", "ep", "expert_tp", "attention_dp", "micro_batch", "sequence_parallel", "flash", "recompute"),
    *(
        "recompute_share",
        "lora_rank",
        "frozen",
        "linear",
        "linear_in",
        "attention",
        "attention_in",
        "experts",
        "experts_in",
    ),
    *("kv", "gradient_bytes", "parameter_bytes", "overlap", "gathered", "split", "accumulates"),
)
# and those that `between_units` depends on
BETWEEN_COLUMNS = (
    *(
        "tp",
        "pp",
        "dp",
        "cp",
        "ep",
        "expert_tp",
        "attention_dp",
        "micro_batch",
        "sequence_parallel",
        "sharding",
        "shard",
    ),
    *("offload", "overlap", "lora_rank", "frozen", "gradient_bytes", "optimizer_bytes", "parameter_bytes"),
)


def pass_units(model: Model, c: Columns, steps: Sequence[Step]) -> Kernels:
    """One layer of each block and the two ends, in all directions; in training each micro-batch's gathers of ZeRO-3 too."""
    training = steps[0].phase == "train"
    phase = "forward" if training else steps[0].phase
    rows = Rows(c.n, phase)
    for index, block in enumerate(model.blocks):
        rows.site = index
        layer(_pass(rows, c, model, steps, block), block)
    ends = _pass(rows, c, model, steps, model.blocks[-1])
    _ends(ends, training, steps)
    forward = rows.table()
    if not training:
        return forward
    held = weights(model, c)
    layers = [forward.take(np.flatnonzero(forward.site >= 0))]
    if model.mtp_layers:
        further, around = _further(model, c, steps)
        layers.append(further)
        forward = concatenate([forward, further, around])
    products = concatenate([forward, *(recomputed(table, c) for table in layers), _backward(forward, c)])
    tables = [products, _casts(products), _sums(c, held), _shards(c, held)]
    return concatenate([t for t in tables if len(t)])


def between_units(model: Model, c: Columns, steps: Sequence[Step]) -> Kernels:
    """What a pass hands to the next stage, and in training what happens once an optimizer step."""
    training = steps[0].phase == "train"
    rows = Rows(c.n, "forward" if training else steps[0].phase)
    rows.site = SEND
    p = _pass(rows, c, model, steps, model.blocks[-1])
    whole = ACTIVATION_BYTES * p.tokens * float(model.hidden)
    # ranks of tp hold the same values, or each its part: each sends a part, and those that need the whole gather it
    # (Narayanan et al. 2021, section 4.1)
    rows.emit("send_recv", "pp_traffic", (whole / c.tp, 2.0, c.stride("pp"), 1.0), count=(c.pp > 1).astype(float))
    gathered = ((c.pp > 1) & (c.tp > 1) & ~c.sequence_parallel).astype(float)
    rows.emit("all_gather", "pp_traffic", (whole, c.tp, 1.0, 1.0), count=gathered)
    sends = rows.table()
    if not training:
        return sends
    tables = [sends, _backward(sends, c), _once(c, weights(model, c))]
    return concatenate([t for t in tables if len(t)])


def _pass(rows: Rows, c: Columns, model: Model, steps: Sequence[Step], block: Block) -> Pass:
    """The decoder of an encoder-decoder model sees decoder_share as many tokens in training and prefill."""
    two_sided = any(b.side == "encoder" for b in model.blocks) and block.side == "decoder"
    looks, tokens = [], np.zeros(c.n)
    for step in steps:
        scale = model.decoder_share if two_sided and step.phase != "decode" else 1.0
        scaled = step._replace(query_tokens=step.query_tokens * scale, kv_tokens=step.kv_tokens * scale)
        seen = look(c, scaled)
        looks.append(seen)
        tokens = tokens + seen.batch * seen.query
    return Pass(rows, c, model, tokens, tuple(looks), steps[0].skew)


def _ends(p: Pass, training: bool, steps: Sequence[Step]) -> None:
    """Embedding before the layers, logits and loss behind them."""
    c, model, rows = p.c, p.model, p.rows
    h = float(model.hidden)
    if model.vocab:
        rows.site = EMBEDDING
        table = ACTIVATION_BYTES * model.vocab * h / c.tp
        rows.emit("gather", "embedding", (p.tokens, ACTIVATION_BYTES * h, table, 1.0))
        size = ACTIVATION_BYTES * p.tokens * h
        rows.emit("all_reduce", "tp_traffic", (size, c.tp, 1.0, 1.0), count=(c.tp > 1).astype(float))
        rows.site = HEAD
        rows.emit("memory", "norm", (2.0 * size, 5.0 * p.tokens * h, 1.0))
        if model.head == "tokens":
            _head(p, training, steps)


def _head(p: Pass, training: bool, steps: Sequence[Step]) -> None:
    """Training scores every token and takes the loss of fp32 logits; serving scores the last token of a sequence."""
    c, model = p.c, p.model
    tokens = p.tokens if training else sum((look(c, s).batch for s in steps), np.zeros(c.n))
    vocab = model.vocab / c.tp
    # each end of the vocabulary is 16-bit in training; serving may store it quantised only if the checkpoint says so: it does not
    p.rows.emit("gemm", "logits", (tokens, vocab, float(model.hidden), 1.0))
    if training:  # write, maximum, exponentials and sum, gradient: four passes over fp32 logits
        p.rows.emit("memory", "loss", (4.0 * 4.0 * tokens * vocab, 5.0 * tokens * vocab, 3.0))
    else:
        gathered = ACTIVATION_BYTES * tokens * model.vocab
        p.rows.emit("all_gather", "tp_traffic", (gathered, c.tp, 1.0, 1.0), count=(c.tp > 1).astype(float))
        p.rows.emit("memory", "logits", (4.0 * tokens * model.vocab, 2.0 * tokens * model.vocab, 2.0))


def _further(model: Model, c: Columns, steps: Sequence[Step]) -> tuple[Kernels, Kernels]:
    """Multi-token prediction, at the head: (one layer like the last block's for each token further ahead, what is around it:
    the embedding of the token before, a norm of both, the 2h x h projection, a norm, and the shared head with its loss).
    Source: DeepSeek-V3 technical report, section 2.2."""
    tables = []
    for inside in (True, False):
        rows = Rows(c.n, "forward")
        rows.site = HEAD
        p = _pass(rows, c, model, steps, model.blocks[-1])
        if inside:
            layer(p, model.blocks[-1])
        else:
            h, size = float(model.hidden), ACTIVATION_BYTES * p.sequence_tokens * model.hidden
            rows.emit(
                "gather", "embedding", (p.tokens, ACTIVATION_BYTES * h, ACTIVATION_BYTES * model.vocab * h / c.tp, 1.0)
            )
            rows.emit("memory", "norm", (2.0 * size, 5.0 * p.sequence_tokens * h, 1.0), count=3.0)
            gathered = (c.sequence_parallel & (c.tp > 1)).astype(np.float64)
            rows.emit(
                "all_gather", "tp_traffic", (2.0 * ACTIVATION_BYTES * p.tokens * h, c.tp, 1.0, 1.0), count=gathered
            )
            rows.emit("gemm", "projection", (p.tokens, h / c.tp, 2.0 * h, 1.0), dtype=c.linear_in, stored=c.linear)
            rows.emit(
                "all_gather",
                "tp_traffic",
                (ACTIVATION_BYTES * p.tokens * h, c.tp, 1.0, 1.0),
                count=(c.tp > 1).astype(np.float64),
            )
            _head(p, True, steps)
        table = rows.table()
        tables.append(table.take(np.arange(len(table)), count=table.count * model.mtp_layers))
    return tables[0], tables[1]


def _backward(forward: Kernels, c: Columns) -> Kernels:
    """The backward direction, derived from the forward rows: attention's own kernel, traffic turned, two gradients a product.

    Phase `backward` leads to the gradient of the input, which the stage before waits for, `weights` to that of the weights.
    """
    kind = forward.kind.copy()
    count = forward.count.copy()
    for name, turned in _TURNED.items():
        kind[forward.kind == _K[name]] = _K[turned]
    for name, repeats in _REPEATS.items():
        count[forward.kind == _K[name]] *= repeats
    frozen = c.frozen[forward.owner]
    experts = np.flatnonzero((forward.kind == _K["moe"]) & ~frozen)
    stays = forward.kind != _K["gemm"]
    loss = (forward.part == PART_IDS["loss"]) | ((forward.site == EMBEDDING) & frozen)
    other_rows = np.flatnonzero(stays & ~loss)
    other = forward.take(other_rows, kind=kind[other_rows], count=count[other_rows])
    gemm = np.flatnonzero(~stays)
    d_input = forward.take(gemm, dims=forward.dims[gemm][:, [0, 2, 1, 3, 4, 5, 6, 7]])
    trained = gemm[~frozen[gemm] | (forward.part[gemm] == PART_IDS["attention"])]
    d_weight = forward.take(trained, dims=forward.dims[trained][:, [2, 1, 0, 3, 4, 5, 6, 7]])
    inputs = concatenate([d_input, other])
    of_weights = concatenate([d_weight, forward.take(experts)])
    return concatenate(
        [
            inputs.take(np.arange(len(inputs)), **in_phase(inputs, "backward")),
            of_weights.take(np.arange(len(of_weights)), **in_phase(of_weights, "weights")),
        ]
    )


def _casts(products: Kernels) -> Kernels:
    """8- and 4-bit products: each of the two operands that change from pass to pass (input, gradient of the output) is read in
    16 bits and written twice, as it lies and transposed for the gradient of the weights."""
    narrow = np.isin(products.dtype, NARROW) & (products.phase != PHASE_IDS["weights"])
    gemm = narrow & (products.kind == _K["gemm"])
    experts = narrow & (products.kind == _K["moe"])
    rows = np.flatnonzero(gemm | experts)
    d, backward = products.dims[rows], products.phase[rows] == PHASE_IDS["backward"]
    inner = np.where(backward, d[:, 1] + (d[:, 5] - 1.0) * d[:, 2], d[:, 1] + d[:, 2])  # of both grouped products
    values = np.where(gemm[rows], d[:, 0] * d[:, 2] * d[:, 3], d[:, 0] * inner)
    dims = np.zeros_like(d)
    dims[:, 0], dims[:, 1], dims[:, 2] = CAST_BYTES * values, 4.0 * values, 1.0
    return products.take(
        rows,
        kind=np.full(len(rows), _K["memory"], dtype=np.int16),
        part=np.full(len(rows), PART_IDS["casts"], dtype=np.int16),
        dtype=np.full(len(rows), DTYPE_IDS["bf16"], dtype=np.int16),
        stored=np.full(len(rows), DTYPE_IDS["bf16"], dtype=np.int16),
        dims=dims,
    )


def _sums(c: Columns, held: Weights) -> Kernels:
    """Gradients of a micro-batch are read, added to sums, and cleared, where software does not sum inside the product."""
    rows = Rows(c.n, "weights")
    for site, size in held.sites():
        rows.site = site
        trained = held.trained(c, size)
        many = (c.accumulates & (trained > 0)).astype(np.float64)
        moved = (2.0 * ACTIVATION_BYTES + 2.0 * c.gradient_bytes) * trained
        rows.emit("memory", "gradients", (moved, trained, 1.0), count=many)
    return rows.table()


def _shards(c: Columns, held: Weights) -> Kernels:
    """ZeRO-3: every layer's weights are gathered for each direction, each micro-batch. ZeRO-2 and 3: its gradients scattered,
    because a rank has no room for those that it does not own. In a pipeline both happen once a step (`_once`), as PyTorch's
    stages keep gathered weights and leave gradients to the last micro-batch."""
    tables = []
    sharded = ((c.sharding == SHARDING["zero3"]) & ~c.settles & (c.shard > 1)).astype(np.float64)
    scattered = ((c.sharding >= SHARDING["zero2"]) & ~c.settles & (c.shard > 1)).astype(np.float64)
    for phase in ("forward", "backward"):
        rows = Rows(c.n, phase)
        for site, size in held.sites():
            rows.site = site
            whole = c.parameter_bytes * size
            rows.emit("all_gather", "dp_traffic", (whole, c.shard, c.stride("cp"), 1.0), count=sharded)
            if phase == "backward":
                grads = c.gradient_bytes * held.trained(c, size)
                rows.emit(
                    "reduce_scatter", "dp_traffic", (grads, c.shard, c.stride("cp"), 1.0), count=scattered * (grads > 0)
                )
        tables.append(rows.table())
    return concatenate(tables)


def _once(c: Columns, held: Weights) -> Kernels:
    """What happens once an optimizer step: gradients are summed over data-parallel ranks, weights updated and gathered."""
    rows = Rows(c.n, "optimizer")
    rows.site = STEP
    dense, experts = held.largest_stage(c)
    for size, ranks, stride in (
        (dense, c.dp * c.cp, c.stride("cp")),
        (experts, np.maximum(1.0, c.dp * c.cp * c.tp / (c.ep * c.expert_tp)), c.ep * c.expert_tp),
    ):
        trained = held.trained(c, size)
        many = (ranks > 1) & (trained > 0)
        gradients = c.gradient_bytes * trained
        none = (c.sharding == SHARDING["none"]).astype(np.float64) * many
        split = ((c.sharding == SHARDING["zero1"]) | (c.sharding == SHARDING["zero2"])).astype(np.float64) * many
        outer = np.maximum(1.0, ranks / np.minimum(ranks, c.shard))
        hybrid = ((c.sharding == SHARDING["zero3"]) & (outer > 1)).astype(np.float64)
        rows.emit("all_reduce", "dp_traffic", (gradients, ranks, stride, 1.0), count=none)
        once = split * c.settles
        rows.emit("reduce_scatter", "dp_traffic", (gradients, ranks, stride, 1.0), count=once)
        rows.emit("all_gather", "dp_traffic", (2.0 * trained, ranks, stride, 1.0), count=split)
        among = np.minimum(ranks, c.shard)
        kept = ((c.sharding == SHARDING["zero3"]) & c.settles & (among > 1)).astype(np.float64)
        rows.emit("reduce_scatter", "dp_traffic", (gradients, among, stride, 1.0), count=kept * (trained > 0))
        rows.emit("all_gather", "dp_traffic", (c.parameter_bytes * size, among, stride, 1.0), count=kept)
        share = gradients / among
        rows.emit("all_reduce", "dp_traffic", (share, outer, stride * c.shard, 1.0), count=hybrid)
        owned = trained / np.where(c.sharding > 0, np.minimum(ranks, np.where(c.sharding == 3, c.shard, ranks)), 1.0)
        each = c.gradient_bytes + 2.0 * c.optimizer_bytes + 2.0
        rows.emit("optimizer", "optimizer", (owned, each, c.offload.astype(float)), count=(owned > 0).astype(float))
    return rows.table()


def layers_on_stages(model: Model, stages: int, chunks: int = 1) -> NDArray[np.float64]:
    """Layers of each block on each stage [stages * chunks, blocks], in depth order: as even as possible, the first ones
    larger; where two layers miss for even stages, the ends, which hold the embedding and the head, have one less each.
    Chunk j of stage i is virtual stage j * stages + i."""
    total, slots = model.layers, stages * chunks
    base, rest = divmod(total, slots)
    begin = 1 if slots > 2 and rest == slots - 2 else 0
    bounds = np.cumsum([0] + [base + (begin <= slot < begin + rest) for slot in range(slots)])
    edges = np.cumsum([0] + [block.layers for block in model.blocks])
    low = np.maximum(bounds[:-1, None], edges[None, :-1])
    high = np.minimum(bounds[1:, None], edges[None, 1:])
    return np.asarray(np.maximum(high - low, 0), dtype=np.float64)


def _placed(model: Model, table: Kernels, plan: Plan) -> Kernels:
    """The units of one plan, on the stages where they run and as often as a pass has them."""
    stages = plan.pp
    held = layers_on_stages(model, stages * plan.virtual_stages)
    held = held.reshape(plan.virtual_stages, stages, -1).sum(axis=0)
    out = []
    for stage in range(stages):
        times = np.zeros(len(table))
        for site in range(held.shape[1]):
            times[table.site == site] = held[stage, site]
        times[table.site == EMBEDDING] = float(stage == 0)
        times[table.site == HEAD] = float(stage == stages - 1)
        times[table.site == SEND] = float(plan.virtual_stages if stage < stages - 1 else plan.virtual_stages - 1)
        times[table.site == STEP] = 1.0
        rows = np.flatnonzero(times > 0)
        part = table.take(rows)
        out.append(
            part.take(
                np.arange(len(rows)), count=part.count * times[rows], stage=np.full(len(rows), stage, dtype=np.int32)
            )
        )
    return concatenate(out)


def model_flops(model: Model, seq_len: float, *, causal: bool = False) -> float:
    """FLOPs of one training token's forward and backward pass: three times the products of the forward pass, attention
    counted in full unless `causal`. This is the numerator of MFU (Narayanan et al., 2021; Chowdhery et al., 2022)."""
    table = kernels(model, Plan(), Step("train", 1.0, seq_len, seq_len))
    table = table.take(np.flatnonzero(table.phase == PHASE_IDS["forward"]))
    if not causal:
        dims = table.dims.copy()
        dims[np.isin(table.kind, (_K["attention_prefill"],)), 6] = 0.0
        table = table.take(np.arange(len(table)), dims=dims)
    counted = table.kind != _K["memory"]
    return 3.0 * float(np.sum((table.flops() * table.count)[counted])) / seq_len
