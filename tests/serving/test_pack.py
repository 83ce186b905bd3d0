"""The pack: every row of a pass is priced once, tables give back what was priced, limits come from engine, stack and memory."""

import numpy as np
import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Dtypes, Engine, Plan
from sim.catalog.targets import target
from sim.catalog.traffic import Requests, poisson
from sim.errors import Infeasible
from sim.lowering.kinds import PARTS
from sim.lowering.passes import kernels
from sim.lowering.sharding import Step
from sim.serving import state
from sim.serving.lowered import Lowered
from sim.serving.metrics import metrics
from sim.serving.pack import pack
from sim.serving.run import simulate
from sim.serving.settings import as_served

from .parts import Linear, packed

MODELS = (
    ("llama-3.1-8b", Plan(tp=2, sequence_parallel=False)),
    ("llama-3.1-70b", Plan(tp=4, pp=2, sequence_parallel=False)),
    ("mixtral-8x7b", Plan(tp=2, ep=2, sequence_parallel=False)),
    ("deepseek-v3", Plan(tp=1, attention_dp=8, ep=8, sequence_parallel=False)),
    ("deepseek-v3.2", Plan(tp=8, ep=8, sequence_parallel=False)),
    ("gpt-oss-120b", Plan(tp=2, sequence_parallel=False)),
    ("qwen3-next-80b-a3b", Plan(tp=2, sequence_parallel=False)),
)


def roofline(rows):
    """A price that sees every dimension."""
    return 1e-6 + rows.flops() / 4e14 + rows.bytes() / 2e12 + np.where(rows.kind >= 9, rows.dims[:, 0] / 2e11, 0.0)


def total(model, plan, step):
    table = kernels(model, plan, step)
    return float((roofline(table) * table.count).sum())


@pytest.mark.parametrize(("name", "plan"), MODELS)
def test_trunk_logits_and_attention_together_are_the_whole_pass(name, plan):
    model, ranks = default_library().model(name), plan.attention_dp
    parts = Lowered(model, plan, roofline)
    n = np.array([1.0, 5.0, 64.0])
    kv = np.array([700.0, 100.0, 9000.0])
    decode = parts.trunk_s(n * ranks).sum(axis=1) + parts.logits_s(n * ranks) + parts.decode_s(n, kv)
    wanted = [total(model, plan, Step("decode", a * ranks, 1.0, b)) for a, b in zip(n, kv, strict=True)]
    assert decode == pytest.approx(wanted, rel=1e-9)
    query, one = np.array([16.0, 512.0, 3000.0]), np.ones(3)
    prompt = (
        parts.trunk_s(query * ranks).sum(axis=1) + parts.logits_s(one * ranks) + parts.prefill_s(one, query, query + kv)
    )
    wanted = [total(model, plan, Step("prefill", ranks, q, q + k)) for q, k in zip(query, kv, strict=True)]
    assert prompt == pytest.approx(wanted, rel=1e-9)


def test_an_encoder_decoder_encodes_in_the_prompt_pass_only():
    model = default_library().model("t5-large")
    parts = Lowered(model, Plan(sequence_parallel=False), roofline)
    one = np.ones(1)
    whole = parts.decode_s(one, 200 * one)[0] + parts.trunk_s(one).sum() + parts.logits_s(one)[0]
    assert whole < 0.8 * total(model, Plan(sequence_parallel=False), Step("decode", 1.0, 1.0, 200.0))


def _asked(given, made, n=1):
    return Requests("x", np.zeros(n), np.full(n, given, np.int32), np.full(n, made, np.int32))


def _packed(name, chip, plan, engine=Engine(), longest=8192, price=roofline):  # noqa: B008
    library = default_library()
    alone = target(library, chip, None, "serve")
    alone = alone._replace(
        stack=alone.stack.with_(launch_hidden_s=0.0, factors={})
    )  # kernels cost what they cost alone
    return pack(library.model(name), plan, alone, engine, price, longest)


def _stack(chip):
    return target(default_library(), chip, None, "serve").stack


