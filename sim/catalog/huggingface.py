"""Models from a Hugging Face config.json: every field is understood, known to change no layer, or an error that names it."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import InputError
from .files import read_json, read_text
from .huggingface_fields import Fields, Style
from .models import (
    Attention,
    Block,
    CrossAttention,
    Dense,
    FeedForward,
    LatentAttention,
    LinearAttention,
    Mixer,
    Model,
    Moe,
)
from .quantisation import stored

_NESTED = ("text_config", "llm_config", "language_config")
_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float8_e4m3fn": "fp8"}


def read_config(path: Path) -> Model:
    """The model of a config.json, with the formats of its quantised checkpoint (also from hf_quant_config.json beside it).

    Raises InputError, naming file, line, field and value, for a kind of model, layer or format that is not modelled.
    What was assumed or left aside (a missing dtype, a vision tower) stands in `notes`.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: a JSON object is expected. Give a model's config.json.")
    fields, notes = _language_part(data, read_text(path), str(path))
    kind, style = fields.style()
    try:
        model = _model(fields, kind, style, path, notes)
        fields.check_rest()
        return _quantised(model, path, data, fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {field} = {first.get('input')!r}: {first['msg']}. Mend the config.") from None


def _language_part(data: dict[str, Any], text: str, name: str) -> tuple[Fields, list[str]]:
    """The fields of the language model: those of a nested text_config, if there is one, over the outer ones."""
    inner = next((data[key] for key in _NESTED if isinstance(data.get(key), dict)), None)
    if inner is None:
        return Fields({key: value for key, value in data.items() if key != "quantization_config"}, text, name), []
    merged = {key: value for key, value in inner.items() if key != "quantization_config"}
    for key in ("model_type", "dtype", "torch_dtype"):
        if merged.get(key) is None and key in data:
            merged[key] = data[key]
    if "tie_word_embeddings" in data:  # the outer one counts: the head belongs to the whole
        merged["tie_word_embeddings"] = data["tie_word_embeddings"]
    others = sorted(key for key in data if key.endswith("_config") and key not in (*_NESTED, "quantization_config"))
    notes = [f"{', '.join(others)} left aside: only the language part is modelled"] if others else []
    return Fields(merged, text, name), notes


def _model(fields: Fields, kind: str, style: Style, path: Path, notes: list[str]) -> Model:
    hidden, vocab = fields.count("hidden"), fields.count("vocab")
    if kind == "t5":
        blocks = _t5_blocks(fields, hidden)
    else:
        blocks = _blocks(fields, kind, style, hidden)
    if style.encoder:
        notes.append("no output head: the heads of encoders differ by task and are small")
    positions = fields.maybe("positions")
    learned = fields.flag("learned_pos_emb", True) if kind == "mpt" and not _alibi(fields) else style.learned
    narrow = fields.maybe("embedding_width")
    called = fields.get("_name_or_path") or (path.resolve().parent.name if path.name == "config.json" else path.stem)
    named = str(called).strip("/") or "model"
    return Model(
        id=re.sub(r"[^a-z0-9.]+", "-", named.split("/")[-1].lower()).strip("-.")[:80] or "model",
        name=named,
        hidden=hidden,
        vocab=vocab,
        tied=fields.flag("tie_word_embeddings", style.tied),
        blocks=blocks,
        max_positions=positions,
        learned_positions=learned and positions is not None,
        embedding_width=narrow if narrow != hidden else None,
        head="none" if style.encoder else "tokens",
        mtp_layers=_mtp_layers(fields),
        dtype=_dtype(fields, notes),
        sources=(f"{path}",),
        notes=tuple(notes),
    )


def _dtype(fields: Fields, notes: list[str]) -> Any:
    key = fields.key("dtype")
    value = fields.get(key)
    if value is None:
        notes.append("no dtype is stated: bf16 assumed")
        return "bf16"
    if not isinstance(value, Hashable) or value not in _DTYPES:
        raise fields.error(key, f"is not known. Use one of {', '.join(_DTYPES)}.")
    return _DTYPES[value]


def _mtp_layers(fields: Fields) -> int:
    each = fields.count("mtp_transformer_layers", 1, least=0)
    return fields.count("mtp", 0, least=0) * each


def _alibi(fields: Fields) -> bool:
    config = fields.get("attn_config", {})
    return isinstance(config, dict) and bool(config.get("alibi") or config.get("rope"))


def _blocks(fields: Fields, kind: str, style: Style, hidden: int) -> tuple[Block, ...]:
    """Equal layers are gathered into one block, in the order of their first appearance."""
    layers = fields.count("layers")
    mixers = _mixers(fields, kind, style, hidden, layers)
    networks = _feed_forwards(fields, style, hidden, layers)
    parallel, norms = style.parallel, style.norms
    if kind == "falcon":
        parallel = fields.flag("parallel_attn", True)
        norms = 2 if fields.flag("new_decoder_architecture", False) or not parallel else 1
    if kind == "gpt_neox":
        parallel = fields.flag("use_parallel_residual", True)
    counts: dict[tuple[Mixer, FeedForward], int] = {}
    for pair in zip(mixers, networks, strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    return tuple(
        Block(layers=count, mixer=mixer, ffn=ffn, norms=norms, parallel=parallel)
        for (mixer, ffn), count in counts.items()
    )


def _mixers(fields: Fields, kind: str, style: Style, hidden: int, layers: int) -> list[Mixer]:
    kinds = _layer_types(fields, kind, style, layers)
    full = _latent(fields) or _attention(fields, kind, style, hidden)
    made: dict[str, Mixer] = {"full_attention": full}
    if "sliding_attention" in kinds:
        if not isinstance(full, Attention):
            raise InputError(
                f"{fields.name}: a window over latent attention (kv_lora_rank) is not modelled. Write YAML."
            )
        made["sliding_attention"] = full.with_(window=fields.count("sliding_window"))
    if "linear_attention" in kinds:
        made["linear_attention"] = LinearAttention(
            key_heads=fields.count("linear_num_key_heads"),
            value_heads=fields.count("linear_num_value_heads"),
            key_dim=fields.count("linear_key_head_dim"),
            value_dim=fields.count("linear_value_head_dim"),
            conv_width=fields.count("linear_conv_kernel_dim", 4),
        )
    return [made[each] for each in kinds]


def _layer_types(fields: Fields, kind: str, style: Style, layers: int) -> list[str]:
    """Kind of the mixer of each layer, from layer_types or from the older fields that say the same."""
    window, used = fields.maybe("sliding_window"), fields.flag("use_sliding_window", not kind.startswith("qwen"))
    interval = fields.maybe("full_attention_interval")
    period = fields.maybe("sliding_window_pattern") or style.period
    listed = fields.get("layer_types")
    softmax_only = fields.get("attn_type_list")
    if softmax_only is not None and (not isinstance(softmax_only, list) or any(each != 1 for each in softmax_only)):
        raise fields.error("attn_type_list", "holds layers other than 1 = softmax attention: not modelled. Write YAML.")
    if listed is not None:
        if not isinstance(listed, list) or len(listed) != layers:
            raise fields.error("layer_types", f"must list one kind for each of the {layers} layers. Mend it.")
        for each in listed:
            if each not in ("full_attention", "sliding_attention", "linear_attention"):
                raise InputError(
                    f"{fields.place('layer_types')} holds {each!r}, which is not modelled."
                    " Known: full_attention, sliding_attention, linear_attention."
                )
        return list(listed)
    if style.gate or interval:
        every = interval or style.period
        return ["linear_attention" if (i + 1) % every else "full_attention" for i in range(layers)]
    if window is None or not used:
        return ["full_attention"] * layers
    if kind.startswith("qwen"):
        first = fields.count("max_window_layers", 0, least=0)
        return ["sliding_attention" if i >= first else "full_attention" for i in range(layers)]
    return ["full_attention" if period and (i + 1) % period == 0 else "sliding_attention" for i in range(layers)]


def _attention(fields: Fields, kind: str, style: Style, hidden: int) -> Attention:
    heads = fields.count("heads")
    kv_heads = fields.count("kv_heads", _mpt_kv_heads(fields, heads) if kind == "mpt" else heads)
    if kind == "falcon" and not fields.flag("new_decoder_architecture", False):
        kv_heads = 1 if fields.flag("multi_query", True) else heads
    if fields.maybe("head_dim") is None and hidden % heads:
        raise fields.error(fields.key("heads"), f"does not divide {hidden}, and no head_dim is given. Add head_dim.")
    if heads % kv_heads:
        raise fields.error(fields.key("kv_heads"), f"does not divide the {heads} query heads. Mend one of the two.")
    bias = style.bias and not fields.flag("no_bias", kind == "mpt")
    for key in ("attention_bias", "qkv_bias", "enable_bias", "use_bias"):
        bias = fields.flag(key, bias)
    if kind == "falcon":
        bias = fields.flag("bias", False)
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=fields.count("head_dim", hidden // heads),
        causal=not style.encoder,
        bias=bias,
        gate=fields.flag("attn_output_gate", style.gate),
    )


def _mpt_kv_heads(fields: Fields, heads: int) -> int:
    config = fields.get("attn_config", {})
    kinds = {"multihead_attention": heads, "multiquery_attention": 1}
    if not isinstance(config, dict) or (config.get("sliding_window_size") or -1) > 0:
        raise fields.error("attn_config", "is not modelled: it must be an object without a sliding window. Write YAML.")
    count = config.get("kv_n_heads") or kinds.get(config.get("attn_type", "multihead_attention"))
    if not isinstance(count, int):
        raise fields.error("attn_config", f"is not modelled: attn_type must be one of {', '.join(kinds)}. Write YAML.")
    return count


def _latent(fields: Fields) -> LatentAttention | None:
    if fields.maybe("kv_lora_rank") is None:
        return None
    nope, rope = fields.count("qk_nope_head_dim"), fields.count("qk_rope_head_dim")
    if fields.count("qk_head_dim", nope + rope) != nope + rope:
        raise fields.error("qk_head_dim", f"is not qk_nope_head_dim + qk_rope_head_dim = {nope + rope}. Mend it.")
    for key in ("kv_heads", "head_dim"):  # printed beside them without meaning of their own
        fields.key(key)
    fields.flag("attention_bias", False)
    topk = fields.maybe("index_topk")
    return LatentAttention(
        heads=fields.count("heads"),
        query_rank=fields.maybe("q_lora_rank"),
        kv_rank=fields.count("kv_lora_rank"),
        nope_dim=nope,
        rope_dim=rope,
        value_dim=fields.count("v_head_dim"),
        index_heads=fields.count("index_n_heads") if topk else 0,
        index_dim=fields.count("index_head_dim") if topk else 0,
        index_topk=topk or 0,
    )


def _feed_forwards(fields: Fields, style: Style, hidden: int, layers: int) -> list[FeedForward]:
    bias = fields.flag("mlp_bias", style.ffn_bias)
    if fields.data.get("model_type") == "mpt":
        bias = not fields.flag("no_bias", True)
    elif fields.data.get("model_type") == "falcon":
        bias = fields.flag("bias", False)
    ratio = fields.count("expansion_ratio", style.width) if style.width else 0
    if fields.maybe("experts") is None:
        dense = Dense(width=fields.count("width", ratio * hidden or None), gated=style.gated, bias=bias)
        return [dense] * layers
    moe = _moe(fields, style, bias)
    sparse = _sparse(fields, layers)
    if all(sparse):
        fields.key("width")
        return [moe] * layers
    if style.expert_width:
        raise InputError(
            f"{fields.name}: dense layers among those with experts have no width of their own. Write YAML."
        )
    dense = Dense(width=fields.count("width"), gated=style.gated, bias=bias)
    return [moe if each else dense for each in sparse]


def _moe(fields: Fields, style: Style, bias: bool) -> Moe:
    width = fields.maybe("expert_width") or (fields.count("width") if style.expert_width else None)
    if width is None:
        raise InputError(f"{fields.name}: moe_intermediate_size is missing. Add it.")
    experts, topk = fields.count("experts"), fields.count("topk")
    if topk > experts:
        raise fields.error(fields.key("topk"), f"is more than the {experts} experts. Mend one of the two.")
    own = fields.maybe("shared_width")
    shared = fields.maybe("n_shared_experts") or (1 if own else 0)
    return Moe(
        experts=experts,
        topk=topk,
        width=width,
        gated=style.gated,
        shared_experts=shared,
        shared_width=own or shared * width,
        bias=bias,
    )


def _sparse(fields: Fields, layers: int) -> list[bool]:
    """Which layers have experts. Source: the rules of the makers' own code for these fields, as documented by transformers."""
    first = fields.count("first_k_dense_replace", 0, least=0)
    step = fields.count("decoder_sparse_step", 1)
    frequency = fields.get("moe_layer_freq", 1)
    only_dense = fields.get("mlp_only_layers", [])
    listed = fields.get("mlp_layer_types")
    if listed is not None:
        if not isinstance(listed, list) or len(listed) != layers or set(listed) - {"dense", "sparse"}:
            raise fields.error(
                "mlp_layer_types", f"must list dense or sparse for each of the {layers} layers. Mend it."
            )
        return [each == "sparse" for each in listed]
    if isinstance(frequency, list):
        if len(frequency) != layers:
            raise fields.error("moe_layer_freq", f"must have one entry for each of the {layers} layers. Mend it.")
        return [bool(each) for each in frequency]
    if not isinstance(only_dense, list) or not all(isinstance(each, int) for each in only_dense):
        raise fields.error("mlp_only_layers", "must be a list of layer numbers. Mend it.")
    every = fields.count("moe_layer_freq", 1)
    return [i >= first and i % every == 0 and (i + 1) % step == 0 and i not in set(only_dense) for i in range(layers)]


def _t5_blocks(fields: Fields, hidden: int) -> tuple[Block, ...]:
    layers, heads, dim, width = (fields.count(key) for key in ("layers", "heads", "head_dim", "width"))
    fields.flag("is_encoder_decoder", True)
    gated = fields.flag("is_gated_act", str(fields.get("feed_forward_proj", "relu")).startswith("gated"))
    ffn = Dense(width=width, gated=gated)
    mixer = Attention(heads=heads, kv_heads=heads, head_dim=dim, causal=False)
    cross = CrossAttention(heads=heads, kv_heads=heads, head_dim=dim)
    return (
        Block(layers=layers, mixer=mixer, ffn=ffn, side="encoder"),
        Block(
            layers=fields.count("num_decoder_layers", layers),
            mixer=mixer.with_(causal=True),
            cross=cross,
            ffn=ffn,
            norms=3,
        ),
    )


def _quantised(model: Model, path: Path, data: dict[str, Any], fields: Fields) -> Model:
    """The model with the formats of its checkpoint; hf_quant_config.json counts before config.json."""
    beside, place = path.with_name("hf_quant_config.json"), fields.place("quantization_config")
    inner: dict[str, Any] = next((data[key] for key in _NESTED if isinstance(data.get(key), dict)), {})
    config = data.get("quantization_config") or inner.get("quantization_config")
    if path.name == "config.json" and beside.exists():
        whole = read_json(beside)
        config = whole.get("quantization") if isinstance(whole, dict) else None
        place = f"{beside}: quantization"
        if not isinstance(config, dict):
            raise InputError(f"{place} is missing or no object. Give the file as the quantiser wrote it.")
    if config is None:
        return model
    if not isinstance(config, dict):
        raise InputError(f"{place} = {config!r} must be an object. Mend it.")
    formats, notes = stored(config, model.blocks, place)
    return model.with_(stored=formats, notes=(*model.notes, *notes))
