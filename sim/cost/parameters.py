"""The named parameters of a calibration, declared once: name, default, meaning. The column is the position.

A calibration file gives them by kernel kind (`gemm`), by kind and dtype (`gemm.fp8`) or by kind, dtype and stored
format (`gemm.bf16.int4`); the narrower one wins. Latencies stand in clocks of the chip, so that they carry over to others.
"""

from __future__ import annotations

from typing import NamedTuple

COLUMNS = 24


class Parameter(NamedTuple):
    """One fitted number: its default holds where no calibration says otherwise."""

    name: str
    default: float
    meaning: str


# gemm and moe. One meaning serves the three mechanisms; what a mechanism does not name it does not read.
MATMUL = (
    Parameter("launch_clocks", 4000.0, "from launch to first instruction, and from last store to completion"),
    Parameter("efficiency", 0.8, "reached share of the peak on large shapes"),
    Parameter("memory_efficiency", 0.85, "reached share of the memory bandwidth"),
    Parameter("cache_share", 0.5, "tiles: share of the cache that keeps activations; else: share of SRAM for operands"),
    Parameter("norm", 3.0, "order of the norm that joins compute and memory time; large: they overlap fully"),
    Parameter("fill_clocks", 1000.0, "prologue and epilogue of an output tile; systolic: fill and drain of the array"),
    Parameter("step_clocks", 0.5, "tiles: clocks for each k that no tile undercuts (latency of the inner loop)"),
    Parameter("quantum", 0.5, "tiles: how much of the last wave's idle units is paid; 0 = work is spread evenly"),
    Parameter("split_clocks", 2000.0, "tiles: to add up the parts of a split inner dimension"),
    Parameter("unit_bytes_per_clock", 64.0, "tiles: operand bytes that one unit takes in a clock"),
    Parameter("ramp_clocks", 500.0, "until memory runs at full rate"),
    Parameter("quantise_clocks", 0.0, "launch of the pass that quantises activations (0 where there is none)"),
    Parameter("quantise_row_clocks", 0.0, "of a row in that pass, one unit a row"),
    Parameter("quantise_bytes", 0.0, "moved for each activation in that pass"),
    Parameter("granule", 64.0, "systolic: rows below which a pass takes no less; pe_grid: side of a unit's tile"),
    Parameter(
        "experts_clocks", 0.0, "moe: for each local expert (offsets, grouping); gemm: for each product of a batch"
    ),
    Parameter(
        "pair_passes", 1.0, "moe: passes over the hidden values of every token-expert pair that lies on the rank"
    ),
    Parameter("row_passes", 3.0, "moe: passes over the hidden values of each token-expert pair of the rank"),
    Parameter(
        "resident_share",
        0.1,
        "pe_grid: share of that room that one weight matrix may take and still be there next time",
    ),
    Parameter("throttle", 0.0, "tiles: how much longer a long product takes at the clock that the power limit leaves"),
    Parameter(
        "pair_width_passes", 0.0, "moe: passes over the inner values of every token-expert pair that lies on the rank"
    ),
)
ATTENTION = (
    Parameter("launch_clocks", 8000.0, "launches of the attention call"),
    Parameter("efficiency", 0.6, "reached share of the peak on long sequences of head size 128"),
    Parameter("memory_efficiency", 0.8, "reached share of the memory bandwidth"),
    Parameter("exp_per_clock", 16.0, "exponentials that a unit does in a clock, where the chip gives no rate"),
    Parameter("norm", 3.0, "order of the norm that joins compute and memory time"),
    Parameter("tile_clocks", 1000.0, "of a tile of queries: prologue and epilogue"),
    Parameter("item_clocks", 500.0, "decode: of a work item (a KV head of a sequence, or a split of it)"),
    Parameter("tail", 0.5, "prefill: weight of the longest tile, which others wait for"),
    Parameter("head_exponent", 0.5, "prefill: efficiency falls as (head size / 128) to this power below 128"),
    Parameter("sequence_clocks", 0.0, "for each sequence of the batch"),
    Parameter(
        "query_tile", 128.0, "queries of a tile; decode: most query heads of a KV head that are worked on together"
    ),
    Parameter("pack", 16.0, "decode: query heads that share a KV head are padded to this many rows"),
    Parameter("split_clocks", 2000.0, "decode: to add up the parts of a split KV range"),
    Parameter("cache_share", 0.5, "decode: share of the cache that keeps KV from call to call"),
    Parameter("unit_bytes_per_clock", 40.0, "decode: KV bytes that one unit takes in a clock"),
    Parameter("work_factor", 1.0, "executed over compulsory multiplications"),
    Parameter(
        "exp_efficiency", 1.0, "reached share of the exponential rate; software pipelines that stall reach little"
    ),
    Parameter("head_clocks", 0.0, "decode: for each query head of a work item"),
)
LINEAR = (
    Parameter("launch_clocks", 8000.0, "launches of the call"),
    Parameter("efficiency", 0.3, "reached share of the peak"),
    Parameter("memory_efficiency", 0.7, "reached share of the memory bandwidth"),
    Parameter("norm", 3.0, "order of the norm that joins compute and memory time"),
    Parameter("chunk", 64.0, "tokens of a chunk of the scan"),
    Parameter("chunk_clocks", 3000.0, "of a chunk of one head, one after another"),
)
MEMORY = (
    Parameter("launch_clocks", 4000.0, "of each launch"),
    Parameter("memory_efficiency", 0.85, "reached share of the memory bandwidth"),
    Parameter("vector_efficiency", 0.5, "reached share of the vector rate"),
    Parameter("cache_share", 0.0, "share of the cache that still holds what the kernel before wrote"),
    Parameter("granule_bytes", 64.0, "gather: smallest access"),
    Parameter("row_clocks", 0.0, "gather: of a row, one unit a row"),
    Parameter("host_efficiency", 0.8, "optimizer: reached share of the host port when offloaded"),
)
COLLECTIVE = (
    Parameter("launch_clocks", 12000.0, "launch and first synchronisation"),
    Parameter("step_hops", 1.0, "latency of a step of an algorithm, in latencies of the level that it crosses"),
    Parameter("efficiency", 0.85, "reached share of the link rate on large messages"),
    Parameter("ramp_bytes", 8e5, "a message of V bytes behaves as V + sqrt(ramp_bytes * V)"),
    Parameter("reduce_efficiency", 0.6, "in-switch reduction: bytes over the link rate and the time; 0 = not used"),
    Parameter("one_shot", 0.0, "1: small messages go to all peers at once (kernels of the serving engines)"),
    Parameter("one_shot_clocks", 5000.0, "one-shot: launch and synchronisation"),
    Parameter("one_shot_efficiency", 0.5, "one-shot: reached share of the link rate"),
    Parameter("tree_efficiency", 0.7, "tree over outer levels: reached share of the link rate"),
    Parameter("spread", 1.0, "outer switches: time over that of evenly spread flows (hash collisions)"),
    Parameter("host_share", 0.5, "host ports: share of the rate between two chips (each byte crosses two ports)"),
    Parameter("peer_clocks", 100.0, "all-to-all and one-shot: for each peer"),
    Parameter("reduce_clocks", 15000.0, "in-switch reduction: beside the launch"),
)
POWER = (
    Parameter(
        "flop_share", 0.65, "share of the full-speed draw above idle that goes to the matrix units at their peak"
    ),
    Parameter("byte_share", 0.5, "share of it that goes to memory at its peak rate"),
    Parameter("link_share", 0.1, "share of it that goes to the links at their peak rate"),
    Parameter("busy_share", 0.4, "share of it that any running kernel draws"),
    Parameter("full_w", 0.0, "draw at full speed without a limit; 0: the limit itself, so that nothing throttles"),
)
# what the family's datasheets leave out, for chips whose own file leaves it null
CHIP = (
    Parameter("units", 0.0, "units that work on one tile at a time"),
    Parameter("array", 128.0, "side of a systolic array"),
    Parameter("clock_hz", 0.0, "clock; 0: derived, see docs/cost.md"),
    Parameter("sram_bytes", 0.0, "on-chip memory that all units share"),
)
TABLES: dict[str, tuple[Parameter, ...]] = {
    "gemm": MATMUL,
    "moe": MATMUL,
    "attention_prefill": ATTENTION,
    "attention_backward": ATTENTION,
    "attention_decode": ATTENTION,
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


def column(table: tuple[Parameter, ...], name: str) -> int:
    """Position of a parameter in its table."""
    return [parameter.name for parameter in table].index(name)