@pytest.mark.parametrize("prompt", [100, 1000, 1024, 5000])
def test_a_prompt_pass_costs_what_its_kernels_cost_and_the_host_time_of_the_stack(prompt):
    replica = _packed("llama-3.1-8b", "h100-sxm", Plan())
    served = simulate(replica, _asked(prompt, 1))
    model, limits = default_library().model("llama-3.1-8b"), replica.limits
    small_s = _stack("h100-sxm").kernels_per_layer * model.layers * 1e-6  # at the floor of the price
    alone = total(model, Plan(sequence_parallel=False), Step("prefill", 1.0, prompt, prompt))
    host_s = limits.step_host_s + limits.sequence_host_s + limits.prompt_host_s
    assert served.clocks[0, state.BUSY_S] == pytest.approx(
        (alone + small_s) * (1.0 + limits.prompt_gaps) + host_s, rel=0.01
    )


def test_a_replayed_graph_hides_part_of_every_launch_and_at_most_half_of_a_kernel():
    model, plan = default_library().model("llama-3.1-8b"), Plan(sequence_parallel=False)
    stack = _stack("h100-sxm").with_(factors={}, kernels_per_layer=10.0 / 32)
    alone, graph, all_hidden = (
        Lowered(model, plan, roofline, stack.with_(launch_hidden_s=hidden_s)) for hidden_s in (0.0, 2e-7, 1.0)
    )
    tokens = np.array([1.0, 64.0])
    gained = (alone.trunk_s(tokens) - graph.trunk_s(tokens)).sum(axis=1)
    shared = model.layers * 9 + 10 + 2  # what does not look at sequences, the small ones, embedding and last norm
    assert gained == pytest.approx(2e-7 * shared, rel=0.15)
    assert all_hidden.trunk_s(tokens) == pytest.approx(alone.trunk_s(tokens) / 2)


def test_four_bit_checkpoints_with_16_bit_activations_use_the_four_bit_rate_where_there_is_one():
    library = default_library()
    model = library.model("gpt-oss-120b")
    assert as_served(Plan(), model, library.chip("b200")).dtypes.activations == "fp4"
    assert as_served(Plan(), model, library.chip("h200")).dtypes.activations is None
    chosen = Plan(dtypes=Dtypes(activations="bf16"))
    assert as_served(chosen, model, library.chip("b200")).dtypes.activations == "bf16"


def test_host_time_of_sequences_is_that_of_one_attention_dp_rank():
    requests, host_s = _asked(100, 50, n=16), 1e-3
    busy = [
        simulate(packed(attention_dp=4, sequence_host_s=s), requests).clocks[0, state.BUSY_S] for s in (0.0, host_s)
    ]
    assert busy[1] - busy[0] == pytest.approx(50 * 4 * host_s)


def test_default_limits_of_a_stack_count_for_each_batch_of_a_pipeline():
    staged = _packed("llama-3.1-8b", "h100-sxm", Plan(pp=2)).limits
    assert staged.max_num_seqs == 2 * _stack("h100-sxm").engine.max_num_seqs


def test_decoding_costs_what_its_kernels_cost_at_every_length():
    replica = _packed("llama-3.1-8b", "h100-sxm", Plan())
    served = simulate(replica, _asked(777, 300, n=10))
    model, limits, plan = default_library().model("llama-3.1-8b"), replica.limits, Plan(sequence_parallel=False)
    each = limits.step_host_s + 10 * limits.sequence_host_s + _stack("h100-sxm").kernels_per_layer * model.layers * 1e-6
    wanted_s = np.mean([total(model, plan, Step("decode", 10.0, 1.0, 777.0 + k)) + each for k in range(1, 300)])
    assert (served.finish_s[0] - served.first_token_s[0]) / 299 == pytest.approx(wanted_s, rel=1e-3)


def test_the_kv_cache_is_what_memory_leaves_beside_weights():
    replica = _packed("llama-3.1-8b", "h100-sxm", Plan())
    capacity = _stack("h100-sxm").engine.kv_fraction * 80 * 2**30 - 8.03e9 * 2
    assert replica.limits.kv_blocks * 16 * 131072 == pytest.approx(capacity, rel=0.05)  # 128 KiB of KV a token
    quarter = _packed("llama-3.1-8b", "h100-sxm", Plan(), Engine(kv_block=64))
    assert quarter.limits.kv_blocks == pytest.approx(replica.limits.kv_blocks / 4, rel=1e-3)


