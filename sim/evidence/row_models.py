"""Row -> Model: the catalogue's where name and dimensions agree with the row's, else one built from the row's own columns."""

from __future__ import annotations

import re

from ..catalog.imported import defined_model
from ..catalog.models import Attention, Block, Dense, LatentAttention, LinearAttention, Model, Moe
from ..lowering import parameters
from .context import Context
from .tables import Row, Skip

_SOURCE = "dimensions of the measured row"


def model_of(context: Context, row: Row, experts: str, topk: str, width: str) -> Model:
    """The model of a row; experts, topk, width: the row's columns for them. Raises Skip if neither source suffices."""
    written = row.text("model_definition")
    named = defined_model(written, row.place) if written else context.model_named(row.text("model"))
    layers, hidden = row.count("layers"), row.count("hidden")
    if named is not None and (layers is None or hidden is None or _agrees(named, row, layers, hidden, experts)):
        return named if _predicts_further(row) else named.with_(mtp_layers=0)
    if layers is None or hidden is None:
        raise Skip(
            f"model {row.text('model')!r} is not in the catalogue, and the row states no layers or no hidden size"
        )
    return _built(row, layers, hidden, (row.count(experts), row.count(topk), row.count(width)))


def _predicts_further(row: Row) -> bool:
    """Does the row say that its multi-token-prediction layers were trained too, or is it of those who made the model?"""
    return "w/ MTP" in row.text("notes") or row.text("source") == "deepseek-v3"


def _agrees(model: Model, row: Row, layers: int, hidden: int, experts: str) -> bool:
    """Do depth, width, heads, vocabulary (within 2%: padding) and number of experts agree, where the row states them?"""
    decoder = sum(block.layers for block in model.blocks if block.mixer is not None)
    if (decoder, model.hidden) != (layers, hidden):
        return False
    heads, vocab, many = row.count("heads"), row.count("vocab"), row.count(experts) or 1
    mixers = [block.mixer for block in model.blocks if isinstance(block.mixer, Attention | LatentAttention)]
    if heads is not None and mixers and all(mixer.heads != heads for mixer in mixers):
        return False
    if vocab is not None and abs(model.vocab - vocab) > 0.02 * vocab:
        return False
    return many == max((block.ffn.experts for block in model.blocks if isinstance(block.ffn, Moe)), default=1)


def _built(row: Row, layers: int, hidden: int, moe: tuple[int | None, int | None, int | None]) -> Model:
    """Equal layers of softmax attention and a dense or expert network. Gated or plain, tied or not, positions learned or not:
    what comes nearest to the stated parameter count; where none is stated, plain if the network is four times as wide as the
    model."""
    width = row.count("ffn") or 4 * hidden
    published = row.number("params_B")
    sizes = (layers, hidden, width)
    variants = [_variant(row, sizes, moe, g, t) for g in (True, False) for t in (False, True)]
    if published is None:
        return variants[2 if width == 4 * hidden and (moe[0] or 1) == 1 else 0]
    learned = {"learned_positions": True, "max_positions": row.count("seq_len")}
    variants += [plain.with_(**learned) for plain in variants[2:] if learned["max_positions"]]
    return min(variants, key=lambda model: abs(parameters(model) / (published * 1e9) - 1.0))


def head_dim_of(row: Row, hidden: int, heads: int) -> int:
    """Size of a head: stated in its column or the notes (`head_dim 128`), else hidden / heads."""
    stated = row.count("head_dim")
    noted = re.search(r"head[ _]dim (\d+)", row.text("notes"))
    return stated or (int(noted[1]) if noted else max(1, hidden // heads))


def _variant(
    row: Row, sizes: tuple[int, int, int], moe: tuple[int | None, int | None, int | None], gated: bool, tied: bool
) -> Model:
    layers, hidden, width = sizes
    experts, topk, expert_width = moe
    heads = row.count("heads") or max(1, hidden // (row.count("head_dim") or 128))
    mixer = Attention(
        heads=heads,
        kv_heads=row.count("kv_heads") or heads,
        head_dim=head_dim_of(row, hidden, heads),
        causal="encoder" not in row.text("attention"),
    )
    ffn: Dense | Moe = Dense(width=width, gated=gated)
    if experts is not None and experts > 1:
        ffn = Moe(experts=experts, topk=topk or 1, width=expert_width or width, gated=gated)
    return Model(
        id="row-" + re.sub(r"[^a-z0-9.-]+", "-", row.text("model").lower()).strip("-")[:60],
        name=row.text("model"),
        hidden=hidden,
        vocab=row.count("vocab") or 0,
        tied=tied,
        blocks=(Block(layers=layers, mixer=mixer, ffn=ffn),),
        sources=(_SOURCE,),
    )


def padded(model: Model, tp: int, ep: int) -> Model:
    """The model as software pads it to odd degrees: heads up to a multiple of tp (zero heads), experts to one of ep (copies)."""
    blocks = []
    for block in model.blocks:
        mixer, ffn = block.mixer, block.ffn
        if isinstance(mixer, Attention) and mixer.heads % tp:
            shared = mixer.kv_heads < mixer.heads
            kv = mixer.kv_heads if tp % mixer.kv_heads == 0 and shared else _multiple(mixer.kv_heads, tp)
            mixer = mixer.with_(heads=_multiple(mixer.heads, tp), kv_heads=kv)
        elif isinstance(mixer, LatentAttention):
            mixer = mixer.with_(heads=_multiple(mixer.heads, tp))
        elif isinstance(mixer, LinearAttention):
            key, value = _multiple(mixer.key_heads, tp), _multiple(mixer.value_heads, tp)
            mixer = mixer.with_(key_heads=key, value_heads=value)
        if isinstance(ffn, Moe) and ffn.experts % ep:
            ffn = ffn.with_(experts=_multiple(ffn.experts, ep))
        blocks.append(block.with_(mixer=mixer, ffn=ffn))
    return model.with_(blocks=tuple(blocks))


def _multiple(count: int, degree: int) -> int:
    return -(-count // degree) * degree
