"""Named parameters of grouped expert products."""

from __future__ import annotations

from .parameter import Parameter

EXPERTS = (
    Parameter("launch_clocks", 30000.0, "from the launch of the first kernel to the end of the last", scope="chip"),
    Parameter("efficiency", 0.6, "reached share of the peak on large shapes", bounds=(0.01, 1.0), scope="chip"),
    Parameter("memory_efficiency", 0.8, "reached share of the memory bandwidth", bounds=(0.05, 1.0), scope="chip"),
    Parameter(
        "norm",
        2.0,
        "order of the norm that joins compute and memory time; large: they overlap fully",
        bounds=(1.0, 12.0),
    ),
    Parameter(
        "fill_clocks",
        1000.0,
        "prologue and epilogue of an output tile; systolic: fill and drain of the array",
        scale=500.0,
        scope="chip",
    ),
    Parameter(
        "quantum",
        1.0,
        "tiles: how much of the last wave's idle units is paid; 0 = work is spread evenly",
        bounds=(0.0, 1.0),
        scope="choice",
    ),
    Parameter("unit_bytes_per_clock", 100.0, "tiles: operand bytes that one unit takes in a clock", scope="chip"),
    Parameter("experts_clocks", 5.0, "for each expert that gets a row (offsets, grouping)", scale=20.0),
    Parameter(
        "absent_share",
        0.1,
        "passes over token-expert pairs that lie on the rank but belong to another one's experts, over those of its own",
        bounds=(0.0, 1.5),
        scale=0.1,
        scope="chip",
    ),
    Parameter("row_passes", 4.0, "passes over the hidden values of each row", scale=1.0),
    Parameter("up_passes", 2.0, "passes over the values that the first product gives for each row", scale=1.0),
    Parameter("sort_clocks", 5000.0, "to sort token-expert pairs where they are more than a few", scale=1000.0),
    Parameter("granule", 64.0, "systolic: rows below which a pass takes no less", scope="choice"),
    Parameter(
        "fallback_above",
        0.0,
        "experts of all ranks above which a plainer kernel runs; 0 = never (a dispatch rule of the stack)",
        scope="choice",
    ),
    Parameter(
        "fallback_rate", 0.25, "reached share of the peak of that kernel over the usual one's", bounds=(0.02, 1.0)
    ),
    Parameter("fallback_clocks", 10000.0, "that kernel's launch less the usual one's", scale=5000.0),
    Parameter("fallback_bytes_per_clock", 5.0, "that one unit moves in a clock in that kernel"),
    Parameter("step_clocks", 4.0, "tiles: clocks for each k of a lone tile (latency of the inner loop)", scale=0.3),
    Parameter("cache_share", 0.25, "tiles: share of the cache that keeps activations between kernels", scope="choice"),
)
