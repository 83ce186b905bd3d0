"""Launches of serving engines, `vllm serve ...` and `sglang.launch_server ...`, as users keep them in scripts -> plan and engine.

Names and meanings: vLLM engine/arg_utils.py, SGLang srt/server_args.py (2026). What a script leaves out stays with the defaults of
the engine's stack, and is not said here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import InputError
from .imported import Note, Said, with_lines
from .library import Library
from .megatron_fields import Arguments
from .megatron_text import words_of
from .models import Model, Moe

_STARTS = {
    "vllm": re.compile(r"\bvllm[ \t]+serve\b|\bvllm\.entrypoints\b"),
    "sglang": re.compile(r"\bsglang[ \t]+serve\b|\bsglang\.launch_server\b"),
}
KINDS = tuple(_STARTS)
_POSITIONAL = re.compile(r"\b(?:vllm|sglang)[ \t]+serve(?:[ \t]+|[ \t]*\\\n[ \t]*)(?!-)(\"[^\"]+\"|'[^']+'|[^\s\\]+)")
_SHORT = {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size",
          "-q": "--quantization", "-ep": "--enable-expert-parallel"}  # fmt: skip
_JSON = re.compile(r"--([\w-]+)[ =]+'(\{[^']{0,4000}\})'")
_KV = {
    "auto": None,
    "fp8": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp4_e2m1": "fp4",
}
_WEIGHTS = {  # quantisation -> (weights, activations)
    **dict.fromkeys(("fp8", "w8a8_fp8", "fbgemm_fp8", "modelopt", "modelopt_fp8"), ("fp8", None)),
    **dict.fromkeys(("awq", "awq_marlin", "gptq", "gptq_marlin"), ("int4", "bf16")),
    **dict.fromkeys(("modelopt_fp4", "nvfp4", "mxfp4"), ("fp4", None)),
    **dict.fromkeys(("w8a8_int8", "int8"), ("int8", None)),
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)")
_TIMES = {"": 1, "k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}  # as both engines read 32k and 32K


@dataclass(frozen=True)
class EngineSetup:
    """What a launch says: engine, model and its name there, fields of plan and engine settings, replicas, chips of a replica's
    ranks; and what became of each argument."""

    kind: str
    name: str
    model: Model
    plan: dict[str, Any]
    engine: dict[str, Any]
    replicas: int
    role: str
    understood: tuple[Note, ...]
    assumed: tuple[Note, ...]
    ignored: tuple[Note, ...]

    def scenario(self, cluster: str) -> dict[str, Any]:
        """A flat scenario; its demand is for the user to say."""
        return {
            "role": "serve",
            "model": self.model.id,
            "cluster": cluster,
            "stack": None,
            **({"replicas": self.replicas} if self.replicas > 1 else {}),
            "plan": self.plan,
            "engine": self.engine,
            "demand": {"kind": "traffic"},
        }


def kind_of(text: str) -> str | None:
    """The engine that a text launches, None if none."""
    return next((name for name, start in _STARTS.items() if start.search(text)), None)


def imported_from(text: str, name: str, library: Library, model: str | None = None) -> EngineSetup:
    """The launch in a script or a command line; `name` stands for the file in errors; model: its catalogue name.

    Raises InputError with file, line and value for what is malformed, missing or not modelled, and for several launches.
    """
    kind = kind_of(text)
    if kind is None:
        raise InputError(
            f"{name}: no launch of {' or '.join(KINDS)} is in it. Give the command that starts the server."
        )
    if len(_STARTS[kind].findall(text)) > 1:
        raise InputError(f"{name}: {len(_STARTS[kind].findall(text))} launches of {kind}. Keep one in the file.")
    prepared = re.sub(r"(?<=\s)(-tp|-pp|-dp|-ep|-q)(?=[\s=])", lambda found: _SHORT[found[1]], text)
    words = words_of(prepared if "--" in prepared else f"{prepared} --model-given", name)
    words.values.pop("model_given", None)
    for line, found in with_lines(prepared, _JSON.finditer(prepared)):
        words.values[found[1].replace("-", "_")] = Said(found[2], line)
    given = Arguments(words, name)
    network = _model(given, prepared, library, model)
    read = _vllm if kind == "vllm" else _sglang
    parts = read(given, any(isinstance(block.ffn, Moe) for block in network.blocks))
    if parts.replicas > 1:
        given.assume("replicas", str(parts.replicas), "copies of the whole model behind one address")
    return EngineSetup(
        kind, name, network, _kept(parts.plan), _kept(parts.engine), parts.replicas, parts.role,
        tuple(given.understood.values()), tuple(given.assumed), given.rest(),
    )  # fmt: skip


class _Parts(NamedTuple):
    plan: dict[str, Any]
    engine: dict[str, Any]
    replicas: int
    role: str


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is not said, and degrees of one rank."""
    idle = ("tp", "pp", "attention_dp", "ep")
    return {key: value for key, value in values.items() if value not in (None, {}) and not (key in idle and value == 1)}


