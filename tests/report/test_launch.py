"""Launch arguments hold the flag names of the frameworks, and multiply out to the plan that they stand for."""

import re

import pytest
import yaml

from sim.catalog.library import default_library
from sim.catalog.plans import Dtypes, Plan
from sim.errors import InputError
from sim.report.launch import launch

LIBRARY = default_library()
PLAN = Plan(tp=4, pp=2, dp=8, cp=2, micro_batch=2, global_batch=256, virtual_stages=2, recompute="full")
MEGATRON = {  # names of Megatron-LM's arguments.py
    *(
        "num-layers",
        "hidden-size",
        "ffn-hidden-size",
        "num-attention-heads",
        "group-query-attention",
        "num-query-groups",
    ),
    *("kv-channels", "seq-length", "max-position-embeddings", "micro-batch-size", "global-batch-size"),
    *("tensor-model-parallel-size", "pipeline-model-parallel-size", "context-parallel-size", "num-experts"),
    *("moe-router-topk", "moe-ffn-hidden-size", "expert-model-parallel-size", "num-layers-per-virtual-pipeline-stage"),
    *(
        "sequence-parallel",
        "recompute-granularity",
        "recompute-method",
        "recompute-num-layers",
        "multi-latent-attention",
    ),
    *("swiglu", "disable-bias-linear", "add-qkv-bias", "position-embedding-type", "vocab-size", "mtp-num-layers"),
    *("untie-embeddings-and-output-weights", "q-lora-rank", "kv-lora-rank", "qk-head-dim", "qk-pos-emb-head-dim"),
    *("v-head-dim", "moe-shared-expert-intermediate-size", "moe-layer-freq", "expert-tensor-parallel-size"),
    *("num-distributed-optimizer-instances", "attention-backend", "optimizer", "grad-reduce-in-bf16", "fp4-format"),
    *("use-distributed-optimizer", "use-megatron-fsdp", "data-parallel-sharding-strategy", "overlap-grad-reduce"),
    *("overlap-param-gather", "optimizer-cpu-offload", "bf16", "fp16", "fp8-format"),
}
TORCHTITAN = {
    *("parallelism.data_parallel_replicate_degree", "parallelism.data_parallel_shard_degree"),
    *(
        "parallelism.tensor_parallel_degree",
        "parallelism.pipeline_parallel_degree",
        "parallelism.pipeline_parallel_schedule",
    ),
    *("parallelism.context_parallel_degree", "parallelism.expert_parallel_degree"),
    *("training.num_tokens_per_train_step", "training.max_context_length", "activation_checkpoint.mode"),
}


def flags(text):
    """Name -> value of `--name value` words; comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return dict(re.findall(r"--([\w.-]+)(?:[ \n]+([^-\s\\][^\s\\]*))?", lines))


@pytest.mark.parametrize("name", ["llama-3.1-70b", "deepseek-v3", "gpt-3-175b", "mixtral-8x7b"])
def test_megatron_gets_only_flags_that_it_has(name):
    found = flags(launch("megatron", LIBRARY.model(name), PLAN.with_(ep=8), 4096))
    assert set(found) <= MEGATRON
    assert found["tensor-model-parallel-size"] == "4" and found["global-batch-size"] == "256"
    assert found["num-layers-per-virtual-pipeline-stage"] == str(LIBRARY.model(name).layers // 4)


@pytest.mark.parametrize("sharding", ["none", "zero1", "zero2", "zero3"])
def test_torchtitan_degrees_multiply_out_to_the_ranks(sharding):
    plan = PLAN.with_(sharding=sharding, virtual_stages=1)
    found = flags(launch("torchtitan", LIBRARY.model("llama-3.1-70b"), plan, 4096))
    assert set(found) <= TORCHTITAN
    degrees = [int(value) for name, value in found.items() if name.endswith("_degree")]
    assert np_prod(degrees) == 4 * 2 * 8 * 2
    assert found["training.num_tokens_per_train_step"] == str(256 * 4096)


def np_prod(values):
    out = 1
    for value in values:
        out *= value
    return out


def test_maxtext_is_a_yaml_whose_axes_multiply_out():
    plan = PLAN.with_(sharding="zero3", virtual_stages=1, dtypes=Dtypes(weights="fp8"))
    found = yaml.safe_load(launch("maxtext", LIBRARY.model("llama-3.1-70b"), plan, 4096))
    axes = [value for name, value in found.items() if name.startswith("ici_")]
    assert np_prod(axes) == 4 * 2 * 8 * 2
    assert found["per_device_batch_size"] == 256 / 128 and found["quantization"] == "fp8"
    assert found["base_num_kv_heads"] == 8 and found["head_dim"] == 128


def test_what_a_framework_cannot_say_is_said():
    text = launch("torchtitan", LIBRARY.model("llama-3.1-70b"), PLAN.with_(sharding="zero1"), 4096)
    assert "# not said here" in text and "zero1" in text
    with pytest.raises(InputError, match="megatron, torchtitan, maxtext"):
        launch("pax", LIBRARY.model("llama-3.1-70b"), PLAN, 4096)
