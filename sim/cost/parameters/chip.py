"""Named parameters of power, and what datasheets of a family leave out."""

from __future__ import annotations

from .parameter import Parameter

POWER = (
    Parameter(
        "flop_share", 0.65, "share of the full-speed draw above idle that goes to the matrix units at their peak"
    ),
    Parameter("byte_share", 0.5, "share of it that goes to memory at its peak rate"),
    Parameter("link_share", 0.1, "share of it that goes to the links at their peak rate"),
    Parameter("busy_share", 0.4, "share of it that any running kernel draws"),
    Parameter("full_w", 0.0, "draw at full speed without a limit; 0: the limit itself, so that nothing throttles"),
    Parameter(
        "flop_pj", 0.0, "energy above idle of a bf16 FLOP of a long product at the printed clock, its operands included"
    ),
)

CHIP = (
    Parameter("units", 0.0, "units that work on one tile at a time"),
    Parameter("array", 128.0, "side of a systolic array"),
    Parameter("clock_hz", 0.0, "clock; 0: derived, see docs/cost.md"),
    Parameter("sram_bytes", 0.0, "on-chip memory that all units share"),
    Parameter("ecc_share", 0.0, "share of the memory rate that error correction in the controller takes"),
)