def _model(given: Arguments, text: str, library: Library, model: str | None) -> Model:
    """The catalogue's model of the name that is launched, with or without its organisation."""
    positional = _POSITIONAL.search(text)
    said = given.text("model", "model", "model_path") or (positional[1].strip("\"'") if positional else None)
    if model is None and said is None:
        raise InputError(f"{given.name}: no model is named. Add --model NAME.")
    names = [model] if model else [said or "", (said or "").rsplit("/", 1)[-1]]
    for each in names:
        try:
            return library.model(each)
        except InputError as error:
            problem = error
    raise InputError(f"{given.name}: {problem} Or say which it is: --model NAME.") from None


def _vllm(given: Arguments, moe: bool) -> _Parts:
    tp = given.assumed_count("plan.tp", 1, "vLLM's default", "tensor_parallel_size")
    pp = given.count("plan.pp", "pipeline_parallel_size") or 1
    dp = given.count("plan.attention_dp" if moe else "replicas", "data_parallel_size") or 1
    together = given.flag("plan.ep", "enable_expert_parallel")
    ways = dp if moe else 1  # sequences of one attention-data-parallel rank and one batch of a pipeline are limited
    plan = {
        "tp": tp,
        "pp": pp,
        "attention_dp": ways,
        "ep": tp * ways if moe and together else 1,
        "dtypes": _dtypes(given),
    }
    caching = given.flag("engine.prefix_cache", "enable_prefix_caching")
    without = given.flag("engine.prefix_cache", "no_enable_prefix_caching")
    if not caching and not without:
        given.assume("enable_prefix_caching", "on", "vLLM's default")
    engine = {
        "max_num_seqs": _times(given.count("engine.max_num_seqs", "max_num_seqs"), ways * pp),
        "max_batched_tokens": _times(_size(given, "engine.max_batched_tokens", "max_num_batched_tokens"), ways * pp),
        "max_model_len": _size(given, "engine.max_model_len", "max_model_len"),
        "kv_fraction": _share(given, "gpu_memory_utilization"),
        "kv_block": given.count("engine.kv_block", "block_size"),
        "swap_bytes": _gib(given, "swap_space"),
        "prefix_cache": not without,
    }
    _drafts(given)
    return _Parts(plan, engine, 1 if moe else dp, _role(given))


def _sglang(given: Arguments, moe: bool) -> _Parts:
    """`tp-size` counts all ranks of a stage; with data-parallel attention each of `dp-size` copies has its share of them."""
    ranks = given.assumed_count("plan.tp", 1, "SGLang's default", "tp_size", "tensor_parallel_size", "tp")
    pp = given.count("plan.pp", "pp_size", "pipeline_parallel_size") or 1
    dp = given.count("plan.attention_dp", "dp_size", "data_parallel_size", "dp") or 1
    spread = given.flag("plan.attention_dp", "enable_dp_attention")
    if spread and ranks % dp:
        raise InputError(f"{given.name}: dp_size = {dp} does not divide tp_size = {ranks}. Mend one of them.")
    plan = {
        "tp": ranks // dp if spread else ranks,
        "pp": pp,
        "attention_dp": dp if spread else 1,
        "ep": given.count("plan.ep", "ep_size", "expert_parallel_size", "ep") or 1 if moe else 1,
        "dtypes": _dtypes(given),
    }
    chunk = given.text("engine.max_batched_tokens", "chunked_prefill_size")
    if chunk == "-1":
        given.assume("chunked_prefill_size", "-1", "prompts in one piece: not modelled, the stack's default counts")
    engine = {
        "max_num_seqs": given.count("engine.max_num_seqs", "max_running_requests"),
        "max_batched_tokens": None
        if chunk == "-1"
        else given.count("engine.max_batched_tokens", "chunked_prefill_size"),
        "max_model_len": _size(given, "engine.max_model_len", "context_length"),
        "kv_fraction": _share(given, "mem_fraction_static"),
        "kv_block": given.count("engine.kv_block", "page_size"),
        "prefix_cache": not given.flag("engine.prefix_cache", "disable_radix_cache"),
    }
    _drafts(given)
    return _Parts(plan, engine, 1 if spread else dp, _role(given))


