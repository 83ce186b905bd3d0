"""A training campaign: one SimPy process that banks its progress, plans anew and sleeps until the next event; one for each class of
components that fails. Between events it leaps (`campaign_pace`), so that weeks of a large run take milliseconds."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
import simpy

from ..errors import Infeasible
from ..seeds import generator
from .campaign_pace import Pace, leap, seconds_for
from .campaign_setup import Setup

Process = Generator[simpy.Event, Any, None]
Slept = Generator[simpy.Event, Any, float]
LONGEST = 50.0  # times the undisturbed run; a campaign that is not done by then never will be
MOST_STRIKES = (
    200_000  # in an undisturbed length; more would take minutes a draw and says nothing about a real campaign
)
TRAINING, DOWN = "training", "down"


class Strike(NamedTuple):
    """Something that happens to the job: its cause, what it does, nodes that it takes."""

    cause: str
    kind: str
    nodes: int = 0


class Outcome(NamedTuple):
    """One campaign. seconds: on the wall; productive_s: of them undisturbed work that was kept; lost_s: the others by cause, which
    with productive_s sum to seconds; interruptions by cause; busy_s: time that chips worked, also on what was lost;
    states: (time, `training` or `down`) at each change, for power over time."""

    seconds: float
    productive_s: float
    lost_s: dict[str, float]
    interruptions: dict[str, int]
    busy_s: float
    states: tuple[tuple[float, str], ...]

    @property
    def productive_share(self) -> float:
        return self.productive_s / self.seconds

    @property
    def interrupted(self) -> int:
        return sum(self.interruptions.values())


def run(setup: Setup, seed: int = 0, draw: int = 0) -> Outcome:
    """One campaign from its first step to its last. Raises Infeasible if failures come faster than it recovers, or too
    many to draw.

    Each class of components draws from its own stream of (seed, draw), so that adding one changes no other.
    """
    strikes = math.fsum(setup.total_s / source.mean_s for source in setup.sources)
    if strikes > MOST_STRIKES:
        raise Infeasible(
            f"{setup.total_s / 86400:,.0f} days of training would meet {strikes:,.0f} failures, more than {MOST_STRIKES:,}. "
            "Use fewer tokens, more devices or rarer failures."
        )
    env = simpy.Environment(0.0)
    job = _Job(env, setup)
    for source in setup.sources:
        stream = generator(seed, "campaign", draw, source.name)
        env.process(_striking(job, stream, source.mean_s, Strike(source.name, source.kind, source.nodes)))
    limit_s = LONGEST * setup.total_s
    env.run(job.process | env.timeout(limit_s))
    if job.process.is_alive:
        rate = ", ".join(f"{source.name} every {source.mean_s / 3600:.3g} h" for source in setup.sources)
        raise Infeasible(
            f"the campaign is not done after {LONGEST:g} times its undisturbed length: {rate}; a restart takes "
            f"{setup.relaunch_s / 3600:.3g} h. Use fewer devices, shorter restarts or rarer failures."
        )
    return Outcome(env.now, job.done, dict(job.lost_s), dict(job.interruptions), job.busy_s, tuple(job.states))


def _striking(job: _Job, stream: np.random.Generator, mean_s: float, strike: Strike) -> Process:
    while True:
        yield job.env.timeout(float(stream.exponential(mean_s)))
        job.strike(strike)


class _Job:
    """The campaign's own process and its books. Work is counted in seconds of undisturbed training."""

    def __init__(self, env: simpy.Environment, setup: Setup) -> None:
        self.env, self.setup, self.options = env, setup, setup.options
        self.done = self.saved = self.mark = 0.0  # work done, safe on storage, at the checkpoint begun last
        self.writing: tuple[float, float] | None = None  # work of a checkpoint that is safe from that time on
        self.corrupt: float | None = None  # work of the last checkpoint before silent corruption
        self.slow = self.missing = 0  # slow chips in the job; nodes that it lacks
        self.spares = self.options.spares
        self.evaluated = 0.0
        self.lost_s: defaultdict[str, float] = defaultdict(float)
        self.interruptions: defaultdict[str, int] = defaultdict(int)
        self.busy_s = 0.0
        self.states: list[tuple[float, str]] = [(0.0, TRAINING)]
        self.struck: deque[Strike] = deque()
        self.asleep = False
        self.process = env.process(self._live())

    def strike(self, strike: Strike) -> None:
        """Something happens now: wake the job."""
        self.struck.append(strike)
        if self.asleep:
            self.asleep = False
            self.process.interrupt()

    def _sleep(self, seconds: float) -> Slept:
        """Sleep until something happens, `seconds` at most; returns how long it was."""
        began = self.env.now
        if not self.struck:
            self.asleep = True
            try:
                yield self.env.timeout(seconds)
            except simpy.Interrupt:
                return float(self.env.now - began)
            self.asleep = False
            return seconds
        return 0.0

    def _later(self, seconds: float, strike: Strike) -> None:
        def live() -> Process:
            yield self.env.timeout(seconds)
            self.strike(strike)

        self.env.process(live())

    def _live(self) -> Process:
        total_s = self.setup.total_s
        every_s = self.options.evaluation_every_s or math.inf
        while self.done < total_s:
            yield from self._train(min(total_s, self.evaluated + every_s))
            while self.struck:
                yield from self._meet(self.struck.popleft())
            if self.done >= self.evaluated + every_s and self.done < total_s:
                self.evaluated += every_s
                yield from self._evaluate()

    def _evaluate(self) -> Process:
        slept = yield from self._sleep(self.options.evaluation_s)
        self.busy_s += slept
        self.lost_s["evaluation"] += slept

    def _train(self, until: float) -> Process:
        """Work up to `until`, or until something happens."""
        pace = self._pace()
        since, work = self.done - self.mark, until - self.done
        wanted_s = seconds_for(pace, since, work)
        began = self.env.now
        slept = yield from self._sleep(wanted_s)
        found = leap(pace, since, slept)
        got = work if slept >= wanted_s else min(found.work, work)
        self.busy_s += slept
        self.lost_s["checkpoints"] += found.paused_s
        slowed_s = slept - found.paused_s - got
        self.lost_s["slow chips" if self.slow else "missing nodes"] += slowed_s
        self._finish_writing()
        start = self.done
        if found.safe is not None:
            self.saved = max(self.saved, start + found.safe)
        if found.begun is not None:
            self.mark = start + found.begun
            safe_at = began + found.safe_after_s
            self.writing = None if safe_at <= self.env.now else (self.mark, safe_at)
        self.done = start + got if slept < wanted_s else until

    def _finish_writing(self) -> None:
        if self.writing is not None and self.writing[1] <= self.env.now:
            self.saved, self.writing = max(self.saved, self.writing[0]), None

    def _pace(self) -> Pace:
        rate = self.setup.share_without(self.missing)
        if self.slow:
            rate /= self.options.slow_factor
        return Pace(rate, self.setup.interval_s, self.setup.pause_s, self.setup.safe_s)

    def _meet(self, strike: Strike) -> Process:
        """What happened while the job trained."""
        kind, options = strike.kind, self.options
        if kind == "back":
            self._back()
            if options.elastic and self.missing == 0 and self.setup.bounded:
                self._save()
                yield from self._restart(Strike("node back", "planned"), 0.0)
        elif kind == "silent":
            if self.corrupt is None:
                self.corrupt = self.saved
                self._later(options.silent_delay_s, strike._replace(kind="silent found"))
        elif kind == "silent found":
            yield from self._found_corrupt(strike)
        elif kind == "slow":
            self.slow += 1
            self._later(options.slow_delay_s, strike._replace(kind="slow found"))
        elif kind == "slow found":
            self.slow -= 1
            self._save()
            yield from self._restart(strike, 0.0)
        else:
            self.interruptions[strike.cause] += 1
            if kind == "preempt" and options.preempt_notice_s >= self.setup.write_s:
                self._save()
            self._roll_back(self.saved, strike.cause)
            yield from self._restart(strike, options.watchdog_s if kind == "hang" else options.detect_s)

    def _found_corrupt(self, strike: Strike) -> Process:
        if self.corrupt is None:
            return  # another failure has rolled it back
        self.interruptions[strike.cause] += 1
        self._roll_back(min(self.saved, self.corrupt), strike.cause)
        yield from self._restart(strike, 0.0)

    def _save(self) -> None:
        """A checkpoint of this moment: nothing is lost by what follows."""
        self.saved = self.mark = self.done
        self.writing = None

    def _roll_back(self, work: float, cause: str) -> None:
        self.lost_s[f"{cause} rollback"] += self.done - work
        self.done = self.saved = self.mark = work
        self.writing = None
        self.evaluated = min(self.evaluated, work)
        if self.corrupt is not None and work <= self.corrupt:
            self.corrupt = None

    def _restart(self, strike: Strike, found_s: float) -> Process:
        """Down until the job runs again; what strikes meanwhile begins the restart anew."""
        self.states.append((self.env.now, DOWN))
        self._lose(strike)
        wait_s = found_s + self.setup.relaunch_s
        while True:
            stuck = self.missing > 0 and self.setup.share_without(self.missing) <= 0.0
            slept = yield from self._sleep(math.inf if stuck else wait_s)
            self.lost_s[f"{strike.cause} restart" if not stuck else "waiting for nodes"] += slept
            if not self.struck:
                break
            if not stuck:
                wait_s -= slept
            while self.struck:
                wait_s = self._meet_down(self.struck.popleft(), wait_s)
        self.states.append((self.env.now, TRAINING))

    def _meet_down(self, strike: Strike, wait_s: float) -> float:
        """What happens while the job is down; returns how long it still takes."""
        if strike.kind == "back":
            self._back()
        elif strike.kind == "slow":
            self.slow += 1
            self._later(self.options.slow_delay_s, strike._replace(kind="slow found"))
        elif strike.kind == "slow found":
            self.slow -= 1  # swapped in the same restart
        elif strike.kind == "silent found":
            return wait_s if self.corrupt is None else self._again(strike)
        elif strike.kind in ("node", "preempt"):
            self._lose(strike)
            return self._again(strike)
        return wait_s  # no software runs that could fail, hang or compute a wrong number

    def _again(self, strike: Strike) -> float:
        self.interruptions[strike.cause] += 1
        self._roll_back(self.saved if self.corrupt is None else min(self.saved, self.corrupt), strike.cause)
        return self.setup.relaunch_s

    def _lose(self, strike: Strike) -> None:
        """Nodes that are gone: spares take their place while there are any."""
        if self.spares is None and strike.kind != "preempt":
            return
        for _ in range(strike.nodes):
            if self.spares and strike.kind != "preempt":
                self.spares -= 1
            else:
                self.missing += 1
            back_s = self.options.preempt_back_s if strike.kind == "preempt" else self.options.repair_s
            self._later(back_s, Strike("a node", "back"))

    def _back(self) -> None:
        if self.missing:
            self.missing -= 1
        elif self.spares is not None:
            self.spares += 1
