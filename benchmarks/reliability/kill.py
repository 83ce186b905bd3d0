"""Commands that are killed at random moments, and that run out of disk: no half file, nothing lost, one clear line."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .kept import ROOT
from .readers import TRAIN

SWEEP = """scenario:
  role: train
  model: llama-3.1-8b
  cluster: dgx-h100
  devices: 64
  plan: {global_batch: 256}
  demand: {kind: tokens, tokens: 1e11, seq_len: 4096}
axes:
  plan.tp: [1, 2, 4, 8]
  plan.pp: [1, 2, 4]
  plan.micro_batch: [1, 2, 4]
  plan.sharding: [zero1, zero3]
"""
SERVED = """scenario:
  role: serve
  model: llama-3.1-8b
  cluster: h100
  demand: {kind: traffic, input_tokens: 256, output_tokens: 32, concurrency: 4, requests: 40}
axes:
  demand.concurrency: [1, 2, 3, 4, 6, 8, 12, 16]
  demand.output_tokens: [16, 32, 64]
"""


SQLITE = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal")


class Case(NamedTuple):
    """A command. words: its line, where {out} is the folder that it writes to; first, again: words that only a first run or one
    after a stop takes; whole: files that must be there in the end."""

    name: str
    words: tuple[str, ...]
    again: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


def cases(place: Path) -> list[Case]:
    """Commands that write, with their inputs made in `place`."""
    (place / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    (place / "served.yaml").write_text(SERVED, encoding="utf-8")
    gemm = (ROOT / "devices" / "measured" / "gemm.csv").read_text(encoding="utf-8").splitlines()
    own = [line for line in gemm if line.startswith(("device,", "h200,"))]
    at = own[0].split(",").index("time_us")
    rows = [line.split(",") for line in own[1:160]]
    slower = [",".join([*row[:at], f"{1.4 * float(row[at]):.4g}", *row[at + 1 :]]) for row in rows]
    (place / "kernels.csv").write_text("\n".join([own[0], *slower, ""]), encoding="utf-8")
    log = ROOT / "tests" / "catalog" / "samples" / "runs" / "megatron_golden.log"
    found = [
        Case(
            "sweep of training",
            ("sweep", str(place / "sweep.yaml"), "--out", "{out}"),
            ("--resume",),
            ("results.parquet",),
        ),
        Case(
            "sweep of serving",
            ("sweep", str(place / "served.yaml"), "--out", "{out}"),
            ("--resume",),
            ("results.parquet",),
        ),
        Case(
            "sweep, 2 workers",
            ("sweep", str(place / "served.yaml"), "--workers", "2", "--out", "{out}"),
            ("--resume",),
            ("results.parquet",),
        ),
        Case("calibrate", ("calibrate", str(place / "kernels.csv"), "--chip", "h200", "--catalog", "{out}")),
        Case("import", ("import", str(log), "--cluster", "dgx-a100", "-o", "{out}/run.yaml"), whole=("run.yaml",)),
        Case("train --out", (*TRAIN, "--out", "{out}"), whole=("result.json",)),
    ]
    run([*found[-1].words], place / "stored")
    found.append(Case("report", ("report", str(place / "stored" / "result.json"), "--html", "--out", "{out}")))
    return found


def start(words: list[str], out: Path, limit: int | None = None) -> subprocess.Popen[bytes]:
    """The command as a process of its own. limit: bytes that a file may have."""
    line = [sys.executable, "-c", "from sim.app.cli import main; main()", *(word.format(out=out) for word in words)]

    def small() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        line,
        cwd=out.parent,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=small,
        start_new_session=True,
    )


def run(words: list[str], out: Path, limit: int | None = None) -> tuple[int, str]:
    """(exit code, stderr) of the command, run to its end."""
    process = start(words, out, limit)
    _, said = process.communicate(timeout=600)
    return process.returncode, said.decode(errors="replace")


def halves(out: Path) -> list[str]:
    """Files of a folder that are not whole. Hidden ones are on their way, or were left by who was killed."""
    return [
        str(path.relative_to(out))
        for path in sorted(out.rglob("*"))
        if path.is_file() and not _hidden(path, out) and not _is_whole(path)
    ]


def _hidden(path: Path, out: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(out).parts)


def _is_whole(path: Path) -> bool:
    try:
        readers: dict[str, Callable[[], object]] = {
            ".json": lambda: json.loads(path.read_bytes()),
            ".yaml": lambda: _yaml(path),
            ".parquet": lambda: _parquet(path),
            ".sqlite": lambda: _sqlite(path),
            ".html": lambda: path.read_text(encoding="utf-8").rstrip().endswith("</html>") or 1 / 0,
        }
        readers.get(path.suffix, path.read_bytes)()
        return path.stat().st_size > 0 or path.suffix in SQLITE
    except Exception:
        return False


def _yaml(path: Path) -> object:
    from sim.catalog.calibrations import Calibration
    from sim.catalog.files import read_yaml
    from sim.catalog.records import read

    return read(Calibration, path) if path.parent.name == "calibrations" else read_yaml(path)


def _parquet(path: Path) -> object:
    import polars

    return polars.read_parquet(path)


def _sqlite(path: Path) -> object:
    with tempfile.TemporaryDirectory() as copy:  # opening one mends it: look at a copy
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copy(each, copy)
        base = sqlite3.connect(Path(copy) / path.name)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        base.close()
        return None


def state(out: Path) -> dict[str, str]:
    """What a finished command leaves: hashes by name; of a table its rows, of a result what does not tell the time."""
    return {
        str(path.relative_to(out)): _hash(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix not in SQLITE and not _hidden(path, out)
    }


def _hash(path: Path) -> str:
    content = path.read_bytes()
    if path.name == "result.json":
        document = json.loads(content)
        for key in ("answered_before", "evaluated", "table"):
            document.pop(key, None)
        content = json.dumps(document, sort_keys=True).replace(str(path.parent), "").encode()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def killed(case: Case, place: Path, times: int, chance: random.Random) -> dict[str, Any]:
    """Run a case to its end once, then start it again and again and kill it, then let it end; what went wrong, if anything."""
    whole, out = place / "whole", place / "out"
    for folder in (whole, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    begin_s = time.monotonic()
    code, said = run([*case.words], whole)
    took_s = time.monotonic() - begin_s
    if code not in (0, 1):
        return {"kills": 0, "wrong": [f"{case.name} ended with {code}: {said[-300:]}"]}
    wanted, wrong, kills, held, resumed = state(whole), [], 0, {}, 0
    for number in range(times):
        if number % 4 == 0 and number:  # a first run now and then, else on top of what is there
            shutil.rmtree(out)
            out.mkdir()
            held = {}
        again = case.again if any(out.iterdir()) else ()
        resumed += bool(again)
        process = start([*case.words, *again], out)
        _wait(process, out, took_s, chance)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
        wrong += [f"after kill {number}: {name} is half" for name in halves(out)]
        now = state(out)
        wrong += [f"after kill {number}: {name} is gone" for name in held if name not in now]
        held = now
    code, said = run([*case.words, *(case.again if any(out.iterdir()) else ())], out)
    found = state(out)
    if code not in (0, 1) or found != wanted:
        differ = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
        wrong.append(f"not the same in the end (exit {code}): {differ} {said[-200:]}")
    return {"kills": kills, "resumed": resumed, "wrong": wrong}


def _wait(process: subprocess.Popen[bytes], out: Path, took_s: float, chance: random.Random) -> None:
    """A random while; every second time, until the command begins to write and a moment more."""
    if chance.random() < 0.5:
        with _quiet(process, took_s * chance.uniform(0.05, 1.1)):
            return
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    until_s = time.monotonic() + 3 * took_s
    while process.poll() is None and time.monotonic() < until_s:
        try:
            if any(before.get(path) != path.stat().st_mtime_ns for path in out.rglob("*")):
                time.sleep(chance.choice((0.0, 0.001, 0.003, 0.01, 0.1, took_s / 4)) * chance.random())
                return
        except FileNotFoundError:
            return


@contextmanager
def _quiet(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    yield


def can_mount() -> bool:
    """May this process mount a file system of its own?"""
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
        ).returncode:
            return False
        subprocess.run(["umount", place], check=True)
        return True


def filled(case: Case, place: Path, times: int, chance: random.Random) -> dict[str, Any]:
    """Run a case on a disk that is too small by a random share (or with files that may grow so far), then with room enough."""
    whole, out = place / "whole", place / "small"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir(parents=True)
    run([*case.words], whole)
    wanted = state(whole)
    sizes = sorted(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    wrong: list[str] = []
    full, mounts = 0, can_mount()
    for _ in range(times):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        mounted = mounts and chance.random() < 0.5
        if mounted:
            pages = max(1, int(sum(sizes) * chance.uniform(0.0, 1.0)) // 4096)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * 4}k", "tmpfs", str(out)], check=True)
        try:
            old = {"result.json": b'{"old": 1}\n', "run.yaml": b"old: 1\n", "results.parquet": b""}
            kept = {name: text for name, text in old.items() if name in case.whole and text}
            for name, text in kept.items():
                (out / name).write_bytes(text)
            code, said = run([*case.words], out, None if mounted else int(sizes[-1] * chance.random()))
            full += code == 2
            if code == 2 and (said.count("\n") != 1 or not said.startswith("gambrel: ") or "Traceback" in said):
                wrong.append(f"not one clear line: {said[-300:]!r}")
            if code not in (0, 1, 2):
                wrong.append(f"exit {code}: {said[-300:]!r}")
            wrong += [f"{name} is half" for name in halves(out)]
            wrong += [f"the old {name} is gone" for name, text in kept.items() if not (out / name).exists()]
            wrong += [f"{path.name} is left over" for path in out.rglob("*.part")]
            if mounted:
                subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
            code, said = run([*case.words, *(case.again if (out / "journal.sqlite").exists() else ())], out)
            if code not in (0, 1) or {name: text for name, text in state(out).items() if name in wanted} != wanted:
                wrong.append(f"not the same once there is room (exit {code}): {said[-200:]}")
        finally:
            if mounted:
                subprocess.run(["umount", str(out)], check=True)
    return {"full": full, "runs": times, "mounts": mounts, "wrong": wrong}
