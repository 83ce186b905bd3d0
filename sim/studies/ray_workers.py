"""Workers on a Ray cluster: the one place that knows Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from ..errors import InputError
from .evaluate import Evaluator, Job
from .workers import AHEAD, Answers, Chunk


class RayWorkers:
    """Actors on a Ray cluster, one for each of its cores. address: that of a running one, or `local` to start one here."""

    def __init__(self, address: str) -> None:
        try:
            self.ray: Any = import_module("ray")
        except ImportError:
            raise InputError("--ray: Ray is not installed. Install gambrel[cluster], or use --workers N.") from None
        self.address = address

    def answers(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[Answers]:
        """The rows of each chunk, as they come."""
        ray = self.ray
        where = {} if self.address == "local" else {"address": self.address}
        try:
            ray.init(**where, log_to_driver=False, logging_level="ERROR", include_dashboard=None if where else False)
        except ConnectionError as error:
            raise InputError(f"--ray {self.address}: no cluster answers ({error}). Check the address.") from None
        try:
            yield from self._answers(ray.put(job), chunks)
        finally:
            ray.shutdown()

    def _answers(self, job: Any, chunks: Iterable[Chunk]) -> Iterator[Answers]:
        ray = self.ray
        actor = ray.remote(num_cpus=1)(_Actor)
        count = max(1, int(ray.cluster_resources().get("CPU", 1)))
        workers = [actor.remote(job) for _ in range(count)]
        waiting: dict[Any, int] = {}
        load = [0] * count
        for chunk in chunks:
            worker = load.index(min(load))
            waiting[workers[worker].rows.remote(chunk)] = worker
            load[worker] += 1
            while len(waiting) >= AHEAD * count:
                yield self._next(waiting, load)
        while waiting:
            yield self._next(waiting, load)

    def _next(self, waiting: dict[Any, int], load: list[int]) -> Answers:
        (done,), _ = self.ray.wait(list(waiting), num_returns=1)
        load[waiting.pop(done)] -= 1
        found: Answers = self.ray.get(done)
        return found


class _Actor:
    """One worker."""

    def __init__(self, job: Job) -> None:
        self.evaluator = Evaluator(job)

    def rows(self, chunk: Chunk) -> Answers:
        """The rows of a chunk."""
        number, values = chunk
        return number, *self.evaluator.blocks(values)
