"""What must be held, each part against its closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.library import default_library
from sim.catalog.plans import Dtypes, Plan
from sim.lowering import layers_on_stages, parameters, serving_footprint, training_footprint
from sim.lowering.footprint import PLAIN
from tests.lowering.test_flops import gpt

LIBRARY = default_library()


def of(model, seq_len=2048, **plan):
    return training_footprint(model, [Plan(recompute=plan.pop("recompute", "none"), **plan)], seq_len).parts()


def test_mixed_precision_adam_holds_eighteen_bytes_for_each_parameter():
    model = gpt(8, 1024, 8)
    parts, n = of(model, sharding="none"), parameters(model)
    assert parts["weights"] == pytest.approx(2 * n)
    assert parts["gradients"] == pytest.approx(4 * n)
    assert parts["optimizer"] == pytest.approx(12 * n)


@pytest.mark.parametrize(
    ("sharding", "shared"),
    [
        ("none", ()),
        ("zero1", ("optimizer",)),
        ("zero2", ("optimizer", "gradients")),
        ("zero3", ("optimizer", "gradients", "weights")),
    ],
)
def test_each_level_of_zero_shards_one_part_more(sharding, shared):
    model = gpt(8, 1024, 8)
    whole, parts = of(model, sharding="none"), of(model, sharding=sharding, dp=8, global_batch=8)
    for name in ("optimizer", "gradients", "weights"):
        assert parts[name] == pytest.approx(whole[name] / (8 if name in shared else 1))


@given(tp=st.sampled_from([1, 2, 4, 8]), layers=st.integers(1, 24), unfused=st.booleans())
@settings(max_examples=40, deadline=None)
def test_activations_are_those_of_korthikanti_et_al_and_a_fused_kernel_has_neither_scores_nor_masks(
    tp, layers, unfused
):
    s, b, h, a = 2048, 2, 1024, 8
    model = gpt(layers, h, a)
    parts = of(model, s, tp=tp, micro_batch=b, global_batch=b, flash_attention=not unfused, sequence_parallel=True)
    layer = s * b * h * (34 if unfused else 32) / tp + unfused * 5 * a * s**2 * b / tp
    assert parts["activations"] == pytest.approx(layers * layer)


def test_selective_recomputation_drops_the_scores_of_unfused_attention():
    s, h, a = 2048, 1024, 8
    parts = of(gpt(12, h, a), s, recompute="selective", flash_attention=False)
    assert parts["activations"] == pytest.approx(12 * 34 * s * h)


def test_selective_recomputation_beside_a_fused_kernel_drops_norms_and_activation_functions():
    s, h, a = 2048, 1024, 8
    parts = of(gpt(12, h, a), s, recompute="selective")
    assert parts["activations"] == pytest.approx(12 * (32 - 2 - 2 - 8) * s * h)


def test_recomputing_a_share_of_the_layers_keeps_the_rest_whole():
    s, h = 2048, 1024
    parts = of(gpt(12, h, 8), s, recompute="full", recompute_layers=0.25)
    assert parts["activations"] == pytest.approx((3 * 2 + 9 * 32) * s * h)


def test_inputs_in_host_memory_leave_those_of_two_layers_on_the_device():
    s, h = 2048, 1024
    parts = of(gpt(12, h, 8), s, recompute="full", offload="activations")
    assert parts["activations"] == 2 * 2 * s * h


def test_products_in_fp8_keep_their_inputs_in_one_byte():
    s, h = 2048, 1024
    parts = of(gpt(12, h, 8), s, dtypes=Dtypes(weights="fp8"))
    assert parts["activations"] == pytest.approx(12 * (32 - 1 - 1 - 4) * s * h)  # two norms, and what GELU gives


def test_full_recomputation_needs_one_layer_and_its_gradients_at_a_time():
    s, h = 2048, 1024
    parts = of(gpt(12, h, 8, vocab=64), s, recompute="full")
    assert parts["workspace"] == pytest.approx((32 - 2 + 2 + 8) * s * h)


def test_the_peak_is_the_larger_of_the_logits_and_of_one_layer():
    s, vocab = 2048, 50_000
    assert of(gpt(4, 512, 8, vocab=vocab), s)["workspace"] == 6 * s * vocab


def test_zero_three_holds_the_layer_in_use_and_the_next_whole_and_the_gradients_of_one():
    model = gpt(8, 1024, 8)
    layer = (parameters(model) - parameters(gpt(4, 1024, 8))) / 4
    assert of(model, sharding="zero3", dp=8, global_batch=8)["buffers"] == pytest.approx(3 * 2 * layer)
    assert of(model, sharding="zero2", dp=8, global_batch=8)["buffers"] == 0


def test_gradients_that_a_pipeline_scatters_once_a_step_are_held_whole():
    one, model = {"dp": 8, "global_batch": 64}, gpt(8, 1024, 8)
    whole, split = (of(model, pp=2, sharding=name, **one)["gradients"] for name in ("zero1", "zero2"))
    assert split == whole
    assert of(model, sharding="zero2", **one)["gradients"] == pytest.approx(
        of(model, sharding="zero1", **one)["gradients"] / 8
    )


def test_what_software_keeps_moves_its_own_part_alone():
    model, plan = gpt(8, 1024, 8, vocab=64), Plan(recompute="full", pp=2, global_batch=8)
    plain = training_footprint(model, [plan], 2048).parts()
    kept = PLAIN._replace(weight_copies=0.0, gradient_copy_bytes=2.0, output_copies=1.0)
    other = training_footprint(model, [plan], 2048, kept).parts()
    assert other["weights"] == 0
    assert other["gradients"] == pytest.approx(plain["gradients"] * 6 / 4)
    assert other["activations"] - plain["activations"] == 2 * 2 * 2048 * 1024  # two in flight
    assert other["optimizer"] == plain["optimizer"]


def test_sixteen_bit_gradients_take_half():
    model = gpt(8, 1024, 8)
    half = of(model, dtypes=Dtypes(gradients="bf16"))["gradients"]
    assert half == of(model)["gradients"] / 2


@pytest.mark.parametrize("layers", [70, 72, 78, 61])
def test_stages_hold_the_layers_that_the_schedule_places_on_them(layers):
    model, pp = gpt(layers, 64, 4, vocab=64), 12
    on_stages = layers_on_stages(model, pp)[:, 0]
    parts = of(model, pp=pp, recompute="full", global_batch=64, sequence_parallel=False)
    held = max(on_stages[0] * pp, on_stages[1] * (pp - 1))  # of the first or the second stage
    assert parts["activations"] in (held * 2 * 2048 * 64, on_stages[0] * pp * 2 * 2048 * 64)


@given(layers=st.integers(24, 130), virtual=st.sampled_from([2, 3, 4]))
@settings(max_examples=40, deadline=None)
def test_chunks_of_an_interleaved_stage_hold_what_the_schedule_places_on_them(layers, virtual):
    model, pp, many = gpt(layers, 64, 4, vocab=64), 8, 64
    on_stages = layers_on_stages(model, pp, virtual)[:, 0].reshape(virtual, pp).sum(axis=0)
    found = training_footprint(model, [Plan(pp=pp, virtual_stages=virtual, recompute="full", global_batch=many)], 2048)
    stage = int(found.stage[0])
    in_flight = pp + (pp - 1 - 2 * stage) / virtual
    assert found.activations[0] == pytest.approx(on_stages[stage] * in_flight * 2 * 2048 * 64)


def test_two_missing_layers_are_taken_from_the_ends():
    assert layers_on_stages(gpt(70, 64, 4), 12)[:, 0].tolist() == [5, *[6] * 10, 5]


def test_a_first_stage_of_dense_layers_is_not_the_fullest():
    """DeepSeek-V3: three dense layers, then experts."""
    found = training_footprint(
        LIBRARY.model("deepseek-v3").with_(mtp_layers=0), [Plan(pp=16, global_batch=1, recompute="full")], 128
    )
    assert found.stage[0] == 1


def test_full_recomputation_keeps_the_input_of_each_layer():
    parts = of(gpt(12, 1024, 8), recompute="full")
    assert parts["activations"] == 12 * 2 * 2048 * 1024


def test_the_first_of_p_stages_holds_p_micro_batches():
    model = gpt(16, 1024, 8, vocab=64)
    one = of(model, global_batch=32)["activations"]
    assert of(model, pp=4, global_batch=32)["activations"] == pytest.approx(one)  # a quarter of the layers, four times
    assert of(model, pp=4, global_batch=2)["activations"] == pytest.approx(one / 2)
    assert of(model, pp=4, virtual_stages=2, global_batch=32)["activations"] == pytest.approx(one * (1 + 3 / 8))


def test_the_logits_of_a_large_vocabulary_can_make_the_last_stage_the_fullest():
    wide = gpt(4, 512, 8, vocab=500_000)
    found = training_footprint(wide, [Plan(pp=4, recompute="full", global_batch=1)], 8192)
    assert found.stage[0] == 3


@given(tp=st.sampled_from([1, 2, 4, 8]), pp=st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_shards_of_the_optimizer_sum_to_the_whole_plus_what_is_replicated(tp, pp):
    model = gpt(8, 1024, 8)
    whole = of(model, sharding="zero1")["optimizer"]
    shard = of(model, tp=tp, pp=pp, sharding="zero1")["optimizer"]
    assert shard * tp * pp >= whole * 0.999
    assert shard <= whole


def test_the_kv_cache_of_a_token_is_that_of_the_published_shapes():
    llama = serving_footprint(
        LIBRARY.model("llama-3.1-70b"), [Plan(), Plan(tp=8), Plan(tp=16), Plan(dtypes=Dtypes(kv_cache="fp8"))], 1
    )
    assert llama.kv_per_token.tolist() == [
        327680.0,
        40960.0,
        40960.0,
        163840.0,
    ]  # 2 x 80 layers x 8 heads x 128 x 2 bytes
    deepseek = serving_footprint(LIBRARY.model("deepseek-v3"), [Plan(), Plan(tp=8)], 1)
    assert np.all(deepseek.kv_per_token == 576 * 61 * 2)  # a latent cache is whole on each rank


def test_weights_of_a_serving_rank_are_as_the_checkpoint_stores_them():
    model = LIBRARY.model("llama-3.1-70b")
    found = serving_footprint(model, [Plan(), Plan(dtypes=Dtypes(weights="fp8"))], 1)
    n, ends = parameters(model), 2 * model.vocab * model.hidden
    assert found.weights[0] == pytest.approx(2 * n)
    assert found.weights[1] == pytest.approx(n + ends, rel=1e-3)  # the ends stay in 16 bits
