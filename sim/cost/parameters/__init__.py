"""The named parameters of a calibration, declared once: name, default, meaning. The column is the position.

A calibration file gives them by kernel kind (`gemm`), by kind and dtype (`gemm.fp8`) or by kind, dtype and stored
format (`gemm.bf16.int4`); the narrower one wins. Latencies stand in clocks of the chip, so that they carry over to others.
"""

from __future__ import annotations

from .attention import DECODE, LINEAR, PREFILL
from .chip import CHIP, POWER
from .collectives import COLLECTIVE
from .experts import EXPERTS
from .matmul import MATMUL
from .memory import MEMORY
from .parameter import Parameter

# the backward pass multiplies five times where the forward one does twice (scores again, and four gradients)
_BACKWARD = tuple(p._replace(default=2.5) if p.name == "work_factor" else p for p in PREFILL)
TABLES: dict[str, tuple[Parameter, ...]] = {
    "gemm": MATMUL,
    "moe": EXPERTS,
    "attention_prefill": PREFILL,
    "attention_backward": _BACKWARD,
    "attention_decode": DECODE,
    "linear_attention": LINEAR,
    "memory": MEMORY,
    "gather": MEMORY,
    "optimizer": MEMORY,
    "all_reduce": COLLECTIVE,
    "all_gather": COLLECTIVE,
    "reduce_scatter": COLLECTIVE,
    "all_to_all": COLLECTIVE,
    "send_recv": COLLECTIVE,
    "power": POWER,
    "chip": CHIP,
}
COLUMNS = max(len(table) for table in TABLES.values())


def column(table: tuple[Parameter, ...], name: str) -> int:
    """Position of a parameter in its table."""
    return [parameter.name for parameter in table].index(name)


__all__ = [
    "CHIP",
    "COLLECTIVE",
    "COLUMNS",
    "DECODE",
    "EXPERTS",
    "LINEAR",
    "MATMUL",
    "MEMORY",
    "POWER",
    "PREFILL",
    "TABLES",
    "Parameter",
    "column",
]
