"""What a campaign is made of: its length, what strikes it, when it saves, how long it takes to come back."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..catalog.campaigns import Campaign
from ..catalog.clusters import Cluster
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..lowering.parameters import mtp_parameters, parameters
from .campaign_rates import Source, interruptions_per_s, sources, young_s

BYTES_PER_PARAMETER = 14.0  # weights in bf16, master copy and two moments in fp32
# 2.3 TB in 40 s from 384 processes: BLOOM-176B (https://github.com/stas00/ml-engineering, training/fault-tolerance)
STORAGE_BYTES_PER_S_PER_CHIP = 0.15e9
# Median of automatic retries on 504 B200: 11 minutes (https://arxiv.org/abs/2605.09370)
AUTOMATIC_RESTART_S = 660.0
# OPT-175B: 41% of 7.5 h between interruptions (https://glennklockwood.com/garden/job-reliability)
BY_HAND_RESTART_S = 3.1 * 3600.0
HOST_BYTES_PER_S = 25e9  # where a chip's file does not say


class Setup(NamedTuple):
    """A campaign ready to run. total_s: undisturbed training; interval_s of training between checkpoints, each of which stops it
    for pause_s and is safe after safe_s; write_s: one checkpoint to storage; relaunch_s: restart, load and compilation;
    replicas: data-parallel ranks, of which a node holds `replicas_per_node`."""

    total_s: float
    sources: tuple[Source, ...]
    interval_s: float
    pause_s: float
    safe_s: float
    write_s: float
    relaunch_s: float
    options: Campaign
    replicas: int = 1
    replicas_per_node: float = 1.0

    @property
    def bounded(self) -> bool:
        """Does the job ever lack a node?"""
        return self.options.spares is not None or self.options.preempt_mtbf_s is not None

    def share_without(self, nodes: int) -> float:
        """Speed of the job without so many nodes: whole data-parallel ranks stop if it is elastic, else all do."""
        if nodes == 0:
            return 1.0
        if not self.options.elastic:
            return 0.0
        return max(0.0, self.replicas - math.ceil(nodes * self.replicas_per_node)) / self.replicas


def setup(options: Campaign, model: Model, plan: Plan, target: Target, length: tuple[int, float]) -> Setup:
    """The campaign of a plan over (steps, seconds a step). Raises InputError where nobody states failure rates."""
    steps, step_s = length
    total_s = steps * step_s
    ranks = plan.tp * plan.pp * plan.cp * (plan.dp or 1)
    devices = max(1, ranks // target.chip.ranks)
    found = sources(options, target.cluster, devices)
    size = options.checkpoint_bytes or BYTES_PER_PARAMETER * (parameters(model) + mtp_parameters(model))
    write_s = size / (options.storage_bytes_per_s or STORAGE_BYTES_PER_S_PER_CHIP * devices)
    host = target.chip.host
    copy_s = size / devices / ((host.bandwidth_bytes_per_s if host else None) or HOST_BYTES_PER_S)
    sync = options.checkpoint_mode == "sync"
    pause_s = write_s if sync else min(copy_s, write_s)
    chips_per_replica = devices / (plan.dp or 1)
    return Setup(
        total_s=total_s,
        sources=found,
        interval_s=whole_steps(interval_s(options, found, pause_s, write_s, total_s), step_s),
        pause_s=pause_s,
        safe_s=write_s,
        write_s=write_s,
        relaunch_s=_restart_s(options, target.cluster) + write_s + options.compile_s,
        options=options,
        replicas=plan.dp or 1,
        replicas_per_node=target.cluster.chips_per_node / chips_per_replica,
    )


def _restart_s(options: Campaign, cluster: Cluster) -> float:
    """Until the job is launched again [s]: as given, as the cluster says, else by who does it."""
    if options.restart_delay_s is not None:
        return options.restart_delay_s
    if options.restart == "manual":
        return BY_HAND_RESTART_S
    known = cluster.reliability.mttr_s if cluster.reliability is not None else None
    return AUTOMATIC_RESTART_S if known is None else known


def whole_steps(seconds: float, step_s: float) -> float:
    """Checkpoints stand between steps: at least one step apart."""
    return max(1.0, math.ceil(seconds / step_s - 1e-9)) * step_s


def interval_s(options: Campaign, found: tuple[Source, ...], pause_s: float, write_s: float, total_s: float) -> float:
    """Training between checkpoints [s]: as given, else Young's optimum; never less than one takes to write."""
    rate = interruptions_per_s(found)
    if options.checkpoint_interval_s != "auto":
        wanted = options.checkpoint_interval_s
    else:
        wanted = young_s(pause_s, 1.0 / rate) if rate > 0 else total_s
    return max(wanted, write_s, 1e-3)
