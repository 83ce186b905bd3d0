"""Arguments of Megatron-LM -> Model: attention, latent attention, dense and expert networks, and which layers have which."""

from __future__ import annotations

import ast
import re

from ..errors import InputError
from .megatron_fields import Arguments
from .models import Attention, Block, Dense, LatentAttention, Mixer, Model, Moe

DEFAULT_TOPK = 2
LATENT = {
    "kv_lora_rank": 32,
    "qk_head_dim": 128,
    "qk_pos_emb_head_dim": 64,
    "v_head_dim": 128,
}  # Megatron-LM's defaults


def model_of(given: Arguments, stem: str) -> Model:
    """The model that the arguments describe. Raises InputError for a size that is missing or wrong."""
    layers = _needed(given, "layers", "num_layers")
    hidden = _needed(given, "hidden", "hidden_size")
    gated = _gated(given)
    mixer, bias = _mixer(given, hidden)
    width = _width(given, hidden, gated)
    dense = Dense(width=width, gated=gated, bias=bias)
    moe = _moe(given, width, gated, bias)
    sparse = [moe is not None] * layers if moe is None else _sparse(given, layers)
    blocks = [
        Block(layers=count, mixer=mixer, ffn=ffn)
        for count, ffn in ((layers - sum(sparse), dense), (sum(sparse), moe))
        if count and ffn is not None
    ]
    positions = given.count("max_positions", "max_position_embeddings")
    learned = _learned(given)
    words = re.sub(r"[^a-z0-9.]+", "-", stem.lower()).strip("-.")[:60] or "model"
    return Model(
        id=f"imported-{words}",
        name=f"{layers} x {hidden}, of {stem}",
        hidden=hidden,
        vocab=given.count("model.vocab", "padded_vocab_size", "vocab_size", "override_vocab_size") or 0,
        tied=_tied(given),
        blocks=tuple(blocks),
        max_positions=positions if learned else None,
        learned_positions=learned and positions is not None,
        mtp_layers=given.count("mtp_layers", "mtp_num_layers") or 0,
        sources=(f"arguments of Megatron-LM in {given.name}",),
    )


def _needed(given: Arguments, becomes: str, name: str) -> int:
    value = given.count(f"model.{becomes}", name)
    if value is None:
        raise InputError(f"{given.name}: {name} is missing. Add --{name.replace('_', '-')}.")
    return value


def _gated(given: Arguments) -> bool:
    activation = given.text("model.ffn.gated", "activation") or ""
    names = ("swiglu", "quick_geglu", "gated_linear_unit")
    return any(given.flag("model.ffn.gated", name) for name in names) or "glu" in activation


