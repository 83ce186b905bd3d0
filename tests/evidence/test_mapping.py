"""Row -> Model, Plan, Cluster, stack: facts of the tables' own words."""

from __future__ import annotations

import numpy as np
import pytest

from sim.catalog.models import Attention, Dense, Moe
from sim.evidence.collective_rows import _distinct, cluster_for, network_rate
from sim.evidence.context import Context
from sim.evidence.kernel_rows import _moe, nongated
from sim.evidence.row_models import model_of, padded
from sim.evidence.serving_stacks import dtypes_of, format_of, serving_stack, with_scales
from sim.evidence.tables import Row, Skip, parse_table
from sim.evidence.training_plans import dtypes_of as training_dtypes
from sim.evidence.training_plans import layout_of, sharding_of, unstated_degrees
from sim.evidence.training_rows import flops_per_token
from sim.evidence.training_sources import source_of
from sim.lowering import parameters
from sim.serving.queueing import closed_network


@pytest.fixture(scope="module")
def context():
    return Context()


def row(**cells):
    return Row({name: str(value) for name, value in cells.items()}, "x.csv:2")


GPT = {
    "model": "GPT-8B",
    "layers": 32,
    "hidden": 4096,
    "ffn": 16384,
    "heads": 32,
    "kv_heads": 32,
    "vocab": 51200,
    "params_B": 6.65,
    "seq_len": 2048,
    "num_devices": 64,
    "global_batch": 512,
    "year": 2024,
}


def model(context, **cells):
    return model_of(context, row(**{**GPT, **cells}), "num_experts", "experts_per_token", "ffn")


def test_a_model_that_the_catalogue_lacks_is_built_from_the_rows_dimensions(context):
    built = model(context)
    (block,) = built.blocks
    assert block.mixer == Attention(heads=32, kv_heads=32, head_dim=128)
    assert block.ffn == Dense(width=16384, gated=False)
    assert parameters(built) == pytest.approx(6.65e9, rel=0.01)


def test_the_parameter_count_tells_a_gated_network_from_a_plain_one(context):
    assert model(context, params_B=8.8).blocks[0].ffn.gated
    assert not model(context, params_B=6.65).blocks[0].ffn.gated


def test_a_catalogue_model_is_used_only_where_its_dimensions_are_the_rows(context):
    llama = {
        "model": "LLAMA3_70B (SFT)",
        "layers": 80,
        "hidden": 8192,
        "ffn": 28672,
        "heads": 64,
        "kv_heads": 8,
        "vocab": 128256,
    }
    assert model(context, **llama, params_B=70.6).blocks[0].mixer.kv_heads == 8
    assert model(context, **{**llama, "layers": 40}, params_B=36).layers == 40


def test_names_of_tables_lose_organisation_precision_and_date(context):
    for name in ("deepseek-ai/DeepSeek-R1", "DeepSeekV3", "Qwen/Qwen3-235B-A22B-Instruct-2507", "openai/gpt-oss-120b"):
        assert context.model_named(name) is not None, name
    assert context.model_named("no such model") is None


def test_a_head_size_in_the_notes_counts(context):
    assert model(context, notes="slices; head_dim 256").blocks[0].mixer.head_dim == 256


def test_experts_make_a_mixture(context):
    ffn = model(context, num_experts=8, experts_per_token=2, params_B="").blocks[0].ffn
    assert ffn == Moe(experts=8, topk=2, width=16384)


def layout(context, device, **cells):
    cells = {**GPT, **cells}
    return layout_of(row(**cells), model(context), context.chip(device), int(cells["year"]))


def test_degrees_of_trainium_count_neuron_cores(context):
    plan = layout(context, "Trainium1 (trn1.32xlarge)", TP=8, PP=4, DP=4).plan
    assert (plan.tp, plan.pp, plan.dp) == (8, 4, 4)  # 64 chips have 128 cores


def test_a_tpu_row_without_degrees_is_sharded_over_all_chips_in_one_pass(context):
    plan = layout(context, "TPU-v5p").plan
    assert (plan.tp, plan.pp, plan.dp, plan.sharding, plan.micro_batch) == (1, 1, 64, "zero3", 8)


