"""A serving setting as launch arguments of the engines that people serve with. Flag names: vLLM and SGLang engine arguments,
trtllm-serve and its options file, Kubernetes apps/v1 (2026). What an engine cannot say is listed as comments, never dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..catalog.models import Model, Moe
from ..catalog.plans import Engine, Plan
from ..errors import InputError

_VLLM_KV = {"fp8": "fp8", "bf16": "auto", "fp16": "auto"}
_SGLANG_KV = {"fp8": "fp8_e4m3", "bf16": "auto", "fp16": "auto"}
_RESOURCES = {
    "gpu": "nvidia.com/gpu",
    "amd": "amd.com/gpu",
    "gaudi": "habana.ai/gaudi",
    "tpu": "google.com/tpu",
    "neuron": "aws.amazon.com/neuron",
}
_HOST_PORT = 8000


class Serving(NamedTuple):
    """What is launched: a model under a plan and engine settings (of a whole replica), chips of a replica, replicas ((prefill,
    decode) if `apart`), tokens of the longest request, and the resource that a chip is to Kubernetes."""

    model: Model
    plan: Plan
    engine: Engine
    chips: int
    replicas: tuple[int, int]
    apart: bool
    longest: int
    resource: str = _RESOURCES["gpu"]

    @property
    def sequences(self) -> int:
        """Of one attention-data-parallel rank and one batch of a pipeline, as vLLM and TensorRT-LLM count them."""
        return max(1, -(-(self.engine.max_num_seqs or 1) // (self.plan.attention_dp * self.plan.pp)))

    @property
    def tokens(self) -> int | None:
        """Token budget of the same."""
        budget = self.engine.max_batched_tokens
        return None if budget is None else max(1, -(-budget // (self.plan.attention_dp * self.plan.pp)))

    @property
    def experts(self) -> bool:
        return any(isinstance(block.ffn, Moe) for block in self.model.blocks)


def resource_of(family: str) -> str:
    """What Kubernetes calls a chip of a family. Raises InputError for a family without a public device plugin."""
    if family not in _RESOURCES:
        raise InputError(f"--emit k8s: chips of family {family} have no public device plugin. Use --emit vllm.")
    return _RESOURCES[family]


def launch_serving(engine: str, asked: Serving) -> str:
    """The launch of one engine as text. Raises InputError for an engine that is not known."""
    if engine not in ENGINES:
        raise InputError(f"--emit = {engine!r} is no serving engine. Use {', '.join(ENGINES)}.")
    return ENGINES[engine](asked)


def _unsaid(asked: Serving) -> list[str]:
    plan = asked.plan
    said = [f"weights in {plan.dtypes.weights} (serve a checkpoint of that format)"] if plan.dtypes.weights else []
    said += [f"cp {plan.cp}"] if plan.cp > 1 else []
    return [f"# not said here: {', '.join(said)}"] if said else []


def _heads(asked: Serving) -> list[tuple[str, str]]:
    """(comment, role) of each kind of replica."""
    if not asked.apart:
        return [(f"# {asked.replicas[0]} replica(s) of {asked.chips} chip(s) behind a load balancer", "")]
    return [
        (f"# {count} {role} replica(s) of {asked.chips} chip(s)", role)
        for role, count in zip(("prefill", "decode"), asked.replicas, strict=True)
    ]


def _vllm_words(asked: Serving, role: str) -> list[str]:
    plan, engine = asked.plan, asked.engine
    words = [f"--tensor-parallel-size {plan.tp}"]
    words += [f"--pipeline-parallel-size {plan.pp}"] if plan.pp > 1 else []
    words += [f"--data-parallel-size {plan.attention_dp}"] if plan.attention_dp > 1 else []
    words += ["--enable-expert-parallel"] if plan.ep > 1 else []
    words.append(f"--max-num-seqs {asked.sequences}")
    words += [] if asked.tokens is None else [f"--max-num-batched-tokens {max(asked.tokens, asked.sequences)}"]
    words.append(f"--max-model-len {asked.longest}")
    words += [] if engine.kv_fraction is None else [f"--gpu-memory-utilization {engine.kv_fraction:g}"]
    stored = plan.dtypes.kv_cache
    words += [f"--kv-cache-dtype {_VLLM_KV.get(stored, stored)}"] if stored else []
    words.append("--enable-prefix-caching" if engine.prefix_cache else "--no-enable-prefix-caching")
    if role:
        kind = "kv_producer" if role == "prefill" else "kv_consumer"
        words.append(f'--kv-transfer-config \'{{"kv_connector": "NixlConnector", "kv_role": "{kind}"}}\'')
    return words


def _lines(asked: Serving, start: str, words: Callable[[str], list[str]]) -> list[str]:
    """A command for each kind of replica, its arguments one a line. words: those of a role."""
    lines = _unsaid(asked)
    for head, role in _heads(asked):
        lines += [head, " \\\n  ".join([start, *words(role)])]
    return lines


def vllm(asked: Serving) -> str:
    """`vllm serve` for each kind of replica."""
    return "\n".join(_lines(asked, f"vllm serve {asked.model.id}", lambda role: _vllm_words(asked, role)))


def sglang(asked: Serving) -> str:
    """`python -m sglang.launch_server` for each kind of replica; its tensor-parallel size counts attention copies too."""
    plan, engine = asked.plan, asked.engine
    words = [f"--tp-size {plan.tp * plan.attention_dp}"]
    words += [f"--pp-size {plan.pp}"] if plan.pp > 1 else []
    words += [f"--dp-size {plan.attention_dp} --enable-dp-attention"] if plan.attention_dp > 1 else []
    words += [f"--ep-size {plan.ep}"] if plan.ep > 1 else []
    words.append(f"--max-running-requests {asked.engine.max_num_seqs or 1}")
    words += [] if engine.max_batched_tokens is None else [f"--chunked-prefill-size {engine.max_batched_tokens}"]
    words.append(f"--context-length {asked.longest}")
    words += [] if engine.kv_fraction is None else [f"--mem-fraction-static {engine.kv_fraction:g}"]
    stored = plan.dtypes.kv_cache
    words += [f"--kv-cache-dtype {_SGLANG_KV.get(stored, stored)}"] if stored else []
    words += [] if engine.prefix_cache else ["--disable-radix-cache"]
    start = f"python -m sglang.launch_server --model-path {asked.model.id}"
    return "\n".join(_lines(asked, start, lambda role: [*words, f"--disaggregation-mode {role}"] if role else words))


def trtllm(asked: Serving) -> str:
    """`trtllm-serve` for each kind of replica, and the YAML file that its --extra_llm_api_options names."""
    plan, engine = asked.plan, asked.engine
    words = [f"--tp_size {plan.tp * plan.attention_dp}"]
    words += [f"--pp_size {plan.pp}"] if plan.pp > 1 else []
    words += [f"--ep_size {plan.ep}"] if plan.ep > 1 else []
    words.append(f"--max_batch_size {asked.sequences}")
    words += [] if asked.tokens is None else [f"--max_num_tokens {max(asked.tokens, asked.sequences)}"]
    words.append(f"--max_seq_len {asked.longest}")
    if engine.kv_fraction is not None:
        words.append(f"--kv_cache_free_gpu_memory_fraction {engine.kv_fraction:g}")
    words.append("--extra_llm_api_options options.yaml")
    lines = _lines(asked, f"trtllm-serve {asked.model.id}", lambda role: words)
    options = [
        f"enable_attention_dp: {str(plan.attention_dp > 1).lower()}",
        "enable_chunked_prefill: true",
        f"kv_cache_config: {{enable_block_reuse: {str(engine.prefix_cache).lower()}}}",
        *(["cache_transceiver_config: {backend: DEFAULT}"] if asked.apart else []),
    ]
    return "\n".join([*lines, "# options.yaml", *options])


def k8s(asked: Serving) -> str:
    """A Deployment of vLLM for each kind of replica, one pod a replica."""
    documents = []
    for (_, role), count in zip(_heads(asked), asked.replicas, strict=False):
        name = "-".join(part for part in (asked.model.id.replace(".", "-"), role) if part)
        words = [word for pair in _vllm_words(asked, role) for word in pair.split(" ", 1)]
        arguments = "\n".join(f"            - {_quoted(word)}" for word in [asked.model.id, *words])
        documents.append(
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: {count}\n"
            f"  selector:\n    matchLabels: {{app: {name}}}\n  template:\n    metadata:\n      labels: {{app: {name}}}\n"
            "    spec:\n      containers:\n        - name: vllm\n          image: vllm/vllm-openai:latest\n"
            f"          args:\n{arguments}\n          ports:\n            - containerPort: {_HOST_PORT}\n"
            f"          resources:\n            limits:\n              {asked.resource}: {asked.chips}"
        )
    return "\n".join([*_unsaid(asked), "\n---\n".join(documents)])


def _quoted(word: str) -> str:
    inner = word.strip("'")
    return "'" + inner + "'"


ENGINES: dict[str, Callable[[Serving], str]] = {"vllm": vllm, "sglang": sglang, "trtllm": trtllm, "k8s": k8s}