def _mixer(given: Arguments, hidden: int) -> tuple[Mixer, bool]:
    """The mixer, and whether linear layers carry a bias."""
    heads = _needed(given, "heads", "num_attention_heads")
    linear = _flag_or(given, True, "add_bias_linear", "bias") and not given.flag("model.bias", "disable_bias_linear")
    if given.flag("model.mixer", "multi_latent_attention"):
        sizes = {
            name: given.assumed_count(f"model.mixer ({name})", default, "Megatron-LM's default", name)
            for name, default in LATENT.items()
        }
        return LatentAttention(
            heads=heads,
            query_rank=given.count("model.mixer.query_rank", "q_lora_rank"),
            kv_rank=sizes["kv_lora_rank"],
            nope_dim=sizes["qk_head_dim"],
            rope_dim=sizes["qk_pos_emb_head_dim"],
            value_dim=sizes["v_head_dim"],
        ), linear
    groups = given.count("model.mixer.kv_heads", "num_query_groups")
    if "group_query_attention" in given.values and not given.flag("model.mixer.kv_heads", "group_query_attention"):
        groups = None  # printed with its default, 1, though it is not used
    size = given.count("model.mixer.head_dim", "kv_channels")
    if size is None and hidden % heads:
        raise InputError(
            f"{given.place('num_attention_heads')}: num_attention_heads = {heads} does not divide hidden_size = {hidden}. "
            "Mend one of them, or add --kv-channels."
        )
    if groups is not None and heads % groups:
        raise InputError(
            f"{given.place('num_query_groups')}: num_query_groups = {groups} does not divide num_attention_heads = {heads}. "
            "Mend one of them."
        )
    bias = given.flag("model.mixer.bias", "add_qkv_bias", "qkv_bias") or linear
    return Attention(heads=heads, kv_heads=groups or heads, head_dim=size or hidden // heads, bias=bias), linear


def _flag_or(given: Arguments, default: bool, *names: str) -> bool:
    return given.flag("model.bias", *names) if any(name in given.values for name in names) else default


def _width(given: Arguments, hidden: int, gated: bool) -> int:
    """Megatron-LM's default: four times the hidden size, two thirds of it (a multiple of 64) where the network is gated."""
    default = int(4 * hidden * 2 / 3 / 64) * 64 if gated else 4 * hidden
    return given.assumed_count("model.ffn.width", default, "Megatron-LM's default", "ffn_hidden_size")


def _moe(given: Arguments, width: int, gated: bool, bias: bool) -> Moe | None:
    experts = given.count("model.ffn.experts", "num_experts", "num_moe_experts")
    if experts is None or experts == 1:
        return None
    topk = given.assumed_count("model.ffn.topk", DEFAULT_TOPK, "Megatron-LM's default", "moe_router_topk")
    if topk > experts:
        raise InputError(
            f"{given.place('moe_router_topk')}: moe_router_topk = {topk} is more than the {experts} experts. Mend it."
        )
    own = given.count("model.ffn.width", "moe_ffn_hidden_size")
    if own is None:
        given.assume("moe_ffn_hidden_size", str(width), "Megatron-LM's default: as ffn_hidden_size")
    shared = given.count("model.ffn.shared_width", "moe_shared_expert_intermediate_size") or 0
    return Moe(
        experts=experts,
        topk=topk,
        width=own or width,
        gated=gated,
        shared_experts=1 if shared else 0,
        shared_width=shared,
        bias=bias,
    )


def _sparse(given: Arguments, layers: int) -> list[bool]:
    """Which layers have experts: every one, every n-th, or a list such as ([0]*3+[1]*58)."""
    text = given.text("model.blocks", "moe_layer_freq")
    if text is None:
        return [True] * layers
    value = _pattern(text.strip("\"'"))
    if isinstance(value, int) and value >= 1:
        return [index % value == 0 for index in range(layers)]
    if isinstance(value, list) and len(value) == layers and set(value) <= {0, 1}:
        return [bool(each) for each in value]
    raise InputError(
        f"{given.place('moe_layer_freq')}: moe_layer_freq = {text!r} must be a whole number, or 0 or 1 for each of the "
        f"{layers} layers. Mend it."
    )


def _pattern(text: str) -> int | list[int] | None:
    """A number, or lists that are added and multiplied; None for anything else."""

    def value(node: ast.AST) -> int | list[int]:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.List):
            return [each for each in map(value, node.elts) if isinstance(each, int)]
        if isinstance(node, ast.BinOp):
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
                return left + right
            if isinstance(node.op, ast.Mult) and isinstance(left, list) and isinstance(right, int) and right <= 10_000:
                return left * right
        raise ValueError

    try:
        return value(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, RecursionError):
        return None


def _learned(given: Arguments) -> bool:
    """A table of positions: Megatron-LM's default; rotary positions and none have no table."""
    kind = given.text("model.learned_positions", "position_embedding_type")
    rotary = given.flag("model.learned_positions", "use_rotary_position_embeddings")
    if kind is None and not rotary:
        given.assume("position_embedding_type", "learned_absolute", "Megatron-LM's default")
    return not rotary and kind in (None, "learned_absolute")


def _tied(given: Arguments) -> bool:
    shared = given.text("model.tied", "share_embeddings_and_output_weights")
    if shared is not None:
        return shared.lower() != "false"
    return not given.flag("model.tied", "untie_embeddings_and_output_weights")
