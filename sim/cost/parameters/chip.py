"""Named parameters of power, and what datasheets of a family leave out."""

from __future__ import annotations

from .parameter import Parameter

POWER = (
    Parameter("wait_share", 0.475, "draw of a chip that waits within a running job, as a share of its power limit"),
    Parameter("matrix_pj", 0.67, "energy of a bf16 FLOP of matrix units that are busy all the time"),
    Parameter("byte_pj", 30.0, "energy of a byte read from or written to memory"),
    Parameter("link_byte_pj", 10.0, "energy of a byte sent over links"),
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
