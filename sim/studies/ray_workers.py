"""Workers on a Ray cluster: the one place that knows Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from socket import create_connection
from threading import Thread
from typing import Any

from ..errors import InputError
from .evaluate import Evaluator, Job
from .workers import AHEAD, Answers, Chunk

LISTEN_S, JOIN_S = 10.0, 60.0  # that a port and a cluster have to answer
SAID = 120  # characters of Ray's own words


def _listens(address: str) -> None:
    """Raises InputError if nothing listens at host:port (`ray://` may stand before); other forms are Ray's to resolve."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        create_connection((host.strip("[]"), int(port)), LISTEN_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray {address}: nothing answers there within {LISTEN_S:g} s ({error}). Check the address, or use --ray local."
        ) from None


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
        self._join()
        try:
            yield from self._answers(ray.put(job), chunks)
        finally:
            ray.shutdown()

    def _join(self) -> None:
        """Start or join the cluster. Ray waits long for one that is gone: its port is asked first, and joining has an end.

        Raises InputError if none answers in time."""
        where = {} if self.address == "local" else {"address": self.address}
        if where:
            _listens(self.address)
        failed: list[Exception] = []

        def join() -> None:
            try:
                self.ray.init(
                    **where, log_to_driver=False, logging_level="ERROR", include_dashboard=None if where else False
                )
            except (OSError, RuntimeError, ValueError) as error:  # ConnectionError is an OSError
                failed.append(error)

        joining = Thread(target=join, daemon=True)
        joining.start()
        joining.join(JOIN_S)
        if joining.is_alive():
            raise InputError(f"--ray {self.address}: no cluster answers within {JOIN_S:g} s. Check the address.")
        if failed:
            said = " ".join(str(failed[0]).split())[:SAID]
            raise InputError(f"--ray {self.address}: no cluster answers ({said}). Check the address.")

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
