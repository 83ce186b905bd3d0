"""The same bytes from every executor; a short soak with failures and scaling. `make reliability` has workers, Pythons, a million."""

from __future__ import annotations

import ast

from benchmarks.reliability import same, soak
from benchmarks.reliability.kept import ROOT


def test_both_executors_give_the_same_bytes():
    assert same.executors(4)["wrong"] == []


def test_a_soak_loses_nothing(monkeypatch):
    found = soak.fleet(12_000)
    left = [
        each for each in found["wrong"] if "nothing failed" not in each and "Little" not in each
    ]  # too short for these
    assert left == [] and found["finished"] == 12_000


def test_provenance_and_places_do_not_count_as_figures():
    assert (
        same.figures('{"a": 1.5, "provenance": {"v": 1}, "b": [{"path": "x", "c": 2}]}')
        == '{"a": 1.5, "b": [{"c": 2}]}'
    )


def test_sums_of_times_and_amounts_are_rounded_once():
    """Python 3.12 adds floats in `sum` otherwise than 3.11: `math.fsum` is the same in both."""
    for name in ("serving/answer.py", "serving/run.py", "training/figures.py", "training/campaign_rates.py"):
        tree = ast.parse((ROOT / "sim" / name).read_text(encoding="utf-8"))
        calls = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sum"
        ]
        texts = [ast.unparse(node) for node in calls]
        assert all("counts[" in text or "int(" in text or ".sum()" in text for text in texts), f"sim/{name}: {texts}"
