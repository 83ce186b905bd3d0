"""Killed, on a full disk, beside another: no half file, one clear line. `make reliability` does it at many more moments."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from benchmarks.reliability import kill
from benchmarks.reliability.page import page
from sim.app.cli import run
from sim.catalog.files import PART, STALE_S, held, write_whole
from sim.errors import InputError


def case(name, place):
    return next(each for each in kill.cases(place) if each.name == name)


def test_a_killed_import_leaves_no_half_file_and_ends_as_if_nothing_had_been(tmp_path):
    assert kill.killed(case("import", tmp_path), tmp_path, 2, random.Random(1))["wrong"] == []


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    found = kill.filled(case("import", tmp_path), tmp_path, 2, random.Random(2))
    assert found["wrong"] == [] and found["full"] >= 1


def test_a_lock_is_let_go_by_a_process_that_is_killed(tmp_path):
    lock = tmp_path / ".lock"
    hold = (
        "from pathlib import Path\nfrom sim.catalog.files import held\n"
        f"with held(Path({str(lock)!r})):\n    print('held', flush=True)\n    input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(kill.ROOT)},
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="in use by another process"), held(lock):
            pass
        other.kill()
        other.wait()
        with held(lock):
            pass


def test_two_sweeps_into_one_folder_say_so(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(kill.SWEEP)
    out = tmp_path / "out"
    with held(out / ".lock"):
        assert run(["sweep", str(tmp_path / "s.yaml"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "in use" in said and said.count("\n") == 1
    assert not (out / "journal.sqlite").exists()


def test_a_journal_that_cannot_be_written_says_so_and_keeps_what_it_holds(tmp_path, monkeypatch):
    import numpy as np

    from sim.studies.evaluate import KEY, Block
    from sim.studies.journal import Journal

    blocks = [Block(("a",), bytes([i]) * KEY, [["ok", "", ""]], [0], np.array([[1.0]])) for i in range(2)]
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.add(blocks[:1])
        pages = journal.base.execute("PRAGMA page_count").fetchone()[0]
        journal.base.execute(f"PRAGMA max_page_count={pages}")
        big = blocks[1]._replace(said=[["error", "x" * 100_000, ""]])
        with pytest.raises(InputError, match=r"cannot be written .*full.*--resume"):
            journal.add([big])
        assert journal.keys() == {b"\0" * KEY}


def test_what_a_killed_process_left_goes_with_a_later_write(tmp_path):
    old, new = tmp_path / f".a.json.x1{PART}", tmp_path / f".a.json.x2{PART}"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 2 * STALE_S,) * 2)
    write_whole(tmp_path / "a.json", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "a.json"]


def test_a_full_disk_keeps_no_compiled_code_and_stops_nothing(capsys):
    from sim.jit import _one_at_a_time

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    _one_at_a_time(full)("signature", "code")
    assert "not kept" in capsys.readouterr().err


def test_halves_are_seen(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / f".c{PART}").write_text("{")
    assert kill.halves(tmp_path) == ["a.json"]


def test_the_page_names_every_part():
    reader = {"inputs": 10, "result": 4, "refused": 6, "broken": [], "slowest_s": 0.1, "more_bytes": 0}
    struck = {
        "killed": {"kills": 1, "resumed": 1, "wrong": []},
        "filled": {"full": 1, "runs": 1, "mounts": False, "wrong": ["x is half"]},
    }
    memory = {"memory_first": 1, "memory_last": 1, "grown_second_half": 0, "wrong": []}
    fleet = dict.fromkeys(
        ("requests", "least_up", "most_up", "simulated_s", "failures", "starts", "sent_again", "tokens", "cpu_s"), 1
    )
    found = {
        "fuzz": {"chip": reader},
        "guided": {"chip": {"runs": 5, "edges_first": 10, "edges": 12, "broken": []}},
        "kill": {"import": struck},
        "together": {"wrong": []},
        "workers": {"workers": [1, 2], "sweeps": 2, "points": 3, "wrong": []},
        "executors": {"schedules": 1, "servings": 1, "wrong": []},
        "pythons": {"commands": 1, "python": "3.11", "other": "", "wrong": []},
        "fleet": {**fleet, **memory, "in_flight_seen": 1.0, "in_flight_by_little": 1.0},
        "stream": {"requests": 1, "rows": 1, **memory},
        "date": "2026-11-24",
        "version": "1",
        "cores": 2,
        "memory_gib": 8.0,
    }
    text = page(found)
    assert all(
        f"## {head}" in text for head in ("Broken files", "Killed", "Beside itself", "The same bytes", "A long run")
    )
    assert "20% more edges" in text and "- x is half" in text
