"""Clusters: building blocks of chips, their network tiers from inner to outer, power and reliability."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from .records import Count, Flag, Identifier, NotNegative, Positive, Record, Text

PER_NODE = ("node", "software", "hang", "operation")  # a node has one; of the other components each chip has one
BY_HAND_ONLY = "operation"  # acts only where people watch over a job


class Dim(Record):
    """One axis of a mesh or torus; without wrap a ring over it has half the bandwidth."""

    size: Count
    wrap: Flag = True
    wrap_multiple: Count | None = Field(
        None,
        description="a part of the axis wraps too if it is a multiple of this (optical switches); null: all or none",
    )


class Tier(Record):
    """One level of the network: how many chips it joins and what each of them can send a second."""

    name: Identifier
    kind: Literal["switch", "mesh", "torus", "ring", "host"]
    size: Count | None = Field(None, description="chips that it joins; null: as many as there are (outermost tier)")
    used: Count | None = Field(None, description="chips of `size` that a job uses; the others are spares, paid for")
    dims: tuple[Dim, ...] = ()
    bandwidth_bytes_per_s: Positive = Field(description="each direction of a chip into this tier, all links together")
    latency_s: Positive | None = Field(None, description="of one hop; null: the family's")
    oversubscription: Positive = Field(1.0, description="7 = a seventh of the bandwidth crosses the top of this tier")
    reduces: Flag = False
    uplinks: Count | None = Field(
        None, description="equal-cost uplinks of a leaf that flows are hashed onto; null: packets are sprayed"
    )
    rails: Flag = Field(False, description="chips of equal place in their node share a leaf")
    fault_domain: Text | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        product = 1
        for dim in self.dims:
            product *= dim.size
        if self.dims and self.size is not None and product != self.size:
            raise ValueError(f"the dims hold {product} chips, size says {self.size}. Make them equal")
        if self.used is not None and (self.size is None or self.used > self.size):
            raise ValueError(f"used = {self.used} is more than size = {self.size}. Use at most that many")
        return self


class Pool(Record):
    """Equal nodes of one chip."""

    chip: Identifier
    nodes: Count | None = Field(None, description="null: as many as are asked for")
    chips_per_node: Count


class HostMachine(Record):
    """The host of one node."""

    memory_bytes: Positive | None = None
    power_w: Positive | None = Field(None, description="CPUs, fans, NICs and switches of a node, without its chips")
    source: Text | None = None


class Reliability(Record):
    """Mean time between failures of one unit of each component, and how long a repair takes.

    `node`, `software`, `hang` and `operation` are of a node, all others of a chip. `operation` is what stops jobs that people watch
    over beyond failed machines: it acts where people restart.
    """

    mtbf_s: dict[str, Positive] = Field(default_factory=dict)
    mttr_s: Positive | None = None
    fleet: Text | None = Field(None, description="where the failures were counted")
    counted_on: Identifier | None = Field(None, description="chip whose failures were counted; null: the cluster's own")
    campaigns: tuple[Text, ...] = Field((), description="models whose training is that count; they check nothing")
    language: Flag = Field(True, description="the fleet trained language models")
    source: Text


class Cluster(Record):
    """A building block that repeats: `devices` says how many chips of it a job takes."""

    id: Identifier
    name: Text
    aliases: tuple[Text, ...] = ()
    pools: tuple[Pool, ...] = Field(min_length=1)
    tiers: tuple[Tier, ...] = Field(min_length=1)
    largest: Count | None = Field(None, description="chips of the largest job that the cluster can hold")
    slice: Count | None = Field(None, description="chips of one slice; several slices are joined by the last tier")
    host: HostMachine = HostMachine()
    server_w: Positive | None = Field(None, description="provisioned for one node with its chips")
    pue: Positive = 1.0
    pue_source: Text | None = None
    grid_kg_per_kwh: NotNegative | None = Field(None, description="carbon of a kWh at the site; null: unknown")
    grid_source: Text | None = None
    reliability: Reliability | None = None
    usd_per_node_hour: Positive | None = None
    sources: tuple[Text, ...] = Field(min_length=1)
    notes: tuple[Text, ...] = ()

    @property
    def chip(self) -> str:
        """Id of the chip of the first pool."""
        return self.pools[0].chip

    @property
    def chips_per_node(self) -> int:
        return self.pools[0].chips_per_node

    def failures_per_s(self, devices: int) -> float:
        """Failures a second of all that so many chips stand on, people's part left out; 0 if no rates are stated."""
        mtbf_s = self.reliability.mtbf_s if self.reliability is not None else {}
        return math.fsum(
            units_of(name, self.chips_per_node, devices) / value
            for name, value in mtbf_s.items()
            if name != BY_HAND_ONLY
        )

    def paid(self, devices: int) -> int:
        """Chips that are paid for when a job uses `devices`: with its share of each domain's spares, rounded up."""
        paid = devices
        for tier in self.tiers:
            if tier.used is not None and tier.size is not None and tier.used < tier.size:
                paid = max(paid, -(-devices * tier.size // tier.used))
        return paid


def units_of(component: str, chips_per_node: int, devices: int) -> int:
    """How many of a component a job on so many chips stands on; a node is whole or not used."""
    return -(-devices // chips_per_node) if component in PER_NODE else devices


def sliced(cluster: Cluster, devices: int) -> tuple[Cluster, int]:
    """The cluster with its torus cut to the slices that a job of so many chips gets, and how many slices that are.

    A job takes equal slices of at most `slice` chips, as near to a cube as its axes allow. An axis of a slice wraps if it is
    a whole axis of the pod, or a multiple of what its optical switches join.
    """
    at = next((i for i, tier in enumerate(cluster.tiers) if tier.kind == "torus" and tier.dims), None)
    if cluster.slice is None or at is None:
        return cluster, 1
    count = -(-devices // cluster.slice)
    while devices % count:
        count += 1
    tier = cluster.tiers[at]
    shape = _shape(devices // count, [dim.size for dim in tier.dims])
    if shape is None:
        return cluster, count
    dims = tuple(
        Dim(size=size, wrap=dim.wrap and size % (dim.wrap_multiple or dim.size) == 0)
        for size, dim in zip(shape, tier.dims, strict=True)
    )
    cut = tier.with_(size=devices // count, dims=dims)
    return cluster.with_(tiers=(*cluster.tiers[:at], cut, *cluster.tiers[at + 1 :])), count


def _shape(chips: int, limits: list[int]) -> tuple[int, ...] | None:
    """Axes whose product is so many chips, none longer than its limit, the longest as short as can be; None if there are none."""
    if len(limits) == 1:
        return (chips,) if chips <= limits[0] else None
    found = []
    for first in range(1, min(limits[0], chips) + 1):
        if chips % first == 0:
            rest = _shape(chips // first, limits[1:])
            if rest is not None:
                found.append((first, *rest))
    return min(found, key=lambda shape: (max(shape), sum(shape), shape), default=None)
