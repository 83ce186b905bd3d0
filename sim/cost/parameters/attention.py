"""Named parameters of attention over a prompt (and its backward pass), of decode attention and of linear attention."""

from __future__ import annotations

from .parameter import Parameter

PREFILL = (
    Parameter("launch_clocks", 8000.0, "launches of the attention call", scope="chip"),
    Parameter("efficiency", 0.6, "reached share of the peak on long sequences", bounds=(0.01, 1.0), scope="chip"),
    Parameter("memory_efficiency", 0.8, "reached share of the memory bandwidth", bounds=(0.01, 1.0), scope="chip"),
    Parameter("norm", 3.0, "order of the norm that joins compute and memory time", bounds=(1.0, 12.0)),
    Parameter(
        "narrow", 0.0, "1: multiplies in the stored format of keys and values where that is faster", scope="choice"
    ),
    Parameter("tile_clocks", 1000.0, "of a tile of queries: prologue and epilogue", scale=500.0, scope="chip"),
    Parameter("item_clocks", 0.0, "of the heads of a sequence that share tiles", scale=300.0),
    Parameter(
        "tail", 0.5, "weight of the longest tile, which others wait for", bounds=(0.0, 3.0), scale=0.2, scope="chip"
    ),
    Parameter("head_exponent", 0.5, "efficiency falls as (head size / 128) to this power below 128", scale=0.2),
    Parameter(
        "exp_per_clock", 16.0, "exponentials that a unit does in a clock, where the chip gives no rate", scope="choice"
    ),
    Parameter(
        "exp_efficiency", 1.0, "reached share of the exponential rate; software pipelines that stall reach little"
    ),
    Parameter(
        "token_clocks", 0.0, "of a unit for each new token, whose key and value it writes to the cache", scale=50.0
    ),
    Parameter(
        "store_clocks", 0.0, "of a unit for each 128 new key and value values, besides", scale=20.0, scope="chip"
    ),
    Parameter(
        "rotate_clocks", 0.0, "of a unit for each 128 query values that a kernel of its own prepares", scale=20.0
    ),
    Parameter("query_tile", 128.0, "rows of a tile", scope="choice"),
    Parameter(
        "packed",
        0.0,
        "1: a tile holds the query heads of a KV head side by side; 0: a tile is of one head",
        scope="choice",
    ),
    Parameter("decode_query", 0.0, "most new tokens of a sequence that the decode kernel takes on", scope="choice"),
    Parameter("work_factor", 1.0, "executed over compulsory multiplications", scope="choice"),
    Parameter("wide_exponent", 0.0, "efficiency falls as (128 / head size) to this power above 128", scale=0.2),
    Parameter("slow_size", 0.0, "head size for which the stack falls back on a generic kernel", scope="choice"),
    Parameter("slow_share", 1.0, "efficiency of that kernel over the usual one", bounds=(0.001, 1.0), scope="choice"),
    Parameter("alone", 0.6, "time of a tile while other units idle, over that at full load", bounds=(0.3, 1.0)),
    Parameter("store_width", 32.0, "keys and values of 128 of a token at which each takes half of `store_clocks`"),
)

