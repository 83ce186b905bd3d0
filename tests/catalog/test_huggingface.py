from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.catalog.huggingface import read_config
from sim.catalog.library import Library
from sim.catalog.models import Attention, Dense, LatentAttention, LinearAttention, Model, Moe
from sim.catalog.quantisation import matches
from sim.errors import InputError
from sim.lowering.parameters import parameters

CONFIGS = sorted((Path(__file__).parent / "samples" / "configs").glob("*.json"))
LIBRARY = Library()
OURS = {"id", "name", "aliases", "sources", "notes", "published_parameters"}

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
EXPERTS: dict[str, Any] = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
}
LATENT: dict[str, Any] = {
    **LLAMA,
    "model_type": "deepseek_v3",
    "kv_lora_rank": 64,
    "q_lora_rank": 96,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "n_routed_experts": 16,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
}
LINEAR: dict[str, Any] = {
    **LLAMA,
    "model_type": "qwen3_next",
    "full_attention_interval": 4,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}


def read(folder: Path, config: dict[str, Any], **changes: Any) -> Model:
    """The model of a config in a folder called `tiny`; a change to None leaves the field out."""
    path = folder / "tiny" / "config.json"
    path.parent.mkdir(exist_ok=True)
    kept = {key: value for key, value in {**config, **changes}.items() if value is not None}
    path.write_text(json.dumps(kept, indent=2))
    return read_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_model_files_equal_what_the_importer_gives(path: Path) -> None:
    imported, ours = read_config(path), LIBRARY.model(path.stem)
    for name in set(Model.model_fields) - OURS:
        assert getattr(imported, name) == getattr(ours, name), name


def test_a_llama_is_read_field_by_field(tmp_path: Path) -> None:
    model = read(tmp_path, LLAMA)
    (block,) = model.blocks
    assert block.layers == 4
    assert block.mixer == Attention(heads=8, kv_heads=2, head_dim=64)
    assert block.ffn == Dense(width=1024)
    assert (model.id, model.hidden, model.vocab, model.tied, model.dtype) == ("tiny", 512, 1000, False, "bf16")
    assert model.notes == ()


def test_what_is_assumed_or_left_aside_stands_in_the_notes(tmp_path: Path) -> None:
    whole = {"text_config": LLAMA, "vision_config": {"depth": 3}, "tie_word_embeddings": True}
    model = read(tmp_path, whole | {"model_type": "any"}, torch_dtype=None)
    assert model.tied
    assert any("vision_config" in note for note in model.notes)
    assert any("bf16 assumed" in note for note in read(tmp_path, LLAMA, torch_dtype=None).notes)


def test_a_model_may_name_heads_width_and_biases(tmp_path: Path) -> None:
    model = read(tmp_path, LLAMA, head_dim=96, num_key_value_heads=None, attention_bias=True, mlp_bias=True)
    assert model.blocks[0].mixer == Attention(heads=8, kv_heads=8, head_dim=96, bias=True)
    assert model.blocks[0].ffn == Dense(width=1024, bias=True)


