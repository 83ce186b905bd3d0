"""A serving setting as launch arguments of the engines that people serve with. What an engine cannot say is listed as comments,
never dropped.

Flag names: vLLM engine/arg_utils.py, SGLang srt/server_args.py, TensorRT-LLM commands/serve.py and llmapi/llm_args.py, and the
`neuron_config` of AWS's vLLM plugin (2026).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..catalog.models import Model, Moe
from ..catalog.plans import Engine, Plan
from ..errors import InputError

_VLLM_KV = {"fp8": "fp8", "bf16": "auto", "fp16": "auto"}
_SGLANG_KV = {"fp8": "fp8_e4m3", "bf16": "auto", "fp16": "auto"}
_VLLM_DRAFTERS = {"draft": "draft_model", "eagle": "eagle", "mtp": "mtp"}
_SGLANG_DRAFTERS = {"draft": "STANDALONE", "eagle": "EAGLE", "mtp": "NEXTN"}
_TRTLLM_DRAFTERS = {"draft": "DraftTarget", "eagle": "Eagle", "mtp": "MTP"}
_BLOCK_TOKENS = Engine().kv_block


class Serving(NamedTuple):
    """One kind of replica to launch: model, plan, engine settings (of a whole replica), chips of a replica, how many replicas,
    role ("" where prompts and tokens run together, else prefill or decode), tokens of the longest request, what its chip is to
    an operator, and chips of a node."""

    model: Model
    plan: Plan
    engine: Engine
    chips: int
    replicas: int = 1
    role: str = ""
    longest: int = 2048
    family: str = "gpu"
    node_chips: int = 8

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

    @property
    def nodes(self) -> int:
        """Nodes that a replica spans."""
        return -(-self.chips // self.node_chips)


def unsaid(asked: Sequence[Serving]) -> list[str]:
    """A comment for what no engine's arguments say."""
    said: dict[str, None] = {}
    for each in asked:
        plan, engine = each.plan, each.engine
        found = {
            f"weights in {plan.dtypes.weights} (serve a checkpoint of that format)": plan.dtypes.weights is not None,
            f"cp {plan.cp}": plan.cp > 1,
            "KV in host memory or on SSD": any((engine.swap_bytes, engine.host_kv_bytes, engine.ssd_kv_bytes)),
            f"scheduler {engine.scheduler}": "." in (engine.scheduler or ""),
            "token buckets": bool(engine.buckets) and each.family != "neuron",
        }
        said.update(dict.fromkeys(name for name, true in found.items() if true))
    return [f"# not said here: {', '.join(said)}"] if said else []


def head(each: Serving) -> str:
    """The comment above a kind of replica."""
    if each.role:
        return f"# {each.replicas} {each.role} replica(s) of {each.chips} chip(s)"
    return f"# {each.replicas} replica(s) of {each.chips} chip(s) behind a load balancer"


def _lines(asked: Sequence[Serving], start: str, words: Callable[[Serving], list[str]]) -> list[str]:
    """A command for each kind of replica, its arguments one a line."""
    lines = unsaid(asked)
    for each in asked:
        lines += [head(each), " \\\n  ".join([start, *words(each)])]
    return lines


def vllm_words(each: Serving) -> list[str]:
    """Arguments of `vllm serve MODEL` as a shell reads them, each with its value."""
    plan, engine = each.plan, each.engine
    words = [f"--tensor-parallel-size {plan.tp}"]
    words += [f"--pipeline-parallel-size {plan.pp}"] if plan.pp > 1 else []
    words += [f"--data-parallel-size {plan.attention_dp}"] if plan.attention_dp > 1 else []
    words += ["--enable-expert-parallel"] if plan.ep > 1 else []
    words.append(f"--max-num-seqs {each.sequences}")
    words += [] if each.tokens is None else [f"--max-num-batched-tokens {max(each.tokens, each.sequences)}"]
    words.append(f"--max-model-len {each.longest}")
    words += [] if engine.kv_fraction is None else [f"--gpu-memory-utilization {engine.kv_fraction:g}"]
    words += [f"--block-size {engine.kv_block}"] if engine.kv_block != _BLOCK_TOKENS else []
    stored = plan.dtypes.kv_cache
    words += [f"--kv-cache-dtype {_VLLM_KV.get(stored, stored)}"] if stored else []
    words.append("--enable-prefix-caching" if engine.prefix_cache else "--no-enable-prefix-caching")
    drafter = engine.speculative
    if drafter is not None:
        setting = {"method": _VLLM_DRAFTERS[drafter.method], "num_speculative_tokens": drafter.tokens}
        setting |= {"model": drafter.draft_model} if drafter.draft_model else {}
        words.append(f"--speculative-config '{json.dumps(setting)}'")
    if each.role:
        kind = "kv_producer" if each.role == "prefill" else "kv_consumer"
        words.append(f'--kv-transfer-config \'{{"kv_connector": "NixlConnector", "kv_role": "{kind}"}}\'')
    return words


def vllm(asked: Sequence[Serving]) -> str:
    """`vllm serve` for each kind of replica."""
    return "\n".join(_lines(asked, f"vllm serve {asked[0].model.id}", vllm_words))


