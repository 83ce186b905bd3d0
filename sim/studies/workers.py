"""Who evaluates: this process, processes beside it, or a Ray cluster. Each takes chunks of points and gives their rows as they come."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Protocol

from ..catalog.sweeps import Value
from .evaluate import Block, Evaluator, Job

Chunk = tuple[int, list[tuple[Value, ...]]]  # its number, and the values of its points
Answers = tuple[int, bytes, list[Block]]  # number of the chunk, keys of its points, their rows
AHEAD = 3  # chunks a worker has waiting: it never idles, and little is lost
WATCH_S = 1.0


class Workers(Protocol):
    """Answers chunks of points of a job."""

    def answers(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[Answers]:
        """The rows of each chunk, as they come."""
        ...


class Here:
    """This process."""

    def answers(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[Answers]:
        """The rows of each chunk, in order."""
        evaluator = Evaluator(job)
        return ((number, *evaluator.blocks(values)) for number, values in chunks)


class Processes:
    """So many processes on this machine. They end with the one that started them, however that ends."""

    def __init__(self, count: int) -> None:
        self.count = count

    def answers(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[Answers]:
        """The rows of each chunk, as they come."""
        waiting: set[Future[Answers]] = set()
        pool = ProcessPoolExecutor(self.count, get_context("spawn"), _begin, (job, os.getpid()))
        try:
            for chunk in chunks:
                waiting.add(pool.submit(_work, chunk))
                while len(waiting) >= AHEAD * self.count:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (each.result() for each in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_evaluators: list[Evaluator] = []  # of a worker process: one, made when it starts


def _begin(job: Job, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it decides
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    _evaluators.append(Evaluator(job))


def _follow(parent: int) -> None:
    """End this worker once the process that started it is gone."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


def _work(chunk: Chunk) -> Answers:
    number, values = chunk
    return number, *_evaluators[0].blocks(values)
