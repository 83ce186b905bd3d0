"""Named parameters of passes over memory, gathers and optimizer updates."""

from __future__ import annotations

from .parameter import Parameter

MEMORY = (
    Parameter("launch_clocks", 4000.0, "of each launch"),
    Parameter("memory_efficiency", 0.85, "reached share of the memory bandwidth", bounds=(0.01, 1.0)),
    Parameter("vector_efficiency", 0.5, "reached share of the vector rate"),
    Parameter(
        "cache_share",
        0.0,
        "share of the cache that still holds what the kernel before wrote",
        bounds=(0.0, 1.0),
        scale=0.05,
    ),
    Parameter("granule_bytes", 64.0, "gather: smallest access", scope="choice"),
    Parameter("row_clocks", 0.0, "gather: of a row, one unit a row"),
    Parameter("host_efficiency", 0.8, "optimizer: reached share of the host port when offloaded"),
)
