"""Who is there: what state each replica is in, which of them take requests, since when each is paid for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import simpy

from .pools import Pool
from .replica import BROKEN, CONTROL, DRAINING, OFF, STARTING, UP, Moment, Replica

Stage = tuple[bool, int]  # (decode behind prefill, model)


class Roster:
    """States of all replicas. came_up: called with a replica that has begun to take requests."""

    def __init__(self, env: simpy.Environment, pools: Sequence[Pool], replicas: Sequence[Replica]) -> None:
        self.env = env
        self.pools = pools
        self.replicas = replicas
        self.came_up: Callable[[Replica], None] | None = None
        self.taking: dict[Stage, list[Replica]] = {}
        self.starts = 0
        for number, pool in enumerate(pools):
            for replica in self.of(number)[: pool.replicas]:
                replica.state = UP
                replica.paid.append(0.0)
        self._list()

    def of(self, pool: int, *states: int) -> list[Replica]:
        """Replicas of a pool, of these states if any are given."""
        return [each for each in self.replicas if each.pool == pool and (not states or each.state in states)]

    def start(self, replica: Replica) -> None:
        """Order a replica; it takes requests when its process has started and its weights are loaded."""
        if replica.state == OFF:
            replica.paid.append(self.env.now)
        self._turn(replica, STARTING)
        self.starts += 1
        self.later(self.pools[replica.pool].start_s, partial(self._up, replica))

    def keep(self, replica: Replica) -> None:
        """A replica that was to go stays."""
        self._turn(replica, UP)
        self._tell(replica)

    def drain(self, replica: Replica) -> None:
        """A replica takes no more requests, and goes when it has none."""
        self._turn(replica, DRAINING)

    def release(self, replica: Replica, at_s: float) -> None:
        """A replica has gone, and been idle since `at_s`."""
        self._turn(replica, OFF)
        replica.paid.append(at_s)

    def break_down(self, replica: Replica) -> None:
        """A replica fails; it starts anew once it is repaired. One that was to go is gone."""
        if replica.state == DRAINING:
            self.release(replica, self.env.now)
            return
        self._turn(replica, BROKEN)
        self.later(self.pools[replica.pool].repair_s, partial(self.start, replica))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something that long from now."""
        moment = Moment(self.env, self.env.now + seconds, CONTROL)
        moment.callbacks.append(lambda _: action())

    def _up(self, replica: Replica) -> None:
        self._turn(replica, UP)
        self._tell(replica)

    def _tell(self, replica: Replica) -> None:
        if self.came_up is not None:
            self.came_up(replica)

    def _turn(self, replica: Replica, state: int) -> None:
        replica.state, replica.since_s = state, self.env.now
        self._list()

    def _list(self) -> None:
        """Who takes requests, by stage and model, in the order of their numbers."""
        self.taking.clear()
        for replica in self.replicas:
            if replica.state == UP:
                pool = self.pools[replica.pool]
                self.taking.setdefault((pool.role == "decode", pool.model), []).append(replica)
