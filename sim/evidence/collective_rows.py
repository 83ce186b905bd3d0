"""Rows of collectives over several nodes -> one or two collective kernels on the cluster that the row describes."""

from __future__ import annotations

import math
import re

import numpy as np

from ..catalog.chips import Chip
from ..catalog.clusters import Cluster, Dim, Tier
from ..catalog.library import Library, cluster_of, normal
from .context import Context
from .kernel_rows import collectives, price
from .predictions import Answer, Predictions, Progress, predict_rows
from .tables import Row, Skip, Table

RACK = 16  # a scale-up domain above this is a rack, whose trays are not its limits
# how many processes launched it, as notes say: nccl-tests with several chips a process, or with one
ONE_PROCESS = re.compile(r"one process launches|(?<!\S)-g [2-9]")
OWN_PROCESS = re.compile(r"process (a|per|for each) (GPU|chip)|\bmpi(run)?\b|(?<!\S)-g 1\b", re.IGNORECASE)
NCCL_TESTS = ("nccl", "rccl")  # libraries whose collectives are measured by nccl-tests
LAUNCHED = (
    "Where notes do not say how nccl-tests was launched: on one node as in its own example (-g 8: one process launches on every "
    "chip in turn), on several by MPI (a process for each chip)."
)
LAUNCH_S, LAUNCH_SPREAD = (
    5e-6,
    0.2,
)  # a launch by the host: 4 to 6 us (https://susun-blog.com/blog/pegainfer-3-cuda-graph)
TOP_K, TOP_GROUPS = 8, 4  # experts of a token, and nodes that they may lie on, where the notes do not say


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Bus bandwidth as nccl-tests defines it [GB/s] and time [us] of every row."""
    return predict_rows(table, lambda row: _answer(row, context), progress)


def _answer(row: Row, context: Context) -> Answer:
    chip = context.chip(row.text("device"))
    devices, nodes, size = row.need("num_devices"), row.count("nodes") or 1, row.number("bytes")
    if size is None or size <= 0:
        raise Skip("bytes is not stated, or none are moved")
    op = row.text("op")
    steps = _expert_steps(row, size, (devices, nodes)) if op.startswith("moe_") else [(op, size, devices, 1)]
    ranks = float(chip.ranks)  # one rank of each chip takes part; the others do the same beside it
    kernels = collectives(
        [name for name, *_ in steps],
        np.array([(moved, float(n), stride * ranks, 1.0) for _, moved, n, stride in steps]),
    )
    library = (row.text("library").lower().split() or [""])[0]
    stack = context.stack(library, context.family(chip).default_stack)
    packed = context.machine(chip, stack, cluster_for(row, chip, (devices, nodes), context.library))
    times, low, high, basis = price(kernels, packed, context)
    slowest = int(np.argmax(times))  # the steps of an expert exchange run as a pipeline
    host_s = _host_s(row, library, (devices, nodes))
    seconds = max(float(times[slowest]), host_s)
    carried = steps[0][1] if op.startswith("moe_") else _bus_factor(row, chip, op, devices) * size
    least = max(float(low[slowest]), host_s * (1.0 - LAUNCH_SPREAD))
    first = least / seconds, max(float(high[slowest]), host_s * (1.0 + LAUNCH_SPREAD)) / seconds
    return Answer(
        {"busbw_gb_s": carried / seconds / 1e9, "time_us": seconds * 1e6},
        basis[slowest],
        1.0 / first[1],
        1.0 / first[0],
    )


def _host_s(row: Row, library: str, sizes: tuple[int, int]) -> float:
    """Least time between two collectives of one process that launches them on all chips of its node in turn [s]: where the
    notes say so, and where they say nothing (LAUNCHED). sizes: chips and nodes."""
    devices, nodes = sizes
    if devices < nodes:
        raise Skip(f"{devices} chips cannot stand in {nodes} nodes")
    notes = row.text("notes")
    said = ONE_PROCESS.search(notes)
    alone = nodes == 1 and library in NCCL_TESTS and not OWN_PROCESS.search(notes)
    return devices // nodes * LAUNCH_S if said or alone else 0.0


def _bus_factor(row: Row, chip: Chip, op: str, n: int) -> float:
    """Bus bandwidth over bytes / time; the published TPU figures count 1.5."""
    if chip.family == "tpu":
        return 1.5
    return (2.0 if op == "all_reduce" else 1.0) * (n - 1) / n


def _expert_steps(row: Row, size: float, sizes: tuple[int, int]) -> list[tuple[str, float, int, int]]:
    """An expert exchange sends each token once to each node that it needs, and there once to each chip. `size`: bytes of one
    rank's tokens. First the step whose rate is published: between nodes if there are several, else inside the node."""
    devices, nodes = sizes
    if devices < nodes:
        raise Skip(f"{devices} chips cannot stand in {nodes} nodes")
    notes = row.text("notes")
    stated = [re.search(pattern, notes) for pattern in (r"top-(\d+) experts", r"top-(\d+) groups")]
    topk, groups = (int(m[1]) if m else default for m, default in zip(stated, (TOP_K, TOP_GROUPS), strict=True))
    within, reach = devices // nodes, min(nodes, groups)
    inside = ("all_to_all", size * _distinct(within * reach, topk), within, 1)
    return [inside] if nodes == 1 else [("all_to_all", size * _distinct(reach, topk), nodes, within), inside]