def test_a_row_without_a_layout_tries_tensor_parallelism_within_a_node_and_then_pipelines(context):
    tried = unstated_degrees(row(num_devices=32, devices_per_node=8), context.chip("Gaudi2"))
    assert tried == [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (8, 4)]
    odd = unstated_degrees(row(num_devices=12, devices_per_node=8), context.chip("Gaudi2"))
    assert odd == [(1, 1), (2, 1), (4, 1)]  # what does not divide the ranks was not run
    assert unstated_degrees(row(num_devices=32, TP=2), context.chip("Gaudi2")) == [(1, 1)]


def test_what_a_row_leaves_out_is_what_its_source_is_known_to_run(context):
    chip, of = context.chip("H100-SXM-80GB"), model(context)
    piped = row(**{**GPT, "TP": 1, "PP": 4, "DP": 2, "global_batch": 64, "num_devices": 8})
    found = [
        layout_of(piped, of, chip, 2024, source=source_of(name, "")).plan for name in ("torchtitan", "mt-nlg-530b")
    ]
    assert [plan.micro_batch for plan in found] == [8, 1]  # as many micro-batches as stages, or of one sequence
    assert source_of("tpu-recipes-ironwood", "iw-llama3-70b-64").unstated == "behind_attention"
    assert training_dtypes(row(precision="fp8"), "", "int8").weights == "int8"


def test_selective_means_what_the_software_of_the_source_means_by_it(context):
    stated = row(**{**GPT, "recompute": "selective", "micro_batch": 1, "TP": 1, "PP": 1})
    chip, of = context.chip("H100-SXM-80GB"), model(context)
    found = [
        layout_of(stated, of, chip, 2024, source=source_of(name, "")).plan for name in ("torchtitan", "megatron-bridge")
    ]
    assert [plan.recompute for plan in found] == ["operators", "selective"]


def test_notes_that_say_interleaved_mean_two_chunks_at_least(context):
    plan = layout(context, "H100-SXM-80GB", TP=1, PP=4, micro_batch=1, notes="Interleaved 1F1B").plan
    assert plan.virtual_stages == 2


def test_fsdp_inside_a_slice_is_a_shard_degree(context):
    plan = layout(context, "TPU-v5e", sharding="fsdp (ici 16) within slice, data parallel over slices").plan
    assert (plan.dp, plan.shard_degree) == (64, 16)


def test_more_ranks_than_sequences_share_the_context(context):
    plan = layout(context, "TPU-v5p", global_batch=16).plan
    assert (plan.dp, plan.cp) == (16, 4)


def test_degrees_that_cannot_multiply_out_are_a_reason_to_skip(context):
    with pytest.raises(Skip, match="does not divide 64 ranks"):
        layout(context, "H100-SXM-80GB", TP=5)


def test_a_global_batch_that_is_no_multiple_is_rounded_and_the_time_scaled_back(context):
    found = layout(context, "H100-SXM-80GB", TP=1, PP=1, DP=64, micro_batch=1, global_batch=500)
    assert found.plan.global_batch == 512
    assert found.scale == pytest.approx(500 / 512)


@pytest.mark.parametrize(
    ("text", "device", "sharding"),
    [
        ("fsdp(full_shard,zero3)", "H100-SXM-80GB", "zero3"),
        ("fsdp (grads sharded, params kept between fwd/bwd)", "H100-SXM-80GB", "zero2"),
        ("zero0 (deepspeed 3D)", "H100-SXM-80GB", "none"),
        ("none", "H100-SXM-80GB", "none"),
        ("", "H100-SXM-80GB", "zero1"),
        ("", "TPU-v4", "zero3"),
    ],
)
def test_sharding_words(context, text, device, sharding):
    assert sharding_of(row(sharding=text), context.chip(device)) == sharding


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("mxfp8(cublas)", "fp8"),
        ("nvfp4", "fp4"),
        ("fp16", "fp16"),
        ("bf16 (fp32 optimizer)", "bf16"),
        ("unknown", "bf16"),
    ],
)
def test_precision_words(text, weights):
    assert training_dtypes(row(precision=text)).weights == weights


def test_stochastic_rounding_keeps_no_fp32_copy():
    assert training_dtypes(row(precision="bf16 (stochastic rounding)")).optimizer == "bf16"