DECODE = (
    Parameter("launch_clocks", 14500.0, "launches of the attention call", scope="chip"),
    Parameter("efficiency", 0.5, "reached share of the peak", bounds=(0.01, 1.0), scope="chip"),
    Parameter("memory_efficiency", 0.92, "reached share of the memory bandwidth", bounds=(0.01, 1.0), scope="chip"),
    Parameter("norm", 2.0, "order of the norm that joins compute and memory time", bounds=(1.0, 12.0)),
    Parameter(
        "narrow", 0.0, "1: multiplies in the stored format of keys and values where that is faster", scope="choice"
    ),
    Parameter(
        "item_clocks", 2000.0, "of a work item (a KV head of a sequence, or a split of it)", scale=300.0, scope="chip"
    ),
    Parameter("item_size_clocks", 1000.0, "of a work item for each 128 values of its key", scale=300.0, scope="chip"),
    Parameter("head_clocks", 70.0, "of a work item for each 128 values of its query heads", scale=50.0),
    Parameter("sequence_clocks", 4.0, "for each sequence of the batch", scale=20.0),
    Parameter("split_clocks", 5000.0, "to add up the parts of a split KV range", scale=1000.0),
    Parameter("quantum", 1.0, "cost of a unit that idles in the last wave of items", bounds=(0.0, 1.0), scope="choice"),
    Parameter(
        "cache_share", 0.48, "share of the cache that keeps KV from call to call", bounds=(0.0, 1.0), scope="choice"
    ),
    Parameter("unit_bytes_per_clock", 40.0, "KV bytes that one unit takes in a clock", scope="choice"),
    Parameter("alone_item_clocks", 3000.0, "of a head that is worked on alone", scale=300.0),
    Parameter("alone_values_per_clock", 13.0, "KV values that one unit takes in a clock for a head alone"),
    Parameter(
        "exp_per_clock", 16.0, "exponentials that a unit does in a clock, where the chip gives no rate", scope="choice"
    ),
    Parameter("exp_efficiency", 1.0, "reached share of the exponential rate", scope="choice"),
    Parameter("pack", 16.0, "query heads that share a KV head are padded to this many rows", scope="choice"),
    Parameter(
        "most_heads",
        128.0,
        "query heads of a KV head that are worked on together; more are worked on alone",
        scope="choice",
    ),
    Parameter("split_heads", 1.0, "fewest query heads of a KV head for which the KV range is split", scope="choice"),
    Parameter("fewest_heads", 1.0, "query heads of a KV head below which each is worked on alone", scope="choice"),
    Parameter(
        "regroup_clocks", 0.0, "copies that bring heads together, with several sequences and KV heads", scope="choice"
    ),
    Parameter("part_clocks", 80.0, "to add up the parts of a split KV range, for each part", scale=50.0),
    Parameter("reach", 1.1, "items a unit that it takes to reach the memory bandwidth", bounds=(1.0, 4.0)),
    Parameter("alone_launch_clocks", 0.0, "more of launch where heads are worked on alone", scope="choice"),
    Parameter("plain_size", 0.0, "head size for which the stack falls back on a plainer kernel", scope="choice"),
    Parameter("plain_launch_clocks", 0.0, "more of launch of that kernel", scope="choice"),
    Parameter("plain_share", 1.0, "efficiency of that kernel over the usual one", bounds=(0.001, 1.0)),
    Parameter("plain_parts", 1024.0, "most parts into which that kernel splits a KV range", scope="choice"),
    Parameter("plain_sequence_clocks", 0.0, "of that kernel for each sequence of a small batch", scope="choice"),
    Parameter("plain_batch", 0.0, "sequences from which that kernel costs no such clocks", scope="choice"),
    Parameter("front_ghz", 0.0, "clock in which launches count; 0: the chip's own", scope="choice"),
    Parameter(
        "part_waves", 0.0, "waves that parts of KV ranges fill by the stack's rule; 0: what is fastest", scope="choice"
    ),
    Parameter("part_tokens", 128.0, "fewest tokens of a part by that rule", scope="choice"),
    Parameter("part_root", 0.0, "by that rule no more parts than sqrt(this * most parts); 0: all", scope="choice"),
    Parameter(
        "alone_below", 0.0, "waves of parts of `part_tokens` below which heads are worked on alone", scope="choice"
    ),
    Parameter("ramp", 0.0, "order of the norm that joins one wave and the waves; 0: the larger", scope="choice"),
    Parameter("wide_exponent", 0.0, "efficiency falls as (128 / head size) to this power above 128", scope="choice"),
    Parameter(
        "alone_split_clocks",
        6000.0,
        "more of adding up parts where heads are worked on alone",
        scale=2000.0,
        scope="chip",
    ),
)

LINEAR = (
    Parameter("launch_clocks", 8000.0, "launches of the call"),
    Parameter("efficiency", 0.3, "reached share of the peak", bounds=(0.01, 1.0)),
    Parameter("memory_efficiency", 0.7, "reached share of the memory bandwidth", bounds=(0.01, 1.0)),
    Parameter("norm", 3.0, "order of the norm that joins compute and memory time", bounds=(1.0, 12.0)),
    Parameter("chunk", 64.0, "tokens of a chunk of the scan", scope="choice"),
    Parameter("chunk_clocks", 3000.0, "of a chunk of one head, one after another"),
)
