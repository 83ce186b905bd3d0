"""Output of nccl-tests is a table of collectives: sizes, ranks, collective and times as it printed them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim.app.cli import run
from sim.errors import InputError
from sim.evidence.kernel_rows import kernels_of
from sim.evidence.nccl_tests import csv_of
from sim.evidence.tables import read_table
from sim.lowering.kinds import KINDS

SAMPLES = Path(__file__).parent / "nccl"
TEXT = (SAMPLES / "all_reduce_perf.txt").read_text(encoding="utf-8")


def test_the_text_gives_its_collective_its_ranks_and_the_out_of_place_times():
    table = read_table(SAMPLES / "all_reduce_perf.txt")
    assert table.kind.name == "collective"
    assert table.column("device") == ["H100 80GB HBM3"] * 3
    assert table.measured("time_us").tolist() == [20.0, 30.0, 4500.0]
    kernels, reason = kernels_of(table)
    assert reason == [""] * 3
    assert {KINDS[kind].name for kind in kernels.kind} == {"all_reduce"}
    assert kernels.dims[:, :2].tolist() == [[1024, 4], [1048576, 4], [1073741824, 4]]


def test_the_json_gives_the_same_columns():
    table = read_table(SAMPLES / "alltoall.json")
    kernels, reason = kernels_of(table)
    assert reason == [""] * 2 and table.measured("time_us").tolist() == [25.5, 31.25]
    assert {KINDS[kind].name for kind in kernels.kind} == {"all_to_all"}
    assert kernels.dims[:, :2].tolist() == [[1024, 8], [1048576, 8]]


def test_the_file_names_the_collective_where_the_output_does_not():
    old = TEXT.replace("# Collective test starting: all_reduce_perf\n", "")
    assert ",reduce_scatter,4," in (csv_of(old, "runs/reduce_scatter_perf.log") or "")
    with pytest.raises(InputError, match=r"which collective ran\. Name the file"):
        csv_of(old, "output.txt")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    20.00    0.05    0.08       0    19.00    0.05    0.08       0", "", r"x\.txt:14: 5 numbers where"),
        (" time ", " cputime ", "measured the host"),
        ("float", "quad", r"x\.txt:14: .*type = 'quad'"),
        ("3 Group  0 Pid     71 on       node", "3 Group  0 Pid     71 on       other", "2 hosts"),
        ("#  Rank", "#  Gone", "which devices took part"),
    ],
)
def test_output_that_is_cut_short_or_says_too_little_is_an_input_error(old, new, says):
    with pytest.raises(InputError, match=says):
        csv_of(TEXT.replace(old, new), "x.txt")


def test_a_csv_table_and_other_json_are_none():
    assert csv_of("device,op,num_devices\n", "x.csv") is None
    assert csv_of('{"results": 1}', "x.json") is None


def test_validate_scores_a_run_of_nccl_tests(tmp_path):
    out = tmp_path / "rows.csv"
    assert run(["validate", "kernels", str(SAMPLES / "alltoall.json"), "--rows", str(out)]) == 0
    predicted = read_table(out).numbers("predicted_time_us")
    assert predicted.shape == (2,) and np.all(predicted > 0.0)
