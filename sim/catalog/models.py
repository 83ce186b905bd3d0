"""Models: blocks of layers, each a mixer (what looks across tokens) and a feed-forward part."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .chips import Dtype
from .records import Count, CountOrZero, Flag, Identifier, NotNegative, Positive, Record, Text


class Attention(Record):
    """Softmax attention: MHA, GQA or MQA; a window of `window` tokens if set."""

    kind: Literal["attention"] = "attention"
    heads: Count
    kv_heads: Count
    head_dim: Count
    causal: Flag = True
    window: Count | None = None
    bias: Flag = False
    gate: Flag = Field(False, description="a sigmoid gate as wide as the queries, multiplied into the output")


class LatentAttention(Record):
    """Multi-head latent attention (MLA): keys and values are kept as one low-rank vector a token.

    `index_*`: sparse attention with an indexer (DSA): each query attends to its `index_topk` best keys only.
    """

    kind: Literal["latent"] = "latent"
    heads: Count
    query_rank: Count | None = None
    kv_rank: Count
    nope_dim: Count
    rope_dim: Count
    value_dim: Count
    index_heads: CountOrZero = 0
    index_dim: CountOrZero = 0
    index_topk: CountOrZero = 0


class LinearAttention(Record):
    """Gated delta net: a state of key_dim x value_dim a value head instead of a KV cache."""

    kind: Literal["linear"] = "linear"
    key_heads: Count
    value_heads: Count
    key_dim: Count
    value_dim: Count
    conv_width: Count = 4


class CrossAttention(Record):
    """Attention of a decoder over the encoder's output."""

    kind: Literal["cross"] = "cross"
    heads: Count
    kv_heads: Count
    head_dim: Count


class Dense(Record):
    """One feed-forward network; gated = three matrices, plain = two."""

    kind: Literal["dense"] = "dense"
    width: Count
    gated: Flag = True
    bias: Flag = False


class Moe(Record):
    """Routed experts and shared ones; `width` is one expert's."""

    kind: Literal["moe"] = "moe"
    experts: Count
    topk: Count
    width: Count
    gated: Flag = True
    shared_experts: CountOrZero = 0
    shared_width: CountOrZero = Field(0, description="width of all shared experts together")
    dense_width: CountOrZero = Field(0, description="a dense network beside the experts")
    bias: Flag = False


class EmbeddingBags(Record):
    """Tables of a recommender: each sample gathers and sums `lookups` rows of each table. `skew` is the Zipf exponent of the access."""

    kind: Literal["embedding_bags"] = "embedding_bags"
    tables: Count
    rows: Count
    dim: Count
    lookups: Positive
    skew: NotNegative = 1.0


class Mlp(Record):
    """A recommender's plain layers: widths (in, ..., out); `interactions`: dot products of so many vectors come first."""

    kind: Literal["mlp"] = "mlp"
    widths: tuple[Count, ...] = Field(min_length=2)
    interactions: CountOrZero = 0
    interaction_dim: CountOrZero = 0


Mixer = Annotated[Attention | LatentAttention | LinearAttention, Field(discriminator="kind")]
FeedForward = Annotated[Dense | Moe | EmbeddingBags | Mlp, Field(discriminator="kind")]


class Block(Record):
    """`layers` equal layers in a row (or scattered: the order inside a pipeline stage does not matter)."""

    layers: Count
    mixer: Mixer | None = None
    cross: CrossAttention | None = None
    ffn: FeedForward | None = None
    side: Literal["decoder", "encoder"] = "decoder"
    norms: CountOrZero = Field(2, description="norms of a layer, each a pass over its tokens")
    parallel: Flag = Field(
        False, description="mixer and feed-forward part read the same input (PaLM): one all-reduce a layer"
    )


class Stored(Record):
    """Formats of a quantised checkpoint; what is not named stays in `Model.dtype`."""

    linear: Dtype | None = Field(None, description="dense feed-forward networks and shared experts")
    experts: Dtype | None = Field(None, description="routed experts")
    attention: Dtype | None = Field(None, description="projections of the mixers")
    kv_cache: Dtype | None = None
    activations: Dtype | None = Field(None, description="null: as the weights; bf16 = weight-only")
    block_scales: Flag = Field(
        False, description="fp8 weights carry a scale for each block of 128 x 128, not one in all"
    )


class Model(Record):
    """A network as its authors publish it."""

    id: Identifier
    name: Text
    aliases: tuple[Text, ...] = ()
    hidden: Count
    vocab: CountOrZero
    tied: Flag = False
    blocks: tuple[Block, ...] = Field(min_length=1)
    max_positions: Count | None = None
    learned_positions: Flag = Field(False, description="a table of max_positions x hidden")
    embedding_width: Count | None = Field(None, description="factorised embeddings; null: hidden")
    head: Literal["tokens", "none"] = "tokens"
    mtp_layers: CountOrZero = Field(0, description="multi-token-prediction layers, each like the last block's")
    dtype: Dtype = "bf16"
    stored: Stored = Stored()
    decoder_share: Positive = Field(1.0, description="decoder tokens for each encoder token (encoder-decoder models)")
    published_parameters: Positive | None = Field(None, description="as published, checked against the blocks")
    sources: tuple[Text, ...] = Field(min_length=1)
    notes: tuple[Text, ...] = ()

    @property
    def layers(self) -> int:
        return sum(block.layers for block in self.blocks)

    @property
    def encoder_only(self) -> bool:
        """True if no layer generates tokens one after another (BERT)."""
        mixers = [block.mixer for block in self.blocks]
        return all(isinstance(mixer, Attention) and not mixer.causal for mixer in mixers)
