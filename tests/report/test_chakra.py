"""Traces decoded again: what waits comes later, bytes and time are those of the step, every send has its receive."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim.app.cli import run as gambrel
from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.catalog.targets import target
from sim.engine import run
from sim.lowering import KIND_IDS, KINDS, STEP, columns, units
from sim.lowering import SEND as SEND_SITE
from sim.lowering.sharding import Step
from sim.report.chakra import COMM_COLL_NODE, COMM_RECV_NODE, COMM_SEND_NODE, COMP_NODE, groups_of, messages, trace_of
from sim.training.nodes import StepGraph, step_graph

LIBRARY = default_library()
H100 = target(LIBRARY, "dgx-h100", None, "train")
PLANS = {
    "1f1b": Plan(tp=2, pp=2, dp=2, cp=2, global_batch=8, recompute="selective"),
    "interleaved": Plan(tp=2, pp=4, dp=2, virtual_stages=2, global_batch=8, recompute="none"),
    "zero3": Plan(tp=2, dp=4, sharding="zero3", global_batch=8, recompute="full"),
    "zb-v": Plan(tp=2, pp=4, schedule="zb-v", global_batch=12, recompute="none"),
    "gpipe": Plan(pp=4, dp=2, schedule="gpipe", global_batch=8, recompute="none"),
    "dualpipe": Plan(pp=4, dp=2, schedule="dualpipe", global_batch=16, recompute="none"),
}
MODEL = LIBRARY.model("llama-3.1-8b")


def graph_of(plan: Plan) -> StepGraph:
    return step_graph(MODEL, plan, H100, 4096)


def decoded(content: bytes) -> tuple[Any, list[Any]]:
    """(metadata, nodes) of a file: each message has its length before it, seven bits a byte."""
    found, at = [], 0
    while at < len(content):
        size = shift = 0
        while True:
            byte = content[at]
            at, size, shift = at + 1, size | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        found.append((messages().node if found else messages().metadata).FromString(content[at : at + size]))
        at += size
    return found[0], found[1:]


def attributes(node: Any) -> dict[str, Any]:
    return {each.name: getattr(each, each.WhichOneof("value")) for each in node.attr}


@pytest.mark.parametrize("name", PLANS)
def test_what_a_node_waits_for_stands_before_it(name: str) -> None:
    graph = graph_of(PLANS[name])
    groups = groups_of(graph)
    for stage in range(len(graph.stages)):
        metadata, nodes = decoded(trace_of(graph, stage * graph.across, groups))
        assert metadata.version == "0.0.4"
        assert [node.id for node in nodes] == list(range(len(nodes)))
        assert all(earlier < node.id for node in nodes for earlier in node.data_deps)
        assert {node.type for node in nodes} <= {COMP_NODE, COMM_SEND_NODE, COMM_RECV_NODE, COMM_COLL_NODE}


@pytest.mark.parametrize("name", PLANS)
def test_the_nodes_of_a_stage_take_as_long_as_the_timeline_says(name: str) -> None:
    graph = graph_of(PLANS[name])
    timeline = run(graph.schedule)
    for stage, nodes in enumerate(graph.stages):
        once = [node for node in nodes if node.name.endswith(" step")]
        passes = [node for node in nodes if node not in once and node.kind not in ("send", "receive")]
        assert sum(node.seconds for node in passes) == pytest.approx(timeline.busy_s(stage), rel=1e-9)
        _, written = decoded(trace_of(graph, stage * graph.across, groups_of(graph)))
        compute_us = sum(node.duration_micros for node in written if node.type == COMP_NODE)
        assert compute_us == pytest.approx(1e6 * sum(n.seconds for n in nodes if n.kind == "compute"), abs=0.51)


@pytest.mark.parametrize("name", ["1f1b", "zero3"])
def test_bytes_and_flops_are_those_of_the_lowering(name: str) -> None:
    """Collectives by kind, over all stages: layers of the model times micro-batches, and the step's own once a stage."""
    plan = PLANS[name]
    graph = graph_of(plan)
    c = columns(MODEL, [plan], True)
    rows = units(MODEL, c, Step("train", 1.0, 4096, 4096))
    batches = float(c.micro_batches[0])
    times = np.where(rows.site == STEP, float(plan.pp), np.where(rows.site >= 0, MODEL.layers * batches, batches))
    for kind in ("all_gather", "reduce_scatter", "all_reduce"):
        mine = (rows.kind == KIND_IDS[kind]) & (rows.dims[:, 1] > 1) & (rows.site != SEND_SITE)
        expected = float((rows.dims[:, 0] * rows.count * times)[mine].sum())
        found = sum(n.size_bytes for nodes in graph.stages for n in nodes if n.kind == kind)
        assert found == pytest.approx(expected, rel=1e-12), kind
    compute = ~np.array([k.collective for k in KINDS])[rows.kind] & (rows.site != SEND_SITE)
    compute &= rows.part != [*_parts()].index("gradients")  # which this stack does not run as kernels
    expected = float((rows.flops() * rows.count * times)[compute].sum())
    assert sum(n.flops for nodes in graph.stages for n in nodes) == pytest.approx(expected, rel=1e-9)