def _distinct(places: int, draws: int) -> float:
    """Expected number of different places among so many even draws."""
    return places * (1.0 - (1.0 - 1.0 / places) ** draws)


def cluster_for(row: Row, chip: Chip, sizes: tuple[int, int], library: Library) -> Cluster:
    """The cluster of the catalogue that the row's system names, else the chip's own ports; with the row's chips in a node, its
    network rate and its torus where it states them. sizes: chips and nodes."""
    devices, nodes = sizes
    if devices < nodes:
        raise Skip(f"{devices} chips cannot stand in {nodes} nodes")
    cluster = _named(row.text("system"), chip, library) or cluster_of(chip)
    inner, outer = cluster.tiers[0], cluster.tiers[1:]
    torus = re.search(r"\b(\d{1,6})x(\d{1,6})x(\d{1,6})\b", row.text("system"))
    changed: dict[str, object] = {}
    if inner.kind == "torus" and torus:
        if any(not 1 <= int(n) <= devices for n in torus.groups()):
            raise Skip(f"a torus of {torus[0]} has no place for {devices} chips")
        dims = tuple(Dim(size=int(n), wrap=int(n) > 2) for n in torus.groups())
        changed = {"dims": dims, "size": math.prod(dim.size for dim in dims)}
    elif (inner.size or 0) <= RACK and devices // nodes < (inner.size or 0):
        changed = {"size": devices // nodes}
    rate = network_rate(row.text("network"), devices // nodes)
    if rate and outer:
        outer = (*outer[:-1], Tier.model_validate({**dict(outer[-1]), "bandwidth_bytes_per_s": rate}))
    inner = Tier.model_validate({**dict(inner), **changed})
    name = re.sub(r"[^a-z0-9]+", "-", f"{cluster.id} {row.text('system')} {devices} {nodes}".lower()).strip("-")
    return cluster.with_(id=name[:80], tiers=(inner, *outer))


def _named(system: str, chip: Chip, library: Library) -> Cluster | None:
    """The cluster of this chip that a word of the text names (`2x p4de.24xlarge`), if there is one."""
    words = {normal(word) for word in re.split(r"[\s,]+", system) if len(word) > 3}
    for entry in library.entries("cluster"):
        if words & {normal(name) for name in entry.names if name != chip.id}:
            cluster = library.cluster(entry.id)
            if cluster.chip == chip.id:
                return cluster
    return None


def network_rate(text: str, per_node: int) -> float | None:
    """Bytes/s of a chip into the network: `400 Gb/s a GPU`, `16x100 Gb/s a node`; None if not stated."""
    each = re.search(r"(\d+) Gb/s[^;,]* a GPU", text)
    if each:
        return float(each[1]) * 1e9 / 8.0
    whole = re.search(r"(\d+)x(\d+) Gb/s[^;,]* a node", text)
    return float(whole[1]) * float(whole[2]) * 1e9 / 8.0 / per_node if whole else None
