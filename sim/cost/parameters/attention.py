"""Named parameters of attention and of linear attention."""

from __future__ import annotations

from .parameter import Parameter

ATTENTION = (
    Parameter("launch_clocks", 8000.0, "launches of the attention call"),
    Parameter("efficiency", 0.6, "reached share of the peak on long sequences of head size 128", bounds=(0.01, 1.0)),
    Parameter("memory_efficiency", 0.8, "reached share of the memory bandwidth", bounds=(0.01, 1.0)),
    Parameter("exp_per_clock", 16.0, "exponentials that a unit does in a clock, where the chip gives no rate"),
    Parameter("norm", 3.0, "order of the norm that joins compute and memory time", bounds=(1.0, 12.0)),
    Parameter("tile_clocks", 1000.0, "of a tile of queries: prologue and epilogue", scale=500.0),
    Parameter("item_clocks", 500.0, "decode: of a work item (a KV head of a sequence, or a split of it)", scale=300.0),
    Parameter("tail", 0.5, "prefill: weight of the longest tile, which others wait for", bounds=(0.0, 2.0), scale=0.2),
    Parameter(
        "head_exponent", 0.5, "prefill: efficiency falls as (head size / 128) to this power below 128", scale=0.2
    ),
    Parameter("sequence_clocks", 0.0, "for each sequence of the batch", scale=20.0),
    Parameter(
        "query_tile",
        128.0,
        "queries of a tile; decode: most query heads of a KV head that are worked on together",
        scope="choice",
    ),
    Parameter("pack", 16.0, "decode: query heads that share a KV head are padded to this many rows", scope="choice"),
    Parameter("split_clocks", 2000.0, "decode: to add up the parts of a split KV range", scale=1000.0),
    Parameter(
        "cache_share", 0.5, "decode: share of the cache that keeps KV from call to call", bounds=(0.0, 1.0), scale=0.05
    ),
    Parameter("unit_bytes_per_clock", 40.0, "decode: KV bytes that one unit takes in a clock"),
    Parameter("work_factor", 1.0, "executed over compulsory multiplications"),
    Parameter(
        "exp_efficiency", 1.0, "reached share of the exponential rate; software pipelines that stall reach little"
    ),
    Parameter("head_clocks", 0.0, "decode: for each query head of a work item", scale=200.0),
)

LINEAR = (
    Parameter("launch_clocks", 8000.0, "launches of the call"),
    Parameter("efficiency", 0.3, "reached share of the peak", bounds=(0.01, 1.0)),
    Parameter("memory_efficiency", 0.7, "reached share of the memory bandwidth", bounds=(0.01, 1.0)),
    Parameter("norm", 3.0, "order of the norm that joins compute and memory time", bounds=(1.0, 12.0)),
    Parameter("chunk", 64.0, "tokens of a chunk of the scan", scope="choice"),
    Parameter("chunk_clocks", 3000.0, "of a chunk of one head, one after another"),
)