def neuron(asked: Sequence[Serving]) -> str:
    """`vllm serve` with the buckets that Neuron compiles for; what is between two is padded. Raises InputError for another chip."""
    if asked[0].family != "neuron":
        raise InputError(f"neuron: chips of family {asked[0].family} do not run Neuron's plugin. Use vllm.")
    return "\n".join(_lines(asked, f"vllm serve {asked[0].model.id}", lambda each: [*vllm_words(each), _buckets(each)]))


def _buckets(each: Serving) -> str:
    """The token buckets of the engine settings, else powers of two up to the budget; all sequences as one bucket."""
    most = max(each.tokens or each.longest, each.sequences)
    doubling = [2**i for i in range(7, most.bit_length()) if 2**i < most]
    tokens = [size for size in each.engine.buckets if size < most] if each.engine.buckets else doubling
    setting = {"num_batched_tokens_buckets": [*tokens, most], "num_seqs_buckets": [each.sequences]}
    return f"--additional-config '{json.dumps({'neuron_config': setting})}'"


def _sglang_words(each: Serving) -> list[str]:
    plan, engine = each.plan, each.engine
    words = [f"--tp-size {plan.tp * plan.attention_dp}"]
    words += [f"--pp-size {plan.pp}"] if plan.pp > 1 else []
    words += [f"--dp-size {plan.attention_dp} --enable-dp-attention"] if plan.attention_dp > 1 else []
    words += [f"--ep-size {plan.ep}"] if plan.ep > 1 else []
    words.append(f"--max-running-requests {engine.max_num_seqs or 1}")
    words += [] if engine.max_batched_tokens is None else [f"--chunked-prefill-size {engine.max_batched_tokens}"]
    words.append(f"--context-length {each.longest}")
    words += [] if engine.kv_fraction is None else [f"--mem-fraction-static {engine.kv_fraction:g}"]
    words += [f"--page-size {engine.kv_block}"] if engine.kv_block != _BLOCK_TOKENS else []
    stored = plan.dtypes.kv_cache
    words += [f"--kv-cache-dtype {_SGLANG_KV.get(stored, stored)}"] if stored else []
    words += [] if engine.prefix_cache else ["--disable-radix-cache"]
    drafter = engine.speculative
    if drafter is not None:
        words.append(f"--speculative-algorithm {_SGLANG_DRAFTERS[drafter.method]}")
        words.append(f"--speculative-num-steps {drafter.tokens} --speculative-eagle-topk 1")
        words.append(f"--speculative-num-draft-tokens {drafter.tokens + 1}")
        words += [f"--speculative-draft-model-path {drafter.draft_model}"] if drafter.draft_model else []
    return [*words, f"--disaggregation-mode {each.role}"] if each.role else words


def sglang(asked: Sequence[Serving]) -> str:
    """`python -m sglang.launch_server` for each kind of replica; its tensor-parallel size counts attention copies too."""
    return "\n".join(_lines(asked, f"python -m sglang.launch_server --model-path {asked[0].model.id}", _sglang_words))


def _trtllm_words(each: Serving) -> list[str]:
    plan, engine = each.plan, each.engine
    words = [f"--tp_size {plan.tp * plan.attention_dp}"]
    words += [f"--pp_size {plan.pp}"] if plan.pp > 1 else []
    words += [f"--ep_size {plan.ep}"] if plan.ep > 1 else []
    words.append(f"--max_batch_size {each.sequences}")
    words += [] if each.tokens is None else [f"--max_num_tokens {max(each.tokens, each.sequences)}"]
    words.append(f"--max_seq_len {each.longest}")
    if engine.kv_fraction is not None:
        words.append(f"--kv_cache_free_gpu_memory_fraction {engine.kv_fraction:g}")
    return [*words, "--extra_llm_api_options options.yaml"]


def trtllm(asked: Sequence[Serving]) -> str:
    """`trtllm-serve` for each kind of replica, and the YAML file that its --extra_llm_api_options names."""
    lines = _lines(asked, f"trtllm-serve {asked[0].model.id}", _trtllm_words)
    plan, engine = asked[0].plan, asked[0].engine
    stored = {"fp8": "fp8", "fp4": "nvfp4"}.get(plan.dtypes.kv_cache or "")
    cache = [f"enable_block_reuse: {str(engine.prefix_cache).lower()}"]
    cache += [f"tokens_per_block: {engine.kv_block}"] if engine.kv_block != _BLOCK_TOKENS else []
    cache += [f"dtype: {stored}"] if stored else []
    options = [
        f"enable_attention_dp: {str(plan.attention_dp > 1).lower()}",
        "enable_chunked_prefill: true",
        f"kv_cache_config: {{{', '.join(cache)}}}",
    ]
    if engine.speculative is not None:
        options.append(f"speculative_config: {{{', '.join(_trtllm_drafter(engine))}}}")
    options += ["cache_transceiver_config: {backend: DEFAULT}"] if asked[0].role else []
    return "\n".join([*lines, "# options.yaml", *options])


def _trtllm_drafter(engine: Engine) -> list[str]:
    drafter = engine.speculative
    assert drafter is not None
    count = "num_nextn_predict_layers" if drafter.method == "mtp" else "max_draft_len"
    words = [f"decoding_type: {_TRTLLM_DRAFTERS[drafter.method]}", f"{count}: {drafter.tokens}"]
    return words + ([f"speculative_model: {drafter.draft_model}"] if drafter.draft_model else [])
