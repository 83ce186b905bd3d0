"""Watchers subscribe to what happens in a run; the actors know no metric, no plot and no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Watchers:
    """Passes each happening to every watcher that has a method of its name; all methods are optional.

    started(row, t_s): a row starts, again after each fault. ended(row, t_s): it is finished.
    fault(kind, queue, t_s): kind is "down", "up" or "slow"; queue is the queue's number.
    """

    def __init__(self, watchers: Sequence[object]) -> None:
        self._started = _listeners(watchers, "started")
        self._ended = _listeners(watchers, "ended")
        self._fault = _listeners(watchers, "fault")

    def started(self, row: int, t_s: float) -> None:
        for listener in self._started:
            listener(row, t_s)

    def ended(self, row: int, t_s: float) -> None:
        for listener in self._ended:
            listener(row, t_s)

    def fault(self, kind: str, queue: int, t_s: float) -> None:
        for listener in self._fault:
            listener(kind, queue, t_s)


def _listeners(watchers: Sequence[object], name: str) -> list[Callable[..., Any]]:
    return [getattr(watcher, name) for watcher in watchers if hasattr(watcher, name)]
