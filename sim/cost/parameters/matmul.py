"""Named parameters of matrix products."""

from __future__ import annotations

from .parameter import Parameter

MATMUL = (
    Parameter(
        "launch_clocks", 4000.0, "from launch to first instruction, and from last store to completion", scope="chip"
    ),
    Parameter(
        "efficiency",
        0.9,
        "reached share of the peak on large shapes",
        bounds=(0.01, 1.0),
        width=0.05,
    ),
    Parameter("memory_efficiency", 0.85, "reached share of the memory bandwidth", bounds=(0.01, 1.0), scope="chip"),
    Parameter(
        "cache_share",
        0.5,
        "tiles: share of the cache that keeps activations; else: share of SRAM for operands",
        bounds=(0.0, 1.0),
        scale=0.05,
    ),
    Parameter(
        "norm",
        3.0,
        "order of the norm that joins compute and memory time; large: they overlap fully",
        bounds=(1.0, 12.0),
        scope="choice",
    ),
    Parameter(
        "fill_clocks",
        500.0,
        "prologue and epilogue of an output tile; systolic: fill and drain of the array",
        scale=500.0,
        scope="chip",
    ),
    Parameter(
        "step_clocks", 2.0, "tiles: clocks for each k that no tile undercuts (latency of the inner loop)", scale=0.3
    ),
    Parameter(
        "quantum",
        0.5,
        "tiles: how much of the last wave's idle units is paid; 0 = work is spread evenly",
        bounds=(0.0, 1.0),
        scale=0.2,
        scope="chip",
    ),
    Parameter("split_us", 2.8, "tiles: to add up the parts of a split inner dimension", scale=0.5),
    Parameter("unit_bytes_per_clock", 250.0, "tiles: operand bytes that one unit takes in a clock", width=0.3),
    Parameter("ramp_clocks", 500.0, "until memory runs at full rate", scope="choice"),
    Parameter("quantise_clocks", 0.0, "launch of the pass that quantises activations", scope="choice"),
    Parameter("quantise_row_clocks", 0.0, "of a row in that pass, one unit a row"),
    Parameter("quantise_bytes", 0.0, "moved for each activation in that pass"),
    Parameter(
        "granule",
        64.0,
        "systolic: rows below which a pass takes no less; pe_grid: side of a unit's tile",
        scope="choice",
    ),
    Parameter(
        "experts_clocks",
        0.0,
        "moe: for each local expert (offsets, grouping); gemm: for each product of a batch",
        scale=20.0,
    ),
    Parameter(
        "store_clocks_per_byte",
        0.03,
        "tiles: to store a byte of an output tile once its sums are done",
        scale=0.01,
        scope="chip",
    ),
    Parameter(
        "small_tile",
        0.2,
        "tiles: how much longer a tile of 64 x 64 multiplies than its FLOPs say; goes with 1/area",
        bounds=(0.0, 3.0),
        scale=0.2,
    ),
    Parameter(
        "resident_share",
        0.1,
        "pe_grid: share of that room that one weight matrix may take and still be there next time",
    ),
    Parameter(
        "flop_pj",
        1.0,
        "tiles: energy of a bf16 FLOP of a long product above idle, at the printed clock; the power limit sets the clock",
        bounds=(0.0, 8.0),
        width=0.3,
        scope="chip",
    ),
    Parameter("quantise_value_clocks", 0.0, "of a value of a row in that pass, where one unit takes a whole row"),
    Parameter(
        "blocks",
        0.0,
        "tiles: 64 x 64 up to so many rows, 64 x 128 up to twice as many, else 128 x 128, no split; 0 = what is fastest",
        scope="choice",
    ),
    Parameter("single_clocks", 0.0, "more of launch for a product of a single row", scope="choice"),
    Parameter("host_us", 0.0, "from one call by the host to the next, where no graph replays them", scope="choice"),
    Parameter("few_rows_host_us", 0.0, "the same below 32 rows; 0 = as any", scope="choice"),
    Parameter("odd_host_us", 0.0, "the same where n is no multiple of 64 or k of 128", scope="choice"),
    Parameter(
        "most_parts",
        16.0,
        "tiles: most parts into which a kernel splits the inner dimension; 1 = never",
        scope="choice",
    ),
)
