"""Processes that answer: warm, few, limited in time and memory, ended and replaced when they run away or are not wanted any more."""

from __future__ import annotations

import json
import multiprocessing as mp
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ...errors import GambrelError

Progress = Callable[[float, str], None]
NURSERY = "sim.app.page.nursery"
MOST_BYTES = 6 * 2**30  # address space that a process may take beyond what it is born with
LOOK_EVERY_S = 0.05
REPORT_EVERY_S = 0.05
BORN_WITHIN_S = 600.0  # compiling everything for the first time takes a minute on two cores


class Failure(Exception):
    """A question without an answer. problem: as the API gives it."""

    def __init__(self, kind: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.problem: dict[str, Any] = {"kind": kind, "message": message, "field": field}


class Worker:
    """One answering process."""

    def __init__(self, catalog: Path | None) -> None:
        context = _context()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_live, args=(theirs, catalog), daemon=True)
        self.process.start()
        theirs.close()
        self.warm = False

    def ready(self, cancelled: threading.Event) -> bool:
        """Wait until it has said that it is warm; False if it was given up."""
        end_s = time.monotonic() + BORN_WITHIN_S
        while not self.warm and not cancelled.is_set() and time.monotonic() < end_s:
            if self.connection.poll(LOOK_EVERY_S):
                self.warm = json.loads(self.connection.recv_bytes())[0] == "ready"
        return self.warm

    def end(self) -> None:
        """Stop it, whatever it does."""
        self.process.kill()
        self.connection.close()
        self.process.join(5.0)


def _context() -> Any:
    """A fork server where there is one: it never held the threads of the server, and what it has compiled is shared."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([NURSERY])
    return context


class Pool:
    """A fixed number of workers. Questions beyond them wait; beyond `waiting` they are turned away."""

    def __init__(self, count: int, limit_s: float, waiting: int, catalog: Path | None) -> None:
        self.count, self.limit_s, self.most = count, limit_s, count + waiting
        self.catalog = catalog
        self.idle: queue.LifoQueue[Worker] = queue.LifoQueue()  # the last one has the last results at hand
        self.closed = threading.Event()
        self.lock = threading.Lock()
        self.workers: set[Worker] = set()
        self.inside = 0
        self.warm = self.stillborn = False

    def start(self) -> None:
        """Bring the workers up; returns when the first is warm. Call it from a thread of its own."""
        for _ in range(self.count):
            self._add()

    def _add(self) -> None:
        if self.closed.is_set():
            return
        worker = Worker(self.catalog)
        with self.lock:
            self.workers.add(worker)
        try:
            if worker.ready(self.closed):
                self.warm = True
                self.idle.put(worker)
                return
        except (EOFError, OSError):  # it died while it was born
            self.stillborn = not self.warm
        self._drop(worker)

    def _drop(self, worker: Worker) -> None:
        with self.lock:
            self.workers.discard(worker)
        worker.end()

    def enter(self) -> None:
        """Take a place in the queue. Raises Failure if there is none."""
        with self.lock:
            if self.inside >= self.most:
                raise Failure("limit", f"{self.inside} questions are being answered or wait. Try again in a moment.")
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1

    def ask(self, message: Mapping[str, Any], cancelled: threading.Event, progress: Progress) -> bytes:
        """The answer as JSON text. Blocks; call it from a thread, between enter() and leave(). Raises Failure."""
        worker = self._take(cancelled)
        try:
            answer = self._talk(worker, message, cancelled, progress)
        except BaseException as error:
            if isinstance(error, Failure) and error.problem["kind"] not in ("cancelled", "limit", "bug"):
                self.idle.put(worker)  # it said no, and is as good as before
            else:
                self._drop(worker)
                threading.Thread(target=self._add, daemon=True).start()
            raise
        self.idle.put(worker)
        return answer

    def _take(self, cancelled: threading.Event) -> Worker:
        end_s = time.monotonic() + (self.limit_s if self.warm else BORN_WITHIN_S)
        while time.monotonic() < end_s:
            if cancelled.is_set() or self.closed.is_set():
                raise Failure("cancelled", "Cancelled.")
            if self.stillborn:
                raise Failure("bug", "No process that answers could be started. The terminal says why.")
            try:
                return self.idle.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue
        raise Failure("limit", "No process became free in time. Try again in a moment.")

    def _talk(
        self, worker: Worker, message: Mapping[str, Any], cancelled: threading.Event, progress: Progress
    ) -> bytes:
        end_s = time.monotonic() + self.limit_s
        try:
            worker.connection.send_bytes(json.dumps(message).encode())
            while True:
                if worker.connection.poll(LOOK_EVERY_S):
                    kind, *rest = json.loads(worker.connection.recv_bytes())
                    if kind == "answer":
                        return bytes(worker.connection.recv_bytes())
                    if kind == "failed":
                        raise Failure(**rest[0])
                    progress(*rest)
                if cancelled.is_set() or self.closed.is_set():
                    raise Failure("cancelled", "Cancelled.")
                if time.monotonic() > end_s:
                    raise Failure(
                        "limit", f"No answer within {self.limit_s:g} s. Ask for less, or use the command line."
                    )
        except (EOFError, OSError):
            raise Failure(
                "limit", "The question took more memory than one may. Ask for less, or use the command line."
            ) from None

    def close(self) -> None:
        """End every process."""
        self.closed.set()
        with self.lock:
            workers, self.workers = self.workers, set()
        for worker in workers:
            worker.end()


def _live(connection: Connection, catalog: Path | None) -> None:
    """The life of a process: one message after the other, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    from . import nursery  # noqa: F401 - imported for what it compiles
    from .answers import Answers

    answers = Answers(catalog)
    _limit_memory()
    try:
        _say(connection, "ready")
        while True:
            _reply(connection, answers, json.loads(connection.recv_bytes()))
    except (EOFError, OSError):  # nobody asks any more
        return


def _reply(connection: Connection, answers: Any, message: Mapping[str, Any]) -> None:
    from .answers import problem_of
    from .questions import role_of

    said = 0.0

    def progress(share: float, what: str) -> None:
        nonlocal said
        if time.monotonic() - said > REPORT_EVERY_S:
            said = time.monotonic()
            _say(connection, "progress", share, what)

    try:
        answer = json.dumps(answers.answer(message, progress), allow_nan=False).encode()
    except GambrelError as error:
        _say(connection, "failed", problem_of(error, role_of(message["scenario"])))
    except MemoryError:
        _say(connection, "failed", {"kind": "limit", "message": "The question takes too much memory. Ask for less."})
    except Exception as error:  # a bug: told with its place, and the process is replaced
        _say(connection, "failed", {"kind": "bug", "message": _place(error)})
    else:
        _say(connection, "answer")
        connection.send_bytes(answer)


def _place(error: Exception) -> str:
    import sys
    import traceback

    traceback.print_exception(error, file=sys.stderr)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"A bug: {type(error).__name__} in {Path(last.filename).name}:{last.lineno}. The terminal shows all of it."


def _say(connection: Connection, *words: Any) -> None:
    connection.send_bytes(json.dumps(words).encode())


def _limit_memory() -> None:
    """Address space that the process may take: a request for more fails inside it, not on the machine."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return
    limit = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
