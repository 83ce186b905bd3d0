"""A sweep: its points, its conditions, its journal; the same table for any workers, stops and batches."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from sim import api
from sim.app.cli import run
from sim.app.output import Call
from sim.app.sweep import built, job_of
from sim.catalog.library import Library
from sim.catalog.sweeps import read_sweep
from sim.errors import InputError
from sim.studies.conditions import holds
from sim.studies.evaluate import Evaluator, row_of
from sim.studies.points import points
from sim.studies.ray_workers import RayWorkers
from sim.studies.sweep import sweep
from sim.studies.workers import Here, Processes

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
scenario:
  {role: train, model: llama-3.1-8b, cluster: dgx-h100, devices: 16, plan: {global_batch: 64},
   demand: {kind: tokens, tokens: 1e9, seq_len: 2048}}
"""
GRID = TRAIN + "axes: {plan.tp: [1, 2, 3, 8], plan.micro_batch: [1, 2], plan.recompute: [none, full, auto]}\n"
SERVE = """
scenario:
  role: serve
  model: llama-3.1-8b
  cluster: h100
  demand: {kind: traffic, rate_requests_per_s: 4, requests: 6, input_tokens: 64, output_tokens: 8}
axes: {demand.rate_requests_per_s: {start: 1, stop: 10, step: 1}, seed: [0, 1, 2, 3]}
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return read_sweep(path)

    return write


def answered(asked, folder, workers=None, resume=False):
    return sweep(asked, job_of(Call(), asked), workers or Here(), folder, resume).table


def test_points_are_every_combination_that_keeps_the_conditions(written):
    found = points(
        written(TRAIN + "axes: {plan.tp: [1, 2, 4], plan.pp: [1, 2, 4]}\nwhere: [tp * pp <= devices // 4]\n")
    )
    assert found.rows(np.arange(found.n)) == [(t, p) for t in (1, 2, 4) for p in (1, 2, 4) if t * p <= 4]


def test_cases_move_together_and_cross_with_the_axes(written):
    text = TRAIN + "axes: {plan.micro_batch: [1, 2]}\ncases: [{plan.tp: 1, plan.pp: 8}, {plan.tp: 8, plan.pp: 1}]\n"
    found = points(written(text))
    assert found.rows(np.arange(found.n)) == [(1, 1, 8), (1, 8, 1), (2, 1, 8), (2, 8, 1)]


@pytest.mark.parametrize("method", ["random", "sobol", "lhs"])
def test_samples_keep_their_bounds_and_are_the_same_for_the_same_seed(written, method):
    text = TRAIN + (
        f"sample: {{count: 64, method: {method}, over: {{chip.memory.bandwidth*=: {{log_uniform: [0.5, 2]}}, "
        "plan.tp: {choice: [1, 2]}}}\n"
    )
    asked = written(text)
    one, again, other = points(asked), points(asked), points(asked._replace(seed=1))
    assert one.values == again.values != other.values
    factors = np.log2(one.values[0])
    assert factors.min() >= -1 and factors.max() < 1
    assert abs(np.mean(factors)) < (0.25 if method == "random" else 0.05)
    assert set(one.values[1]) == {1, 2}


def test_conditions_compute_and_compare():
    names = {"tp": np.array([1.0, 2.0, 4.0]), "chip.x": np.array(["a", "b", "a"], dtype=object)}
    for text, wanted in {
        "1 < tp <= 4": [0, 1, 1],
        "chip.x == 'a' and not tp > 2": [1, 0, 0],
        "tp in [1, 4] or min(tp, 3) == 2": [1, 1, 1],
        "tp ** 2 % 3 == 1": [1, 1, 1],
        "chip.x not in ['b']": [1, 0, 1],
    }.items():
        assert holds(text, names, 3).tolist() == [bool(x) for x in wanted], text


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "tp.__class__", "(lambda: 1)()", "[x for x in [1]]", "open('f')", "tp if tp else 1",
        "tp <", "unknown == 1", "'a' * 9", "tp < 'a'", "-" * 60 + "1", "(" * 500 + "1" + ")" * 500, "1+" * 600 + "1", "f'{tp}'",
    ],
)  # fmt: skip
def test_a_condition_can_do_nothing_else(text):
    with pytest.raises(InputError, match="where"):
        holds(text, {"tp": np.array([1.0, 2.0])}, 2)


@pytest.mark.parametrize(
    "text, named",
    [
        ("axes: {plan.tp: []}", "no values"),
        ("axes: {plan.tp: {start: 1, stop: 4}}", "one of step, times or count"),
        ("axes: {plan.tp: [1]}\ncases: [{plan.tp: 1}]", "varied twice"),
        ("sample: {count: 4, over: {plan.tp: {uniform: [2, 1]}}}", "low must be under high"),
        ("axes: {plan.tp: [1, 2]}\nwhere: [tp > 2]", "none of 2 points"),
        ("axes: {plan.tp: {start: 1, stop: 1e9, step: 1}}", "at most"),
    ],
)
def test_a_sweep_that_is_none_names_what_is_wrong(written, text, named):
    with pytest.raises(InputError, match=named):
        points(written(TRAIN + text + "\n"))


def test_plans_priced_together_have_the_figures_of_train_one_by_one(written):
    asked = written(GRID)
    found, evaluator = points(asked), Evaluator(job_of(Call(), asked))
    library = Library()
    asks = found.rows(np.arange(found.n))
    for values, row in zip(asks, evaluator.answered(evaluator.asked(asks)), strict=True):
        scenario = built(asked.base, found.keys, values)
        if row.status == "error":
            with pytest.raises(InputError) as error:
                api.train(scenario, library)
            assert str(error.value) == row.error
            continue
        alone = row_of(api.train(scenario, library))
        there = dict(zip(alone.names, alone.values, strict=True))
        assert (row.status, row.basis) == (alone.status, alone.basis)
        assert set(row.names) == set(there)
        for name, value in zip(row.names, row.values, strict=True):
            assert value == pytest.approx(there[name], rel=1e-12, nan_ok=True), name


def test_a_batch_of_any_size_gives_the_same_bits(written):
    asked = written(GRID)
    found, evaluator = points(asked), Evaluator(job_of(Call(), asked))
    asks = evaluator.asked(found.rows(np.arange(found.n)))
    for whole, each in zip(evaluator.answered(asks), asks, strict=True):
        (alone,) = evaluator.answered([each])
        assert whole[:4] == alone[:4] and whole.values.tobytes() == alone.values.tobytes()


def test_the_table_is_the_same_for_one_worker_and_two(written, tmp_path):
    asked = written(GRID)
    assert answered(asked, tmp_path / "one").equals(answered(asked, tmp_path / "two", Processes(2)), null_equal=True)


def test_a_failed_point_is_recorded_and_stops_nothing(written, tmp_path):
    table = answered(written(GRID), tmp_path / "out")
    failed = table.filter(table["plan.tp"] == 3)
    assert failed.height == 6 and set(failed["status"]) == {"error"}
    assert all("plan.tp" in error or "tp * pp" in error for error in failed["error"])
    assert failed["step_time_s"].null_count() == 6
    assert (table["status"] == "ok").sum() > 0


def test_a_folder_with_a_journal_is_not_taken_by_accident(written, tmp_path):
    asked = written(GRID)
    answered(asked, tmp_path)
    with pytest.raises(InputError, match="--resume"):
        answered(asked, tmp_path)


def test_more_values_on_an_axis_evaluate_only_the_new_points(written, tmp_path):
    asked = written(GRID)
    answered(asked, tmp_path)
    more = written(GRID.replace("[1, 2, 3, 8]", "[1, 2, 3, 4, 8]"))
    found = sweep(more, job_of(Call(), more), Here(), tmp_path, resume=True)
    assert (found.before, found.evaluated) == (24, 6)


def test_keys_change_with_the_catalogue(written, tmp_path):
    asked = written(GRID)
    text = (ROOT / "devices" / "chips" / "h100-sxm.yaml").read_text()
    chips = tmp_path / "mine" / "devices" / "chips"
    chips.mkdir(parents=True)
    (chips / "h100-sxm.yaml").write_text(text.replace("capacity_gib: 80", "capacity_gib: 81"))
    one, other = (
        Evaluator(job_of(Call(catalog=c), asked)).asked([(1, 1, "none")])[0].key for c in (None, tmp_path / "mine")
    )
    assert one != other


def test_killed_at_random_moments_and_resumed_the_table_is_the_same(written, tmp_path):
    asked = written(SERVE)
    whole = answered(asked, tmp_path / "whole")
    command = [sys.executable, "-c", "from sim.app.cli import main; main()", "sweep", str(tmp_path / "sweep.yaml")]
    arguments = ["--workers", "2", "--resume", "--out", str(tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    chance, kills, held = np.random.default_rng(5), 0, -1
    while kills < 3:
        process = subprocess.Popen(
            [*command, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and journalled(tmp_path / "killed") <= max(held, 0):
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = journalled(tmp_path / "killed")
        kills += 1
    assert held > 0
    found = sweep(asked, job_of(Call(), asked), Here(), tmp_path / "killed", resume=True)
    assert found.table.equals(whole, null_equal=True)
    assert found.before >= held


def journalled(folder: Path) -> int:
    """Answers in the journal of a sweep that may be running."""
    path = folder / "journal.sqlite"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
            return int(base.execute("SELECT coalesce(sum(length(keys)), 0) / 16 FROM answers").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def fake_ray(monkeypatch, init):
    """A module that stands for Ray."""
    module = types.ModuleType("ray")
    module.init, module.shutdown = init, lambda: None
    monkeypatch.setitem(sys.modules, "ray", module)


def test_an_address_at_which_nothing_listens_is_refused_at_once(monkeypatch):
    fake_ray(monkeypatch, lambda **given: pytest.fail("Ray is not asked"))
    with socket.socket() as taken:  # a port that is bound and not listened at
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match=r"--ray .*: nothing answers there within 10 s"):
            next(RayWorkers(f"ray://127.0.0.1:{taken.getsockname()[1]}").answers(None, ()))


def test_a_cluster_that_never_answers_is_given_up(monkeypatch):
    over = threading.Event()
    fake_ray(monkeypatch, lambda **given: over.wait(60))
    monkeypatch.setattr("sim.studies.ray_workers.JOIN_S", 0.05)
    with pytest.raises(InputError, match=r"--ray auto: no cluster answers within 0\.05 s"):
        next(RayWorkers("auto").answers(None, ()))
    over.set()


def test_what_ray_says_of_a_dead_cluster_is_one_line(monkeypatch):
    def init(**given):
        raise ConnectionError("could not\nfind any running instance")

    fake_ray(monkeypatch, init)
    with pytest.raises(InputError, match="could not find any running instance") as error:
        next(RayWorkers("auto").answers(None, ()))
    assert "\n" not in str(error.value)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"gambrel\[cluster\]"):
        RayWorkers("local")


def test_whole_draws_are_counts_within_their_bounds(written):
    text = TRAIN + "sample: {count: 32, over: {plan.micro_batch: {log_uniform: [1, 64], whole: true}}}\n"
    (values,) = points(written(text)).values
    assert all(type(value) is int and 1 <= value <= 64 for value in values)


def test_a_sweep_without_one_answer_says_so(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text(TRAIN + "axes: {plan.tpp: [1, 2]}\n")
    assert run(["sweep", str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / "out"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["ok"], found["error"]) == ("gambrel.sweep/1", 0, 2)
    assert "tpp" in found["errors"][0]["error"] and "tp" in found["errors"][0]["error"]
