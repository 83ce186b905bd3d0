"""Simulations under way: each in a thread that talks to a worker; followed as events, cancelled by anyone who knows the id."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from .workers import Failure, Pool

KEPT = 16  # runs that are over and can still be asked for
WAIT_S = 0.1
BEAT_EVERY_S = 5.0

State = Literal["queued", "running", "done", "failed", "cancelled"]


class Run:
    """One simulation."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.id = secrets.token_urlsafe(12)
        self.message = message
        self.cancelled = threading.Event()
        self.state: State = "queued"
        self.share, self.what = 0.0, ""
        self.problem: dict[str, Any] | None = None
        self.answer: bytes | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def progress(self, share: float, what: str) -> None:
        self.state, self.share, self.what = "running", share, what

    def to_dict(self, with_answer: bool = True) -> dict[str, Any]:
        answer = json.loads(self.answer) if self.answer is not None and with_answer else None
        return {
            "id": self.id, "state": self.state, "share": self.share, "what": self.what,
            "error": self.problem, "answer": answer,
        }  # fmt: skip


class Runs:
    """All of them; the oldest that are over are forgotten."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.threads = ThreadPoolExecutor(pool.most, thread_name_prefix="run")
        self.known: OrderedDict[str, Run] = OrderedDict()

    @property
    def in_flight(self) -> int:
        return sum(not run.over for run in self.known.values())

    def begin(self, message: Mapping[str, Any]) -> Run:
        """Start one. Raises Failure if too many are under way."""
        self.pool.enter()
        run = Run(message)
        self.known[run.id] = run
        for old in [key for key, each in self.known.items() if each.over][:-KEPT]:
            del self.known[old]
        self.threads.submit(self._work, run)
        return run

    def _work(self, run: Run) -> None:
        try:
            run.answer = self.pool.ask(run.message, run.cancelled, run.progress)
            run.share, run.state = 1.0, "done"
        except Failure as failure:
            run.problem = failure.problem
            run.state = "cancelled" if failure.problem["kind"] == "cancelled" else "failed"
        finally:
            self.pool.leave()
            if not run.over:
                run.problem = {"kind": "bug", "message": "A bug. The terminal shows it.", "field": None}
                run.state = "failed"

    async def events(self, run: Run) -> AsyncIterator[str]:
        """Server-sent events until it is over: progress, then done, failed or cancelled. A listener that goes away cancels it."""
        said: tuple[str, float, str] | None = None
        quiet_s = 0.0
        try:
            while not run.over:
                now = (run.state, run.share, run.what)
                if now != said or quiet_s > BEAT_EVERY_S:
                    said, quiet_s = now, 0.0
                    yield event("progress", run.to_dict(with_answer=False))
                await asyncio.sleep(WAIT_S / 4 if quiet_s < WAIT_S else WAIT_S)
                quiet_s += WAIT_S
            if run.answer is not None:
                yield f"event: done\ndata: {run.answer.decode()}\n\n"
            else:
                yield event(run.state, run.to_dict())
        finally:
            if not run.over:
                run.cancelled.set()

    def close(self) -> None:
        for run in self.known.values():
            run.cancelled.set()
        self.threads.shutdown(wait=False, cancel_futures=True)


def event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n"
