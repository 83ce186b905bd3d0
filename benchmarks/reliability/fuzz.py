"""Broken files by the thousand for every reader: a result or one line that says what is wrong, in time and in little memory.

A reader is tried in a process of its own, chunk by chunk, so that one that hangs or eats memory is seen and stopped; what a
chunk came to is kept, so that a run can be stopped and gone on with.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from sim.errors import GambrelError

from .kept import ROOT, cache
from .mutate import mutated
from .readers import READERS, Reader

CHUNK = 500
MOST_S, MOST_BYTES = 2.0, 500_000_000  # of processor time, and beyond what the process takes with whole files
HANG_S = 60.0  # without a sign of life, on however busy a machine
KEPT = 5  # broken inputs that are kept of a chunk


class Broken(Exception):
    """What a reader must not do."""


def folder() -> Path:
    """A new folder, in memory where the machine has such."""
    return Path(tempfile.mkdtemp(prefix="gambrel-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


def one(reader: Reader, content: bytes, place: Path) -> str:
    """Read one input: "result" or "refused". Raises Broken for another exception, for more than one line, for time and memory."""
    path = place / f"input{reader.ending}"
    path.write_bytes(content)
    before, start_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        reader.read(path)
        said = "result"
    except GambrelError as error:
        said = "refused"
        if len(str(error).splitlines()) != 1 or len(str(error)) > 5000:
            raise Broken(
                f"a message of {len(str(error).splitlines())} lines, {len(str(error))} letters: {str(error)[:200]!r}"
            ) from None
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        near = [each for each in traceback.extract_tb(error.__traceback__) if "/sim/" in each.filename]
        where = near[-1] if near else at
        raise Broken(
            f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno} {where.name}: {str(error)[:160]}"
        ) from error
    spent_s = time.process_time() - start_s
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if spent_s > MOST_S:
        raise Broken(f"{spent_s:.1f} s")
    if more > MOST_BYTES:
        raise Broken(f"{more:,} bytes more")
    return said


def chunk(name: str, number: int, count: int) -> dict[str, Any]:
    """Try `count` inputs of one reader. The same number gives the same inputs."""
    reader, chance = READERS[name], random.Random(f"{name} {number}")
    samples, place = reader.samples(), folder()
    for sample in samples:  # whole files are read; what compiles, compiles now
        path = place / f"input{reader.ending}"
        path.write_bytes(sample)
        with suppress(GambrelError):  # a file that needs a flag beside it
            reader.read(path)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out: dict[str, Any] = {"inputs": 0, "result": 0, "refused": 0, "broken": [], "slowest_s": 0.0}
    for _ in range(count):
        content = mutated(chance.choice(samples), reader.kind, chance)
        print(".", end="", flush=True)
        start_s = time.process_time()
        out["inputs"] += 1
        try:
            out[one(reader, content, place)] += 1
        except Broken as error:
            out["broken"].append([str(error), _keep(reader, content) if len(out["broken"]) < KEPT else ""])
        out["slowest_s"] = max(out["slowest_s"], time.process_time() - start_s)
    out["more_bytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024
    for left in place.iterdir():
        left.unlink()
    place.rmdir()
    return out


def _keep(reader: Reader, content: bytes) -> str:
    kept = cache() / "broken"
    kept.mkdir(exist_ok=True)
    path = kept / f"{slug(reader.name)}-{hashlib.blake2b(content, digest_size=6).hexdigest()}{reader.ending}"
    path.write_bytes(content)
    return str(path.relative_to(ROOT))


def slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def tried(name: str, number: int, count: int) -> dict[str, Any]:
    """`chunk` in a process of its own; one that gives no sign of life for HANG_S is stopped, and its input is broken."""
    kept = cache() / "fuzz" / f"{slug(name)}-{number}-{count}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    command = [sys.executable, "-m", "benchmarks.reliability.fuzz", name, str(number), str(count)]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.PIPE) as process,
    ):
        seen, since_s = 0, time.monotonic()
        while process.poll() is None:
            time.sleep(0.05)
            size = os.fstat(said.fileno()).st_size
            if size != seen:
                seen, since_s = size, time.monotonic()
            elif time.monotonic() - since_s > HANG_S * (10 if seen == 0 else 1):
                process.send_signal(signal.SIGKILL)
        said.seek(0)
        answer = said.read().lstrip(b".")
        errors = process.stderr.read() if process.stderr else b""
    if process.returncode:
        what = f"hangs or dies (exit {process.returncode}) at input {seen} of chunk {number}: {errors[-300:].decode(errors='replace')}"
        return {"inputs": seen, "result": 0, "refused": 0, "broken": [[what, ""]], "slowest_s": HANG_S, "more_bytes": 0}
    found = json.loads(answer)
    if not found["broken"]:
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def fuzz(name: str, inputs: int) -> dict[str, Any]:
    """Try a reader with so many inputs in all."""
    out: dict[str, Any] = {"inputs": 0, "result": 0, "refused": 0, "broken": [], "slowest_s": 0.0, "more_bytes": 0}
    size = min(CHUNK, inputs)
    for number in range(inputs // size):
        found = tried(name, number, size)
        for key in ("inputs", "result", "refused", "broken"):
            out[key] += found[key]
        for key in ("slowest_s", "more_bytes"):
            out[key] = max(out[key], found[key])
    return out


if __name__ == "__main__":
    print(json.dumps(chunk(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
