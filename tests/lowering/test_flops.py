"""What must be computed, held against the closed forms of the literature."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.library import default_library
from sim.catalog.models import Attention, Block, Dense, Model
from sim.catalog.plans import Dtypes, Plan
from sim.lowering import PART_IDS, PHASE_IDS, STEP, Step, active_parameters, kernels, model_flops
from sim.lowering.kinds import KIND_IDS, KINDS

COLLECTIVE = np.array([kind.collective for kind in KINDS])
LIBRARY = default_library()


def gpt(layers: int, hidden: int, heads: int, vocab: int = 51200) -> Model:
    """A GPT of Narayanan et al.: four times wide, no gates, multi-head attention."""
    mixer = Attention(heads=heads, kv_heads=heads, head_dim=hidden // heads)
    block = Block(layers=layers, mixer=mixer, ffn=Dense(width=4 * hidden, gated=False))
    return Model(id="gpt", name="GPT", hidden=hidden, vocab=vocab, tied=True, blocks=(block,), sources=("closed form",))


def products(table, phase: str) -> float:
    """FLOPs of matrix products and attention of a phase, all stages of one replica's rank."""
    rows = (table.phase == PHASE_IDS[phase]) & (table.kind != KIND_IDS["memory"]) & (table.site != STEP)
    return float(np.sum((table.flops() * table.count)[rows]))


@given(layers=st.integers(1, 96), heads=st.sampled_from([8, 16, 32]), s=st.sampled_from([512, 2048, 8192]))
@settings(max_examples=30, deadline=None)
def test_flops_of_a_step_are_those_of_narayanan_et_al(layers, heads, s):
    h, vocab, batch = heads * 128, 51200, 4
    with_recompute = 96 * batch * s * layers * h**2 * (1 + s / (6 * h) + vocab / (16 * layers * h))
    model = gpt(layers, h, heads, vocab)
    ours = model_flops(model, s) * batch * s
    ours += ours / 3 - 2 * batch * s * h * vocab  # a second forward pass of the layers, not of the logits
    assert ours == pytest.approx(with_recompute, rel=1e-9)


@pytest.mark.parametrize("name", ["gpt-3-175b", "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b"])
def test_flops_of_a_token_are_six_for_each_parameter_and_the_attention(name):
    model, s = LIBRARY.model(name), 4096
    attention = sum(12 * b.layers * b.mixer.heads * b.mixer.head_dim * s for b in model.blocks)
    assert model_flops(model, s) == pytest.approx(6 * active_parameters(model) + attention, rel=0.01)


def test_palm_counts_as_its_paper_does():
    model = LIBRARY.model("palm-540b")
    ours = model_flops(model, 2048)
    assert ours == pytest.approx(6 * 540.35e9 + 12 * 118 * 48 * 256 * 2048, rel=0.01)


def test_the_backward_direction_costs_twice_the_forward_one_and_attention_two_and_a_half_times():
    model = gpt(4, 1024, 8)
    table = kernels(model, Plan(recompute="none"), Step("train", 1, 2048, 2048))
    gemm = table.kind == KIND_IDS["gemm"]
    forward, backward, weights = (table.phase == PHASE_IDS[name] for name in ("forward", "backward", "weights"))
    flops = table.flops() * table.count
    for gradient in (backward, weights):  # of the input, of the weights
        assert flops[gemm & gradient].sum() == pytest.approx(flops[gemm & forward].sum())
    attention = flops[table.kind == KIND_IDS["attention_backward"]].sum()
    assert attention == pytest.approx(2.5 * flops[table.kind == KIND_IDS["attention_prefill"]].sum())


def test_full_recomputation_repeats_the_layers_and_nothing_else():
    model = gpt(4, 1024, 8)
    table = kernels(model, Plan(recompute="full"), Step("train", 1, 2048, 2048))
    logits = 2 * 2048 * 1024 * 51200
    assert products(table, "recompute") == pytest.approx(products(table, "forward") - logits)


def test_recomputation_by_operators_repeats_half_of_the_products_but_the_last_and_no_attention():
    model = gpt(4, 1024, 8)
    layer = 4 * 2 * 2048 * 12 * 1024**2  # forward products of four layers, of which the last ones are a third
    step = Step("train", 1, 2048, 2048)
    assert products(kernels(model, Plan(recompute="operators"), step), "recompute") == pytest.approx(layer / 3)
    narrow = kernels(model, Plan(recompute="operators", dtypes=Dtypes(weights="fp8")), step)
    # the scaled products of 8 bits are not among those kept
    assert products(narrow, "recompute") == pytest.approx(layer * 2 / 3)


def test_recomputation_behind_attention_repeats_the_output_projection_and_what_the_network_needs():
    layer = 4 * 2 * 2048 * 12 * 1024**2
    table = kernels(gpt(4, 1024, 8), Plan(recompute="behind_attention"), Step("train", 1, 2048, 2048))
    assert products(table, "recompute") == pytest.approx(layer * 5 / 12)