def test_attention_is_unfused_in_sources_before_fused_kernels_and_where_a_row_says_so(context):
    assert not layout(context, "A100-SXM-80GB", year=2021).plan.flash_attention
    assert layout(context, "A100-SXM-80GB", year=2023).plan.flash_attention
    assert not layout(context, "A100-SXM-80GB", attention="unfused").plan.flash_attention


def test_a_source_names_its_stack_and_a_version_in_the_notes_may_change_it():
    assert source_of("megatron-bridge", "NeMo container 26.02; Pre-Training").stack == "megatron"
    assert source_of("megatron-bridge", "NeMo container 26.08; Pre-Training").stack == "megatron-2026.06"
    assert source_of("somebody's blog", "").stack == ""


def test_hardware_flops_follow_the_published_formula_with_its_recompute_pass(context):
    """Narayanan et al. 2021, equation 3: 96 B s L h^2 (1 + s / 6h + V / 16 L h) for each sequence of s tokens."""
    gpt = model(context, params_B="")
    layers, hidden, seq_len, vocab = 32, 4096, 2048, 51200
    published = 96 * layers * hidden**2 * (1 + seq_len / (6 * hidden) + vocab / (16 * layers * hidden))
    assert flops_per_token(gpt, seq_len, source_of("megatron-sc21", "")) == pytest.approx(published, rel=0.002)


def test_model_flops_are_six_a_parameter_and_attention_in_full(context):
    """MosaicML: 6 N + 12 L d s a token."""
    mpt = model(context)
    weights = 32 * (4 * 4096**2 + 2 * 4096 * 16384) + 51200 * 4096
    published = 6 * weights + 12 * 32 * 4096 * 2048
    assert flops_per_token(mpt, 2048, source_of("llm-foundry", "")) == pytest.approx(published, rel=0.002)
    assert flops_per_token(mpt, 2048, source_of("megatron-bridge", "")) < published


MOE = "device,dtype,tokens,hidden,inter,topk,experts,tp,ep,routing,stack,stack_version,kernel\n"


def test_plain_experts_have_two_matrices_as_kernels_and_known_shapes_say():
    rows = [
        "h200,bfloat16,8,2048,1024,4,64,1,1,balanced,trtllm,1.3,moe_torch_flow_nongated",
        "h200,bfloat16,8,2048,1024,22,512,1,1,balanced,vllm,0.24.0,x",
        "h200,bfloat16,8,2688,1856,6,128,1,1,balanced,vllm,0.24.0,x",
        "h200,bfloat16,8,2688,1856,6,128,1,1,balanced,vllm,0.14.0,x",
        "h200,bfloat16,8,2048,1024,8,128,1,1,balanced,vllm,0.24.0,x",
    ]
    assert nongated(parse_table(MOE + "\n".join(rows), "x.csv")).tolist() == [True, True, True, False, False]


def test_one_rank_of_an_expert_layer_has_its_share_of_experts_rows_and_width():
    table = parse_table(MOE + "h200,fp8,1024,4096,1536,8,128,2,4,power_law_1.2,vllm,0.24.0,x", "x.csv")
    rows, hidden, width, experts, skew, matrices, topk, share = _moe(table, [""]).dims[0]
    assert (rows, hidden, width, experts, share) == (1024 * 8 / 4, 4096, 1536 / 2, 32, 0.25)
    assert (skew, matrices, topk) == (1.2, 3, -8)  # below 0: every rank holds the pairs of all


@pytest.mark.parametrize(
    ("device", "engine", "stack"),
    [
        ("h100-sxm", "vLLM", "vllm"),
        ("mi300x", "vLLM", "vllm-rocm"),
        ("gaudi2", "DeepSpeed (Optimum-Habana)", "vllm-gaudi"),
        ("inferentia2", "vLLM (optimum-neuron)", "vllm-neuron"),
        ("tpu-v6e", "vLLM TPU (V1, PyTorch/XLA)", "vllm-tpu"),
        ("h100-sxm", "NIM (TensorRT-LLM)", "trtllm"),
        ("h100-sxm", "TensorRT 10.2.0; CUDA 12.4", "trtllm"),
        ("h200", "DeepSeek in-house", "vllm"),
        ("tpu-v4", "JAX/XLA research code", "jetstream"),
    ],
)
def test_an_engines_name_means_the_stack_of_its_device_family(context, device, engine, stack):
    assert serving_stack(context, context.chip(device), engine).id == stack


