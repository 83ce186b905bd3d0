"""Memory of a chip: what software adds, what the driver leaves, and what runs printed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.clusters import Cluster
from sim.catalog.library import cluster_of, default_library
from sim.catalog.plans import Dtypes, Plan
from sim.catalog.targets import Target
from sim.engine.pipeline_blocks import block_pipeline, chunks_of
from sim.training.memory import footprint, fullest_stage, held_bytes, memory_parts, settled, usable_bytes
from tests.lowering.test_flops import gpt

LIBRARY = default_library()
SEQ_LEN, VOCAB = 2048, 250_880


def target(chip="a100-sxm-80gb", stack="megatron-deepspeed"):
    found, software = LIBRARY.chip(chip), LIBRARY.stack(stack)
    cluster: Cluster = cluster_of(found)
    return Target(found, LIBRARY.family(found.family), cluster, software, LIBRARY.calibration(found, software))


def bloom(layers, hidden, heads=64):
    return gpt(layers, hidden, heads, vocab=VOCAB)


def run(tp, pp, dp, micro_batch, gradients, sharding="zero1"):
    return Plan(
        tp=tp,
        pp=pp,
        dp=dp,
        micro_batch=micro_batch,
        global_batch=2048 // (dp * micro_batch) * dp * micro_batch,
        sharding=sharding,
        recompute="full",
        sequence_parallel=False,
        flash_attention=False,
        dtypes=Dtypes(weights="bf16", gradients=gradients),
    )


@pytest.mark.parametrize(
    ("layers", "hidden", "plan", "printed_gb"),
    [
        (72, 14336, run(8, 12, 4, 4, "bf16"), 49),
        (72, 14336, run(8, 6, 8, 4, "bf16"), 55),
        (72, 14336, run(8, 2, 24, 2, "bf16"), 76),
        (72, 14336, run(2, 24, 8, 2, "bf16"), 53),
        (100, 12288, run(8, 6, 8, 4, "fp32"), 72),
        (94, 13312, run(4, 12, 8, 2, "fp32"), 67),
        (70, 14336, run(4, 12, 8, 4, "fp32"), 73),
        (106, 12288, run(4, 12, 8, 4, "fp32"), 79),
    ],
)
def test_a_chip_of_the_bigscience_runs_holds_what_nvidia_smi_printed(layers, hidden, plan, printed_gb):
    parts = memory_parts(bloom(layers, hidden), plan, target(), SEQ_LEN)
    assert sum(parts.values()) == pytest.approx(printed_gb * 1e9, rel=0.10)


@pytest.mark.parametrize("plan", [run(8, 1, 48, 1, "bf16"), run(2, 6, 32, 1, "bf16"), run(2, 6, 32, 2, "bf16")])
def test_runs_that_ran_out_of_memory_do_not_fit(plan):
    held = sum(memory_parts(bloom(72, 14336), plan, target(), SEQ_LEN).values())
    assert held > usable_bytes(target())


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_a_run_that_ran_out_of_memory_and_is_in_no_table_does_not_fit(micro_batch):
    held = sum(memory_parts(bloom(100, 12288), run(4, 6, 16, micro_batch, "fp32"), target(), SEQ_LEN).values())
    assert held > usable_bytes(target())


def test_fragmentation_is_a_share_of_all_tensors():
    parts = memory_parts(bloom(70, 14336), run(4, 12, 8, 2, "fp32"), target(), SEQ_LEN)
    tensors = sum(parts.values()) - parts["fragmentation"] - parts["framework"]
    assert parts["fragmentation"] == pytest.approx(target().stack.factors["fragmentation"] * tensors)


def test_parts_sum_to_what_is_held():
    model, plan, on = bloom(70, 14336), run(4, 12, 8, 2, "fp32"), target()
    held = held_bytes(footprint(model, [plan], on, 2048.0), on)[0]
    assert sum(memory_parts(model, plan, on, 2048.0).values()) == pytest.approx(held)


def test_no_stack_has_a_lump_of_memory_that_is_not_named():
    for entry in LIBRARY.entries("stack"):
        assert "framework_bytes" not in LIBRARY.stack(entry.id).factors


def test_pytorch_stacks_share_one_context_one_communicator_and_one_fragmentation():
    names = ("context_bytes", "communicator_bytes", "fragmentation")
    stacks = [LIBRARY.stack(entry.id).factors for entry in LIBRARY.entries("stack")]
    assert len({tuple(f.get(n) for n in names) for f in stacks if "communicator_bytes" in f}) == 1


def test_communicators_are_one_a_degree_two_for_a_pipeline_and_one_of_all_ranks():
    on, model = target(stack="megatron"), gpt(8, 64, 4)
    plans = [Plan(), Plan(dp=8), Plan(tp=2, dp=4), Plan(tp=2, pp=2, dp=2)]
    assert footprint(model, plans, on, 128.0).communicators.tolist() == [0, 1, 3, 5]


@given(layers=st.integers(8, 96), dp=st.sampled_from([1, 8, 64]), micro_batch=st.sampled_from([1, 2, 4]))
@settings(max_examples=30, deadline=None)
def test_a_settled_plan_fits_or_recomputes_everything(layers, dp, micro_batch):
    on = target(stack="megatron")
    plan = Plan(tp=8, dp=dp, micro_batch=micro_batch, global_batch=dp * micro_batch, recompute="auto")
    model = gpt(layers, 8192, 64)
    found = settled(model, plan, on, 2048.0)
    held = sum(memory_parts(model, found, on, 2048.0).values())
    assert held <= usable_bytes(on) * (1 + 1e-9) or (found.recompute, found.recompute_layers) == ("full", 1.0)


def test_a_compiler_that_can_moves_the_inputs_of_layers_to_the_host_before_it_gives_up():
    model = LIBRARY.model("llama-3.1-405b")
    plan = Plan(dp=512, global_batch=512, sharding="zero3")
    assert settled(model, plan, target("tpu-v6e", "maxtext"), 8192.0).offload == "activations"
    assert settled(model, plan, target("a100-sxm-40gb", "torchtitan"), 8192.0).offload == "none"


def test_the_fullest_stage_is_the_first_when_its_micro_batches_are_many():
    assert fullest_stage(gpt(16, 1024, 8), Plan(pp=4, global_batch=64), target(), 2048.0) == 0


@pytest.mark.parametrize("schedule", ["gpipe", "zb-h1", "zb-v", "v-half", "v-min", "dualpipe"])
@pytest.mark.parametrize("pp", [4, 8])
def test_micro_batches_in_flight_are_those_that_the_executor_of_a_schedule_holds(schedule, pp):
    chunks, many = chunks_of(schedule), 4 * pp
    ran = block_pipeline(schedule, many, np.ones((3, pp, chunks)), np.zeros(pp)).held.max()
    whole = ran / (1 if schedule == "dualpipe" else chunks)  # dualpipe's chunks are copies with all layers of a stage
    layers, h, s = 6 * pp, 64, 128
    plan = Plan(pp=pp, schedule=schedule, global_batch=many, recompute="full")
    kept = memory_parts(gpt(layers, h, 4, vocab=64), plan, target(stack="megatron"), s)["activations"]
    counted = kept / (2 * s * h * layers / pp)
    assert counted == pytest.approx(whole, abs=1.4 if schedule.startswith("v-") else 1e-9)