def test_recomputation_of_elementwise_kernels_repeats_no_product():
    table = kernels(gpt(4, 1024, 8), Plan(recompute="elementwise"), Step("train", 1, 2048, 2048))
    assert products(table, "recompute") == 0.0
    assert (table.phase == PHASE_IDS["recompute"]).any()


@given(
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2, 4]),
    cp=st.sampled_from([1, 2]),
    flash=st.booleans(),
    recompute=st.sampled_from(["none", "selective", "full"]),
    sequence_parallel=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_sharding_conserves_flops(tp, pp, cp, flash, recompute, sequence_parallel):
    model = gpt(8, 1024, 8)
    step = Step("train", 1, 2048, 2048)
    plan = Plan(recompute=recompute, flash_attention=flash)
    shards = plan.with_(tp=tp, pp=pp, cp=cp, sequence_parallel=sequence_parallel)
    for phase in ("forward", "recompute", "backward"):
        whole = products(kernels(model, plan, step), phase)
        assert products(kernels(model, shards, step), phase) * tp * cp == pytest.approx(whole, rel=1e-9, abs=1.0)


@given(tp=st.sampled_from([1, 2, 4]), ep=st.sampled_from([1, 2, 4, 8]), attention_dp=st.sampled_from([1, 2, 4]))
@settings(max_examples=25, deadline=None)
def test_experts_conserve_flops_under_every_split(tp, ep, attention_dp):
    model = LIBRARY.model("mixtral-8x7b")
    step = Step("decode", 64, 1, 1024)
    ranks = tp * attention_dp
    if ranks % ep:
        return
    plan = Plan(tp=tp, ep=ep, attention_dp=attention_dp)
    flops = [
        np.sum((t.flops() * t.count)[t.kind == KIND_IDS["moe"]])
        for t in (kernels(model, Plan(), step), kernels(model, plan, step))
    ]
    assert flops[1] * ranks == pytest.approx(flops[0])


@pytest.mark.parametrize(("dp", "ep"), [(8, 1), (8, 2), (8, 8)])
def test_grouped_products_of_training_conserve_the_flops_of_the_experts(dp, ep):
    model = LIBRARY.model("mixtral-8x7b")
    table = kernels(model, Plan(dp=dp, ep=ep), Step("train", 1, 2048, 2048))
    rows = (table.part == PART_IDS["experts"]) & (table.phase == PHASE_IDS["forward"])
    assert set(table.kind[rows]) == {KIND_IDS["gemm"]}
    flops = float(np.sum((table.flops() * table.count)[rows]))
    assert flops == pytest.approx(32 * 2048 * 2 * 6 * 4096 * 14336)  # layers, tokens, top-2, three matrices


def test_a_chunk_at_the_end_of_a_prompt_and_the_one_before_it_make_up_the_whole():
    model = gpt(2, 1024, 8)
    attention = KIND_IDS["attention_prefill"]
    flops = []
    for query, kv in ((4096, 4096), (1024, 1024), (3072, 4096)):
        table = kernels(model, Plan(), Step("prefill", 1, query, kv))
        flops.append(float(np.sum((table.flops() * table.count)[table.kind == attention])))
    assert flops[1] + flops[2] == pytest.approx(flops[0])


def test_a_window_bounds_attention_but_not_short_prompts():
    long = kernels(LIBRARY.model("gpt-oss-20b"), Plan(), Step("prefill", 1, 8192, 8192))
    rows = long.kind == KIND_IDS["attention_prefill"]
    limits = set(long.dims[rows, 7].tolist())
    assert limits == {0.0, 128.0}


def test_the_model_of_each_catalogue_file_lowers_in_every_phase():
    for entry in LIBRARY.entries("model"):
        model = LIBRARY.model(entry.id)
        for step in (Step("train", 1, 512, 512), Step("prefill", 2, 512, 512), Step("decode", 8, 1, 512)):
            table = kernels(model, Plan(), step)
            assert len(table) and np.all(np.isfinite(table.dims)) and np.all(table.dims >= 0), entry.id
            assert np.all(table.count > 0) and not np.any(COLLECTIVE[table.kind]), entry.id
            if any(block.mixer or block.ffn for block in model.blocks):
                assert table.flops().sum() > 0, entry.id


def test_a_mixed_batch_is_its_prompts_and_its_decodes_with_one_linear_pass_over_all_tokens():
    model = gpt(2, 1024, 8)
    prompt, decodes = Step("prefill", 1, 512, 512), Step("decode", 32, 1, 2048)
    mixed = kernels(model, Plan(), (prompt, decodes))
    apart = [kernels(model, Plan(), step) for step in (prompt, decodes)]
    assert np.sum(mixed.flops() * mixed.count) == pytest.approx(sum(np.sum(t.flops() * t.count) for t in apart))
    products = mixed.dims[(mixed.kind == KIND_IDS["gemm"]) & (mixed.site == 0)]
    assert np.all(products[:, 0] == 512 + 32)
