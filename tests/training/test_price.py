"""The price of a step, held against the executors, closed forms and itself."""

import numpy as np
import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.catalog.targets import target
from sim.engine import run
from sim.lowering import PART_IDS
from sim.training import price, step_schedule
from tests.lowering.test_flops import gpt

LIBRARY = default_library()
H100 = target(LIBRARY, "dgx-h100", "megatron", "train")
LLAMA = LIBRARY.model("llama-3.1-8b")
PLANS = [
    Plan(tp=tp, pp=pp, dp=8, micro_batch=1, global_batch=128, virtual_stages=v, recompute=recompute, sharding=sharding)
    for tp in (1, 8)
    for pp, v in ((1, 1), (4, 1), (4, 2))
    for recompute in ("none", "full")
    for sharding in ("zero1", "zero3")
]


SCHEDULES = [
    Plan(tp=2, pp=4, dp=4, micro_batch=1, global_batch=64, schedule=schedule, recompute="none")
    for schedule in ("1f1b", "gpipe", "zb-h1", "zb-v", "v-half", "v-min", "dualpipe")
]


def test_a_batch_of_plans_costs_what_each_costs_alone():
    plans = PLANS + SCHEDULES
    together = price(LLAMA, plans, H100, 4096)
    for index, plan in enumerate(plans):
        alone = price(LLAMA, [plan], H100, 4096)
        assert together.step_s[index] == alone.step_s[0]
        assert together.memory_bytes[index] == alone.memory_bytes[0]
        assert together.joules[index] == pytest.approx(alone.joules[0])


@pytest.mark.parametrize("plan", [p for p in PLANS + SCHEDULES if p.pp > 1])
def test_simpy_and_the_compiled_executor_agree_on_a_real_step(plan):
    schedule = step_schedule(LLAMA, plan, H100, 4096)
    slow, fast = run(schedule, executor="simpy"), run(schedule, executor="compiled")
    assert np.array_equal(slow.end_s, fast.end_s) and np.array_equal(slow.start_s, fast.start_s)
    priced = price(LLAMA, [plan], H100, 4096)
    outside = priced.step_s[0] - fast.makespan_s
    assert outside >= H100.stack.step_host_s  # what is left is the optimizer, its traffic and the host


def test_a_step_waits_for_the_slowest_node_by_the_logarithm_of_how_many_there_are():
    steps = []
    for straggle in (0.0, 0.02):
        stack = H100.stack.with_(factors={**H100.stack.factors, "straggle": straggle})
        steps.append(
            price(LLAMA, [Plan(dp=dp, global_batch=64) for dp in (8, 64)], H100._replace(stack=stack), 4096).step_s
        )
    assert steps[1] / steps[0] == pytest.approx([1.0, 1.0 + 0.02 * np.log(8)])


def test_a_compiler_leaves_out_the_last_product_of_a_layer_that_is_recomputed():
    compiled = H100._replace(stack=H100.stack.with_(factors={**H100.stack.factors, "recomputed_outputs": 0.0}))
    plan = Plan(dp=8, micro_batch=2, global_batch=16, recompute="full")
    ffn = [price(LLAMA, [plan], target, 4096).parts[0, PART_IDS["ffn"]].sum() for target in (H100, compiled)]
    # gate, up and down: four passes over each, or three over the last
    assert ffn[1] / ffn[0] == pytest.approx(11 / 12, abs=0.02)


def test_the_parts_of_a_step_sum_to_it():
    priced = price(LLAMA, PLANS + SCHEDULES, H100, 4096)
    assert priced.parts.sum(axis=(1, 2)) == pytest.approx(priced.step_s, rel=1e-9)
    assert np.all(priced.low_s <= priced.step_s) and np.all(priced.step_s <= priced.high_s)


def test_the_bubble_of_equal_stages_is_p_minus_one_micro_batches():
    model = gpt(32, 4096, 32, vocab=1024)
    from sim.lowering.kinds import PART_IDS

    priced = price(model, [Plan(pp=8, dp=1, global_batch=64, recompute="none")], H100, 2048)
    bubble = priced.parts[0, PART_IDS["bubble"]].sum()
    work = priced.parts[0].sum() - bubble
    assert bubble / work == pytest.approx(7 / 64, rel=0.15)  # the two ends make stages unequal, sends take their time


def test_schedules_trade_memory_for_bubble_as_their_papers_say():
    """Split backward passes shorten the bubble at 1F1B's memory; V-half and V-min hold less; GPipe holds every micro-batch."""
    model = gpt(32, 4096, 32, vocab=1024)
    priced = price(model, [plan.with_(pp=8, tp=1, dp=1) for plan in SCHEDULES], H100, 2048)
    step = dict(zip((plan.schedule for plan in SCHEDULES), priced.step_s.tolist(), strict=True))
    held = dict(zip((plan.schedule for plan in SCHEDULES), priced.memory_bytes.tolist(), strict=True))
    assert step["zb-v"] < step["zb-h1"] < step["1f1b"]
    assert step["gpipe"] == pytest.approx(step["1f1b"], rel=0.01)
    assert held["v-min"] < held["v-half"] < held["zb-v"] < held["gpipe"]
    assert held["1f1b"] == pytest.approx(held["zb-h1"], rel=0.01)
    assert held["dualpipe"] > held["zb-v"]  # two copies of the weights