def _parts() -> tuple[str, ...]:
    from sim.lowering import PARTS

    return PARTS


@pytest.mark.parametrize("name", ["1f1b", "interleaved", "zb-v", "dualpipe"])
def test_every_send_has_one_receive_of_the_same_size_and_tag(name: str) -> None:
    graph = graph_of(PLANS[name])
    groups = groups_of(graph)
    sends: Counter[tuple[int, ...]] = Counter()
    receives: Counter[tuple[int, ...]] = Counter()
    for rank in range(graph.world):
        for node in decoded(trace_of(graph, rank, groups))[1]:
            said = attributes(node)
            if node.type in (COMM_SEND_NODE, COMM_RECV_NODE):
                end = (said["comm_src"], said["comm_dst"], said["comm_tag"], said["comm_size"])
                (sends if node.type == COMM_SEND_NODE else receives)[end] += 1
                assert (
                    rank == end[0 if node.type == COMM_SEND_NODE else 1]
                    and min(end[:2]) >= 0
                    and max(end[:2]) < graph.world
                )
    assert sends == receives and sends
    assert set(sends.values()) == {1}


def test_ranks_of_a_group_run_the_same_collectives_in_the_same_order() -> None:
    graph = graph_of(PLANS["1f1b"])
    groups = groups_of(graph)
    order: dict[str, list[tuple[int, int]]] = {}
    for rank in range(graph.world):
        mine: dict[str, list[tuple[int, int]]] = {}
        for node in decoded(trace_of(graph, rank, groups))[1]:
            said = attributes(node)
            if node.type == COMM_COLL_NODE:
                mine.setdefault(said["pg_name"], []).append((said["comm_type"], said["comm_size"]))
        for group, what in mine.items():
            assert order.setdefault(group, what) == what
    named = {name: ranks for ranks, name in groups.items()}
    assert set(order) == set(named)
    assert all(len(set(ranks)) == len(ranks) and max(ranks) < graph.world for ranks in groups)


def test_the_command_writes_traces_groups_and_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "llama-3.1-8b", "--cluster", "dgx-h100", "--devices", "16", "--tp", "4", "--pp", "2",
             "--global-batch", "8", "--seq-len", "2048"]  # fmt: skip
    assert gambrel(["export", "chakra", *asked, "--ranks", "all", "-o", str(tmp_path / "t"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ranks"] == list(range(16))
    files = {path.name for path in (tmp_path / "t").iterdir()}
    assert files == {*(f"step.{rank}.et" for rank in range(16)), "comm_group.json", "network.yml"}
    groups = json.loads((tmp_path / "t" / "comm_group.json").read_text())
    assert [0, 1, 2, 3] in groups.values()
    network = yaml.safe_load((tmp_path / "t" / "network.yml").read_text())
    assert network == {"topology": ["Switch", "Switch"], "npus_count": [8, 2], "bandwidth": [450, 50],
                       "latency": network["latency"]}  # fmt: skip
    assert gambrel(["export", "chakra", *asked, "-o", str(tmp_path / "s")]) == 0
    assert {path.name for path in (tmp_path / "s").glob("*.et")} == {"step.0.et", "step.8.et"}
    same = (tmp_path / "s" / "step.8.et").read_bytes() == (tmp_path / "t" / "step.8.et").read_bytes()
    assert same


@pytest.mark.parametrize(
    ("cluster", "devices", "topology", "counts"),
    [
        ("tpu-v5p", 64, ["Ring", "Ring", "Ring"], [4, 4, 4]),
        ("mi300x", 64, ["FullyConnected", "Switch"], [8, 8]),
        ("dgx-h100", 8, ["Switch"], [8]),
        ("trn2", 16, ["Ring", "Ring"], [16, 4]),  # four ranks a chip
    ],
)
def test_a_network_holds_every_rank(
    cluster: str, devices: int, topology: list[str], counts: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", "llama-3.1-8b", "--cluster", cluster, "--devices", str(devices)]
    assert gambrel(["export", "astra-sim", *asked]) == 0
    network = yaml.safe_load(capsys.readouterr().out)
    assert (network["topology"], network["npus_count"]) == (topology, counts)
    ranks = LIBRARY.chip(LIBRARY.cluster(cluster).chip).ranks
    assert np.prod(network["npus_count"]) == devices * ranks
    assert len(network["bandwidth"]) == len(network["latency"]) == len(counts)


def test_what_is_not_asked_rightly_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["--model", "llama-3.1-8b", "--cluster", "dgx-h100", "--devices", "8", "-o", str(tmp_path / "x")]
    assert gambrel(["export", "chakra", *asked, "--ranks", "some"]) == 2
    assert "--ranks = 'some'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
