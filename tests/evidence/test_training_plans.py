"""What rows of training tables leave to their sources: schedules in the notes, interleaving that no column states."""

import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.evidence.tables import parse_table
from sim.evidence.training_plans import cluster_for, interleaved, schedule_of, unstated_degrees
from sim.evidence.training_sources import source_of

HEAD = "model,layers,hidden,seq_len,device,num_devices,TP,PP,DP,notes\n"


@pytest.mark.parametrize(
    ("notes", "schedule"),
    [
        ("schedule zbv; source says MI300", "zb-v"),
        ("schedule zero-bubble", "zb-h1"),
        ("schedule 1f1b-interleaved", "1f1b"),
        ("PP16 DualPipe", "dualpipe"),
        ("", "1f1b"),
    ],
)
def test_the_schedule_stands_in_the_notes(notes, schedule):
    table = parse_table(HEAD + f"m,8,64,2048,H100,8,1,8,1,{notes}\n", "x.csv")
    assert schedule_of(next(iter(table.rows()))) == schedule


def test_a_source_that_interleaves_does_so_where_micro_batches_allow_it():
    model = default_library().model("llama-3.1-405b")
    plan = Plan(tp=8, pp=16, dp=64, micro_batch=1, global_batch=2048)
    assert interleaved(plan, model, 1).virtual_stages == 7
    assert interleaved(plan.with_(global_batch=64 * 15), model, 1).virtual_stages == 1
    assert interleaved(plan.with_(pp=1), model, 1).virtual_stages == 1


def test_variants_of_a_source_are_told_by_its_notes():
    assert source_of("torchtitan", "FSDP eager; seq_len").stack == "torchtitan-eager"
    assert source_of("torchtitan", "vanilla TP; compile; 500 W").stack == "torchtitan"
    assert source_of("torchtitan", "async TP; compile; 500 W").stack == "torchtitan-async-tp"
    assert source_of("mlperf-training", "mlperf-v3.1-gpt3-NVIDIA-eos_n64 x").chunk_layers == "2"
    assert source_of("mlperf-training", "mlperf-v5.0-llama31_405b-NVIDIA x").chunk_layers == ""
    assert source_of("megatron-bridge", "NeMo container 25.09; (tokendrop)").stack == "megatron-dropping"


def row_of(source, layers, devices, notes):
    head = HEAD.replace("num_devices,", "num_devices,devices_per_node,")
    return next(iter(parse_table(head + f"m,{layers},64,2048,A100,{devices},8,,,,{notes}\n", source).rows()))


@pytest.mark.parametrize(
    ("source", "notes", "gbit"),
    [("", "", 1600), ("", "800 Gb/s a node between nodes", 800), ("bigscience-a100", "", 400)],
)
def test_the_network_between_nodes_is_what_the_row_or_its_source_states(source, notes, gbit):
    chip = default_library().chip("a100-sxm-80gb")
    cluster = cluster_for(row_of("x.csv", 8, 16, notes), chip, Plan(dp=16), source_of(source, notes))
    assert cluster.tiers[-1].bandwidth_bytes_per_s * 8 == pytest.approx(gbit * 1e9 / 8)


def test_stages_that_a_row_does_not_state_hold_equally_many_layers():
    chip = default_library().chip("a100-sxm-80gb")
    assert unstated_degrees(row_of("x.csv", 96, 96, ""), chip)[-3:] == [(8, 4), (8, 6), (8, 12)]
