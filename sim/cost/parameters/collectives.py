"""Named parameters of collectives."""

from __future__ import annotations

from .parameter import Parameter

COLLECTIVE = (
    Parameter("launch_clocks", 12000.0, "launch and first synchronisation"),
    Parameter(
        "step_hops", 1.0, "latency of a step of an algorithm, in latencies of the level that it crosses", scale=0.1
    ),
    Parameter("efficiency", 0.85, "reached share of the link rate on large messages", bounds=(0.01, 1.0)),
    Parameter("ramp_bytes", 800000.0, "a message of V bytes behaves as V + sqrt(ramp_bytes * V)"),
    Parameter("reduce_efficiency", 0.6, "in-switch reduction: bytes over the link rate and the time; 0 = not used"),
    Parameter(
        "one_shot", 0.0, "1: small messages go to all peers at once (kernels of the serving engines)", scope="choice"
    ),
    Parameter("one_shot_clocks", 5000.0, "one-shot: launch and synchronisation"),
    Parameter("one_shot_efficiency", 0.5, "one-shot: reached share of the link rate", bounds=(0.01, 1.0)),
    Parameter("tree_efficiency", 0.7, "tree over outer levels: reached share of the link rate"),
    Parameter("spread", 1.0, "outer switches: time over that of evenly spread flows (hash collisions)"),
    Parameter(
        "host_share",
        0.5,
        "host ports: share of the rate between two chips (each byte crosses two ports)",
        scope="choice",
    ),
    Parameter("peer_clocks", 100.0, "all-to-all and one-shot: for each peer", scale=50.0),
    Parameter("reduce_clocks", 15000.0, "in-switch reduction: beside the launch", scale=2000.0),
)
