"""`validate` from the command line: the shipped tables, a user's table, rows with predictions."""

from __future__ import annotations

import csv
import json

from sim.app.cli import run
from sim.catalog.library import package_root

TABLE = package_root() / "workloads" / "measured" / "training.csv"


def head(path, rows):
    """The first rows of the shipped training table, as a user's file."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()[: rows + 1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_users_table_comes_back_in_its_order_with_predictions(tmp_path, capsys):
    mine, out = head(tmp_path / "mine.csv", 8), tmp_path / "rows.csv"
    assert run(["validate", "training", str(mine), "--rows", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "gambrel.validate/1"
    assert document["tables"][0]["rows"] == 8
    with mine.open() as given, out.open() as written:
        asked, answered = list(csv.DictReader(given)), list(csv.DictReader(written))
    assert [{key: row[key] for key in asked[0]} for row in answered] == asked
    assert {row["status"] for row in answered} <= {"predicted", "skipped"}


def test_the_screen_shows_errors_beside_the_floor(tmp_path, capsys):
    assert run(["validate", "training", str(head(tmp_path / "mine.csv", 8))]) == 0
    out = capsys.readouterr().out
    assert "8 rows predicted" in out or "of 8 rows" in out
    assert "floor median" in out


def test_without_a_path_the_shipped_tables_are_scored(capsys):
    assert run(["validate", "campaigns", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][0]["name"] == "campaigns"


def test_an_unknown_kind_level_or_file_exits_2(tmp_path, capsys):
    for arguments in (["kernel"], ["training", "--calibration", "best"], ["training", str(tmp_path / "none.csv")]):
        assert run(["validate", *arguments]) == 2
        written = capsys.readouterr()
        assert written.err.count("\n") == 1
        assert written.out == ""


def test_rows_that_cannot_be_written_are_refused_before_anything_is_predicted(tmp_path, capsys):
    mine, folder = head(tmp_path / "mine.csv", 2), tmp_path / "folder"
    folder.mkdir()
    for arguments in (
        ["campaigns", "--rows", str(mine)],
        ["campaigns", "--rows", str(tmp_path / "rows.csv")],
        ["training", str(mine), "--rows", str(folder)],
    ):
        assert run(["validate", *arguments]) == 2
        assert "--rows" in capsys.readouterr().err


def test_rows_below_a_file_are_refused_in_one_line(tmp_path, capsys):
    mine = head(tmp_path / "mine.csv", 2)
    assert run(["validate", "training", str(mine), "--rows", str(mine / "rows.csv")]) == 2
    assert capsys.readouterr().err.startswith("gambrel: --rows")