def test_interleaving_shrinks_the_bubble():
    plain, chunked = price(LLAMA, [PLANS[4].with_(pp=4), PLANS[4].with_(pp=4, virtual_stages=4)], H100, 4096).step_s
    assert chunked < plain


def test_recomputation_costs_time_and_saves_memory():
    plan = Plan(tp=1, dp=8, global_batch=64)
    priced = price(LLAMA, [plan.with_(recompute="none"), plan.with_(recompute="full")], H100, 8192)
    assert priced.step_s[1] == pytest.approx(priced.step_s[0] * 4 / 3, rel=0.06)
    assert priced.memory_bytes[1] < priced.memory_bytes[0] / 1.3


@pytest.mark.parametrize("cluster", ["dgx-h100", "tpu-v5p", "trn2", "mi300x", "hls-gaudi2"])
def test_a_step_never_gets_slower_when_the_chip_gets_better(cluster):
    base = target(LIBRARY, cluster, None, "train")
    plan = Plan(tp=4, dp=8, global_batch=64, recompute="none")
    before = price(LLAMA, [plan], base, 4096).step_s[0]
    memory = base.chip.memory.with_(bandwidth_bytes_per_s=2 * base.chip.memory.bandwidth_bytes_per_s)
    tiers = tuple(tier.with_(bandwidth_bytes_per_s=2 * tier.bandwidth_bytes_per_s) for tier in base.cluster.tiers)
    better = base._replace(chip=base.chip.with_(memory=memory), cluster=base.cluster.with_(tiers=tiers))
    assert price(LLAMA, [plan], better, 4096).step_s[0] <= before * (1 + 1e-9)


def test_schedules_rank_as_measured_on_eight_stages_of_an_mi300x_node():
    """AMD Primus, Llama-2-7B: 10,057, 10,894, 10,974 and 11,347 tokens a second and chip."""
    node = target(LIBRARY, "mi300x", "megatron-rocm", "train")
    plan = Plan(pp=8, dp=1, micro_batch=1, global_batch=32, recompute="none")
    plans = [plan, plan.with_(schedule="v-half"), plan.with_(virtual_stages=2), plan.with_(schedule="zb-v")]
    steps = price(LIBRARY.model("llama-2-7b"), plans, node, 4096).step_s
    assert np.all(np.diff(steps) < 0)
    assert steps[0] / steps[-1] == pytest.approx(11347 / 10057, rel=0.05)


def test_traffic_is_hidden_only_as_far_as_compute_goes():
    from sim.training.pricing import hidden_behind

    traffic, compute = np.array([1.0, 1.0, 1.0]), np.array([2.0, 0.5, 0.0])
    assert hidden_behind(traffic, compute, 0.2).tolist() == pytest.approx([0.2, 0.5, 1.0])


def test_quick_says_what_price_says():
    from sim.lowering import columns
    from sim.training.pricing import quick

    plans = PLANS + SCHEDULES
    whole, fast = price(LLAMA, plans, H100, 4096), quick(LLAMA, columns(LLAMA, plans, True), H100, 4096)
    assert fast.step_s == pytest.approx(whole.step_s, rel=1e-9)


def test_an_interval_holds_the_step_and_comes_from_steps_that_no_fit_has_seen():
    priced = price(LLAMA, PLANS[:1], H100, 4096)
    known = H100.stack.residuals
    assert priced.low_s[0] / priced.step_s[0] == pytest.approx(np.exp(known["p10"]))
    assert priced.high_s[0] / priced.step_s[0] == pytest.approx(np.exp(known["p90"]))


def test_dualpipe_hides_the_exchange_of_experts_but_for_the_units_that_move_it_and_passes_without_a_partner():
    from sim.lowering.kinds import PART_IDS

    model = LIBRARY.model("deepseek-v3").with_(mtp_layers=0)
    on = target(LIBRARY, "h800", "megatron", "train")
    part = PART_IDS["ep_traffic"]

    def exchange(schedule, batch, overlap=True):
        plan = Plan(pp=16, dp=64, ep=64, schedule=schedule, global_batch=64 * batch, recompute="none", overlap=overlap)
        return price(model, [plan], on, 4096).parts[0, part].sum() / batch

    whole = exchange("zb-h1", 128)
    for batch in (32, 128, 512):
        alone = 16 / batch
        assert exchange("dualpipe", batch) == pytest.approx(whole * (alone + (1 - alone) * 20 / 132), rel=1e-6)
    assert exchange("dualpipe", 128, overlap=False) == pytest.approx(whole)
