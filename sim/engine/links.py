"""Shared links: transfers that cross the same link share it max-min fair. The idiom: bank, re-plan, sleep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import simpy

from ..errors import InputError


@dataclass(frozen=True)
class Link:
    """A wire. capacity: how many transfers at full rate it carries at once."""

    name: str
    capacity: float = 1.0


def max_min(capacity: Sequence[float], crossing: Sequence[Sequence[int]], limit: Sequence[float]) -> list[float]:
    """Max-min fair rates: nobody's rate can grow without shrinking one that is not larger.

    capacity[link]; crossing[transfer] = the links it crosses; limit[transfer] = the rate it would have alone.
    Progressive filling (Bertsekas and Gallager, Data Networks, section 6.5.2): the tightest link or limit freezes first.
    """
    left = dict(enumerate(capacity))
    users: dict[int, set[int]] = {}
    for transfer, links in enumerate(crossing):
        for link in links:
            users.setdefault(link, set()).add(transfer)
    rates = list(limit)
    open_limits = sorted(range(len(limit)), key=lambda transfer: limit[transfer], reverse=True)
    frozen: set[int] = set()
    while len(frozen) < len(rates):
        while open_limits[-1] in frozen:
            open_limits.pop()
        level, now_frozen = limit[open_limits[-1]], [open_limits[-1]]
        for link in sorted(users):
            if left[link] / len(users[link]) < level:
                level, now_frozen = left[link] / len(users[link]), sorted(users[link])
        for transfer in now_frozen:
            rates[transfer] = level
            frozen.add(transfer)
            for link in crossing[transfer]:
                left[link] -= level
                users[link].discard(transfer)
                if not users[link]:
                    del users[link]
    return rates


class Transfer:
    """Work at a rate: `done` fires with True when it is finished, with False when it was cancelled."""

    __slots__ = ("done", "finish_s", "left_s", "limit", "links", "rate", "since_s", "wake")

    def __init__(self, done: simpy.Event, seconds: float, links: Sequence[int], limit: float) -> None:
        self.done = done
        self.links = links
        self.limit = limit
        self.left_s = seconds
        self.rate = 0.0
        self.since_s = 0.0
        self.finish_s = float("inf")
        self.wake: simpy.Event | None = None


class Fabric:
    """The links and the transfers on them. A transfer's work is banked, and its sleep planned anew, only when its rate moves.

    A transfer that keeps its links to itself therefore ends at exactly start + seconds. At equal times completions come
    before arrivals: what is due now is finished before a newcomer takes its share.
    """

    def __init__(self, env: simpy.Environment, links: Sequence[Link] = ()) -> None:
        for link in links:
            if not link.capacity > 0:
                raise InputError(f"link {link.name}: capacity = {link.capacity}. Give a number > 0.")
        self.env = env
        self._capacity = [link.capacity for link in links]
        self._on: list[dict[Transfer, None]] = [{} for _ in links]  # dicts keep the order of arrival

    def send(self, seconds: float, links: Sequence[int] = (), limit: float = 1.0) -> Transfer:
        """Start work that lasts `seconds` when alone at rate 1, over `links` (numbers), at a rate of at most `limit`.

        Work that takes no time, or crosses no link, shares with nobody.
        """
        for link in links:
            for other in list(self._on[link]):
                self._due(other)
        transfer = Transfer(self.env.event(), seconds, links if seconds > 0 else (), limit)
        transfer.since_s = self.env.now
        for link in transfer.links:
            self._on[link][transfer] = None
        self._plan(transfer)
        return transfer

    def cancel(self, transfer: Transfer) -> None:
        """Drop a transfer and what it had done, unless it is due at this very moment."""
        if not self._due(transfer):
            self._leave(transfer, False)

    def set_limit(self, transfer: Transfer, limit: float) -> None:
        """Change the rate that a running transfer would have alone; what it has done stays done."""
        if not self._due(transfer):
            transfer.limit = limit
            self._plan(transfer)

    def _due(self, transfer: Transfer) -> bool:
        """True if the transfer is over; one whose end is now is finished here, ahead of its own alarm."""
        if transfer.wake is not None and transfer.finish_s <= self.env.now:
            self._leave(transfer, True)
        return transfer.wake is None

    def _leave(self, transfer: Transfer, finished: bool) -> None:
        """Take a transfer off its links, with all that is due beside it, and share what they leave."""
        self._remove(transfer, finished)
        links = list(transfer.links)
        affected: dict[Transfer, None] = {}
        while links:
            for other in list(self._on[links.pop()]):
                if other.finish_s <= self.env.now:
                    self._remove(other, True)
                    links += other.links
                else:
                    affected[other] = None
        while affected:
            seed = next(iter(affected))
            del affected[seed]
            if seed.wake is not None:
                for planned in self._plan(seed):
                    affected.pop(planned, None)

    def _remove(self, transfer: Transfer, finished: bool) -> None:
        transfer.wake = None
        for link in transfer.links:
            del self._on[link][transfer]
        transfer.done.succeed(finished)

    def _plan(self, seed: Transfer) -> list[Transfer]:
        """Share anew among the transfers that meet `seed`, directly or through others; returns them."""
        group = self._group(seed)
        if len(group) == 1 and all(self._capacity[link] >= seed.limit for link in seed.links):
            self._set_rate(seed, seed.limit)
            return group
        numbers = {link: number for number, link in enumerate(dict.fromkeys(x for each in group for x in each.links))}
        rates = max_min(
            [self._capacity[link] for link in numbers],
            [[numbers[link] for link in each.links] for each in group],
            [each.limit for each in group],
        )
        for each, rate in zip(group, rates, strict=True):
            self._set_rate(each, rate)
        return group

    def _group(self, seed: Transfer) -> list[Transfer]:
        group = {seed: None}
        pending, seen = list(seed.links), set(seed.links)
        while pending:
            for other in self._on[pending.pop()]:
                group[other] = None
                fresh = [link for link in other.links if link not in seen]
                seen.update(fresh)
                pending += fresh
        return list(group)

    def _set_rate(self, transfer: Transfer, rate: float) -> None:
        if rate == transfer.rate:
            return
        now = self.env.now
        transfer.left_s = max(0.0, transfer.left_s - transfer.rate * (now - transfer.since_s))
        transfer.since_s, transfer.rate = now, rate
        delay_s = transfer.left_s / rate
        transfer.finish_s = now + delay_s
        alarm = transfer.wake = self.env.timeout(delay_s)
        alarm.callbacks.append(partial(self._ring, transfer))

    def _ring(self, transfer: Transfer, alarm: simpy.Event) -> None:
        """An alarm of an older plan finds a newer one in its place and is ignored."""
        if transfer.wake is alarm:
            self._leave(transfer, True)
