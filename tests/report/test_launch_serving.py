"""Launches of serving hold only names that the engines have, multiply out to the plan, and are the objects that they claim to be."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from sim.catalog.library import default_library
from sim.catalog.plans import Dtypes, Engine, Plan, Speculative
from sim.errors import InputError
from sim.report.launch_cluster import ENGINES, launch_serving, resource_of, slurm_training
from sim.report.launch_serving import Serving

LIBRARY = default_library()
LLAMA = LIBRARY.model("llama-3.1-8b")
SPECULATIVE = Speculative(method="eagle", tokens=3, acceptance=0.7, draft_model="drafter")
FULL = Engine(max_num_seqs=64, max_batched_tokens=8192, kv_fraction=0.9, kv_block=32, speculative=SPECULATIVE)
KINDS = [
    Serving(LIBRARY.model("deepseek-v3"), Plan(tp=2, pp=2, attention_dp=4, ep=8, dtypes=Dtypes(kv_cache="fp8")), FULL,
            16, count, role, 2048, node_chips=16)
    for role, count in (("prefill", 2), ("decode", 3))
]  # fmt: skip
PLAIN = [Serving(LLAMA, Plan(tp=2), Engine(max_num_seqs=64, prefix_cache=True), 2, 3, longest=700)]

ALLOWED = {
    # vLLM: vllm/engine/arg_utils.py, and `vllm serve` for headless (2026)
    "vllm": "tensor-parallel-size pipeline-parallel-size data-parallel-size enable-expert-parallel max-num-seqs "
    "max-num-batched-tokens max-model-len gpu-memory-utilization block-size kv-cache-dtype enable-prefix-caching "
    "no-enable-prefix-caching speculative-config kv-transfer-config additional-config nnodes node-rank master-addr headless",
    # SGLang: python/sglang/srt/server_args.py, whose flags are the names of its fields (2026)
    "sglang": "model-path tp-size pp-size dp-size enable-dp-attention ep-size max-running-requests chunked-prefill-size "
    "context-length mem-fraction-static page-size kv-cache-dtype disable-radix-cache disaggregation-mode speculative-algorithm "
    "speculative-num-steps speculative-eagle-topk speculative-num-draft-tokens speculative-draft-model-path",
    # TensorRT-LLM: tensorrt_llm/commands/serve.py (2026)
    "trtllm": "tp_size pp_size ep_size max_batch_size max_num_tokens max_seq_len kv_cache_free_gpu_memory_fraction "
    "extra_llm_api_options",
}  # fmt: skip
TRTLLM_OPTIONS = {  # tensorrt_llm/llmapi/llm_args.py (2026)
    *("enable_attention_dp", "enable_chunked_prefill", "kv_cache_config", "speculative_config"),
    "cache_transceiver_config",
}
DYNAMO_WORKER = {  # ai-dynamo/dynamo examples/backends/vllm/deploy, and its operator's v1alpha1 types (2026)
    *("componentType", "subComponentType", "replicas", "multinode", "resources", "extraPodSpec", "envFromSecret"),
}


def flags(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", text))


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("asked", [KINDS, PLAIN], ids=["apart", "together"])
def test_an_engine_gets_only_flags_that_it_has(engine, asked):
    assert flags(launch_serving(engine, asked)) <= set(ALLOWED[engine].split())


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "k8s"])
def test_a_launch_says_degrees_and_limits(engine):
    text = launch_serving(engine, KINDS)
    assert text.count("deepseek-v3") >= 2  # prefill and decode
    assert "2048" in text
    words = {"vllm": ["--tensor-parallel-size 2", "--data-parallel-size 4", "--enable-expert-parallel", "--max-num-seqs 8",
                      '"method": "eagle", "num_speculative_tokens": 3', "--kv-cache-dtype fp8", "--block-size 32"],
             "sglang": ["--tp-size 8", "--dp-size 4", "--ep-size 8", "--disaggregation-mode decode",
                        "--max-running-requests 64", "--kv-cache-dtype fp8_e4m3", "--speculative-num-draft-tokens 4"],
             "trtllm": ["--tp_size 8", "--ep_size 8", "enable_attention_dp: true", "--max_batch_size 8", "dtype: fp8"],
             "k8s": ["nvidia.com/gpu: 16", "replicas: 3", "kind: Deployment"]}[engine]  # fmt: skip
    assert all(word in text for word in words)


def test_options_of_tensorrt_llm_are_a_yaml_of_names_that_it_has():
    options = yaml.safe_load(launch_serving("trtllm", KINDS).partition("# options.yaml\n")[2])
    assert set(options) <= TRTLLM_OPTIONS
    assert set(options["kv_cache_config"]) <= {"enable_block_reuse", "tokens_per_block", "dtype"}
    assert options["speculative_config"]["decoding_type"] == "Eagle"


def test_a_deployment_selects_its_own_pods_and_its_arguments_are_those_of_vllm():
    deployment, service = yaml.safe_load_all(launch_serving("k8s", PLAIN))
    spec = deployment["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert deployment["apiVersion"] == "apps/v1" and spec["replicas"] == 3
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == service["spec"]["selector"]
    assert container["args"][:3] == ["llama-3.1-8b", "--tensor-parallel-size", "2"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["containerPort"]
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", deployment["metadata"]["name"])


def test_a_pod_has_one_node_and_other_chips_their_own_resource():
    with pytest.raises(InputError, match=r"takes 2 nodes of 8 chips"):
        launch_serving("k8s", [PLAIN[0]._replace(chips=16)])
    assert "google.com/tpu: 2" in launch_serving("k8s", [PLAIN[0]._replace(family="tpu")])
    with pytest.raises(InputError, match="no public device plugin"):
        resource_of("mtia")


def test_a_graph_of_dynamo_has_a_frontend_and_workers_over_their_nodes():
    graph = yaml.safe_load(launch_serving("dynamo", [each._replace(node_chips=8) for each in KINDS]))
    services = graph["spec"]["services"]
    assert (graph["apiVersion"], graph["kind"]) == ("nvidia.com/v1alpha1", "DynamoGraphDeployment")
    assert list(services) == ["Frontend", "VllmPrefillWorker", "VllmDecodeWorker"]
    for role, count in (("prefill", 2), ("decode", 3)):
        worker = services[f"Vllm{role.capitalize()}Worker"]
        arguments = worker["extraPodSpec"]["mainContainer"]["args"]
        assert set(worker) <= DYNAMO_WORKER and worker["replicas"] == count
        assert worker["multinode"]["nodeCount"] * int(worker["resources"]["limits"]["gpu"]) == 16
        assert f"--is-{role}-worker" in arguments
        assert flags(" ".join(arguments)) <= {*ALLOWED["vllm"].split(), "model", f"is-{role}-worker"}
    with pytest.raises(InputError, match="places GPUs"):
        launch_serving("dynamo", [PLAIN[0]._replace(family="tpu")])


def test_a_batch_script_is_read_by_a_shell_and_holds_each_replica_once():
    text = launch_serving("slurm", [each._replace(node_chips=8) for each in KINDS])
    assert "#SBATCH --nodes=2" in text and "#SBATCH --gpus-per-node=8" in text and "#SBATCH --array=0-4" in text
    assert "SLURM_ARRAY_TASK_ID >= 2 && SLURM_ARRAY_TASK_ID <= 4" in text
    serve = "\n".join(line for line in text.splitlines() if not line.startswith("#SBATCH"))
    assert flags(serve) <= set(ALLOWED["vllm"].split())
    with pytest.raises(InputError, match="differ in chips"):
        launch_serving("slurm", [KINDS[0], KINDS[1]._replace(chips=32)])


def test_the_buckets_of_neuron_end_at_the_budget():
    asked = Serving(LLAMA, Plan(tp=8), Engine(max_num_seqs=8, max_batched_tokens=1000, buckets=(256, 512)), 2,
                    longest=900, family="neuron")  # fmt: skip
    text = launch_serving("neuron", [asked])
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    setting = json.loads(words[words.index("--additional-config") + 1])["neuron_config"]
    assert setting == {"num_batched_tokens_buckets": [256, 512, 1000], "num_seqs_buckets": [8]}
    with pytest.raises(InputError, match="do not run Neuron's plugin"):
        launch_serving("neuron", PLAIN)


def test_what_no_engine_says_is_said():
    engine = Engine(max_num_seqs=8, scheduler="mine.Fair", host_kv_bytes=1e9)
    for kind in ("vllm", "sglang", "trtllm", "k8s", "slurm"):
        text = launch_serving(kind, [PLAIN[0]._replace(engine=engine)])
        assert "# not said here: KV in host memory or on SSD, scheduler mine.Fair" in text, kind


def test_a_training_job_starts_one_process_a_chip():
    text = slurm_training("gpt", 8, 4, "# world size 32\n--num-layers 8 \\\n--bf16")
    assert "#SBATCH --nodes=8" in text and "--nproc_per_node 4" in text
    assert text.endswith("pretrain_gpt.py \\\n  --num-layers 8 \\\n  --bf16")


def test_an_unknown_engine_is_named():
    with pytest.raises(InputError, match="'tgi' is no serving engine"):
        launch_serving("tgi", PLAIN)
    assert set(ENGINES) == {"vllm", "sglang", "trtllm", "k8s", "dynamo", "slurm", "neuron"}