def test_four_bit_mixtures_keep_attention_in_bf16_and_hopper_computes_them_in_bf16(context):
    mixture = context.library.model("deepseek-v3")
    blackwell = dtypes_of(mixture, context.chip("b200"), "fp4")
    assert (blackwell.weights, blackwell.attention, blackwell.activations) == ("fp4", "bf16", None)
    assert dtypes_of(mixture, context.chip("h200"), "fp4").activations == "bf16"


def test_a_checkpoint_in_the_models_own_format_keeps_the_models_choices(context):
    assert dtypes_of(context.library.model("gpt-oss-120b"), context.chip("h200"), "fp4").weights is None


def test_a_label_may_say_that_blocks_of_a_weight_have_their_own_scale(context):
    model = context.library.model("qwen3-235b-a22b")
    assert with_scales(model, "fp8", "fp8_block").stored.block_scales
    assert with_scales(model, "fp8", "") == model


def test_formats_are_read_from_free_text():
    words = ["bf16 (matmult autocast)", "uint4", "mxfp4", "not stated", "fp8 (not stated)"]
    assert [format_of(word) for word in words] == ["bf16", "int4", "fp4", None, "fp8"]


def test_heads_are_padded_to_odd_degrees_and_experts_copied(context):
    llama = padded(context.library.model("llama-3.1-8b"), 24, 1)
    assert (llama.blocks[0].mixer.heads, llama.blocks[0].mixer.kv_heads) == (48, 8)
    deepseek = padded(context.library.model("deepseek-v3"), 1, 72)
    assert deepseek.blocks[-1].ffn.experts == 288
    assert padded(context.library.model("llama-3.1-8b"), 8, 1) == context.library.model("llama-3.1-8b")


@pytest.mark.parametrize(
    ("text", "gb_per_s"), [("RoCE, 400 Gb/s a GPU", 50.0), ("4x100 Gb/s EFA a node", 6.25), ("InfiniBand", None)]
)
def test_network_words(text, gb_per_s):
    rate = network_rate(text, 8)
    assert rate is None if gb_per_s is None else rate == pytest.approx(gb_per_s * 1e9)


def test_a_node_is_as_large_as_the_row_says_but_a_rack_stays_a_rack(context):
    def inner(device, devices, nodes):
        asked = row(system="x", network="")
        return cluster_for(asked, context.chip(device), (devices, nodes), context.library).tiers[0].size

    assert inner("h100_sxm", 16, 4) == 4
    assert inner("gb200", 144, 36) == 72


def test_a_token_that_draws_many_experts_meets_every_place():
    assert _distinct(1, 8) == 1.0
    assert _distinct(4, 1000) == pytest.approx(4.0)
    assert _distinct(64, 1) == pytest.approx(1.0)


def test_one_client_never_queues_and_many_clients_keep_the_server_busy():
    assert closed_network(1, np.array([2.0]), np.full((10, 1), 10.0)) == pytest.approx(2.0)
    away_s = np.full((200, 100), 10.0)
    many = closed_network(1, np.array([2.0]), away_s)
    assert 100 / (many + 10.0) == pytest.approx(1 / 2.0, rel=5e-3)  # throughput = service rate
    assert closed_network(4, np.array([2.0]), away_s) == pytest.approx((many + 10.0) / 4 - 10.0, rel=0.02)


def test_clients_that_start_together_queue_once_and_are_spaced_by_the_service_from_then_on():
    """The k-th of the first round waits for k services; afterwards they come one service apart and find the server free."""
    assert closed_network(1, np.array([1.0]), np.full((10, 8), 100.0)) == pytest.approx((1 + 8) / 2 * 0.1 + 0.9 * 1.0)
    spread_s = 100.0 + np.linspace(0.0, 400.0, 8) * np.ones((10, 1))
    assert closed_network(1, np.array([1.0]), spread_s) < 1.5
