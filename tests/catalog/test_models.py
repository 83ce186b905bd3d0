from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.library import Library
from sim.catalog.models import Attention, Block, Dense, EmbeddingBags, LatentAttention, Model, Moe
from sim.lowering.parameters import (
    PARTS,
    active_parameters,
    block_parameters,
    embedding_parameters,
    mtp_parameters,
    parameters,
)

LIBRARY = Library()
IDS = [entry.id for entry in LIBRARY.entries("model") if entry.origin == "package"]
PUBLISHED = [name for name in IDS if LIBRARY.model(name).published_parameters]


@pytest.mark.parametrize("name", IDS)
def test_every_alias_finds_its_model_and_every_model_has_a_source(name: str) -> None:
    model = LIBRARY.model(name)
    assert model.sources
    for alias in (*model.aliases, model.id.upper().replace("-", "_")):
        assert LIBRARY.model(alias).id == name


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_blocks_hold_as_many_parameters_as_published(name: str) -> None:
    model = LIBRARY.model(name)
    assert parameters(model) == pytest.approx(model.published_parameters, rel=0.01)


# counts of the released checkpoints; what is left is norms of queries and keys, and biases that a model may leave out
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-xl", 1_557_611_200),
        ("llama-2-70b", 68_976_648_192),
        ("llama-3.1-405b", 405_853_388_800),
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen3-8b", 8_190_735_360),
        ("qwen3-235b-a22b", 235_093_634_560),
        ("bloom-176b", 176_247_271_424),
        ("gpt-j-6b", 6_050_882_784),
        ("gpt-oss-120b", 116_829_156_672),
        ("t5-large", 737_668_096),
        ("distilbert-base", 66_362_880),
    ],
)
def test_counts_of_released_checkpoints_are_met_to_a_ten_thousandth(name: str, count: int) -> None:
    assert parameters(LIBRARY.model(name)) == pytest.approx(count, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("deepseek-v3", 37e9),
        ("gpt-oss-20b", 3.61e9),
        ("gpt-oss-120b", 5.13e9),
        ("mixtral-8x7b", 12.9e9),
        ("mixtral-8x22b", 39.1e9),
        ("qwen3-30b-a3b", 3.3e9),
        ("qwen3-235b-a22b", 22.2e9),
        ("kimi-k2", 32.6e9),
        ("glm-5", 41e9),
    ],
)
def test_active_parameters_are_those_published_with_or_without_the_embedding(name: str, published: float) -> None:
    model = LIBRARY.model(name)
    without = active_parameters(model)
    assert 0.98 * without <= published <= 1.02 * (without + embedding_parameters(model)["embedding"])


def test_the_mtp_layer_of_deepseek_v3_has_11_5_billion_parameters_of_its_own() -> None:
    assert mtp_parameters(LIBRARY.model("deepseek-v3")) == pytest.approx(11.5e9, rel=0.01)
    assert mtp_parameters(LIBRARY.model("llama-3.1-8b")) == 0


@given(st.integers(1, 100), st.integers(1, 64), st.integers(1, 64), st.integers(1, 10**5), st.integers(1, 4096))
def test_a_gpt_holds_12_layers_hidden_squared_and_its_lesser_terms(
    layers: int, heads: int, head_dim: int, vocab: int, positions: int
) -> None:
    hidden = heads * head_dim
    block = Block(
        layers=layers,
        mixer=Attention(heads=heads, kv_heads=heads, head_dim=head_dim, bias=True),
        ffn=Dense(width=4 * hidden, gated=False, bias=True),
    )
    model = Model(
        id="gpt",
        name="GPT",
        hidden=hidden,
        vocab=vocab,
        tied=True,
        blocks=(block,),
        max_positions=positions,
        learned_positions=True,
        sources=("here",),
    )
    closed = layers * (12 * hidden**2 + 13 * hidden) + (vocab + positions) * hidden + 2 * hidden
    assert parameters(model) == active_parameters(model) + positions * hidden == closed


@pytest.mark.parametrize("name", IDS)
def test_parts_are_complete_and_active_ones_are_no_more_than_all(name: str) -> None:
    model = LIBRARY.model(name)
    for block in model.blocks:
        parts = block_parameters(block, model)
        assert set(parts) == set(PARTS)
        assert min(parts.values()) >= 0
        assert (parts["experts"] > 0) == isinstance(block.ffn, Moe)
        assert (parts["tables"] > 0) == isinstance(block.ffn, EmbeddingBags)
    assert 0 < active_parameters(model) <= parameters(model)


def kv_values_a_layer(model: Model) -> int:
    """Values that one token leaves in the KV cache of one layer of the last block."""
    mixer = model.blocks[-1].mixer
    if isinstance(mixer, LatentAttention):
        return mixer.kv_rank + mixer.rope_dim
    assert isinstance(mixer, Attention)
    return 2 * mixer.kv_heads * mixer.head_dim


@pytest.mark.parametrize(
    ("name", "bytes_per_token"),
    [
        ("deepseek-v3", 576 * 61 * 2),  # one vector of 512 + 64 for all heads: 70,272 B
        ("llama-3.1-405b", 516_096),
        ("llama-3.1-70b", 327_680),
        ("llama-2-7b", 524_288),
        ("gpt-3-175b", 4_718_592),
        ("palm-540b", 2 * 256 * 118 * 2),
        ("qwen3-235b-a22b", 192_512),
    ],
)
def test_a_token_leaves_the_known_number_of_bytes_in_the_kv_cache(name: str, bytes_per_token: int) -> None:
    model = LIBRARY.model(name)
    assert kv_values_a_layer(model) * model.layers * 2 == bytes_per_token


def test_encoders_and_recommenders_are_told_apart() -> None:
    assert LIBRARY.model("bert-large").encoder_only
    assert not LIBRARY.model("t5-large").encoder_only
    assert not LIBRARY.model("llama-3.1-8b").encoder_only
    assert {block.side for block in LIBRARY.model("t5-large").blocks} == {"encoder", "decoder"}


def test_the_rows_of_the_recommender_are_the_capped_ones_of_the_benchmark() -> None:
    bags = [b.ffn for b in LIBRARY.model("dlrm-criteo-1tb").blocks if isinstance(b.ffn, EmbeddingBags)]
    assert sum(bag.tables for bag in bags) == 26
    assert sum(bag.tables * bag.rows for bag in bags) == pytest.approx(187_767_399, rel=1e-6)
    assert {bag.dim for bag in bags} == {128}


def test_no_file_of_the_llama_licence_ships() -> None:
    samples = Path(__file__).parent / "samples" / "configs"
    assert not [path for path in samples.iterdir() if "llama" in path.read_text().lower()]
