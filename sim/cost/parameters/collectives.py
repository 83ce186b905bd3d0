"""Named parameters of collectives. A stack's own kernels (`direct_*`) and its library's (all others) are fitted apart."""

from __future__ import annotations

from .parameter import Parameter

COLLECTIVE = (
    Parameter("launch_clocks", 12000.0, "launch and first synchronisation", scope="chip"),
    Parameter("step_hops", 1.0, "a step of the bulk protocol, in latencies of the level", scale=0.1, scope="chip"),
    Parameter("bulk_clocks", 0.0, "bulk protocol: set-up beside the launch", scale=2000.0, scope="chip"),
    Parameter("efficiency", 0.85, "bulk protocol: share of the link rate", bounds=(0.01, 1.0), scope="chip"),
    Parameter("ramp_bytes", 800000.0, "V bytes behave as V + sqrt(ramp_bytes * V)"),
    Parameter("own_share", 0.0, "a rank's own share, copied locally, costs so much of one sent", (0.0, 1.0), 0.05),
    Parameter(
        "flag_hops", 1.0, "a step of the protocols with flags, in latencies of the level", scale=0.1, scope="chip"
    ),
    Parameter("flag_efficiency", 0.0, "flag beside each word (LL): share of the link rate; 0 = no such protocol"),
    Parameter("line_clocks", 2000.0, "flag in each line (LL128): beside the launch", scale=500.0),
    Parameter("line_efficiency", 0.0, "flag in each line (LL128): share of the link rate; 0 = no such protocol"),
    Parameter(
        "reduce_efficiency",
        0.6,
        "in-switch reduction: bytes over the link rate and the time; 0 = not used",
        scope="chip",
    ),
    Parameter("reduce_clocks", 20000.0, "in-switch reduction: to fill the share of each member", scale=2000.0),
    Parameter("peer_clocks", 100.0, "all-to-all and direct kernels: for each peer", scale=50.0),
    Parameter(
        "network_hops", 1.0, "a step over an outer switch, in latencies of it (host proxy, both NICs)", scope="choice"
    ),
    Parameter("network_efficiency", 0.92, "outer switches: share of the link rate", (0.01, 1.0), scope="choice"),
    Parameter(
        "hierarchical", 1.0, "1: tier after tier is one of the algorithms; 0: only rings and trees", scope="choice"
    ),
    Parameter(
        "host_share",
        0.5,
        "host ports: share of the rate between two chips (each byte crosses two ports)",
        scope="choice",
    ),
    Parameter("direct", 0.0, "1: one kernel reads all peers at once (kernels of the serving engines)", scope="choice"),
    Parameter("direct_clocks", 5000.0, "direct kernel: launch and synchronisation", scale=500.0, scope="chip"),
    Parameter("direct_efficiency", 0.5, "direct kernel: share of the link rate", bounds=(0.01, 1.0), scope="chip"),
    Parameter("shot_efficiency", 0.6, "the same, where each rank reduces its part", bounds=(0.01, 1.0)),
    Parameter(
        "shot_clocks", 2500.0, "direct kernel: second synchronisation, where each rank reduces its part", scale=500.0
    ),
    Parameter("host_us", 30.0, "from one call by the host to the next, where no graph replays them", scope="choice"),
)
