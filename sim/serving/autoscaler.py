"""Autoscalers and failures: SimPy processes that make replicas come and go."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from . import state as at
from .pools import Scaling
from .replica import CONTROL, DRAINING, OFF, STARTING, UP, Moment, Process, Replica
from .roster import Roster


class Autoscaler:
    """Looks at its pool again and again. at_gate: requests that wait for any replica of the pool to be up."""

    def __init__(self, roster: Roster, pool: int, rule: Scaling, at_gate: Callable[[int], int]) -> None:
        self.roster = roster
        self.pool = pool
        self.rule = rule
        self.at_gate = at_gate
        self.busy_s = 0.0
        self.changed_s = 0.0

    def live(self, over: Callable[[], bool]) -> Process:
        """Look every so often until the run is over."""
        looks = 0
        while True:
            looks += 1
            yield Moment(self.roster.env, looks * self.rule.every_s, CONTROL)
            self.look()
            if over():
                return

    def look(self) -> None:
        """Order what is missing, let go what is too much and what is idle."""
        now, roster = self.roster.env.now, self.roster
        wanted = min(max(self._wanted(), self.rule.least), self.rule.most)
        present = len(roster.of(self.pool, UP, STARTING))
        if wanted > present:
            for replica in (roster.of(self.pool, DRAINING) + roster.of(self.pool, OFF))[: wanted - present]:
                (roster.keep if replica.state == DRAINING else roster.start)(replica)
            self.changed_s = now
        elif wanted < present and (self.rule.rule == "schedule" or now - self.changed_s >= self.rule.cooldown_s):
            idlest = sorted(roster.of(self.pool, UP), key=lambda each: (each.in_flight, -each.number))
            for replica in idlest[: min(present - wanted, len(idlest) - 1)]:
                roster.drain(replica)
                self.changed_s = now
        for replica in roster.of(self.pool, DRAINING):
            if not replica.in_flight and not replica.held:
                idle_s = float(replica.executor.core.clock[at.NOW])  # when its last iteration ended
                roster.release(replica, max(idle_s, replica.since_s))

    def _wanted(self) -> int:
        rule, roster = self.rule, self.roster
        if rule.rule == "schedule":
            return rule.planned(roster.env.now)
        here = roster.of(self.pool, UP, DRAINING)
        in_flight = sum(replica.in_flight for replica in here)
        if rule.rule == "in_flight":
            return math.ceil((in_flight + self.at_gate(self.pool)) / rule.target)
        busy_s = math.fsum(float(each.executor.core.clock[at.BUSY_S]) for each in roster.of(self.pool))
        spent_s, self.busy_s = busy_s - self.busy_s, busy_s
        return math.ceil(spent_s / rule.every_s / rule.target - 1e-9) + (1 if self.at_gate(self.pool) else 0)


def strikes(
    replica: Replica,
    stream: np.random.Generator,
    mtbf_s: float,
    fail: Callable[[Replica], None],
    over: Callable[[], bool],
) -> Process:
    """Failures of one replica: exponential times between them; one that strikes a replica that is not up does nothing."""
    env, at_s = replica.env, 0.0
    while True:
        at_s += stream.exponential(mtbf_s)
        yield Moment(env, at_s, CONTROL)
        if over():
            return
        if replica.state in (UP, DRAINING):
            fail(replica)
