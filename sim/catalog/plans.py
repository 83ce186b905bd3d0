"""Plans: how a model is spread over ranks and run. An option is declared once, here; flags, help and schema derive from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .chips import Dtype
from .records import Count, CountOrZero, Flag, Positive, Record, Share, Text


class Dtypes(Record):
    """Number formats. null: the model's own (weights, kv_cache), or as the weights (activations)."""

    weights: Dtype | None = Field(None, description="what matrices multiply in (training) or are stored as (serving)")
    activations: Dtype | None = Field(None, description="null: as the weights; bf16 with int4 weights = weight-only")
    experts: Dtype | None = Field(None, description="of routed experts; null: as weights")
    attention: Dtype | None = Field(None, description="of attention projections; null: as weights")
    kv_cache: Dtype | None = None
    gradients: Literal["fp32", "bf16"] = "fp32"
    optimizer: Literal["fp32", "bf16", "fp8", "int8"] = "fp32"


class Plan(Record):
    """One layout of one model. Degrees count ranks; tp * pp * dp * cp = chips * ranks of a chip."""

    tp: Count = Field(1, description="tensor parallel degree")
    pp: Count = Field(1, description="pipeline parallel degree")
    dp: Count | None = Field(None, description="data parallel degree; null: what is left of the devices")
    cp: Count = Field(1, description="context parallel degree")
    ep: Count = Field(1, description="expert parallel degree, over the dp x cp x tp ranks")
    expert_tp: Count | None = Field(
        None,
        description="tensor parallel degree inside one expert; null: 1 with ep in training, else all ranks that ep leaves",
    )
    attention_dp: Count = Field(1, description="data parallel attention under expert parallelism (serving)")
    schedule: Literal["1f1b", "gpipe", "zb-h1", "zb-v", "v-half", "v-min", "dualpipe"] = Field(
        "1f1b",
        description="pipeline schedule; virtual_stages > 1 interleaves 1f1b; zb-v, v-half and v-min put two chunks on a rank, "
        "dualpipe two copies of the weights",
    )
    virtual_stages: Count = Field(1, description="model chunks a pipeline rank holds (interleaving)")
    micro_batch: Count = Field(1, description="sequences a pipeline pass")
    global_batch: Count | None = Field(None, description="sequences an optimizer step; null: micro_batch * dp")
    sharding: Literal["none", "zero1", "zero2", "zero3"] = Field(
        "zero1", description="what data-parallel ranks shard: optimizer, + gradients, + parameters (FSDP)"
    )
    shard_degree: Count | None = Field(None, description="ranks over which is sharded (HSDP); null: all of dp * cp")
    recompute: Literal["auto", "none", "selective", "full", "operators"] = Field(
        "auto",
        description="activation recomputation; auto: full, of as few layers as memory asks for; operators: PyTorch's policy, "
        "which keeps attention and every other product",
    )
    recompute_layers: Share = Field(1.0, description="share of the layers that are recomputed")
    sequence_parallel: Flag = Field(True, description="norms and residuals sharded over tp")
    offload: Literal["none", "optimizer", "activations"] = Field(
        "none", description="what lives in host memory; activations: inputs of layers that are recomputed in full"
    )
    overlap: Flag = Field(True, description="data-parallel traffic overlaps with compute")
    flash_attention: Flag = Field(True, description="fused attention that never writes its scores to memory")
    optimizer: Literal["adam", "sgd"] = "adam"
    trainable: Literal["all", "lora"] = "all"
    lora_rank: CountOrZero = 0
    dtypes: Dtypes = Dtypes()


class Speculative(Record):
    """Speculative decoding: a decode step drafts tokens, then verifies them all in one pass."""

    method: Literal["draft", "eagle", "mtp"] = Field(
        description="who drafts: a smaller model, a trained layer on the model's states, the model's own module"
    )
    tokens: Count = Field(description="tokens that are drafted a step")
    acceptance: Share = Field(description="probability that a drafted token is accepted if all before it were")
    draft_model: Text | None = Field(None, description="model that drafts")


class Engine(Record):
    """How a serving engine admits and batches. null: what the stack's version does by default."""

    scheduler: str | None = Field(None, description="dotted path of a class, or continuous | prefill_first | static")
    max_num_seqs: Count | None = Field(None, description="sequences that run at once")
    max_batched_tokens: Count | None = Field(None, description="token budget of one iteration")
    kv_fraction: Share | None = Field(None, description="share of device memory for weights and KV cache")
    kv_block: Count = Field(16, description="tokens of one KV block")
    prefix_cache: Flag = False
    watermark: Share = 0.01
    buckets: tuple[Count, ...] = Field(
        (), description="shapes that graphs are compiled for; a batch is padded up to one"
    )
    max_model_len: Count | None = None
    swap_bytes: Positive | None = Field(
        None, description="host memory of a chip for KV of preempted sequences; null: it is computed again"
    )
    host_kv_bytes: Positive | None = Field(
        None, description="host memory of a chip for prefix blocks that the device lets go"
    )
    ssd_kv_bytes: Positive | None = Field(None, description="SSD space of a chip for those that host memory lets go")
    ssd_bytes_per_s: Positive | None = Field(None, description="read rate of that SSD")
    speculative: Speculative | None = Field(None, description="drafted tokens; null: one token a step")