def test_a_model_that_leaves_no_room_for_kv_is_infeasible_and_says_by_how_much():
    with pytest.raises(Infeasible, match="weights and workspace take"):
        _packed("llama-3.1-70b", "h100-sxm", Plan())


def test_attention_dp_splits_sequences_and_adds_up_caches():
    alone = _packed("deepseek-v3", "h200", Plan(tp=8, ep=8, attention_dp=1))
    spread = _packed("deepseek-v3", "h200", Plan(tp=1, ep=8, attention_dp=8))
    assert spread.limits.kv_blocks > 4 * alone.limits.kv_blocks  # a latent cache is whole on every tp rank
    assert spread.limits.chips == alone.limits.chips == 8


def test_a_lone_prompt_stays_on_one_attention_dp_rank_and_many_spread():
    plan = Plan(tp=1, ep=8, attention_dp=8)
    replica = _packed("deepseek-v3", "h200", plan)
    one, eight = (float(simulate(replica, _asked(2048, 1, n)).finish_s.max()) for n in (1, 8))
    assert one > 0.6 * eight  # dense layers and attention of one rank take as long; only its experts have help
    parts = replica.costs
    even = parts.trunk_s(np.array([2048.0])).sum() + parts.logits_s(np.ones(1))[0]
    assert one > 1.5 * even
    served = simulate(replica, _asked(2048, 3, 3))
    assert sum(served.busy_s.values()) == pytest.approx(served.clocks[0, state.BUSY_S], rel=1e-9)


def test_default_limits_of_a_stack_are_those_of_one_attention_dp_rank():
    plan = Plan(tp=1, ep=8, attention_dp=8)
    assert (
        _packed("deepseek-v3", "h200", plan).limits.max_batched_tokens == 8 * _stack("h200").engine.max_batched_tokens
    )
    assert _packed("deepseek-v3", "h200", plan, Engine(max_batched_tokens=9000)).limits.max_batched_tokens == 9000


def test_settings_of_the_user_override_the_stacks_and_the_stacks_hold_otherwise():
    assert _packed("llama-3.1-8b", "h100-sxm", Plan()).limits.max_num_seqs == _stack("h100-sxm").engine.max_num_seqs
    assert _packed("llama-3.1-8b", "h100-sxm", Plan(), Engine(max_num_seqs=7)).limits.max_num_seqs == 7


def test_compiled_stacks_pad_a_batch_to_a_power_of_two():
    exact, padded = packed(), packed(power_of_two=True)
    for n, up in ((1, 1), (5, 8), (33, 64), (1000, 1024)):
        assert exact.token_points[exact.tables.cell[n]] <= n
        assert padded.token_points[padded.tables.cell[n]] == up
        assert padded.tables.weight[n] == 0.0
    requests = poisson(2.0, 50, 300, 40, spread=0.5, seed=1)
    times = [metrics(simulate(p, requests))["latency_s_mean"] for p in (exact, padded)]
    assert times[1] > times[0]


def test_a_bert_request_is_one_pass():
    replica = _packed("bert-base", "h100-sxm", Plan(), longest=512)
    served = simulate(replica, _asked(512, 1, n=40))
    assert served.finished.all() and replica.limits.kv_blocks is None
    assert (served.first_token_s == served.finish_s).all()
    assert served.busy_s.get(("attention", "decode"), 0.0) == 0.0


def test_a_recommender_prices_samples_without_attention():
    replica = _packed("dlrm-criteo-1tb", "mtia-2i", Plan(tp=8), longest=4096)
    served = simulate(replica, _asked(512, 1, n=4))
    assert served.finished.all()
    assert ("attention", "prefill") not in served.busy_s


def test_prices_are_made_lazily_and_a_second_run_makes_none():
    class Counting(Linear):
        calls = 0

        def trunk_s(self, tokens):
            Counting.calls += 1
            return super().trunk_s(tokens)

    replica = packed(Counting())
    assert Counting.calls == 0
    simulate(replica, _asked(100, 10))
    once = Counting.calls
    simulate(replica, _asked(100, 10))
    assert Counting.calls == once > 0
    assert len(PARTS) == replica.parts_s.shape[1]
