"""Chips and their families: datasheet facts, each block with its source. Software and fits lie elsewhere."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..errors import UnknownFigure
from .records import Count, CountOrZero, Flag, Identifier, NotNegative, Positive, Record, Share, Text

DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4", "int4")
DTYPE_BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5, "int4": 0.5}
Dtype = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4", "int4"]


class Matrix(Record):
    """Matrix units. Peaks are dense; `units` counts what works on one output tile at a time (SMs, arrays, PEs)."""

    fp32_flops_per_s: Positive | None = None
    tf32_flops_per_s: Positive | None = None
    bf16_flops_per_s: Positive | None = None
    fp16_flops_per_s: Positive | None = None
    fp8_flops_per_s: Positive | None = None
    int8_flops_per_s: Positive | None = None
    fp4_flops_per_s: Positive | None = None
    units: Count | None = Field(None, description="SMs, CUs, systolic arrays or processing elements of the whole chip")
    array: Count | None = Field(None, description="side of one systolic array")
    clock_hz: Positive | None = Field(None, description="clock of the printed peaks")
    source: Text


class Vector(Record):
    """Vector and special-function units."""

    fp32_flops_per_s: Positive | None = None
    bf16_flops_per_s: Positive | None = None
    exp_exp_per_s: Positive | None = Field(None, description="exponentials a second of the whole chip")
    source: Text


class Sram(Record):
    """On-chip memory that all units share (L2, last-level cache, VMEM, SBUF, shared SRAM)."""

    kind: Literal["cache", "scratchpad"] = "cache"
    capacity_bytes: Positive | None = None
    bandwidth_bytes_per_s: Positive | None = None
    source: Text


class Memory(Record):
    """Device memory, as software can use it."""

    kind: Text
    capacity_bytes: Positive
    bandwidth_bytes_per_s: Positive
    source: Text


class Port(Record):
    """One port of a chip: rate of each direction, latency of one hop (null: the family's)."""

    kind: Literal["switch", "mesh", "torus", "ring", "host"]
    domain: Count = Field(1, description="chips that reach each other over this port")
    bandwidth_bytes_per_s: Positive | None = Field(None, description="each direction, all links of the chip together")
    links: CountOrZero | None = None
    latency_s: Positive | None = None
    reduces: Flag = Field(False, description="the switch adds up what passes (in-switch reduction)")
    source: Text


class Power(Record):
    """Limits and draws of the module; `idle_w` null: the family's share of the limit."""

    tdp_w: Positive | None = None
    cap_w: Positive | None = Field(None, description="limit that the operator sets below tdp_w; null: none")
    idle_w: Positive | None = None
    server_w: Positive | None = Field(None, description="provisioned for one whole server of the usual size")
    source: Text


class Embodied(Record):
    """What making one chip emitted, cradle to gate, as its vendor published it."""

    kg_co2: Positive
    source: Text


class Chip(Record):
    """One accelerator as its datasheet gives it."""

    id: Identifier
    name: Text
    vendor: Text
    family: Identifier
    generation: Identifier
    year: Count | None = None
    status: Text = "shipping"
    aliases: tuple[Text, ...] = ()
    ranks: Count = Field(1, description="what software addresses in one chip (NeuronCores, TensorCores, dies)")
    matrix: Matrix
    vector: Vector | None = None
    sram: Sram | None = None
    memory: Memory
    scale_up: Port | None = None
    scale_out: Port | None = None
    host: Port | None = None
    power: Power
    embodied: Embodied | None = None
    list_price_usd: Positive | None = None
    sources: tuple[Text, ...] = Field(min_length=1)
    notes: tuple[Text, ...] = ()

    def matmul_flops_per_s(self, dtype: str) -> float:
        """Dense peak [FLOP/s] of a dtype; one that the chip lacks runs at the next wider one it has."""
        for wider in _WIDER[dtype]:
            rate: float | None = getattr(self.matrix, f"{wider}_flops_per_s", None)
            if rate is not None:
                return rate
        raise UnknownFigure(f"chip.matrix.{dtype}_flops_per_s ({self.id})")

    def clocked(self, factor: float) -> Chip:
        """The chip whose units run at so many times the clock: every peak of matrix, vector and SRAM goes with it."""
        clock_hz = None if self.matrix.clock_hz is None else self.matrix.clock_hz * factor
        return self.with_(
            matrix={**_rates_times(self.matrix, factor), "clock_hz": clock_hz},
            vector=self.vector and _rates_times(self.vector, factor),
            sram=self.sram and _rates_times(self.sram, factor),
        )

    def resized(self, units: int) -> Chip:
        """The chip with so many matrix units at the same clock: its peaks go with their number.

        Raises UnknownFigure if the catalogue does not know how many there are.
        """
        if self.matrix.units is None:
            raise UnknownFigure(f"chip.matrix.units ({self.id})", "Change the peaks instead.")
        factor = units / self.matrix.units
        return self.with_(
            matrix={**_rates_times(self.matrix, factor), "units": units},
            vector=self.vector and _rates_times(self.vector, factor),
        )


def _rates_times(block: Record, factor: float) -> dict[str, Any]:
    """The fields of a block, with every rate times a factor."""
    fields = block.model_dump()
    return {key: value * factor if key.endswith("_per_s") and value else value for key, value in fields.items()}


_WIDER = {
    "int4": ("bf16", "fp16", "int8", "fp8"),
    "fp4": ("fp4", "fp8", "bf16", "fp16", "int8"),
    "fp8": ("fp8", "bf16", "fp16", "int8"),
    "int8": ("int8", "fp8", "bf16", "fp16"),
    "bf16": ("bf16", "fp16", "tf32", "fp32", "fp8"),
    "fp16": ("fp16", "bf16", "tf32", "fp32", "fp8"),
    "tf32": ("tf32", "fp32", "bf16", "fp16"),
    "fp32": ("fp32", "tf32", "bf16", "fp16"),
}


class Family(Record):
    """A family of chips: the mechanism of its matrix units and what datasheets of the family leave out."""

    id: Identifier
    name: Text
    mechanism: Literal["tiles", "systolic", "pe_grid"]
    default_stack: Identifier
    default_training_stack: Identifier
    scale_up_latency_s: Positive
    scale_out_latency_s: Positive
    idle_share: Share = Field(description="idle draw as a share of the limit, where a chip's is not known")
    vector_share: Share = Field(description="fp32 vector rate as a share of the bf16 matrix peak, where not known")
    sram_speedup: NotNegative = Field(description="shared SRAM bandwidth over memory bandwidth, where not known")
    launch: Literal["eager", "graph", "compiled"]
    like: dict[str, Text] = Field(
        default_factory=dict, description="generation without calibrations: the one whose calibrations stand in"
    )
    source: Text