def _times(value: int | None, ways: int) -> int | None:
    return None if value is None else value * ways


def _of(given: Arguments, becomes: str, name: str, read: Callable[[str], Any], what: str) -> Any:
    """A value read by a function that returns None for what it cannot read. Raises InputError then."""
    text = given.text(becomes, name)
    if text is None:
        return None
    value = read(text)
    if value is None:
        raise InputError(f"{given.place(name)}: {name} = {text[:60]!r} is not {what}. Mend it.")
    return value


def _size(given: Arguments, becomes: str, name: str) -> int | None:
    def read(text: str) -> int | None:
        found = _SIZE.fullmatch(text) if len(text) < 16 else None
        value = round(float(found[1]) * _TIMES[found[2]]) if found else 0
        return value if 0 < value < 2**40 else None

    size: int | None = _of(given, becomes, name, read, "a number of tokens above 0, such as 8192 or 32k")
    return size


def _share(given: Arguments, name: str) -> float | None:
    value: float | None = _of(given, "engine.kv_fraction", name, _number(1.0), "a share from 0 to 1")
    return value


def _gib(given: Arguments, name: str) -> float | None:
    """Bytes of host memory; 0 is none."""
    value = _of(given, "engine.swap_bytes", name, _number(1e6), "a number of GiB")
    return value * 2.0**30 or None if value is not None else None


def _number(most: float) -> Callable[[str], float | None]:
    def read(text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if 0.0 <= value <= most else None

    return read


def _dtypes(given: Arguments) -> dict[str, str]:
    """Formats of weights and KV. Raises InputError for one that is not known; its remedy names those that are."""
    out: dict[str, str] = {}
    method = given.text("plan.dtypes.weights", "quantization")
    if method is not None and method.lower() != "none":
        if method not in _WEIGHTS:
            place = f"{given.place('quantization')}: quantization = {method[:60]!r} is not known."
            raise InputError(f"{place} Use {', '.join(_WEIGHTS)}, or leave it out.")
        weights, activations = _WEIGHTS[method]
        out = {"weights": weights, **({"activations": activations} if activations else {})}
    stored = given.text("plan.dtypes.kv_cache", "kv_cache_dtype")
    if stored is not None:
        if stored not in _KV:
            place = f"{given.place('kv_cache_dtype')}: kv_cache_dtype = {stored[:60]!r} is not known."
            raise InputError(f"{place} Use {', '.join(_KV)}.")
        kv = _KV[stored]
        out |= {"kv_cache": kv} if kv else {}
    return out


def _drafts(given: Arguments) -> None:
    """Drafted tokens need a share that is accepted, which no launch says."""
    for name in ("speculative_config", "speculative_algorithm"):
        if name in given.values:
            given.text("engine.speculative", name)
            why = (
                "not taken over: no launch says what share is accepted. Add --speculative-method, -tokens, -acceptance"
            )
            given.assume(name, given.values[name].text[:60], why)


def _role(given: Arguments) -> str:
    """prefill or decode, if the launch is one of a pair; "" if not."""
    mode = given.text("role", "disaggregation_mode")
    if mode in ("prefill", "decode"):
        given.assume("disaggregation_mode", mode, "one half of a pair: read as a server of its own")
        return mode
    text = given.values["kv_transfer_config"].text if "kv_transfer_config" in given.values else ""
    given.text("role", "kv_transfer_config")
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise InputError(f"{given.place('kv_transfer_config')}: {text[:60]!r} is not valid JSON. Mend it.") from None
    kind = found.get("kv_role") if isinstance(found, dict) else None
    role = {"kv_producer": "prefill", "kv_consumer": "decode"}.get(kind if isinstance(kind, str) else "", "")
    if role:
        given.assume("kv_role", str(kind), "one half of a pair: read as a server of its own")
    return role
