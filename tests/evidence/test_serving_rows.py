"""How rows of published serving runs become simulated ones: what engines gather, admit and send."""

from __future__ import annotations

import numpy as np
import pytest

from sim.catalog.library import Library
from sim.catalog.plans import Plan
from sim.evidence import serving_rows
from sim.evidence.bench_settings import waited_steps
from sim.evidence.context import Context
from sim.evidence.inference_rows import predict as predict_inference
from sim.evidence.predictions import silent
from sim.evidence.tables import Row, parse_table
from sim.lowering.kinds import KIND_IDS
from sim.lowering.passes import units
from sim.lowering.sharding import Step
from sim.serving.lowered import every_expert
from sim.serving.queueing import closed_network

HEADER = (
    "model,device,engine,engine_version,precision,mode,input_tokens,output_tokens,concurrency,prefill_batch_size,"
    "prefill_num_workers,prefill_tp_size,prefill_attention_dp_size,prefill_moe_tp_size,prefill_moe_ep_size,decode_batch_size,"
    "decode_num_workers,decode_tp_size,decode_attention_dp_size,decode_moe_tp_size,decode_moe_ep_size,ttft_ms,tpot_ms"
)


@pytest.fixture(scope="module")
def context():
    return Context(Library())


@pytest.mark.parametrize(
    ("cells", "steps"),
    [
        ({"engine": "trtllm", "tp_size": "4"}, 20.0),
        ({"engine": "trtllm", "tp_size": "8"}, 0.0),
        ({"engine": "trtllm", "tp_size": "4", "output_tokens": "8192"}, 0.0),
        ({"engine": "sglang", "concurrency": "8"}, 5.0),
        ({"engine": "sglang", "concurrency": "16"}, 15.0),
        ({"engine": "sglang", "device": "h200"}, 0.0),
        ({"engine": "vllm"}, 0.0),
    ],
)
def test_engines_gather_requests_for_as_long_as_the_scripts_of_their_runs_say(context, cells, steps):
    plain = {"model": "meta-llama/Llama-3.1-70B", "device": "b200", "input_tokens": "1024", "output_tokens": "1024"}
    assert waited_steps(Row({**plain, "concurrency": "4", **cells}, "x.csv:2"), context) == steps


def test_a_pass_serves_a_client_of_each_rank_and_no_more_than_it_holds():
    """Two ranks, passes of one client each: whoever is dealt to the same rank waits for the next pass."""
    away_s = np.full((400, 2), 3.0)
    together = closed_network(1, np.array([1.0]), away_s, ranks=64)
    assert together == pytest.approx(1.0, abs=0.05)  # hardly ever on the same rank
    full = closed_network(1, np.array([1.0, 1.0]), np.full((50, 2), 3.0))
    assert full == pytest.approx(1.0)  # both fit into one pass
    alone = closed_network(1, np.array([1.0]), np.full((50, 2), 0.0))
    assert alone == pytest.approx(2.0, rel=0.02)  # a server that never rests


def test_decode_workers_of_tensorrt_llm_admit_a_power_of_two_and_others_wait_for_a_place(context):
    row = "deepseek-ai/DeepSeek-R1,gb200,trtllm,1.0,fp4,disagg,1024,1024,{},1,1,1,4,1,4,{},4,8,1,1,8,,"
    table = parse_table("\n".join([HEADER, row.format(128, 32), row.format(192, 48)]), "x.csv")
    found = serving_rows.predict(table, context, silent)
    whole, crowded = found.values["ttft_ms"]
    token = found.values["tpot_ms"]
    assert token[1] == pytest.approx(token[0], rel=0.02)
    assert crowded == pytest.approx(0.5 * token[0] * 1024 * 0.9, rel=0.05) and crowded > 5.0 * whole


def test_a_token_travels_once_to_each_rank_and_as_it_is_multiplied(context):
    model = context.library.model("deepseek-v3")
    sent = {}
    for phase, ep in (("decode", 4), ("decode", 256), ("train", 4)):
        plan = Plan(tp=1, dp=ep, ep=ep, attention_dp=ep if phase == "decode" else 1)
        rows = units(model, [plan.with_(dp=1) if phase == "decode" else plan], Step(phase, float(ep), 64.0, 64.0))
        moved = rows.kind == KIND_IDS["all_to_all"]
        sent[phase, ep] = np.unique(rows.dims[moved, 0]) / (64.0 * model.hidden)
    distinct = 4.0 * (1.0 - 0.75**8)
    np.testing.assert_allclose(sent["decode", 4], [1.0 * distinct, 2.0 * distinct])
    assert sent["decode", 256][-1] == pytest.approx(16.0, rel=0.02)
    assert sent["train", 4][-1] == pytest.approx(16.0)


def test_compiled_experts_multiply_every_token_unless_fewer_are_asked_for(context):
    model = context.library.model("qwen3-30b-a3b")
    for tokens, pairs in ((4.0, 4.0 * 8.0), (16.0, 16.0 * 128.0)):
        rows = every_expert(units(model, [Plan()], Step("decode", tokens, 1.0, 64.0)))
        moe = rows.kind == KIND_IDS["moe"]
        assert set(rows.dims[moe, 0].tolist()) == {pairs}


def test_a_chip_full_of_copies_answers_as_many_times_and_a_pipeline_of_cores_is_full(context):
    header = (
        "id,source_id,model,params_B,layers,hidden,ffn,heads,kv_heads,head_dim,vocab,attention,weight_dtype,engine,device,"
        "device_family,num_devices,TP,batch_or_concurrency,batch_policy,input_tokens,output_tokens,phase,requests_per_s,"
        "prefill_latency_ms"
    )
    row = "x,s,bert-base,0.11,12,768,3072,12,12,64,30522,encoder,bf16,neuron,inferentia1,inferentia-trainium,1,1,4,{},128,0,encoder,,"
    policies = ("Data Parallel; copies=n/a", "Data Parallel; copies=4", "Model Pipeline; copies=n/a")
    table = parse_table("\n".join([header, *(row.format(policy) for policy in policies)]), "x.csv")
    rate = predict_inference(table, context, silent).values
    per_s, seconds = rate["requests_per_s"], rate["prefill_latency_ms"] / 1e3
    assert per_s[0] == pytest.approx(per_s[1])
    np.testing.assert_allclose(per_s * seconds, 4.0 * 4.0)
