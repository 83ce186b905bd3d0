"""Which parts of a checkpoint are stored in which format: `quantization_config` of config.json, `hf_quant_config.json`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from ..errors import InputError
from .models import Block, LatentAttention, LinearAttention, Moe, Stored

_PREFIXES = ("model.layers", "model.language_model.layers", "language_model.model.layers", "transformer.h")
_SHARED = ("mlp.shared_experts.up_proj",)
_DENSE = ("mlp.up_proj", "mlp.down_proj")
_EXPERTS = ("mlp.experts.0.up_proj", "mlp.experts.0.down_proj")
_MODELOPT = {
    "NVFP4": ("fp4", None),
    "FP8": ("fp8", None),
    "FP8_PB_WO": ("fp8", None),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", None),
    "MXFP8": ("fp8", None),
    "W4A8_NVFP4_FP8": ("fp4", "fp8"),
    "W4A8_AWQ": ("int4", "fp8"),
    "W4A16_AWQ": ("int4", "bf16"),
}

Format = tuple[str, str | None]  # stored dtype of the weights; dtype of the activations, None: the same
Rule = Callable[[str], Format | None]  # module name -> its format, None: it keeps the model's


def stored(config: dict[str, Any], blocks: Iterable[Block], place: str) -> tuple[Stored, list[str]]:
    """Formats of the parts of a checkpoint, and notes on parts that are quantised in some layers only.

    config: the value of quantization_config, or the `quantization` block of hf_quant_config.json. place: for errors.
    Raises InputError that names a method or format that is not modelled.
    """
    rule = _rule(config, place)
    parts: dict[str, str] = {}
    activations: set[str | None] = set()
    notes: list[str] = []
    for part, names in _modules(blocks).items():
        formats = [rule(name) for name in names]
        quantised = [form for form in formats if form is not None]
        if 2 * len(quantised) > len(formats):
            parts[part] = quantised[0][0]
            activations.add(quantised[0][1])
        if 0 < len(quantised) < len(formats):
            share = f"{len(quantised)} of {len(formats)} modules"
            notes.append(f"{part}: {share} are quantised; all counted as {parts.get(part, 'not quantised')}")
    if len(activations) > 1:
        raise InputError(f"{place}: activations of several formats ({activations}) are not modelled. Write YAML.")
    scaled = config.get("weight_block_size") is not None or config.get("quant_algo") == "FP8_PB_WO"
    found = {"activations": next(iter(activations), None), "kv_cache": _kv_cache(config, place)}
    return Stored.model_validate({**parts, **found, **({"block_scales": True} if scaled else {})}), notes


def _modules(blocks: Iterable[Block]) -> dict[str, list[str]]:
    """Names of typical modules of each part, layer by layer."""
    names: dict[str, list[str]] = {"attention": [], "linear": [], "experts": []}
    layer = 0
    for block in blocks:
        attention = ("self_attn.q_proj", "self_attn.o_proj")
        if isinstance(block.mixer, LatentAttention):
            attention = ("self_attn.q_b_proj", "self_attn.o_proj")
        elif isinstance(block.mixer, LinearAttention):
            attention = ("linear_attn.in_proj_qkv", "linear_attn.out_proj")
        moe = isinstance(block.ffn, Moe)
        shared = isinstance(block.ffn, Moe) and block.ffn.shared_width > 0
        for _ in range(block.layers):
            names["attention"] += [f"{layer}.{name}" for name in attention]
            names["experts"] += [f"{layer}.{name}" for name in _EXPERTS if moe]
            names["linear"] += [f"{layer}.{name}" for name in (_SHARED if shared else () if moe else _DENSE)]
            layer += 1
    return {part: modules for part, modules in names.items() if modules}


def _rule(config: dict[str, Any], place: str) -> Rule:
    method = str(config.get("quant_method") or ("modelopt" if "quant_algo" in config else "")).lower()
    ignored = config.get("modules_to_not_convert") or config.get("ignore") or config.get("exclude_modules") or ()
    if not isinstance(ignored, list | tuple) or not all(isinstance(entry, str) for entry in ignored):
        raise InputError(f"{place}: the modules to leave out = {ignored!r} must be a list of names. Mend it.")
    _check_expressions(ignored, place)
    if method == "compressed-tensors":
        return _grouped(config, ignored, place)
    form = _format(config, method, place)
    only_experts = method == "mxfp4"  # this loader converts routed experts and nothing else

    def rule(name: str) -> Format | None:
        if (only_experts and ".experts." not in name) or any(matches(entry, name) for entry in ignored):
            return None
        return form

    return rule


def _check_expressions(entries: Iterable[Any], place: str) -> None:
    for entry in entries:
        try:
            re.compile(str(entry).removeprefix("re:") if str(entry).startswith("re:") else "")
        except re.error as error:
            raise InputError(f"{place}: {entry!r} is not a regular expression ({error}). Mend it.") from None


def _format(config: dict[str, Any], method: str, place: str) -> Format:
    if method in ("fp8", "fbgemm_fp8"):
        return "fp8", None
    if method == "mxfp4":
        return "fp4", "bf16"
    if method in ("gptq", "awq", "gptq_marlin", "awq_marlin"):
        return _weights({"num_bits": config.get("bits", config.get("w_bit")), "type": "int"}, place), "bf16"
    if method in ("modelopt", "modelopt_fp4"):
        algorithm = str(config.get("quant_algo")).upper()
        if algorithm in _MODELOPT:
            return _MODELOPT[algorithm]
        raise InputError(f"{place}.quant_algo = {algorithm!r} is not modelled. Known: {', '.join(_MODELOPT)}.")
    raise InputError(
        f"{place}.quant_method = {config.get('quant_method')!r} is not modelled."
        " Known: fp8, fbgemm_fp8, compressed-tensors, mxfp4, modelopt, gptq, awq."
    )


def _weights(scheme: Any, place: str) -> str:
    key = (scheme.get("type"), scheme.get("num_bits")) if isinstance(scheme, dict) else scheme
    known = {("float", 8): "fp8", ("float", 4): "fp4", ("int", 8): "int8", ("int", 4): "int4"}
    if key not in known:
        raise InputError(f"{place}: a format of {key!r} is not modelled. Known: float or int of 8 or 4 bits.")
    return known[key]


def _grouped(config: dict[str, Any], ignored: Iterable[str], place: str) -> Rule:
    """compressed-tensors: groups of targets with a format each."""
    groups = config.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise InputError(f"{place}.config_groups = {groups!r} must be a mapping of groups. Mend it.")
    rules: list[tuple[tuple[str, ...], Format]] = []
    for name, group in groups.items():
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list | tuple):
            raise InputError(f"{place}.config_groups.{name}: `targets` and `weights` are expected. Add them.")
        _check_expressions(group["targets"], place)
        weights = _weights(group.get("weights"), place)
        inputs = group.get("input_activations")
        activations = "bf16" if inputs is None else _weights(inputs, place)
        rules.append((tuple(map(str, group["targets"])), (weights, None if activations == weights else activations)))

    def rule(name: str) -> Format | None:
        if any(matches(entry, name) for entry in ignored):
            return None
        fitting = (form for targets, form in rules if any(t == "Linear" or matches(t, name) for t in targets))
        return next(fitting, None)

    return rule


def _kv_cache(config: dict[str, Any], place: str) -> str | None:
    scheme = config.get("kv_cache_scheme")
    if scheme is not None:
        return _weights(scheme, f"{place}.kv_cache_scheme")
    algorithm = config.get("kv_cache_quant_algo")
    known = {None: None, "FP8": "fp8", "INT8": "int8", "NVFP4": "fp4"}
    if not isinstance(algorithm, str | None) or algorithm not in known:
        raise InputError(f"{place}.kv_cache_quant_algo = {algorithm!r} is not modelled. Known: FP8, INT8, NVFP4.")
    return known[algorithm]


def matches(entry: str, module: str) -> bool:
    """True if an entry (`re:` expression, `*` pattern, or dotted name) covers a module `<layer>.<name>` or a parent of it."""
    names = [f"{prefix}.{spelt}" for prefix in _PREFIXES for spelt in _spellings(module)]
    if entry.startswith("re:"):
        try:
            return any(re.match(entry[3:], name) for name in names)
        except re.error as error:
            raise InputError(
                f"quantization_config: {entry!r} is not a regular expression ({error}). Mend it."
            ) from None
    if "*" in entry:
        return any(fnmatchcase(name, entry) or fnmatchcase(name, f"{entry}.*") for name in names)
    return any(f".{entry}." in f".{name}." for name in names)


def _spellings(module: str) -> tuple[str, ...]:
    """The module in the other spellings of the makers."""
    other = module.replace("mlp.experts.0.up_proj", "block_sparse_moe.experts.0.w1")
    other = other.replace("mlp.experts.0.down_proj", "block_sparse_moe.experts.0.w2")
    return module, other, module.replace("shared_experts", "shared_expert")
