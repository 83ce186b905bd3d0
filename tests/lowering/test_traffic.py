"""The collectives that each degree of a plan brings, in bytes as nccl-tests counts them."""

import numpy as np
import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.lowering import PART_IDS, PHASE_IDS, STEP, Step, kernels
from sim.lowering.kinds import KIND_IDS
from tests.lowering.test_flops import gpt

MODEL = gpt(8, 1024, 8)
STEP_OF_ONE = Step("train", 1, 2048, 2048)


def traffic(table, kind, phase=None, site=None):
    rows = table.kind == KIND_IDS[kind]
    if phase:
        rows &= table.phase == PHASE_IDS[phase]
    if site is not None:
        rows &= table.site == site
    return float(np.sum((table.dims[:, 0] * table.count)[rows]))


def test_sequence_parallelism_sends_as_much_as_two_all_reduces_a_layer():
    whole = kernels(MODEL, Plan(tp=4, sequence_parallel=False), STEP_OF_ONE)
    parts = kernels(MODEL, Plan(tp=4, sequence_parallel=True), STEP_OF_ONE)
    layers = 2 * 8 * 2048 * 1024 * 2  # two a layer, the activations in 16 bits
    assert traffic(parts, "all_gather", "forward") == traffic(parts, "reduce_scatter", "forward") == layers
    embedding = 2048 * 1024 * 2
    assert traffic(whole, "all_reduce", "forward") == layers + embedding


def test_without_tensor_parallelism_no_rank_waits_for_another():
    table = kernels(MODEL, Plan(), STEP_OF_ONE)
    assert not np.any(table.kind >= KIND_IDS["all_reduce"])


def test_zero_two_scatters_gradients_each_micro_batch_and_in_a_pipeline_once_a_step():
    single = kernels(MODEL, Plan(dp=4, global_batch=16, sharding="zero2"), STEP_OF_ONE)
    piped = kernels(MODEL, Plan(dp=4, pp=2, global_batch=16, sharding="zero2"), STEP_OF_ONE)
    scatters = [traffic(table, "reduce_scatter", site=STEP) for table in (single, piped)]
    assert scatters[0] == 0 and traffic(single, "reduce_scatter") > 0
    assert scatters[1] == traffic(piped, "reduce_scatter") > 0


@pytest.mark.parametrize(("sharding", "kinds"), [("none", {"all_reduce"}), ("zero1", {"all_gather", "reduce_scatter"})])
def test_data_parallel_ranks_exchange_gradients_once_a_step(sharding, kinds):
    table = kernels(MODEL, Plan(dp=8, sharding=sharding), STEP_OF_ONE)
    once = table.site == STEP
    found = {
        name for name in ("all_reduce", "all_gather", "reduce_scatter") if np.any(table.kind[once] == KIND_IDS[name])
    }
    assert found == kinds


def test_fully_sharded_weights_are_gathered_twice_and_their_gradients_scattered_once_a_micro_batch():
    table = kernels(MODEL, Plan(dp=8, sharding="zero3"), STEP_OF_ONE)
    gathered = traffic(table, "all_gather")
    from sim.lowering import parameters

    assert gathered == pytest.approx(2 * 2 * parameters(MODEL), rel=0.2)  # the tied table is one row at each end
    assert traffic(table, "all_gather", "forward") == traffic(table, "all_gather", "backward")
    assert traffic(table, "reduce_scatter") == pytest.approx(gathered)  # half as often, twice as wide (fp32)


def test_every_stage_but_the_last_hands_its_activations_on():
    table = kernels(MODEL, Plan(pp=4), STEP_OF_ONE)
    rows = (table.kind == KIND_IDS["send_recv"]) & (table.phase == PHASE_IDS["forward"])
    assert sorted(table.stage[rows].tolist()) == [0, 1, 2]
    assert np.all(table.dims[rows, 0] == 2048 * 1024 * 2)


def test_ranks_that_hold_the_same_values_send_a_part_each_and_gather_the_whole():
    table = kernels(MODEL, Plan(pp=4, tp=4, sequence_parallel=False), STEP_OF_ONE)
    sent = (table.kind == KIND_IDS["send_recv"]) & (table.phase == PHASE_IDS["forward"])
    assert np.all(table.dims[sent, 0] == 2048 * 1024 * 2 / 4)
    gathered = (table.kind == KIND_IDS["all_gather"]) & (table.part == PART_IDS["pp_traffic"])
    assert np.all(table.dims[gathered, 0] == 2048 * 1024 * 2)
    assert sorted(set(table.stage[gathered].tolist())) == [0, 1, 2]


def test_a_token_is_sent_to_each_of_its_experts_and_back():
    model = default_library().model("mixtral-8x7b")
    table = kernels(model, Plan(ep=8, dp=8), STEP_OF_ONE)
    layer = 2 * 2048 * 2 * 4096 * 2  # there and back, tokens x top-2 x hidden x 16 bits
    assert traffic(table, "all_to_all", "forward") == 32 * layer


def test_context_parallel_ranks_see_all_keys_and_values_of_a_layer():
    table = kernels(MODEL, Plan(cp=4), STEP_OF_ONE)
    assert traffic(table, "all_gather", "forward") == 8 * 2048 * 2 * 1024 * 2


def test_fully_sharded_weights_of_a_pipeline_are_gathered_and_their_gradients_scattered_once_a_step():
    table = kernels(MODEL, Plan(dp=8, pp=2, global_batch=64, sharding="zero3"), STEP_OF_ONE)
    for kind in ("all_gather", "reduce_scatter"):
        assert traffic(table, kind) == traffic(table, kind, site=STEP) > 0
