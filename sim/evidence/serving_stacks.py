"""Engine texts of measured tables -> stacks, and number formats of checkpoints -> Dtypes."""

from __future__ import annotations

import re

from ..catalog.calibrations import Stack
from ..catalog.chips import Chip
from ..catalog.library import normal
from ..catalog.models import Model, Moe
from ..catalog.plans import Dtypes
from .context import Context
from .tables import Skip


def serving_stack(context: Context, chip: Chip, engine: str, version: str = "") -> Stack:
    """The stack that an engine's name means on this chip: what stands in brackets first, then the name with fewer and fewer
    words; the family's default where the name says no more than that, or nothing that is known. If `version` is a year, and
    the catalogue has the stack as it was then (`<stack>-<year>`), it is that one."""
    found = _named(context, context.stack(context.family(chip).default_stack), engine)
    return context.stack(f"{found.id}-{version}", found.id) if re.fullmatch(r"20\d\d", version) else found


def _named(context: Context, default: Stack, engine: str) -> Stack:
    for name in _names(engine):
        if name.split("-")[0] in default.id.split("-"):
            return default
        try:
            found = context.stack(name)
        except Skip:
            continue
        if found.role != "train":
            return found
    return default


def _names(engine: str) -> list[str]:
    bracketed = re.findall(r"\(([^)]*)\)", engine)
    words = re.split(r"\(|\+|;|,", engine)[0].split()
    shorter = [" ".join(words[:length]) for length in range(len(words), 0, -1)]
    return [normal(name) for name in (*bracketed, *shorter) if name.strip()]


_FORMATS = (
    ("nvfp4", "fp4"),
    ("mxfp4", "fp4"),
    ("fp4", "fp4"),
    ("fp8", "fp8"),
    ("int8", "int8"),
    ("int4", "int4"),
    ("uint4", "int4"),
    ("bf16", "bf16"),
    ("bfloat16", "bf16"),
    ("fp16", "fp16"),
    ("float16", "fp16"),
    ("fp32", "fp32"),
)
_SMALL = ("fp8", "int8", "fp4", "int4")


def format_of(text: str) -> str | None:
    """The first number format that a text names; None if it names none."""
    return next((name for key, name in _FORMATS if key in text.lower()), None)


def with_scales(model: Model, *formats: str) -> Model:
    """The model with one scale for each block of an 8-bit weight, where a label of its formats says so."""
    if any("block" in text for text in formats):
        return model.with_(stored=model.stored.with_(block_scales=True))
    return model


def dtypes_of(model: Model, chip: Chip, weights: str, activations: str = "", kv_cache: str = "") -> Dtypes:
    """Formats of a checkpoint on a chip from its labels.

    A checkpoint in the model's own stored format keeps the model's choices. Four-bit mixtures of experts keep attention in
    bf16. A chip without a four-bit rate computes in bf16 (weight-only).
    """
    stored, within, kv = format_of(weights), format_of(activations), format_of(kv_cache)
    own = model.stored.experts or model.stored.linear
    if stored is None or stored == own:
        return Dtypes(kv_cache=kv)
    if stored == "fp32" and within in ("bf16", "fp16"):
        stored = within  # cast when the graph is compiled
    if stored not in _SMALL:
        within = None
    elif within in _SMALL or within is None:
        four_bit = stored == "fp4" and chip.matrix.fp4_flops_per_s is None
        within = "bf16" if four_bit or stored == "int4" else None
    mixture = any(isinstance(block.ffn, Moe) for block in model.blocks)
    attention = "bf16" if mixture and stored in ("fp4", "int4") else None
    return Dtypes(weights=stored, activations=within, attention=attention, kv_cache=kv)
