"""What fails, how often, and what that takes down: rates by component of a cluster, of a user's scheduler, or as given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from ..catalog.campaigns import Campaign
from ..catalog.clusters import BY_HAND_ONLY, Cluster, units_of
from ..errors import InputError
from .sacct import read_sacct

# what a component's failure does; a component that is not named crashes the job and takes its node
KINDS = {
    "software": "software",
    "failed": "software",
    "operation": "software",
    "job": "software",
    "hang": "hang",
    "silent_corruption": "silent",
    "slow": "slow",
}


class Source(NamedTuple):
    """One class of components: time between its strikes on the whole job [s], what a strike does, nodes that it takes."""

    name: str
    kind: str
    mean_s: float
    nodes: int = 0


def sources(campaign: Campaign, cluster: Cluster, devices: int) -> tuple[Source, ...]:
    """Everything that strikes a job on so many chips. Raises InputError if nobody states a rate."""
    found = _base(campaign, cluster, devices)
    nodes = -(-devices // cluster.chips_per_node)
    if campaign.slow_mtbf_s is not None:
        found["slow"] = Source("slow", "slow", campaign.slow_mtbf_s / devices, 1)
    if campaign.domain_mtbf_s is not None:
        size = domain_chips(cluster)
        found["domain"] = Source(
            "domain",
            "node",
            campaign.domain_mtbf_s / math.ceil(devices / size),
            min(nodes, -(-size // cluster.chips_per_node)),
        )
    if campaign.preempt_mtbf_s is not None:
        found["preemption"] = Source("preemption", "preempt", campaign.preempt_mtbf_s / nodes, 1)
    return tuple(found.values())


def _base(campaign: Campaign, cluster: Cluster, devices: int) -> dict[str, Source]:
    """Rates as given, else of the user's scheduler, else of the cluster."""
    if campaign.mtbf_s is not None:
        return {"job": Source("job", KINDS["job"], campaign.mtbf_s)}
    if campaign.sacct is not None:
        mtbf_s = read_sacct(Path(campaign.sacct)).mtbf_s()
    elif cluster.reliability is not None and cluster.reliability.mtbf_s:
        mtbf_s = dict(cluster.reliability.mtbf_s)
    else:
        raise InputError(
            f"{cluster.id} states no failure rates. Give --mtbf (of the whole job), --sacct FILE, or reliability.mtbf_h "
            "in the cluster's file."
        )
    if campaign.restart != "manual":
        mtbf_s.pop(BY_HAND_ONLY, None)
    return {name: _source(name, value, cluster.chips_per_node, devices) for name, value in mtbf_s.items()}


def _source(name: str, mtbf_s: float, chips_per_node: int, devices: int) -> Source:
    kind = KINDS.get(name, "node")
    return Source(
        name, kind, mtbf_s / units_of(name, chips_per_node, devices), 0 if kind in ("software", "silent") else 1
    )


def domain_chips(cluster: Cluster) -> int:
    """Chips of the largest fault domain above a node; raises InputError if the cluster names none."""
    sizes = [
        tier.size for tier in cluster.tiers if tier.fault_domain and tier.size and tier.size > cluster.chips_per_node
    ]
    if not sizes:
        raise InputError(
            f"domain_mtbf: {cluster.id} names no fault_domain larger than a node. Leave --domain-mtbf out."
        )
    return max(sizes)


def interruptions_per_s(found: tuple[Source, ...]) -> float:
    """Rate of strikes that stop the job; a slow chip does not."""
    return math.fsum(1.0 / each.mean_s for each in found if each.kind != "slow")


def failures_per_s(mtbf_s: dict[str, float], chips_per_node: int, devices: int) -> float:
    """Failures a second of the components of a job; a node is whole or not used."""
    return math.fsum(1.0 / _source(name, value, chips_per_node, devices).mean_s for name, value in mtbf_s.items())


def young_s(pause_s: float, mtbf_s: float) -> float:
    """Training between checkpoints for the least loss [s]: sqrt(2 pause MTBF), for pause << MTBF (Young, 1974)."""
    return math.sqrt(2.0 * pause_s * mtbf_s)
