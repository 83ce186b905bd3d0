"""A cluster's network as the YAML of ASTRA-sim's analytical backend: a dimension a tier, inner to outer.

Keys and units: astra-sim, inputs/network/analytical (2026): npus_count, bandwidth [GB/s] of a link and direction, latency [ns].
"""

from __future__ import annotations

from typing import NamedTuple

from ..catalog.chips import Family
from ..catalog.clusters import Cluster, Tier
from ..errors import InputError


class _Dimension(NamedTuple):
    topology: str
    npus: int
    gb_per_s: float
    latency_ns: float


def network_yaml(cluster: Cluster, family: Family, ranks: int, of_chip: int) -> str:
    """The network that so many ranks use, `of_chip` of them on each chip. What the format cannot say is listed as comments.

    Raises InputError if the tiers hold fewer chips than ranks need.
    """
    chips, left = -(-ranks // of_chip), -(-ranks // of_chip)
    dimensions: list[_Dimension] = []
    unsaid: dict[str, None] = {}
    if of_chip > 1:
        unsaid[f"the {of_chip} ranks of a chip stand as neighbours on its first tier"] = None
        left *= of_chip
    reached = 1
    for index, tier in enumerate(cluster.tiers):
        size = chips if tier.size is None else min(tier.size, chips)
        found = _dimensions(tier, max(1, min(-(-size // reached), left)), _latency_s(tier, index, family))
        for each in found:
            left = -(-left // each.npus)
        dimensions += [each for each in found if each.npus > 1]
        unsaid.update(dict.fromkeys(_unsaid(tier)))
        reached = max(reached, size)
        if left <= 1:
            break
    if left > 1:
        if of_chip == 1 or not dimensions:
            raise InputError(
                f"{cluster.id}: its tiers join {reached} chips, and {chips} are asked for. Use fewer devices."
            )
        first = dimensions[0]
        dimensions[0] = first._replace(npus=first.npus * left)
    return _text(dimensions or [_Dimension("Ring", 1, 1.0, 0.0)], list(unsaid))


def _dimensions(tier: Tier, count: int, latency_s: float) -> list[_Dimension]:
    """One, or one an axis. A ring has a link each way; an axis of a torus a share of the chip's links; a full mesh one a peer."""
    rate, latency_ns = tier.bandwidth_bytes_per_s / 1e9, latency_s * 1e9
    if tier.dims:
        shape, left = [], count
        for dim in tier.dims:
            shape.append(min(dim.size, left))
            left = -(-left // shape[-1])
        return [_Dimension("Ring", size, rate / (2 * len(tier.dims)), latency_ns) for size in shape]
    if tier.kind == "mesh":
        return [_Dimension("FullyConnected", count, rate / max(1, count - 1), latency_ns)]
    if tier.kind in ("ring", "torus"):
        return [_Dimension("Ring", count, rate / 2, latency_ns)]
    return [_Dimension("Switch", count, rate, latency_ns)]


def _latency_s(tier: Tier, index: int, family: Family) -> float:
    if tier.latency_s is not None:
        return tier.latency_s
    inner = index == 0 or tier.kind in ("torus", "mesh", "ring")
    return family.scale_up_latency_s if inner else family.scale_out_latency_s


def _unsaid(tier: Tier) -> list[str]:
    found = {
        f"{tier.name}: oversubscription {tier.oversubscription:g}": tier.oversubscription != 1.0,
        f"{tier.name}: the switch reduces": tier.reduces,
        f"{tier.name}: rails": tier.rails,
        f"{tier.name}: flows hashed onto {tier.uplinks} uplinks": tier.uplinks is not None,
        f"{tier.name}: axes that do not wrap": any(not dim.wrap for dim in tier.dims),
    }
    return [text for text, true in found.items() if true]


def _text(dimensions: list[_Dimension], unsaid: list[str]) -> str:
    def listed(values: list[str]) -> str:
        return f"[ {', '.join(values)} ]"

    lines = [f"# not said here: {', '.join(unsaid)}"] if unsaid else []
    lines += [
        f"topology: {listed([each.topology for each in dimensions])}",
        f"npus_count: {listed([str(each.npus) for each in dimensions])}",
        f"bandwidth: {listed([f'{each.gb_per_s:.10g}' for each in dimensions])}  # GB/s",
        f"latency: {listed([f'{each.latency_ns:.10g}' for each in dimensions])}  # ns",
    ]
    return "\n".join(lines) + "\n"
