"""The same question gives the same bytes: over workers, over executors, over versions of Python."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .kept import ROOT
from .kill import SERVED, SWEEP, run, state

COMMANDS = (
    "train --model llama-3.1-8b --cluster dgx-h100 --devices 64 --tp 4 --pp 2 --global-batch 256 --tokens 1e11",
    "train --model deepseek-v3 --cluster dgx-h100 --devices 256 --tp 8 --ep 8 --global-batch 512",
    "train --model gpt-3-175b --cluster dgx-a100 --devices 512 --tp 8 --pp 8 --global-batch 1536",
    "train --model llama-3.1-8b --cluster tpu-v5p --devices 64 --sharding zero3 --global-batch 256",
    "serve --model llama-3.1-8b --cluster h100 --rate 4 --requests 200 --input-tokens 1000 --output-tokens 200",
    "serve --model llama-3.1-70b --cluster hgx-h200 --tp 4 --concurrency 32 --requests 200 --input-tokens 512 --output-tokens 128",
    "serve --model deepseek-v3 --cluster hgx-h200 --tp 8 --ep 8 --concurrency 16 --requests 64 --input-tokens 512 --output-tokens 64",
    "serve --model llama-3.1-8b --cluster trainium2 --tp 4 --rate 2 --requests 100 --input-tokens 1000 --output-tokens 100",
    "search train --model llama-3.1-8b --cluster dgx-h100 --devices 64 --global-batch 256 --seq-len 8192",
    "search serve --model llama-3.1-8b --clusters h100,l40s --concurrency 16 --requests 100 --input-tokens 512 --output-tokens 128",
    "whatif --role serve --model llama-3.1-70b --cluster h100 --tp 4 --concurrency 8 --requests 50 --input-tokens 500 "
    "--output-tokens 50 --set chip.memory.bandwidth*=2",
)
FEW = COMMANDS[:1] + COMMANDS[4:5]
WORDS = (
    "provenance",
    "path",
    "files",
    "seconds",
    "took_s",
    "table",
    "answered_before",
    "evaluated",
)  # what tells time and place
OTHER = os.environ.get(
    "GAMBREL_OTHER_PYTHON", ""
)  # a command that runs another version of Python with Gambrel's libraries


def figures(text: str) -> str:
    """An answer without what tells the version, time and place: as text, every digit of every number."""
    return json.dumps(_bare(json.loads(text)), sort_keys=True)


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items() if key not in WORDS}
    return [_bare(each) for each in value] if isinstance(value, list) else value


def answer(python: list[str], words: list[str]) -> str:
    """What one command prints with --json, by one Python."""
    line = [*python, "-c", "from sim.app.cli import main; main()", *words, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr[-500:]}")
    return figures(done.stdout)


def version(python: list[str]) -> str:
    done = subprocess.run(
        [*python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def pythons(commands: tuple[str, ...] = COMMANDS) -> dict[str, Any]:
    """Every command twice by this Python, and once by the other one, if there is one."""
    wrong, other = [], OTHER.split()
    for command in commands:
        words = command.split()
        own = answer([sys.executable], words)
        if own != answer([sys.executable], words):
            wrong.append(f"{command}: not the same twice")
        if other and own != answer(other, words):
            wrong.append(f"{command}: Python {version(other)} differs")
    return {
        "commands": len(commands),
        "python": version([sys.executable]),
        "other": version(other) if other else "",
        "wrong": wrong,
    }


def workers(counts: tuple[int, ...] = (1, 2, 4)) -> dict[str, Any]:
    """Two sweeps over 1, 2 and 4 workers: tables and counts."""
    wrong, points = [], 0
    for name, text in (("training", SWEEP), ("serving", SERVED)):
        with tempfile.TemporaryDirectory() as folder:
            place, found = Path(folder), {}
            (place / "sweep.yaml").write_text(text, encoding="utf-8")
            for count in counts:
                out = place / f"out{count}"
                out.mkdir()
                code, said = run(["sweep", str(place / "sweep.yaml"), "--workers", str(count), "--out", "{out}"], out)
                if code:
                    wrong.append(f"sweep of {name} over {count} workers: exit {code}: {said[-200:]}")
                found[count] = state(out)
            points += json.loads((place / f"out{counts[0]}" / "result.json").read_bytes())["points"]
            wrong += [
                f"sweep of {name}: {count} workers differ" for count in counts if found[count] != found[counts[0]]
            ]
    return {"sweeps": 2, "points": points, "workers": list(counts), "wrong": wrong}


def executors(runs: int = 20) -> dict[str, Any]:
    """SimPy's actors and the compiled executor: steps of training, and serving with leaps and step by step."""
    import numpy as np

    from sim.catalog.library import default_library
    from sim.catalog.plans import Engine, Plan
    from sim.catalog.targets import target
    from sim.catalog.traffic import poisson
    from sim.engine import Schedule
    from sim.engine import run as engine_run
    from sim.serving.answer import Setup, packed
    from sim.serving.fleet import Fleet
    from sim.serving.run import simulate

    wrong, chance = [], np.random.default_rng(5)
    for number in range(runs):
        n = 400
        queues = [f"q{each}" for each in chance.integers(0, 5, n)]
        after = [
            tuple(sorted({int(each) for each in chance.integers(0, place, 2)})) if place else () for place in range(n)
        ]
        schedule = Schedule.of(queues, chance.exponential(1.0, n).tolist(), after=after)
        one, two = (engine_run(schedule, executor=name) for name in ("simpy", "compiled"))
        if (one.start_s.tobytes(), one.end_s.tobytes()) != (two.start_s.tobytes(), two.end_s.tobytes()):
            wrong.append(f"schedule {number}: executors differ")
    library = default_library()
    setup = Setup(library.model("llama-3.1-8b"), Plan(), target(library, "h100", None, "serve"), Engine())
    for number in range(max(1, runs // 5)):
        requests = poisson(8.0, 300, 800, 100, spread=0.9, seed=number)
        pack = packed(setup, requests)[0]
        whole = [simulate(pack, requests, Fleet(2, "least_loaded"), leap=leap) for leap in (True, False)]
        digests = {
            hashlib.blake2b(each.first_token_s.tobytes() + each.finish_s.tobytes()).hexdigest() for each in whole
        }
        if len(digests) != 1:
            wrong.append(f"serving {number}: leaping and stepping differ")
    return {"schedules": runs, "servings": max(1, runs // 5), "wrong": wrong}


def together() -> dict[str, Any]:
    """Two processes that start cold on one cache of compiled code; two sweeps into one folder, at once and one after another."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        wrong += _cold(place / "cache")
        (place / "sweep.yaml").write_text(SERVED, encoding="utf-8")
        out, alone = place / "out", place / "alone"
        for each in (out, alone):
            each.mkdir()
        words = ["sweep", str(place / "sweep.yaml"), "--out", "{out}"]
        run(words, alone)
        from .kill import start

        pair = [start([*words, "--resume"], out) for _ in range(2)]
        said = [each.communicate()[1].decode() for each in pair]
        codes = sorted(each.returncode for each in pair)
        refused = [text for each, text in zip(pair, said, strict=True) if each.returncode == 2]
        if codes not in ([0, 0], [0, 2]) or any("in use" not in text or text.count("\n") != 1 for text in refused):
            wrong.append(f"two sweeps into one folder: exits {codes}: {said}")
        if state(out) != state(alone):
            wrong.append("two sweeps into one folder: another table")
        return {"refused": len(refused), "wrong": wrong}


def _cold(cache: Path) -> list[str]:
    """Two commands that compile the same code at the same time, then a third one that uses what they kept."""
    line = [sys.executable, "-c", "from sim.app.cli import main; main()", *FEW[1].split(), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GAMBREL_CACHE": str(cache)}
    start = lambda: subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    pair = [start(), start()]
    outs = [each.communicate() for each in pair]
    last = start()
    outs.append(last.communicate())
    codes = [each.returncode for each in (*pair, last)]
    if any(codes):
        return [f"cold on one cache: exits {codes}: {[out[1][-200:] for out in outs]}"]
    return [] if len({figures(out[0]) for out in outs}) == 1 else ["cold on one cache: answers differ"]
