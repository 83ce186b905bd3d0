"""Context parallelism, formats of a checkpoint and a power cap move the terms that they should, and no other."""

import numpy as np
import pytest

from sim import cost
from sim.catalog.library import default_library
from sim.catalog.models import Stored
from sim.catalog.plans import Engine, Plan
from sim.catalog.scenarios import Group
from sim.catalog.targets import adjusted, target
from sim.catalog.traffic import Requests
from sim.lowering.kernels import DTYPE_IDS
from sim.lowering.kinds import KIND_IDS, PART_IDS
from sim.lowering.passes import kernels
from sim.lowering.sharding import Step
from sim.serving import state
from sim.serving.lowered import Lowered
from sim.serving.metrics import metrics
from sim.serving.pack import pack
from sim.serving.run import simulate

from .parts import bits, packed, random_requests
from .test_pack import roofline, total

LONG = 131072.0


def plan(**degrees):
    return Plan(sequence_parallel=False, **degrees)


def made(model, chosen, chip="h200", price=roofline, longest=140_000):
    on = target(default_library(), chip, None, "serve")
    return pack(model, chosen, on, Engine(), price, longest)


def asked(given, output_tokens, n=1):
    return Requests("x", np.zeros(n), np.full(n, given, np.int32), np.full(n, output_tokens, np.int32))


def of_kind(table, name):
    return table.take(np.flatnonzero(table.kind == KIND_IDS[name]))


