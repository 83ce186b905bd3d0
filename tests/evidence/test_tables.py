"""Readers: what a table is, what is malformed, what is written back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sim.errors import InputError
from sim.evidence.tables import TABLE_KINDS, Row, Skip, find_tables, parse_table, read_table, write_rows

GEMM = "device,dtype,m,n,k,time_us,stack\nh100-sxm,bfloat16,64,128,256,5.5,vllm\n"


@pytest.mark.parametrize("kind", TABLE_KINDS, ids=lambda kind: kind.name)
def test_a_table_is_recognised_by_its_columns_in_any_order(kind):
    header = ",".join(reversed([*kind.needs, "a column of the user's own"]))
    assert parse_table(header + "\n", "x.csv").kind is kind


def test_a_column_that_is_missing_is_named_with_the_nearest_kind_of_table():
    with pytest.raises(InputError, match=r"x\.csv:1: .* the nearest is gemm, which needs 'k'"):
        parse_table("device,dtype,m,n,time_us\n", "x.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"x\.csv: the file is empty"),
        ("device,device,dtype,m,n,k\n", r"x\.csv:1: the column 'device' stands twice"),
        (GEMM + "h100-sxm,bfloat16,64\n", r"x\.csv:3: 3 cells where the header has 7"),
        (GEMM + 'h100-sxm,"bfloat16\n', r"x\.csv:3: not valid CSV"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(text, message):
    with pytest.raises(InputError, match=message):
        parse_table(text, "x.csv")


def test_a_cell_that_is_no_number_is_named_with_file_line_column_and_text():
    table = parse_table(GEMM.replace("128", "many"), "x.csv")
    with pytest.raises(InputError, match=r"x\.csv:2: n = 'many' is not a number"):
        table.numbers("n")


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_numbers_are_finite(text):
    with pytest.raises(InputError, match="is not a number"):
        Row({"n": text}, "x.csv:2").number("n")


def test_a_degree_of_zero_and_a_blank_cell_are_both_not_stated():
    row = Row({"TP": "0", "PP": "", "DP": "8.0"}, "x.csv:2")
    assert (row.count("TP"), row.count("PP"), row.count("CP"), row.count("DP")) == (None, None, None, 8)


def test_what_a_prediction_needs_and_a_row_lacks_is_a_reason_to_skip_it():
    with pytest.raises(Skip, match="seq_len is not stated"):
        Row({}, "x.csv:2").need("seq_len")


def test_lines_are_counted_through_cells_that_span_several_lines():
    table = parse_table('device,dtype,m,n,k,notes\na,b,1,1,1,"two\nlines"\na,b,x,1,1,\n', "x.csv")
    assert table.lines == (2, 4)


def test_the_configuration_of_a_table_holds_no_measured_cell():
    table = parse_table(GEMM, "x.csv").configuration()
    assert table.column("time_us") == [""]
    assert table.column("m") == ["64"]


def test_rows_are_written_with_every_column_unchanged_and_the_new_ones_after_them(tmp_path):
    text = 'device,dtype,m,n,k,time_us,notes\nh100-sxm,bfloat16,064,1e2,256," 5.50","a, ""b"""\n'
    (tmp_path / "in.csv").write_text(text)
    table = read_table(tmp_path / "in.csv")
    write_rows(tmp_path / "out.csv", table, {"status": ["predicted"]})
    with (tmp_path / "out.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["device", "dtype", "m", "n", "k", "time_us", "notes", "status"]
    assert row == ["h100-sxm", "bfloat16", "064", "1e2", "256", " 5.50", 'a, "b"', "predicted"]


def test_a_table_that_was_written_here_before_can_be_read_again(tmp_path):
    table = parse_table(GEMM, "x.csv")
    write_rows(tmp_path / "out.csv", table, {"status": ["skipped"]})
    again = read_table(tmp_path / "out.csv")
    write_rows(tmp_path / "out.csv", again, {"status": ["predicted"]})
    assert read_table(tmp_path / "out.csv").column("status") == ["predicted"]


def test_a_folder_gives_the_tables_of_the_verb_and_leaves_others_out(tmp_path):
    (tmp_path / "a.csv").write_text(GEMM)
    (tmp_path / "prices.csv").write_text("chip,usd\n")
    assert [Path(table.path).name for table in find_tables(tmp_path, "kernels")] == ["a.csv"]
    with pytest.raises(InputError, match="holds training"):
        find_tables(tmp_path, "training")


def test_a_file_of_another_verb_is_refused_with_the_right_one(tmp_path):
    (tmp_path / "a.csv").write_text(GEMM)
    with pytest.raises(InputError, match="Use `gambrel validate kernels`"):
        find_tables(tmp_path / "a.csv", "training")


def test_a_file_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "no.csv")
