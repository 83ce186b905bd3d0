"""How a serving fleet is run: who is let in, when replicas come and go, what fails. Flags of `serve` derive from here."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from ..errors import InputError
from .clusters import Cluster
from .records import Count, Flag, NotNegative, Positive, Record, Text


class Operations(Record):
    """Options of a fleet. Nobody is turned away, nothing scales and nothing fails unless it is asked for."""

    max_queue: Count | None = Field(
        None, description="requests that may wait at a replica; one more is turned away; null: any number"
    )
    max_wait_s: Positive | None = Field(
        None, description="a request that no pass has taken by then is given up; null: never"
    )
    autoscale: Literal["off", "in_flight", "utilisation", "schedule"] = Field(
        "off", description="what the number of replicas follows, between --min-replicas and --max-replicas"
    )
    target: Positive | None = Field(
        None, description="requests in flight (in_flight) or share of the time at work (utilisation) of a replica"
    )
    steps: tuple[Text, ...] = Field((), description="replicas by time of day, such as 08:00=6,20:00=2 (schedule)")
    day_starts_s: NotNegative = Field(0.0, description="time of day of the first arrival")
    check_every_s: Positive = Field(15.0, description="between looks of the autoscaler (Kubernetes: 15 s)")
    cooldown_s: NotNegative = Field(
        300.0, description="after a change until replicas may go; more come at once (Kubernetes: 5 minutes)"
    )
    start: Literal["cold", "warm"] = Field(
        "cold", description="cold: weights come from storage; warm: a host that has them in memory"
    )
    start_up_s: NotNegative | None = Field(
        None, description="from order to first request; null: process start, then weights"
    )
    process_start_s: NotNegative = Field(60.0, description="container, compilation and graph capture (assumed)")
    storage_bytes_per_s: Positive | None = Field(
        None,
        description="at which a replica loads weights; null: 0.15 GB/s a chip, as BLOOM had (2.3 TB in 40 s from 384)",
    )
    faults: Flag = Field(False, description="let replicas fail; their requests are sent again")
    mtbf_s: Positive | None = Field(
        None, description="between failures of one replica; null: the cluster's rates by component"
    )
    repair_s: NotNegative | None = Field(
        None,
        description="until a failed replica is started anew; null: the cluster's, else 11 minutes (504 B200, retries)",
    )
    kv_link_bytes_per_s: Positive | None = Field(
        None, description="KV that a replica sends or takes; null: the ports of its chips"
    )
    window_s: Positive | None = Field(None, description="rows of the time series in --out; null: none is written")

    def clock_steps(self) -> tuple[tuple[float, int], ...]:
        """`steps` as (second of the day, replicas), in order. Raises InputError for one that cannot be read."""
        return tuple(sorted(_step(text) for text in self.steps))


def _step(text: str) -> tuple[float, int]:
    clock, _, count = text.partition("=")
    hours, _, minutes = clock.strip().partition(":")
    if not (hours.isdigit() and minutes.isdigit() and count.strip().isdigit()):
        raise InputError(f"operations.steps = {text!r} is no time with a number. Write such as 08:00=6.")
    if int(hours) > 23 or int(minutes) > 59 or int(count) < 1:
        raise InputError(f"operations.steps = {text!r}: use 00:00 to 23:59 and at least 1 replica.")
    return int(hours) * 3600.0 + int(minutes) * 60.0, int(count)


def replica_mtbf_s(options: Operations, cluster: Cluster, chips: int) -> float:
    """Between failures of one replica of so many chips [s]; infinite if nothing is to fail.

    Everything that stops a chip or its node stops the replica. Raises InputError if nobody states a rate.
    """
    if not options.faults:
        return math.inf
    if options.mtbf_s is not None:
        return options.mtbf_s
    if cluster.reliability is None or not cluster.reliability.mtbf_s:
        raise InputError(f"{cluster.id} states no failure rates. Give --mtbf, of one replica.")
    return 1.0 / cluster.failures_per_s(chips)
