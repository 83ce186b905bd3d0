"""Configurations of MaxText -> Model and Plan: its YAML files, and the `key=value` words of its command line.

Names, meanings and defaults: MaxText configs/base.yml and pyconfig (2026).
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import InputError
from .files import parse_yaml
from .imported import Imported, Said, known_model, with_lines
from .library import Library
from .megatron_fields import Arguments
from .megatron_text import Words
from .models import Attention, Block, Dense, Model, Moe
from .plans import Dtypes, Plan

_MARK = re.compile(
    r"\b(?:per_device_batch_size|ici_(?:fsdp|tensor|data)_parallelism|base_num_decoder_layers)\b[ \t]*[:=]"
)
_WORD = re.compile(r"(?<![\w-])([a-z][a-z0-9_]*)=([^\s\\]*)")
_AXES = {  # of the mesh -> field of a plan; others must be 1
    "data": "data",
    "fsdp": "fsdp",
    "tensor": "tp",
    "context": "cp",
    "pipeline": "pp",
    "expert": "ep",
}
_OTHER_AXES = (
    *("fsdp_transpose", "sequence", "tensor_transpose", "tensor_sequence", "autoregressive", "diloco"),
    "context_autoregressive",
)
_POLICIES = {
    "full": "full",
    "minimal": "selective",
    "minimal_with_context": "none",
    "save_dot_except_mlp": "behind_attention",
    "save_dot_with_context_except_mlp": "behind_attention",
    "custom": "behind_attention",
}
_FORMATS = {
    "": "bf16",
    "int8": "int8",
    "int8w": "int8",
    "fp8": "fp8",
    "fp8_full": "fp8",
    "te_fp8_delayedscaling": "fp8",
}
_DECODERS = ("llama2", "mistral", "mixtral", "default", "qwen3", "qwen3_moe")
_CORES = {"v4": 2, "v5p": 2}  # TPUs whose topology counts cores, not chips


def looks_like(text: str) -> bool:
    """Does a text hold settings of MaxText?"""
    return bool(_MARK.search(text))


def imported_from(
    text: str, name: str, library: Library, model: str | None = None, devices: int | None = None
) -> Imported:
    """The training run of a configuration; model: its catalogue name, where the file does not say it; devices: chips in all.

    Raises InputError with file, line and value for what is malformed, missing or not modelled.
    """
    given = Arguments(Words(_values(text, name), []), name)
    network, known = _model(given, library, model)
    seq_len = given.assumed_count("demand.seq_len", 2048, "MaxText's default", "max_target_length")
    device, chips = _topology(given, library)
    chips = chips or devices
    plan = _plan(given, network, chips)
    total = plan.tp * plan.pp * plan.cp * (plan.dp or 1)
    if chips is not None and total not in (chips, 2 * chips):  # some chips are two devices to JAX
        raise InputError(f"{name}: the degrees make {total} devices, and the job has {chips} chips. Mend one of them.")
    return Imported(
        kind="maxtext",
        name=name,
        model=network,
        known=known,
        plan=plan,
        seq_len=seq_len,
        devices=chips or total,
        device=device,
        precision=str(plan.dtypes.weights),
        understood=tuple(given.understood.values()),
        assumed=tuple(given.assumed),
        ignored=given.rest(),
    )


def _values(text: str, name: str) -> dict[str, Said]:
    """Keys of the YAML, or `key=value` words of a command, which win over nothing but themselves."""
    words = list(_WORD.finditer(text))
    if words and not re.search(r"^[a-z][a-z0-9_]*:(?:\s|$)", text, re.MULTILINE):
        return {each[1]: Said(each[2].strip("\"'"), line) for line, each in with_lines(text, words)}
    document = parse_yaml(text, name)
    if not isinstance(document.data, dict):
        raise InputError(f"{name}: not a list of keys. Give a YAML of MaxText.")
    found: dict[str, Said] = {}
    for key, value in document.data.items():
        shown = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
        found[str(key)] = Said(shown, document.lines.get((key,), 1))
    return found


def _model(given: Arguments, library: Library, model: str | None) -> tuple[Model, bool]:
    said = given.text("model", "model_name")
    if model is not None:
        return library.model(model), True
    if said not in (None, "", "default"):
        try:
            return library.model(re.sub(r"^(llama)(\d)", r"\1-\2", str(said))), True
        except InputError as error:
            raise InputError(f"{given.place('model_name')}: {error} Or say which it is: --model NAME.") from None
    network = _dimensions(given)
    known = known_model(library, network)
    if known is not None:
        given.assume("model", known.id, "the catalogue's model with these dimensions")
    return known or network, known is not None


def _dimensions(given: Arguments) -> Model:
    decoder = given.text("model", "decoder_block") or "llama2"
    scale = given.text("model", "global_parameter_scale") or "1"
    if decoder not in _DECODERS or scale != "1":
        key = "decoder_block" if decoder not in _DECODERS else "global_parameter_scale"
        raise InputError(
            f"{given.place(key)}: {key} = {given.values[key].text[:60]!r} is not modelled. Add --model NAME, or write YAML."
        )
    sizes = {}
    for key, field in (("base_emb_dim", "hidden"), ("base_mlp_dim", "width"), ("base_num_decoder_layers", "layers"),
                       ("base_num_query_heads", "heads"), ("base_num_kv_heads", "kv_heads")):  # fmt: skip
        value = given.count(f"model.{field}", key)
        if value is None:
            raise InputError(f"{given.name}: {key} is missing, and no model_name is given. Add it, or --model NAME.")
        sizes[field] = value
    head = given.assumed_count("model.head_dim", 128, "MaxText's default", "head_dim")
    vocab = given.count("model.vocab", "vocab_size")
    if vocab is None:
        given.assume("vocab_size", "0", "not in the file: no embeddings are counted unless the model is known")
    gated = "," in (given.values["mlp_activations"].text if "mlp_activations" in given.values else "silu, linear")
    given.text("model.gated", "mlp_activations")
    experts = given.count("model.experts", "num_experts") or 1
    ffn: Dense | Moe = Dense(width=sizes["width"], gated=gated)
    if experts > 1:
        topk = given.count("model.topk", "num_experts_per_tok") or 1
        ffn = Moe(experts=experts, topk=min(topk, experts), width=sizes["width"], gated=gated)
    mixer = Attention(heads=sizes["heads"], kv_heads=sizes["kv_heads"], head_dim=head)
    return Model(
        id="maxtext-model",
        name="model of a MaxText configuration",
        hidden=sizes["hidden"],
        vocab=vocab or 0,
        tied=given.flag("model.tied", "logits_via_embedding"),
        blocks=(Block(layers=sizes["layers"], mixer=mixer, ffn=ffn),),
        sources=(given.name or "file",),
    )


def _topology(given: Arguments, library: Library) -> tuple[str, int | None]:
    """Chip and number of chips of `compile_topology: v5p-256`; ("", None) where it is not said."""
    said = given.text("devices", "compile_topology")
    if not said:
        return "", None
    found = re.fullmatch(r"(v\d+[a-z]?)-(\d{1,7})", said)
    if found is None:
        raise InputError(
            f"{given.place('compile_topology')}: compile_topology = {said[:60]!r} is not such as v5p-256. Mend it."
        )
    slices = given.count("devices", "compile_topology_num_slices") or 1
    return library.chip(f"tpu-{found[1]}").id, int(found[2]) // _CORES.get(found[1], 1) * slices


def _axis(given: Arguments, axis: str) -> int | None:
    """Size of an axis over slices and inside one; None if it takes what is left (-1)."""
    size: int | None = 1
    for place in ("ici", "dcn"):
        name = f"{place}_{axis}_parallelism"
        if given.values.get(name, Said("1", 0)).text == "-1":
            given.text(f"plan ({axis})", name)
            size = None
        else:
            count = given.count(f"plan ({axis})", name) or 1
            size = None if size is None else size * count
    return size


def _plan(given: Arguments, model: Model, chips: int | None) -> Plan:
    for axis in _OTHER_AXES:
        if (_axis(given, axis) or 2) != 1:
            name = next(
                f"{place}_{axis}_parallelism"
                for place in ("ici", "dcn")
                if f"{place}_{axis}_parallelism" in given.values
            )
            raise InputError(
                f"{given.place(name)}: {name} = {given.values[name].text[:20]}: this axis is not modelled. Leave it out."
            )
    axes = {field: _axis(given, axis) for axis, field in _AXES.items()}
    free = [field for field, size in axes.items() if size is None]
    known = 1
    for size in axes.values():
        known *= size or 1
    if len(free) > 1 or (free and (chips is None or chips % known)):
        why = (
            f"{chips} chips are no multiple of {known}"
            if chips and len(free) == 1
            else "-1 needs the number of chips"
            if len(free) == 1
            else "several axes are -1"
        )
        raise InputError(f"{given.name}: ici/dcn parallelism: {why}. Mend the degrees, or add --devices.")
    sizes = {field: size if size is not None else (chips or known) // known for field, size in axes.items()}
    dp = sizes["data"] * sizes["fsdp"] * sizes["ep"]
    total = dp * sizes["tp"] * sizes["cp"] * sizes["pp"]
    batch, micro = _batch(given, total, dp, sizes["pp"])
    sharded = sizes["fsdp"] > 1
    return Plan(
        tp=sizes["tp"], pp=sizes["pp"], dp=dp, cp=sizes["cp"],
        ep=sizes["ep"] if any(isinstance(block.ffn, Moe) for block in model.blocks) else 1,
        micro_batch=micro, global_batch=batch,
        sharding="zero3" if sharded else "none",
        shard_degree=sizes["fsdp"] * sizes["ep"] * sizes["cp"] if sharded and sizes["data"] > 1 else None,
        recompute=_recompute(given), dtypes=_dtypes(given),
    )  # fmt: skip


def _batch(given: Arguments, devices: int, dp: int, pp: int) -> tuple[int, int]:
    """Sequences of a step and of a pass: `per_device_batch_size` counts for every device, also those of one replica."""
    text = given.text("plan.global_batch", "per_device_batch_size") or "12"
    if "per_device_batch_size" not in given.values:
        given.assume("per_device_batch_size", "12", "MaxText's default")
    try:
        each = float(text)
    except ValueError:
        each = 0.0
    if not 0.0 < each < 1e6:
        raise InputError(
            f"{given.place('per_device_batch_size')}: per_device_batch_size = {text[:60]!r} is not a number above 0. Mend it."
        )
    steps = given.count("plan.micro_batch", "gradient_accumulation_steps") or 1
    passes = steps * (given.count("plan.micro_batch", "num_pipeline_microbatches") or pp)
    batch = max(dp, round(each * devices))
    return batch, max(1, batch // (dp * passes))


def _recompute(given: Arguments) -> Any:
    policy = given.text("plan.recompute", "remat_policy")
    if policy is None:
        given.assume("remat_policy", "full", "MaxText's default")
        return "full"
    if policy not in _POLICIES:
        raise InputError(
            f"{given.place('remat_policy')}: remat_policy = {policy[:60]!r} is not modelled. Use {', '.join(_POLICIES)}."
        )
    return _POLICIES[policy]


def _dtypes(given: Arguments) -> Dtypes:
    text = (given.text("plan.dtypes.weights", "quantization") or "").lower()
    if text not in _FORMATS:
        raise InputError(
            f"{given.place('quantization')}: quantization = {text[:60]!r} is not modelled. Use {', '.join(filter(None, _FORMATS))}."
        )
    return Dtypes.model_validate({"weights": _FORMATS[text]})
