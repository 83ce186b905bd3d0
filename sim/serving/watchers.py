"""Watchers of a serving run: progress, and iterations for a trace. They change no result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..engine import Schedule, Timeline


class Counter:
    """Tells how many of the requests have come, at most a hundred times. (To hear of completions, replicas must be awake at
    each, which takes several times as long.)"""

    def __init__(self, total: int, progress: Callable[[float, str], None]) -> None:
        self.total, self.progress = total, progress
        self.done = 0
        self.step = max(1, total // 100)

    def arrived(self, request: int, replica: int, now: float) -> None:
        self.done += 1
        if self.done % self.step == 0:
            self.progress(self.done / self.total, f"{self.done:,} of {self.total:,} requests, {now:,.0f} s simulated")


class Recorder:
    """Keeps the iterations, as rows of a schedule with their times."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float, str]] = []

    def iteration(self, replica: int, start_s: float, end_s: float, decodes: int, prompt_tokens: int) -> None:
        phase = "decode" if not prompt_tokens else ("mixed" if decodes else "prefill")
        self.rows.append((replica, start_s, end_s, phase))

    def timeline(self) -> Timeline:
        """One queue a replica, one row an iteration."""
        rows = sorted(self.rows, key=lambda row: (row[1], row[0]))
        start, end = (np.array([row[i] for row in rows], dtype=np.float64) for i in (1, 2))
        schedule = Schedule.of(
            [f"replica {row[0]}" for row in rows], (end - start).tolist(), part=["iteration"] * len(rows),
            phase=[row[3] for row in rows],
        )  # fmt: skip
        return Timeline(schedule, start, end)
