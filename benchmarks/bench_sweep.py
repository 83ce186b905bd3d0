"""Sweeps: 100,000 training plans by one worker, two and Ray, beside bare evaluations in one process; and 2,000 serving runs that
are killed at ten random moments and resumed.

Bare: every plan is read as a Plan and answered in the same batches, without keys, journal or table.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from sim.app.output import Call
from sim.app.sweep import job_of
from sim.catalog.plans import Plan
from sim.catalog.sweeps import read_sweep
from sim.studies.evaluate import Evaluator
from sim.studies.points import points
from sim.studies.priced import train_rows
from sim.studies.sweep import BATCH, sweep
from sim.studies.workers import Here

PLANS = """
scenario:
  {role: train, model: gpt-3-175b, cluster: dgx-a100, devices: 512, plan: {global_batch: 2048}, demand: {kind: tokens, tokens: 300e9}}
axes:
  plan.tp: [1, 2, 4, 8]
  plan.pp: [1, 2, 4, 8, 16]
  plan.micro_batch: [1, 2, 4, 8]
  plan.sharding: [none, zero1, zero2, zero3]
  plan.recompute: [selective, full]
  plan.recompute_layers: {start: 0.05, stop: 1, count: 20}
  plan.sequence_parallel: [true, false]
  plan.overlap: [true, false]
  plan.flash_attention: [true, false]
where: [micro_batch <= 4 * tp * pp]
"""
SERVING = """
scenario:
  role: serve
  model: llama-3.1-8b
  cluster: h100
  demand: {kind: traffic, rate_requests_per_s: 4, requests: 20, input_tokens: 256, output_tokens: 32}
axes: {demand.rate_requests_per_s: {start: 1, stop: 20, step: 1}, seed: {start: 0, stop: 99, step: 1}}
"""
KILLS = 10
GAMBREL = [sys.executable, "-c", "from sim.app.cli import main; main()", "sweep"]


def plans(folder: Path) -> None:
    """One process bare, one worker, two, Ray."""
    asked = read_sweep(_written(folder / "plans.yaml", PLANS))
    found, evaluator = points(asked), Evaluator(job_of(Call(), asked))
    sweep(
        asked._replace(axes=tuple((key, values[:2]) for key, values in asked.axes)),
        job_of(Call(), asked),
        Here(),
        folder / "warm",
    )
    begin, wall = time.process_time(), time.perf_counter()
    names = [key.removeprefix("plan.") for key in found.keys]
    for start in range(0, found.n, BATCH):
        rows = found.rows(np.arange(start, min(start + BATCH, found.n)))
        plans = [Plan(global_batch=2048, **dict(zip(names, row, strict=True))) for row in rows]  # type: ignore[arg-type]
        train_rows(evaluator.library, asked.base, plans)
    bare, bare_wall = time.process_time() - begin, time.perf_counter() - wall
    print(f"{found.n:,} training plans, bare in one process: {bare:.1f} s of CPU, {bare_wall:.1f} s")
    begin, wall = time.process_time(), time.perf_counter()
    swept = sweep(asked, job_of(Call(), asked), Here(), folder / "here")
    swept.table.write_parquet(folder / "here.parquet")
    took, took_wall = time.process_time() - begin, time.perf_counter() - wall
    print(f"  swept in one process: {took:.1f} s of CPU ({took / bare - 1.0:+.1%}), {took_wall:.1f} s; {swept.counts}")
    for name, arguments in (("--workers 2", ["--workers", "2"]), ("--ray local", ["--ray", "local"])):
        if name == "--ray local" and find_spec("ray") is None:
            print("  --ray local: not run: Ray is not installed")
            continue
        out, wall = folder / arguments[0].strip("-"), time.perf_counter()
        subprocess.run(
            [*GAMBREL, str(folder / "plans.yaml"), *arguments, "--out", str(out)], check=True, stdout=subprocess.DEVNULL
        )
        same = pl.read_parquet(out / "results.parquet").equals(swept.table, null_equal=True)
        print(f"  {name}: {time.perf_counter() - wall:.1f} s with start-up; the same table: {'yes' if same else 'NO'}")


def killed(folder: Path) -> None:
    """Serving runs, killed and resumed."""
    asked = read_sweep(_written(folder / "serving.yaml", SERVING))
    command = [*GAMBREL, str(folder / "serving.yaml"), "--workers", "2", "--resume", "--out", str(folder / "killed")]
    total = points(asked).n
    chance = np.random.default_rng(0)
    moments = np.sort(chance.integers(1, total, KILLS))
    held = []
    for moment in moments:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _answers(folder / "killed") < moment:
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 0.2))
        process.kill()
        process.wait()
        held.append(_answers(folder / "killed"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = sweep(asked, job_of(Call(), asked), Here(), folder / "whole").table
    same = pl.read_parquet(folder / "killed" / "results.parquet").equals(whole, null_equal=True)
    print(
        f"{total:,} serving runs, killed with {', '.join(map(str, held))} answered, resumed: the same table: {'yes' if same else 'NO'}"
    )


def _answers(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True) as base:
            return int(base.execute("SELECT coalesce(sum(length(keys)), 0) / 16 FROM answers").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
    with TemporaryDirectory() as name:
        plans(Path(name))
        killed(Path(name))
