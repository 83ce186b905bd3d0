"""Pairs of serving runs: which make a pair, how far their ratios are off, how sure a comparison is, which choice is best."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.library import package_root
from sim.errors import InputError
from sim.evidence import odds
from sim.evidence.choices import chips_of, choices, rate_per_chip, score
from sim.evidence.context import Context
from sim.evidence.pairs import DEVICE, LAYOUT, VERSION, bandwidth_ratios, log_ratios, off, pairs
from sim.evidence.predictions import Answer, collect
from sim.evidence.ratios import BARS, validate_ratios
from sim.evidence.tables import parse_table, read_table

HEADER = "model,device,engine,engine_version,precision,mode,input_tokens,output_tokens,concurrency,batch_size,tp_size,"
HEADER += (
    "pp_size,attention_dp_size,decode_num_workers,prefill_num_workers,prefill_tp_size,decode_tp_size,ttft_ms,tpot_ms\n"
)
SHIPPED = package_root() / "workloads" / "measured" / "pairs" / "serving.csv"


def run(device="h200", version="1", tp="1", tpot="10", clients=4):
    return f"m,{device},vllm,{version},fp8,agg,1024,1024,{clients},{clients},{tp},1,1,,,,,100,{tpot}"


def table_of(*lines):
    return parse_table(HEADER + "\n".join(lines), "x.csv")


def test_rows_that_differ_in_one_thing_alone_make_a_pair():
    table = table_of(run(), run("b200"), run("b200", version="2"), run(tp="2"), run("b200", tp="2", clients=8))
    found = {(pair.contrast, pair.first, pair.second) for pair in pairs(table, [""] * 5)}
    assert found == {(DEVICE, 1, 0), (VERSION, 2, 0), (LAYOUT, 0, 3)}


def test_a_blank_degree_is_a_degree_of_one_and_an_excluded_row_makes_no_pair():
    table = table_of(run(tp=""), run("b200", tp="1.0"), run("b200"))
    assert [pair[1:] for pair in pairs(table, ["", "", "repeat"])] == [(1, 0)]


def test_bandwidth_alone_halves_a_step_on_twice_the_chips_and_leaves_the_rate_of_a_chip():
    table = table_of(run(), run(tp="2"))
    found = pairs(table, ["", ""])
    assert bandwidth_ratios(table, found, "tpot", Context()) == pytest.approx([math.log(0.5)])
    assert bandwidth_ratios(table, found, "tokens per s per chip", Context()) == pytest.approx([0.0])


def test_a_ratio_that_is_too_large_or_too_small_by_one_factor_is_equally_far_off():
    assert off(np.log(np.array([1.1, 1 / 1.1]))) == pytest.approx([0.1, 0.1])


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=2))
def test_what_both_rows_get_wrong_alike_cancels_in_their_ratio(times):
    found = pairs(table_of(run(), run(tp="2")), ["", ""])
    both = np.array(times)
    assert log_ratios(found, both, both) == pytest.approx(log_ratios(found, 3.0 * both, 3.0 * both))


def test_chips_of_separate_workers_are_counted_together():
    table = table_of(run(tp="4"), "m,h200,vllm,1,fp8,disagg,1024,1024,4,4,,,,2,3,4,8,100,10")
    assert chips_of(table).tolist() == [4.0, 3 * 4 + 2 * 8]


def test_the_rate_of_a_chip_is_littles_law():
    rate = rate_per_chip(table_of(run(tp="2")), np.array([100.0]), np.array([10.0]))
    assert rate == pytest.approx([4 * 1024 / (0.1 + 0.01 * 1023) / 2])


@given(st.floats(-3, 3), st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_the_two_sides_of_a_comparison_win_with_chances_that_add_up_to_one(ratio, residuals):
    spread = np.array(residuals)
    one = odds.chance(ratio, spread)
    assert 0.0 < one < 1.0
    assert one + odds.chance(-ratio, spread) == pytest.approx(1.0)
    assert odds.chance(ratio + 0.5, spread) >= one


def test_chances_drawn_from_the_true_spread_are_kept_and_their_interval_holds_four_fifths():
    rng = np.random.default_rng(1)
    predicted, noise = rng.normal(0.0, 0.2, 4000), rng.normal(0.0, 0.1, 4000)
    labels = [str(i % 5) for i in range(4000)]
    chances, widths = odds.left_out(predicted, noise, labels)
    found = odds.reliability(predicted + noise, noise, chances, widths)
    assert all(abs(bin.stated - bin.happened) < 0.08 for bin in found.curve)
    assert found.inside == pytest.approx(0.8, abs=0.02)
    assert found.brier < 0.25 == found.without


def test_a_pair_never_sees_the_residuals_of_its_own_label():
    ratio = np.array([0.1, 0.1, 0.1, 0.1])
    chances, widths = odds.left_out(ratio, np.array([0.0, 0.0, 5.0, 5.0]), ["a", "a", "b", "b"])
    assert widths.tolist() == [5.0, 5.0, 0.0, 0.0]
    assert chances[0] == pytest.approx(0.5)
    assert chances[2] > 0.8


def test_pairs_that_the_catalogue_ships_are_told_better_than_by_no_change_and_by_bandwidth(tmp_path):
    (report,) = validate_ratios(None, rows=tmp_path / "pairs.csv")
    for contrast in (DEVICE, LAYOUT):
        line = report.line(contrast, "tpot")
        assert line.n >= 10
        assert line.holds, (line, BARS)
        assert line.median < min(line.none_median, line.bandwidth_median) / 2.0
        assert report.reliability[contrast, "tpot"].brier < 0.15
    with (tmp_path / "pairs.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == sum(report.pairs.values())
    told = [row for row in written if row["contrast"] == DEVICE]
    assert all(0.0 < float(row["chance_second_is_better_tpot"]) < 1.0 for row in told)
    assert all(float(row["low_tpot"]) < float(row["predicted_tpot"]) < float(row["high_tpot"]) for row in told)
    lines = dict(zip(read_table(SHIPPED).lines, read_table(SHIPPED).rows(), strict=True))
    first, second = (lines[int(told[0][f"{end}_line"])] for end in ("first", "second"))
    assert float(told[0]["measured_tpot"]) == pytest.approx(
        (second.number("tpot_ms") or 0) / (first.number("tpot_ms") or 1), rel=1e-5
    )
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_table_without_a_pair_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + run())
    with pytest.raises(InputError, match="no two rows that count are equal in all but the device or the layout"):
        validate_ratios(tmp_path / "a.csv")


def test_a_perfect_prediction_chooses_the_best_and_a_wrong_one_loses_what_the_two_differ_by():
    table = table_of(run(tp="1", tpot="40"), run(tp="2", tpot="15"), run(tp="4", tpot="9"))
    right = collect(table, [Answer({"ttft_ms": 100.0, "tpot_ms": t}, "measured") for t in (40.0, 15.0, 9.0)])
    found = choices(table, right, [""] * 3)
    assert [(c.limit_ms, c.chosen) for c in found] == [(10.0, 2), (20.0, 1), (30.0, 1), (50.0, 1), (100.0, 1)]
    assert score(found)[1:4] == (1.0, 0.0, 0.0)
    wrong = collect(table, [Answer({"ttft_ms": 100.0, "tpot_ms": t}, "measured") for t in (9.0, 15.0, 40.0)])
    lost = choices(table, wrong, [""] * 3)
    assert [c.chosen for c in lost] == [0] * 5
    assert score(lost).broken == pytest.approx(3 / 5)  # TPOT of 40 ms where 10, 20 and 30 are the limit
    assert lost[-1].share == pytest.approx((100 + 15 * 1023) * 2 / (100 + 40 * 1023))
