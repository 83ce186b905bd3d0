"""Multi-token-prediction modules in training: closed forms of their FLOPs, parameters and memory."""

import numpy as np
import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.lowering import kernels, model_flops
from sim.lowering.footprint import training_footprint
from sim.lowering.kernels import HEAD
from sim.lowering.kinds import PHASE_IDS
from sim.lowering.parameters import mtp_parameters
from sim.lowering.passes import pass_units
from sim.lowering.sharding import Step, columns
from sim.lowering.weights import weights
from tests.lowering.test_flops import gpt, products

TOKENS, HIDDEN, VOCAB = 512, 256, 1024
LIBRARY = default_library()
STEP = Step("train", 1, TOKENS, TOKENS)


def model(depths=0, layers=4):
    return gpt(layers, HIDDEN, 8, vocab=VOCAB).with_(mtp_layers=depths)


def around(depths):
    """Forward FLOPs of projection 2h -> h and shared head."""
    return depths * 2.0 * TOKENS * (2 * HIDDEN * HIDDEN + HIDDEN * VOCAB)


@pytest.mark.parametrize("depths", [1, 2, 3])
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_a_depth_is_a_layer_a_projection_and_the_head_again(depths, recompute):
    plan = Plan(recompute=recompute)
    plain, deeper = (products(kernels(m, plan, STEP), "forward") for m in (model(), model(layers=4 + depths)))
    got = products(kernels(model(depths), plan, STEP), "forward")
    assert got == pytest.approx(deeper + around(depths))
    again = products(kernels(model(depths), plan, STEP), "recompute")
    assert again == pytest.approx(products(kernels(model(layers=4 + depths), plan, STEP), "recompute"))
    assert got > plain


def test_flops_of_a_token_grow_by_three_forward_passes_of_the_modules():
    layer = model_flops(model(layers=5), TOKENS) - model_flops(model(), TOKENS)
    assert model_flops(model(1), TOKENS) - model_flops(model(), TOKENS) == pytest.approx(
        layer + 3.0 * around(1) / TOKENS
    )


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_sharding_conserves_the_flops_of_the_modules(tp):
    whole = products(kernels(model(2), Plan(), STEP), "forward")
    assert products(kernels(model(2), Plan(tp=tp), STEP), "forward") * tp == pytest.approx(whole)


def test_the_modules_run_on_the_last_stage():
    table, plain = (kernels(m, Plan(pp=4), STEP) for m in (model(1), model()))
    for stage in range(4):
        more = len(table.count[table.stage == stage]) - len(plain.count[plain.stage == stage])
        assert (more > 0) == (stage == 3)


@pytest.mark.parametrize("name", ["deepseek-v3", "glm-5", "minimax-m2.5"])
def test_a_rank_that_holds_all_holds_their_parameters_and_a_last_stage_a_copy_of_the_embedding(name):
    found = LIBRARY.model(name)
    plans = [Plan(), Plan(pp=4), Plan(pp=4, schedule="dualpipe", global_batch=8)]
    c = columns(found, plans, True)
    held = weights(found, c)
    copy = 0.0 if found.tied else found.vocab * found.hidden
    expected = mtp_parameters(found) + np.array([0.0, copy, 0.0])
    assert held.further[0] + held.further[1] == pytest.approx(expected, rel=1e-6)
    assert weights(found, columns(found, plans, False)).further[0].tolist() == [0.0] * 3


def test_experts_of_the_modules_are_spread_over_their_ranks():
    found = LIBRARY.model("deepseek-v3")
    c = columns(found, [Plan(dp=64, ep=ep) for ep in (1, 64)], True)
    experts = weights(found, c).further[1]
    assert experts[0] == pytest.approx(64 * experts[1])


def test_memory_grows_by_their_states_their_activations_and_a_second_set_of_logits():
    plan = Plan(global_batch=1, recompute="none")
    plain, more = (training_footprint(m, [plan], TOKENS) for m in (model(), model(1)))
    deeper = training_footprint(model(layers=5), [plan], TOKENS)
    added = mtp_parameters(model(1))
    assert more.optimizer[0] - plain.optimizer[0] == pytest.approx(12.0 * added)
    assert more.activations[0] - deeper.activations[0] == pytest.approx(5 * 2.0 * TOKENS * HIDDEN)
    assert more.workspace[0] == pytest.approx(2 * plain.workspace[0])


@pytest.mark.parametrize(
    ("schedule", "micro_batches"), [("1f1b", 1), ("zb-h1", 1), ("zb-v", 1), ("dualpipe", 1), ("gpipe", 8)]
)
def test_a_module_keeps_what_one_micro_batch_leaves_since_its_backward_pass_follows_at_once(schedule, micro_batches):
    plan = Plan(pp=4, global_batch=8, schedule=schedule, recompute="full")
    plain, more = (training_footprint(m.with_(head="tokens"), [plan], TOKENS) for m in (model(0, 8), model(64, 8)))
    added = (more.activations - plain.activations)[0] / (2.0 * TOKENS * HIDDEN)
    assert more.stage[0] == (0 if schedule in ("zb-v", "dualpipe") else 3)
    held = {"1f1b": (4, 1), "zb-h1": (4, 4), "zb-v": (4, 4), "dualpipe": (5, 5), "gpipe": (8, 8)}[schedule]
    assert added == pytest.approx(64 * 6 * micro_batches + 2 * (held[1] - held[0]))


def test_serving_does_not_run_them():
    step = Step("decode", 8, 1, 1024)
    tables = [pass_units(m, columns(m, [Plan()], False), [step]) for m in (model(), model(1))]
    assert len(tables[0]) == len(tables[1])


def test_all_rows_of_the_modules_have_the_site_of_the_head_and_a_backward_direction():
    table, plain = (pass_units(m, columns(m, [Plan()], True), [STEP]) for m in (model(1), model()))
    assert set(np.unique(table.site)) == set(np.unique(plain.site))
    for phase in ("forward", "backward", "weights"):
        rows = (table.site == HEAD) & (table.phase == PHASE_IDS[phase])
        assert rows.sum() > ((plain.site == HEAD) & (plain.phase == PHASE_IDS[phase])).sum()
