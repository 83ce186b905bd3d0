"""What a fleet is made of and how it is run: pools of equal replicas, rules for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from .pack import Pack

ROLES = ("serve", "prefill", "decode")
DAY_S = 86400.0


@dataclass(frozen=True)
class Scaling:
    """When replicas come and go. rule: in_flight (`target` requests a replica, those that wait at the gate included),
    utilisation (`target` = share of the time at work), or schedule (`steps`: second of the day, replicas; a day that begins
    `day_s` before the first arrival). More are ordered at once, fewer only `cooldown_s` after the last change."""

    least: int
    most: int
    rule: str = "in_flight"
    target: float = 1.0
    steps: tuple[tuple[float, int], ...] = ()
    day_s: float = 0.0
    every_s: float = 15.0
    cooldown_s: float = 300.0

    def planned(self, now_s: float) -> int:
        """Replicas that the schedule wants now; before its first step of the day, those of its last."""
        second = (now_s + self.day_s) % DAY_S
        return next((count for at_s, count in reversed(self.steps) if at_s <= second), self.steps[-1][1])


@dataclass(frozen=True)
class Pool:
    """Equal replicas of one pack. replicas: at the start; role: serve, prefill or decode; model: which of the requests' models
    it serves. start_s: from an order to the first request; mtbf_s, repair_s: of one replica; token_bytes, state_bytes: KV of
    a token and of a sequence; port_bytes_per_s, port_s: rate and latency at which a replica sends or takes KV."""

    pack: Pack
    replicas: int = 1
    role: str = "serve"
    model: int = 0
    start_s: float = 0.0
    mtbf_s: float = math.inf
    repair_s: float = 0.0
    scaling: Scaling | None = None
    token_bytes: float = 0.0
    state_bytes: float = 0.0
    port_bytes_per_s: float = math.inf
    port_s: float = 0.0

    @property
    def most(self) -> int:
        """Replicas that there can ever be."""
        return max(self.replicas, self.scaling.most) if self.scaling else self.replicas


@dataclass(frozen=True)
class Fleet:
    """Rules for all pools. router: who spreads the requests, a short name or the dotted path of a class; replicas: of a fleet of
    one pool; max_queue: requests that may wait at a replica (a retry is never turned away); max_wait_s: until a request that
    no pass has taken is given up; window_s: of the time series; each None: without."""

    replicas: int = 1
    router: str = "round_robin"
    max_queue: int | None = None
    max_wait_s: float | None = None
    window_s: float | None = None


def check(pools: Sequence[Pool], models: int) -> None:
    """Raises InputError for pools that cannot serve requests of so many models."""
    for pool in pools:
        if pool.replicas < 1:
            raise InputError(f"replicas = {pool.replicas}. Use at least 1.")
        if pool.role not in ROLES:
            raise InputError(f"role = {pool.role}. Use {', '.join(ROLES)}.")
    for model in range(models):
        roles = {pool.role for pool in pools if pool.model == model}
        if not roles & {"serve", "prefill"}:
            raise InputError(f"groups: none of role serve or prefill for model {model}. Add one.")
        if ("prefill" in roles) != ("decode" in roles):
            raise InputError(
                "groups: prefill needs decode beside it, and decode prefill. Add a group of the other role."
            )