@pytest.mark.parametrize("name", ["llama-3.1-70b", "deepseek-v3", "gpt-oss-120b"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_ranks_of_a_context_share_its_attention_evenly(name, phase):
    model = default_library().model(name)
    step = Step(phase, 1.0, LONG if phase == "prefill" else 1.0, LONG)
    alone, four = (of_kind(kernels(model, plan(cp=cp), step), f"attention_{phase}") for cp in (1, 4))
    work = [float((table.flops() * table.count).sum()) for table in (alone, four)]
    assert work[0] == pytest.approx(4 * work[1], rel=0.02)


@pytest.mark.parametrize("name", ["llama-3.1-70b", "deepseek-v3"])
def test_decoding_ranks_see_every_token_and_combine_what_they_found(name):
    model = default_library().model(name)
    alone, four = (kernels(model, plan(cp=cp), Step("decode", 16.0, 1.0, LONG)) for cp in (1, 4))
    dense = [of_kind(table, "gemm") for table in (alone, four)]
    assert (dense[0].flops() * dense[0].count).sum() == (dense[1].flops() * dense[1].count).sum()
    traffic = four.take(np.flatnonzero(four.part == PART_IDS["cp_traffic"]))
    mixer = model.blocks[-1].mixer
    values = mixer.heads * (mixer.kv_rank if name == "deepseek-v3" else mixer.head_dim)
    sums = of_kind(traffic, "all_reduce")
    assert (sums.dims[:, 0] == 2.0 * 16 * values).all() and sums.count.sum() == model.layers
    assert (of_kind(traffic, "all_gather").dims[:, 0] == 4.0 * 16 * mixer.heads * 4).all()


def test_a_prompt_passes_its_keys_round_once():
    model = default_library().model("llama-3.1-70b")
    table = kernels(model, plan(tp=2, cp=4), Step("prefill", 1.0, LONG, LONG))
    traffic = table.take(np.flatnonzero(table.part == PART_IDS["cp_traffic"]))
    assert (traffic.dims[:, 0] == 2.0 * LONG * 2 * 8 / 2 * 128).all() and traffic.count.sum() == model.layers


@pytest.mark.parametrize(
    ("name", "degrees"), [("llama-3.1-70b", {"tp": 4, "cp": 2}), ("deepseek-v3", {"tp": 8, "ep": 8, "cp": 4})]
)
def test_parts_of_a_pass_add_up_under_context_parallelism(name, degrees):
    model, chosen = default_library().model(name), plan(**degrees)
    parts, one, kv = Lowered(model, chosen, roofline), np.ones(1), np.array([9000.0])
    cp = chosen.cp
    decode = parts.trunk_s(8 * one).sum(axis=1) + parts.logits_s(8 * one) + parts.decode_s(8 * one, kv)
    assert decode[0] == pytest.approx(total(model, chosen, Step("decode", 8.0, 1.0, 9000.0)), rel=1e-9)
    query = np.array([4096.0])
    prompt = parts.trunk_s(query / cp).sum(axis=1) + parts.logits_s(one) + parts.prefill_s(one, query, query + kv)
    assert prompt[0] == pytest.approx(total(model, chosen, Step("prefill", 1.0, 4096.0, 13096.0)), rel=1e-9)


def test_context_parallelism_speeds_long_prompts_up_and_widens_the_cache():
    model = default_library().model("llama-3.1-70b")
    two, four = made(model, Plan(tp=4)), made(model, Plan(tp=4, cp=4))
    assert four.limits.chips == 16 and four.limits.kv_blocks > 3.9 * two.limits.kv_blocks
    ttft = [metrics(simulate(each, asked(120_000, 50)))["ttft_s_mean"] for each in (two, four)]
    assert 2.5 < ttft[0] / ttft[1] < 4.0
    tpot = [metrics(simulate(each, asked(120_000, 50)))["tpot_s_mean"] for each in (two, four)]
    assert tpot[1] < tpot[0]  # a quarter of the keys, all of the weights


def test_leaping_and_stepping_agree_under_context_parallelism():
    for number in range(3):
        pack_ = packed(cp=3, kv_blocks=90, longest=1024)
        assert bits(simulate(pack_, random_requests(number))) == bits(
            simulate(pack_, random_requests(number), leap=False)
        )


def test_a_four_bit_checkpoint_that_keeps_attention_in_16_bits_moves_only_what_it_quantised():
    base = default_library().model("llama-3.1-70b").with_(stored=Stored())
    step, rows = Step("decode", 8.0, 1.0, 2000.0), {}
    for name, stored in (
        ("plain", Stored()),
        ("all", Stored(linear="fp4", attention="fp4", activations="bf16")),
        ("mixed", Stored(linear="fp4", attention="bf16", activations="bf16")),
    ):
        table = kernels(base.with_(stored=stored), plan(), step)
        projections = table.part == PART_IDS["projection"]
        ffn = (table.part == PART_IDS["ffn"]) & (table.kind == KIND_IDS["gemm"])
        rows[name] = (
            set(table.stored[projections & (table.kind == KIND_IDS["gemm"])].tolist()),
            set(table.stored[ffn].tolist()),
        )
    bf16, fp4 = DTYPE_IDS["bf16"], DTYPE_IDS["fp4"]
    assert rows == {"plain": ({bf16}, {bf16}), "all": ({fp4}, {fp4}), "mixed": ({bf16}, {fp4})}
    room = [
        made(base.with_(stored=stored), Plan(tp=4)).limits.kv_blocks
        for stored in (Stored(), Stored(linear="fp4", attention="bf16"), Stored(linear="fp4", attention="fp4"))
    ]
    assert room[0] < room[1] < room[2]


def test_a_power_cap_slows_prompts_more_than_decodes():
    library = default_library()
    model, free = library.model("llama-3.1-8b"), target(library, "h100-sxm", None, "serve")
    figures = []
    for cap_w in (None, 350.0):
        on = adjusted(free, Group(role="serve", model="x", cluster="x", power_cap_w=cap_w))
        machine = cost.machine(on.chip, on.family, on.calibration, on.cluster)
        replica = pack(model, Plan(), on, Engine(), lambda rows, m=machine: cost.seconds(rows, m), 8192)
        figures.append(metrics(simulate(replica, asked(4000, 100))))
    slower = [figures[1][name] / figures[0][name] for name in ("ttft_s_mean", "tpot_s_mean")]
    assert slower[0] > 1.15 and 1.0 <= slower[1] < slower[0]


def test_the_pack_counts_prompt_tokens_of_a_rank():
    pack_ = packed(cp=4)
    served = simulate(pack_, asked(1000, 1), leap=True)
    ffn = served.busy_s["ffn", "prefill"]
    assert ffn == pytest.approx(1e-2 + 2e-5 * 250, rel=1e-6)
    assert served.counters[0, state.PREFILLED] == 1000
