"""Broken files end in a result or in one line; what once broke a reader does not any more. `make reliability` tries thousands."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.reliability import fuzz
from benchmarks.reliability.mutate import mutated
from benchmarks.reliability.readers import READERS, library
from sim import api
from sim.catalog.facts import facts
from sim.catalog.megatron_text import measured
from sim.catalog.scenarios import read_scenario
from sim.catalog.serving_source import Source
from sim.errors import MOST_LETTERS, GambrelError, InputError

SLOW = (
    "table",
    "import",
    "result.json",
    "facts.json",
    "Megatron",
    "benchmark",
    "mllog",
    "nccl",
)  # compile, or read the whole catalogue
QUICK = [name for name in READERS if not name.startswith(SLOW)]


@pytest.mark.parametrize("name", QUICK)
def test_a_reader_answers_or_refuses_whatever_it_is_given(name, tmp_path):
    reader, chance = READERS[name], random.Random(name)
    samples = reader.samples()
    for _ in range(12):
        fuzz.one(reader, mutated(chance.choice(samples), reader.kind, chance), tmp_path)


@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)
@given(chance=st.randoms(use_true_random=False), name=st.sampled_from(QUICK))
def test_no_change_that_hypothesis_finds_breaks_a_reader(chance, name, tmp_path):
    reader = READERS[name]
    fuzz.one(reader, mutated(chance.choice(reader.samples()), reader.kind, chance), tmp_path)


def test_every_reader_reads_its_samples_and_mutation_changes_them():
    assert len(READERS) >= 40
    for reader in READERS.values():
        if reader.name not in ("result.json", "facts.json"):  # samples that a command makes
            assert reader.samples(), reader.name
            sample = reader.samples()[0]
            assert any(mutated(sample, reader.kind, random.Random(seed)) != sample for seed in range(3))


def test_a_message_is_one_line_of_bounded_length():
    error = GambrelError("a.yaml:3: name = " + "x\n" * 10_000 + " Mend it.")
    assert "\n" not in str(error) and len(str(error)) <= MOST_LETTERS and str(error).endswith("Mend it.")


def refused(path, read, match):
    with pytest.raises(InputError, match=match):
        read(path)


def test_json_of_thousands_of_digits_or_brackets_is_refused(tmp_path):
    from sim.catalog.files import read_json

    path = tmp_path / "config.json"
    for text, match in (("9" * 5000, "digits"), ("[" * 50_000, "nested")):
        path.write_text(text)
        refused(path, read_json, match)


def test_a_kind_that_is_no_word_is_refused(tmp_path):
    from sim.catalog.scenarios import read_scenario

    path = tmp_path / "scenario.yaml"
    path.write_text("model: llama-3.1-8b\ncluster: h100\nrole: serve\ndemand: {kind: {a: 1}, rate: 1}\n")
    refused(path, read_scenario, "kind")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"config": 1.0}, "config is no object"),
        ({"config": {"devices": ["x"]}}, "devices is no list"),
        ({"config": {"ngpus": ""}}, "ngpus"),
        ({"results": [1.5]}, "results is no list"),
    ],
)
def test_nccl_tests_json_of_other_shapes_is_refused(change, match):
    from sim.evidence.nccl_tests import csv_of

    whole = {
        "config": {},
        "args": ["all_reduce_perf"],
        "results": [{"size": "8", "type": "float", "out_of_place": {"time": 1}}],
    }
    assert csv_of(json.dumps(whole), "x.json")
    with pytest.raises(InputError, match=match):
        csv_of(json.dumps({**whole, **change}), "x.json")


def test_nccl_tests_text_without_a_column_of_types_is_refused():
    from sim.evidence.nccl_tests import csv_of

    with pytest.raises(InputError, match="no column 'type'"):
        csv_of(
            "#  Rank  0 Pid 1 on host device  0 [0x1] NVIDIA H100\n# size count time algbw busbw\n  8 2 1.0 1.0 1.0\n",
            "all_reduce.txt",
        )


@pytest.mark.parametrize("text", ["\n" * 30_000, "[" * 30_000, "- " * 15_000, "x" * 30_000, "A=$A$A\n" * 60])
def test_a_launch_script_of_noise_is_read_in_no_time(text):
    from sim.catalog.megatron_text import looks_like, words_of

    begin_s = time.process_time()
    looks_like(text)
    words_of(f"A=1\n{text} --num-layers $((1{'0' * 5000}*2)) \n", "run.sh")
    assert time.process_time() - begin_s < 2.0  # of processor time; it took 20 s and more


def test_a_cell_of_text_where_a_degree_stands_is_named():
    from sim.evidence.rules import training_tiers
    from sim.evidence.tables import parse_table

    head = "model,layers,hidden,ffn,seq_len,device,num_devices,TP,PP,DP,precision,global_batch,step_time_s\n"
    table = parse_table(head + "x,1,1,1,1,h100,8,yes,1,1,bf16,8,1.0\n", "runs.csv")
    with pytest.raises(InputError, match=r"runs\.csv:2: TP = 'yes'"):
        training_tiers(table)


def test_a_count_beyond_all_bounds_and_a_name_without_end_break_no_row():
    from sim.evidence.context import Context
    from sim.evidence.row_models import model_of
    from sim.evidence.tables import Row

    with pytest.raises(InputError, match="pp_size"):
        Row({"pp_size": "9223372036854775808"}, "x.csv:2").count("pp_size")
    cells = {"model": "9" * 400, "layers": "2", "hidden": "64", "heads": "1", "ffn": "64", "vocab": "10"}
    assert len(model_of(Context(), Row(cells, "x.csv:2"), "", "", "").id) <= 80


def test_a_measured_value_that_no_instrument_reads_counts_as_none():
    import math

    from sim.evidence.tables import parse_table

    table = parse_table("device,dtype,m,n,k,time_us\na,b,1,1,1,1e999\na,b,1,1,1,5e-324\na,b,1,1,1,2.5\n", "x.csv")
    assert [math.isnan(value) for value in table.measured("time_us")] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"figures": {"cost": [1]}}, "figures.cost"),
        ({"figures": {"cost": {"value": "much"}}}, "figures.cost"),
        ({"provenance": {"facts": {"model": 3}}}, "facts.model"),
        ({"provenance": {"software": []}}, "software"),
    ],
)
def test_a_stored_result_of_another_shape_is_refused(change, match, tmp_path):
    from sim.studies.provenance import read_stored

    path = tmp_path / "result.json"
    path.write_text(
        json.dumps({"schema": "gambrel.train/1", "scenario": {}, "figures": {}, "provenance": {}, **change})
    )
    refused(path, read_stored, match)


def test_long_cells_of_sacct_and_grids_and_dates_beyond_the_calendar_are_refused(tmp_path):
    from sim.catalog.grid import read_grid
    from sim.training.sacct import read_sacct

    path = tmp_path / "a.csv"
    path.write_text("JobID|Elapsed|State|AllocTRES\n" + "x" * 200_000 + "|1|2|3\n")
    refused(path, read_sacct, "not valid CSV")
    path.write_text("datetime,kg_co2_per_kwh\n2026-03-01T00:00," + "1" * 200_000 + "\n")
    refused(path, read_grid, "not valid CSV")
    path.write_text("datetime,kg_co2_per_kwh\n0001-01-01T00:00+14:00,1\n")
    refused(path, read_grid, "years 1 to 9999")


def test_the_kv_format_of_a_checkpoint_that_is_no_word_is_refused():
    from sim.catalog.quantisation import _kv_cache

    with pytest.raises(InputError, match="kv_cache_quant_algo"):
        _kv_cache({"kv_cache_quant_algo": ["FP8"]}, "config.json")


def test_facts_that_lack_an_entry_are_refused():
    from sim.catalog.recorded import Recorded

    with pytest.raises(InputError, match="chip is missing"):
        Recorded({}).chip("h100")


def test_the_name_of_a_trace_that_no_file_can_have_is_refused(tmp_path):
    path = tmp_path / "scenario.yaml"
    demand = "{kind: traffic, trace: " + "a" * 3000 + ".csv}"
    path.write_text(f"role: serve\nmodel: llama-3.1-8b\ncluster: h100\ndemand: {demand}\n", encoding="utf-8")
    scenario = read_scenario(path)
    with pytest.raises(InputError, match="no such file"):
        api.serve(scenario)
    assert "trace" not in facts(library(), scenario)


def test_a_degree_that_is_no_whole_number_is_refused():
    source = Source({"tp": 0.3, "pp": None, "ep": 4}, "result.json", set())
    with pytest.raises(InputError, match=r"tp = 0.3 is no whole number"):
        source.degree("tp")
    assert (source.degree("pp"), source.degree("ep"), source.degree("dp")) == (1, 4, 1)


def test_an_iteration_of_thousands_of_digits_is_no_iteration():
    line = " iteration %s/ 100 | elapsed time per iteration (ms): 4000.0 | global batch size: 8 |\n"
    assert measured(line % ("9" * 5000), "run.log", 8) is None
    assert measured(line % "17", "run.log", 8) is not None