@pytest.mark.parametrize(
    ("changes", "dense"),
    [
        ({}, 0),
        ({"decoder_sparse_step": 2}, 2),
        ({"mlp_only_layers": [0, 3]}, 2),
        ({"first_k_dense_replace": 1}, 1),
        ({"moe_layer_freq": 2}, 2),
        ({"moe_layer_freq": [0, 1, 1, 1]}, 1),
        ({"mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]}, 1),
    ],
)
def test_layers_without_experts_are_where_the_config_says(changes: dict[str, Any], dense: int, tmp_path: Path) -> None:
    model = read(tmp_path, EXPERTS, **changes)
    assert sum(block.layers for block in model.blocks if isinstance(block.ffn, Dense)) == dense
    assert model.layers == 4


def test_shared_experts_are_counted_by_number_or_by_width(tmp_path: Path) -> None:
    moe = read(tmp_path, EXPERTS, shared_expert_intermediate_size=384).blocks[0].ffn
    assert moe == Moe(experts=16, topk=2, width=256, shared_experts=1, shared_width=384)
    moe = read(tmp_path, LATENT).blocks[-1].ffn
    assert moe == Moe(experts=16, topk=2, width=128, shared_experts=2, shared_width=256)


def test_latent_attention_keeps_its_ranks_and_its_indexer(tmp_path: Path) -> None:
    plain = LatentAttention(heads=8, query_rank=96, kv_rank=64, nope_dim=32, rope_dim=16, value_dim=32)
    assert read(tmp_path, LATENT).blocks[0].mixer == plain
    sparse = read(tmp_path, LATENT, index_topk=128, index_n_heads=4, index_head_dim=16, q_lora_rank=None)
    changes = {"query_rank": None, "index_heads": 4, "index_dim": 16, "index_topk": 128}
    assert sparse.blocks[0].mixer == plain.with_(**changes)


@pytest.mark.parametrize(
    ("changes", "windowed"),
    [
        ({"model_type": "mistral", "sliding_window": 128}, 4),
        ({"model_type": "mistral", "sliding_window": None}, 0),
        ({"model_type": "qwen2", "sliding_window": 128, "use_sliding_window": False}, 0),
        ({"model_type": "qwen2", "sliding_window": 128, "use_sliding_window": True, "max_window_layers": 3}, 1),
        ({"model_type": "gemma2", "sliding_window": 128}, 2),
        ({"model_type": "gemma3_text", "sliding_window": 128, "sliding_window_pattern": 4}, 3),
        ({"sliding_window": 128, "layer_types": ["full_attention"] * 3 + ["sliding_attention"]}, 1),
    ],
)
def test_windows_are_where_the_config_says(changes: dict[str, Any], windowed: int, tmp_path: Path) -> None:
    mixers = [(block.layers, block.mixer) for block in read(tmp_path, LLAMA, **changes).blocks]
    assert sum(n for n, mixer in mixers if isinstance(mixer, Attention) and mixer.window == 128) == windowed


def test_gated_delta_nets_stand_between_full_attention(tmp_path: Path) -> None:
    model = read(tmp_path, LINEAR)
    kinds = {type(block.mixer): block.layers for block in model.blocks}
    assert kinds == {LinearAttention: 3, Attention: 1}
    assert model.blocks[1].mixer == Attention(heads=8, kv_heads=2, head_dim=64, gate=True)


def test_mtp_layers_are_counted_in_each_spelling(tmp_path: Path) -> None:
    assert read(tmp_path, LATENT, num_nextn_predict_layers=1).mtp_layers == 1
    assert read(tmp_path, LLAMA, use_mtp=True, num_mtp_modules=3, mtp_transformer_layers=1).mtp_layers == 3


GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
OPT = {"model_type": "opt", "hidden_size": 12288, "ffn_dim": 49152, "num_hidden_layers": 96, "num_attention_heads": 96}
BLOOM = {"model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112, "vocab_size": 250880}
MPT = {"model_type": "mpt", "d_model": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": 50432, "max_seq_len": 2048}
FALCON = {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71}
BERT = {"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
T5 = {"model_type": "t5", "d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_layers": 24, "num_heads": 16}


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (GPT2, 124_439_808),
        ({**OPT, "vocab_size": 50272, "max_position_embeddings": 2048}, 174_604_234_752),
        (BLOOM, 176_247_271_424),
        ({**MPT, "attn_config": {"alibi": True}, "no_bias": True, "expansion_ratio": 4}, 6_649_286_656),
        ({**FALCON, "vocab_size": 65024, "multi_query": True, "parallel_attn": True, "bias": False}, 6_921_720_704),
        ({**BERT, "intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512}, 108_891_648),
        ({**T5, "vocab_size": 32128, "num_decoder_layers": 24, "feed_forward_proj": "relu"}, 737_668_096),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_older_spellings_give_the_published_counts(config: dict[str, Any], count: int, tmp_path: Path) -> None:
    assert parameters(read(tmp_path, config)) == pytest.approx(count, rel=1e-4)


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
INT4_GROUP = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int"}, "input_activations": None}


@pytest.mark.parametrize(
    ("config", "quantisation", "expected"),
    [
        (LLAMA, FP8, {"linear": "fp8", "attention": "fp8"}),
        (EXPERTS, {**FP8, "modules_to_not_convert": ["gate", "lm_head"]}, {"experts": "fp8", "attention": "fp8"}),
        (EXPERTS, {"quant_method": "mxfp4"}, {"experts": "fp4", "activations": "bf16"}),
        (LLAMA, {"quant_method": "gptq", "bits": 4}, {"linear": "int4", "attention": "int4", "activations": "bf16"}),
        (LLAMA, {"quant_method": "awq", "bits": 8}, {"linear": "int8", "attention": "int8", "activations": "bf16"}),
        (
            LATENT,
            {"quant_method": "compressed-tensors", "config_groups": {"a": INT4_GROUP}, "ignore": ["re:.*self_attn.*"]},
            {"linear": "int4", "experts": "int4", "activations": "bf16"},
        ),
        (
            LLAMA,
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["model.layers.*.self_attn"]},
            {"linear": "fp4"},
        ),
        (
            LLAMA,
            {**FP8, "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
            {"linear": "fp8", "attention": "fp8", "kv_cache": "fp8"},
        ),
    ],
)
def test_formats_of_a_checkpoint_are_kept_by_part(
    config: dict[str, Any], quantisation: dict[str, Any], expected: dict[str, str], tmp_path: Path
) -> None:
    model = read(tmp_path, config, quantization_config=quantisation)
    assert model.stored.model_dump(exclude_none=True, exclude_defaults=True) == expected


def test_the_quantisers_own_file_counts_first(tmp_path: Path) -> None:
    read(tmp_path, LLAMA)
    beside = tmp_path / "tiny" / "hf_quant_config.json"
    excluded = ["lm_head", "model.layers.0.self_attn*"]
    formats = {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": excluded}
    beside.write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": formats}))
    model = read_config(tmp_path / "tiny" / "config.json")
    assert model.stored.model_dump(exclude_none=True, exclude_defaults=True) == {
        "linear": "fp4",
        "attention": "fp4",
        "kv_cache": "fp8",
    }
    assert any("6 of 8 modules" in note for note in model.notes)
    beside.write_text("[]")
    with pytest.raises(InputError, match="hf_quant_config"):
        read_config(tmp_path / "tiny" / "config.json")


@pytest.mark.parametrize(
    ("entry", "module", "covered"),
    [
        ("gate", "3.mlp.gate_proj", False),
        ("gate", "3.mlp.gate", True),
        ("model.layers.3.mlp", "3.mlp.up_proj", True),
        ("model.layers.3.mlp", "30.mlp.up_proj", False),
        ("model.layers.*.self_attn", "7.self_attn.q_proj", True),
        ("re:.*mlp\\.(gate|up)_proj.*", "7.mlp.experts.0.up_proj", False),
        ("re:.*self_attn.*", "7.self_attn.q_proj", True),
    ],
)
def test_an_entry_covers_whole_names_only(entry: str, module: str, covered: bool) -> None:
    assert matches(entry, module) is covered


@pytest.mark.parametrize(
    ("config", "changes", "told"),
    [
        (LLAMA, {"model_type": "mamba2", "state_size": 128}, ["model_type = 'mamba2'", "state_size = 128"]),
        (LLAMA, {"model_type": "jamba", "attn_layer_period": 8}, ["model_type = 'jamba'", "attn_layer_period = 8"]),
        (LLAMA, {"model_type": "rwkv"}, ["model_type = 'rwkv'"]),
        (LLAMA, {"model_type": "lama"}, ["model_type = 'lama'", "Did you mean llama"]),
        (LLAMA, {"model_type": None}, ["model_type is missing"]),
        (LLAMA, {"mamba_d_state": 16}, ["mamba_d_state = 16", "is not modelled"]),
        (LLAMA, {"hybrid_override_pattern": "M-M*"}, ["hybrid_override_pattern = 'M-M*'"]),
        (LLAMA, {"layer_types": ["full_attention", "mamba"] * 2}, ["layer_types holds 'mamba'"]),
        (LLAMA, {"layer_types": ["full_attention"]}, ["layer_types", "4 layers"]),
        (LLAMA, {"layer_types": ["linear_attention"] * 4}, ["linear_num_key_heads is missing"]),
        (LLAMA, {"attn_type_list": [0, 1, 1, 1]}, ["attn_type_list = [0, 1, 1, 1]"]),
        (LLAMA, {"hidden_size": None}, ["hidden_size is missing"]),
        (LLAMA, {"hidden_size": "512"}, ["hidden_size = '512'", "whole number"]),
        (LLAMA, {"hidden_size": True}, ["hidden_size = True"]),
        (LLAMA, {"hidden_size": -1}, ["hidden_size = -1"]),
        (LLAMA, {"hidden_size": 500}, ["num_attention_heads = 8", "does not divide 500"]),
        (LLAMA, {"num_key_value_heads": 3}, ["num_key_value_heads = 3", "8 query heads"]),
        (LLAMA, {"num_layers": 5}, ["num_layers = 5", "contradicts num_hidden_layers = 4"]),
        (LLAMA, {"torch_dtype": "float4"}, ["torch_dtype = 'float4'"]),
        (LLAMA, {"attention_bias": 1}, ["attention_bias = 1", "true or false"]),
        (EXPERTS, {"moe_intermediate_size": None}, ["moe_intermediate_size is missing"]),
        (EXPERTS, {"num_experts_per_tok": None}, ["num_experts_per_tok is missing"]),
        (EXPERTS, {"num_experts_per_tok": 17}, ["num_experts_per_tok = 17", "16 experts"]),
        (EXPERTS, {"num_local_experts": 8}, ["num_local_experts = 8", "contradicts num_experts"]),
        (EXPERTS, {"mlp_only_layers": 3}, ["mlp_only_layers = 3"]),
        (LATENT, {"qk_rope_head_dim": None}, ["qk_rope_head_dim is missing"]),
        (LATENT, {"qk_head_dim": 1}, ["qk_head_dim = 1", "48"]),
        (LLAMA, {"quantization_config": {"quant_method": "bitsandbytes"}}, ["quant_method = 'bitsandbytes'"]),
        (LLAMA, {"quantization_config": {"quant_method": "gptq", "bits": 3}}, ["('int', 3)"]),
        (LLAMA, {"quantization_config": {"quant_method": "modelopt", "quant_algo": "X"}}, ["quant_algo = 'X'"]),
        (LLAMA, {"quantization_config": {"quant_method": "compressed-tensors"}}, ["config_groups = None"]),
        (LLAMA, {"quantization_config": {**FP8, "ignore": "all"}}, ["'all'", "list of names"]),
        (LLAMA, {"quantization_config": {**FP8, "ignore": ["re:("]}}, ["'re:('", "regular expression"]),
        (LLAMA, {"model_type": "bert", "is_decoder": True}, ["is_decoder = True"]),
        (MPT, {"attn_config": {"attn_type": "linear"}}, ["attn_config", "attn_type"]),
        (MPT, {"attn_config": {"sliding_window_size": 64}}, ["attn_config", "sliding window"]),
        (LLAMA, {"quantization_config": "fp8"}, ["quantization_config = 'fp8'"]),
    ],
)
def test_what_is_not_modelled_is_named_with_its_value(
    config: dict[str, Any], changes: dict[str, Any], told: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, config, **changes)
    for part in ("config.json", *told):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_of_a_wrong_field_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json:3: hidden_size"):
        read(tmp_path, LLAMA, hidden_size=0)


@pytest.mark.parametrize("text", ["[]", "3", "{", "{}", '{"model_type": 3}', '{"model_type": "llama"}', ""])
def test_a_file_that_is_no_config_is_an_input_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(path)


def test_fields_that_are_switched_off_are_let_be(tmp_path: Path) -> None:
    assert read(tmp_path, LLAMA, ssm_layers=[], novel_flag=False, mamba_d_state=0).layers == 4


def test_the_library_takes_a_config_or_its_folder(tmp_path: Path) -> None:
    read(tmp_path, LLAMA)
    folder = tmp_path / "tiny"
    assert LIBRARY.model(str(folder)) == LIBRARY.model(str(folder / "config.json"))
