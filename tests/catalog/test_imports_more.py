"""Files of many tools: each golden sample says what it says, each broken one is one error with its place, and no text is a crash."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.catalog import astra_network, engine_flags, imports, kineto, power_logs, servegen
from sim.catalog.generators import drawn
from sim.catalog.library import default_library
from sim.catalog.serving_results import kind_of as serving_kind
from sim.catalog.serving_results import runs_of
from sim.errors import GambrelError, InputError
from sim.training.sacct import read_sacct

SAMPLES = Path(__file__).parent / "samples"
LIBRARY = default_library()
H100 = LIBRARY.chip("h100-sxm")


def text(name: str) -> str:
    return (SAMPLES / name).read_text(encoding="utf-8")


def launch(name: str) -> engine_flags.EngineSetup:
    return engine_flags.imported_from(text(name), name, LIBRARY)


def trained(name: str, **said: Any) -> Any:
    kind = imports.kind_of(text(name))
    assert kind is not None
    return imports.run_of(text(name), name, LIBRARY, kind, **said)


def test_a_launch_of_vllm_is_read_with_its_variables_and_short_flags() -> None:
    found = launch("launches/vllm_golden.sh")
    assert (found.kind, found.model.id, found.replicas) == ("vllm", "llama-3.1-70b", 1)
    assert found.plan == {"tp": 4, "pp": 2, "dtypes": {"weights": "fp8", "kv_cache": "fp8"}}
    assert found.engine == {
        "max_num_seqs": 256, "max_batched_tokens": 8192, "max_model_len": 32000, "kv_fraction": 0.92,
        "swap_bytes": 4 * 2.0**30, "prefix_cache": False,
    }, "limits are of one batch of a pipeline of two"  # fmt: skip
    assert [note.name for note in found.ignored] == ["enforce_eager"]
    assert "speculative_config" in [note.name for note in found.assumed]


def test_a_launch_of_sglang_counts_attention_copies_in_its_tensor_degree() -> None:
    found = launch("launches/sglang_golden.sh")
    assert (found.kind, found.model.id) == ("sglang", "deepseek-v3")
    assert found.plan == {"attention_dp": 16, "ep": 16}
    assert found.engine["max_num_seqs"] == 512 and found.engine["kv_block"] == 64
    assert found.engine["prefix_cache"] is False and not found.ignored


def test_replicas_of_a_dense_model_and_a_plain_command_line() -> None:
    line = "vllm serve Qwen/Qwen3-8B -dp 4"
    found = engine_flags.imported_from(line, "line", LIBRARY)
    assert (found.model.id, found.replicas, found.plan) == ("qwen3-8b", 4, {})
    assert {note.name for note in found.assumed} >= {"tensor_parallel_size", "enable_prefix_caching", "replicas"}
    assert engine_flags.imported_from("vllm serve Qwen/Qwen3-8B", "line", LIBRARY).model.id == "qwen3-8b"
    other = engine_flags.imported_from("vllm serve ./mine --tensor-parallel-size 2", "line", LIBRARY, "qwen3-8b")
    assert other.model.id == "qwen3-8b"


def test_what_a_launch_exports_it_reads_again() -> None:
    from sim.catalog.plans import Dtypes, Engine, Plan
    from sim.report.launch_cluster import launch_serving
    from sim.report.launch_serving import Serving

    model = LIBRARY.model("deepseek-v3")
    plan = Plan(tp=2, attention_dp=4, ep=8, dtypes=Dtypes(kv_cache="fp8"))
    engine = Engine(max_num_seqs=64, max_batched_tokens=8192, kv_fraction=0.9, kv_block=32)
    asked = [Serving(model, plan, engine, 8, longest=4096)]
    for kind in ("vllm", "sglang"):
        found = engine_flags.imported_from(launch_serving(kind, asked), kind, LIBRARY)
        assert found.plan == {"tp": 2, "attention_dp": 4, "ep": 8, "dtypes": {"kv_cache": "fp8"}}, kind
        assert found.engine == {"max_num_seqs": 64, "max_batched_tokens": 8192, "max_model_len": 4096, "kv_fraction": 0.9,
                                "kv_block": 32, "prefix_cache": False}, kind  # fmt: skip


def test_torchtitan_s_toml_and_python_and_overrides() -> None:
    run = trained("configs_training/torchtitan_golden.toml")
    plan = run.plan
    assert (run.kind, run.model.id, run.devices, run.seq_len, run.precision) == (
        "torchtitan", "llama-3.1-8b", 64, 8192, "fp8",
    )  # fmt: skip
    assert (plan.tp, plan.pp, plan.dp, plan.micro_batch, plan.global_batch) == (2, 2, 16, 1, 256)
    assert (plan.sharding, plan.shard_degree, plan.recompute) == ("zero3", 8, "full")
    python = trained("configs_training/torchtitan_python.txt", model="llama-3.1-70b")
    assert (python.plan.tp, python.plan.dp, python.plan.global_batch, python.devices) == (8, 32, 512, 256)
    assert python.plan.recompute == "operators"


def test_what_is_exported_for_torchtitan_and_maxtext_comes_back() -> None:
    from sim.catalog.plans import Plan
    from sim.report.launch import launch

    model = LIBRARY.model("llama-3.1-70b")
    plan = Plan(tp=4, pp=1, dp=8, cp=2, global_batch=256, micro_batch=1, sharding="zero3", recompute="full")
    for kind in ("torchtitan", "maxtext"):
        text_ = launch(kind, model, plan, 4096)
        assert imports.kind_of(text_) == kind
        run = imports.run_of(text_, kind, LIBRARY, kind, "llama-3.1-70b" if kind == "torchtitan" else None)
        same = ("tp", "pp", "dp", "cp", "global_batch", "sharding", "recompute")
        assert [getattr(run.plan, name) for name in same] == [getattr(plan, name) for name in same], kind
        assert (run.model.id, run.devices, run.seq_len) == ("llama-3.1-70b", 64, 4096)


def test_maxtext_s_free_axis_takes_what_the_topology_leaves() -> None:
    run = trained("configs_training/maxtext_golden.yml")
    assert (run.model.id, run.device, run.devices, run.precision) == ("llama-3.1-70b", "tpu-v5p", 256, "int8")
    assert (run.plan.tp, run.plan.dp, run.plan.global_batch, run.plan.micro_batch) == (4, 64, 512, 8)
    assert (run.plan.sharding, run.plan.shard_degree) == ("zero3", 32)
    words = "python3 -m MaxText.train base.yml model_name=llama3.1-8b ici_fsdp_parallelism=-1 per_device_batch_size=4"
    with pytest.raises(InputError, match="-1 needs the number of chips"):
        imports.run_of(words, "w", LIBRARY, "maxtext")
    run = imports.run_of(words, "w", LIBRARY, "maxtext", None, 16)
    assert (run.plan.dp, run.plan.global_batch, run.devices) == (16, 64, 16)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("guidellm_golden.json", ("guidellm", "Qwen/Qwen3-32B", 1000, 250, 16, 210.5, 18.4)),
        ("llmperf_golden.json", ("llmperf", "meta-llama/Llama-3.1-8B-Instruct", 552, 150, 8, 250.0, 10.0)),
        ("trtllm_golden.json", ("trtllm-bench", "meta-llama/Llama-3.1-70B", 1024, 512, 62, 350.0, 18.5)),
    ],
)
def test_results_of_other_benchmarks(name: str, expected: tuple[Any, ...]) -> None:
    run = runs_of(text(f"served/{name}"), name)[0]
    found = (run.kind, run.model, run.input_tokens, run.output_tokens, run.concurrency, run.ttft_ms, run.tpot_ms)
    assert found[:5] == expected[:5] and found[5:] == pytest.approx(expected[5:])


def test_guidellm_s_benchmarks_are_a_run_each_and_trtllm_s_report_says_its_layout() -> None:
    runs = runs_of(text("served/guidellm_golden.json"), "g")
    assert [run.name for run in runs] == ["g: benchmark 1", "g: benchmark 2"] and runs[1].concurrency == 9
    (run,) = runs_of(text("served/trtllm_golden.json"), "t")
    assert (dict(run.layout), run.precision, run.engine_version) == (
        {"tp_size": 4, "pp_size": 1, "moe_ep_size": 1},
        "fp8",
        "1.2.0",
    )
    record = json.loads(text("served/trtllm_golden.json"))
    del record["streaming_metrics"]
    (blind,) = runs_of(json.dumps(record), "t")
    assert blind.ttft_ms is None and blind.tpot_ms is None


def test_a_summary_of_loadgen_needs_model_and_prompts_from_the_user() -> None:
    summary = text("logs/mlperf_summary_golden.txt")
    (run,) = runs_of(summary, "m", "llama-2-70b", 295)
    assert (run.input_tokens, run.output_tokens, run.concurrency) == (295, 294, 1000)
    assert (run.ttft_ms, run.tpot_ms) == (400.0, 41.0)
    with pytest.raises(InputError, match="--model NAME"):
        runs_of(summary, "m")
    with pytest.raises(InputError, match="--input-tokens N"):
        runs_of(summary, "m", "llama-2-70b")
    with pytest.raises(InputError, match="calls VALID"):
        runs_of(summary.replace(": VALID", ": INVALID"), "m", "llama-2-70b", 295)


def test_a_pool_of_clients_is_the_sum_of_their_rates_and_the_mix_of_their_lengths() -> None:
    found = servegen.read_pool(SAMPLES / "servegen")
    made = found.generator
    assert (found.clients, made.rate_requests_per_s, made.period_s) == (2, 6.0, 1200.0)
    assert made.profile == pytest.approx((4.0 / 6.0, 8.0 / 6.0))
    assert made.gap_variation == pytest.approx(np.sqrt((8.0 * 1.5**2 + 4.0 * 0.5**2) / 12.0))
    _, inputs, outputs = drawn(made, 20_000, 0)
    assert float(inputs.max()) <= 1000 and float(inputs.min()) >= 100
    assert set(np.unique(made.output_tokens)) == {10, 50, 400}
    assert float((outputs == 400).mean()) == pytest.approx(0.25 * 0.75 + 0.25 * 0.0, abs=0.15)


def test_kernels_of_a_profile_are_rows_by_shape() -> None:
    found = kineto.read_kernels(text("logs/kineto_golden.json"), "k", "h100-sxm", "vllm")
    assert [(r["dtype"], r["m"], r["n"], r["k"], r["time_us"]) for r in found.gemm] == [
        ("bfloat16", "4096", "14336", "4096", "710"),
        ("bfloat16", "512", "1024", "4096", "25.5"),
    ]
    (exchange,) = found.collective
    assert (exchange["op"], exchange["num_devices"], exchange["elements"]) == ("all_gather", "8", "8388608")
    assert found.ignored[0].value == "400 of 2,026 us"


def test_power_is_the_mean_of_busy_samples() -> None:
    smi = power_logs.read_draw(text("logs/nvidia_smi_golden.csv"), "s")
    assert (smi.kind, smi.chip_w, smi.chips, smi.used, smi.idle) == ("nvidia-smi", 640.0, 2, 4, 2)
    assert smi.idle_w == pytest.approx(111.5)
    dcgm = power_logs.read_draw(text("logs/dcgm_golden.txt"), "d")
    assert (dcgm.kind, dcgm.chip_w, dcgm.used, dcgm.idle) == ("dcgm", 620.0, 3, 1)


def test_chip_hours_a_failure() -> None:
    found = read_sacct(SAMPLES / "logs" / "sacct_golden.txt")
    assert (found.device_hours, found.node_fail, found.failed) == (64 * 38.0, 1, 1)


def test_a_network_of_astra_sim_is_a_cluster_that_goes_out_as_the_same_network() -> None:
    import yaml

    from sim.catalog.clusters import Cluster
    from sim.catalog.files import Document
    from sim.catalog.records import parse
    from sim.report.astra_sim import network_yaml

    network = text("logs/astra_network_golden.yml")
    found = astra_network.read_network(network, "n", H100, "mine")
    assert (found.npus, [note.name for note in found.ignored]) == (64, ["active_chunks_per_dimension"])
    cluster = parse(Cluster, Document(found.cluster, {}, "n"))
    again = yaml.safe_load(network_yaml(cluster, LIBRARY.family("gpu"), 64, 1))
    assert {key: again[key] for key in ("topology", "npus_count")} == {
        "topology": ["Ring", "FullyConnected", "Switch"],
        "npus_count": [2, 8, 4],
    }
    assert again["bandwidth"] == pytest.approx([200.0, 100.0, 50.0]) and again["latency"] == pytest.approx(
        [50.0, 500.0, 2000.0]
    )


READERS: dict[str, Callable[[str, str], Any]] = {
    "launches/vllm": lambda t, n: engine_flags.imported_from(t, n, LIBRARY),
    "launches/sglang": lambda t, n: engine_flags.imported_from(t, n, LIBRARY),
    "configs_training/torchtitan": lambda t, n: imports.run_of(t, n, LIBRARY, "torchtitan"),
    "configs_training/maxtext": lambda t, n: imports.run_of(t, n, LIBRARY, "maxtext"),
    "served/guidellm": runs_of,
    "served/llmperf": runs_of,
    "served/trtllm": runs_of,
    "logs/mlperf_summary": lambda t, n: runs_of(t, n, "llama-2-70b", 295),
    "logs/kineto": lambda t, n: kineto.read_kernels(t, n, "h100-sxm", "vllm"),
    "logs/nvidia_smi": power_logs.read_draw,
    "logs/dcgm": power_logs.read_draw,
    "logs/astra_network": lambda t, n: astra_network.read_network(t, n, H100, "mine"),
}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("launches/vllm_broken.sh", "vllm_broken.sh:3: kv_cache_dtype = 'fp6' is not known"),
        ("launches/sglang_broken.sh", "dp_size = 3 does not divide tp_size = 16"),
        ("configs_training/torchtitan_broken.toml", ".toml:11: pipeline_parallel_schedule = 'Looped' is not modelled"),
        ("configs_training/maxtext_broken.yml", ".yml:4: remat_policy = 'sometimes' is not modelled"),
        ("served/guidellm_broken.json", "benchmark 1: metrics.output_token_count.successful.mean = 'many'"),
        ("served/llmperf_broken.json", "num_concurrent_requests = 0.0 must be a number above 0"),
        ("served/trtllm_broken.json", "world_info is no JSON object"),
        ("logs/mlperf_summary_broken.txt", "Mean latency (ns) = 'soon' is not a number"),
        ("logs/kineto_broken.json", "event 1: dur = 'long' is not a number"),
        ("logs/nvidia_smi_broken.csv", ".csv:3: power.draw = '[N/A]' is not a number"),
        ("logs/dcgm_broken.txt", ".txt:2: DCGM_FI_DEV_POWER_USAGE = 'NaN' is not a number"),
        ("logs/astra_network_broken.yml", ".yml:2: topology = 'Dragonfly' is not known"),
    ],
)
def test_a_broken_file_is_one_error_with_its_place(name: str, words: str) -> None:
    read = READERS[name.rsplit("_broken", 1)[0]]
    with pytest.raises(InputError) as caught:
        read(text(name), name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_broken_pool_and_a_broken_account_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"chunk-0-trace.csv:2: column 2 = 'fast'"):
        servegen.read_pool(SAMPLES / "servegen_broken")
    with pytest.raises(InputError, match=r"sacct_broken.txt:2: Elapsed = 'a day'"):
        read_sacct(SAMPLES / "logs" / "sacct_broken.txt")
    with pytest.raises(InputError, match=r"no chunk-N-trace.csv"):
        servegen.read_pool(tmp_path)


SPOILT = (
    "",
    "NaN",
    "1e999",
    "-1",
    "null",
    '"x"',
    "[]",
    "{}",
    "true",
    "9" * 400,
    "[" * 200,
    "\x00",
    "ü",
    "0",
    "'",
    "=",
    "--",
)


@pytest.mark.parametrize("name", READERS)
def test_no_damage_to_a_file_is_more_than_an_error(name: str) -> None:
    """Numbers, words and lines replaced, doubled, cut: read, or refused in one line."""
    (path,) = (SAMPLES / name).parent.glob(f"{Path(name).name}_golden.*")
    whole = path.read_text(encoding="utf-8")
    chance = random.Random(name)
    for _ in range(150):
        damaged = whole
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(damaged) + 1)
            end = min(len(damaged), at + chance.choice((0, 1, 4, 20, 400)))
            damaged = damaged[:at] + chance.choice((*SPOILT, damaged[at:end] * 2)) + damaged[end:]
        try:
            serving_kind(damaged)
            imports.kind_of(damaged)
            READERS[name](damaged, "damaged")
        except GambrelError as error:
            assert "\n" not in str(error).strip(), str(error)
