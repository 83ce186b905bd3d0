"""A deployment -> pools: prices, KV that travels, ports, start-up, failures and scaling of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import cost
from ..catalog.operations import Operations, replica_mtbf_s
from ..catalog.plans import Plan
from ..catalog.traffic import Requests
from ..errors import InputError
from ..lowering.footprint import serving_footprint
from ..lowering.kernels import Kernels
from .pack import Pack, pack_of
from .pools import Pool, Scaling
from .settings import as_served
from .setup import Deployment, Setup
from .state import FloatArray

# 2.3 TB in 40 s from 384 processes: BLOOM-176B (https://github.com/stas00/ml-engineering, training/fault-tolerance)
STORAGE_BYTES_PER_S_PER_CHIP = 0.15e9
# Median of automatic retries on 504 B200: 11 minutes (https://arxiv.org/abs/2605.09370)
REPAIR_S = 660.0


def packed(setup: Setup, asked: Requests) -> tuple[Pack, cost.Machine]:
    """One replica, priced by the cost core."""
    target = setup.target
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)

    def price(rows: Kernels) -> FloatArray:
        return cost.seconds(rows, machine)

    longest = int((asked.input_tokens.astype(np.int64) + asked.output_tokens).max(initial=1))
    return pack_of(setup, price, longest), machine


def pools(deployment: Deployment, asked: Requests, models: Sequence[str]) -> tuple[list[Pool], list[cost.Machine]]:
    """A pool and its machine for each setup. models: ids in the order of the requests' model numbers; empty: only one."""
    options = deployment.operations
    if options.autoscale in ("in_flight", "utilisation") and all(each.most is None for each in deployment.setups):
        raise InputError(
            f"operations.autoscale = {options.autoscale}, but no group has max_replicas. Give --max-replicas."
        )
    out, machines = [], []
    for setup in deployment.setups:
        priced, machine = packed(setup, asked)
        out.append(_pool(setup, priced, deployment, models))
        machines.append(machine)
    return out, machines


def _pool(setup: Setup, priced: Pack, deployment: Deployment, models: Sequence[str]) -> Pool:
    options = deployment.operations
    if models and setup.model.id not in models:
        raise InputError(f"groups: {setup.model.id} serves none of demand.models ({', '.join(models)}). Name it there.")
    plan = as_served(setup.plan, setup.model, setup.target.chip)
    whole = serving_footprint(setup.model, [Plan(dtypes=plan.dtypes)], 0.0)
    rate, latency_s = (0.0, 0.0) if setup.role == "serve" else _port(setup, deployment)
    reliability = setup.target.cluster.reliability
    repair_s = options.repair_s
    if repair_s is None:
        repair_s = REPAIR_S if reliability is None or reliability.mttr_s is None else reliability.mttr_s
    scaled = options.autoscale != "off"
    return Pool(
        priced,
        replicas=setup.replicas,
        role=setup.role,
        model=models.index(setup.model.id) if models else 0,
        start_s=start_s(setup, options) if scaled or options.faults else 0.0,
        mtbf_s=replica_mtbf_s(options, setup.target.cluster, setup.chips),
        repair_s=repair_s,
        scaling=_scaling(setup, options),
        token_bytes=float(whole.kv_per_token[0]),
        state_bytes=float(whole.state[0]),
        port_bytes_per_s=options.kv_link_bytes_per_s or rate or float("inf"),
        port_s=latency_s,
    )


def _port(setup: Setup, deployment: Deployment) -> tuple[float, float]:
    """Bytes a second that all chips of a replica send into the innermost tier that joins all prefill and decode replicas of its
    model, and the latency of a hop there [s]."""
    cluster, family = setup.target.cluster, setup.target.family
    others = [each for each in deployment.setups if each.role != "serve" and each.model.id == setup.model.id]
    chips = sum(each.chips * each.paid_replicas for each in others)
    apart = any(each.target.cluster.id != cluster.id for each in others)
    joins = [tier for tier in cluster.tiers if not apart and tier.size is not None and tier.size >= chips]
    tier = joins[0] if joins else cluster.tiers[-1]
    inner = tier is cluster.tiers[0]
    latency_s = tier.latency_s or (family.scale_up_latency_s if inner else family.scale_out_latency_s)
    return setup.chips * tier.bandwidth_bytes_per_s / tier.oversubscription, latency_s


def start_s(setup: Setup, options: Operations) -> float:
    """From the order of a replica to its first request [s]: as given, or process start and loading of weights."""
    if options.start_up_s is not None:
        return options.start_up_s
    chip = setup.target.chip
    plan = as_served(setup.plan, setup.model, chip)
    weights = float(serving_footprint(setup.model, [plan], 0.0).weights[0]) * chip.ranks  # of a chip
    if options.start == "cold":
        rate = (options.storage_bytes_per_s or STORAGE_BYTES_PER_S_PER_CHIP * setup.chips) / setup.chips
    elif chip.host is None or chip.host.bandwidth_bytes_per_s is None:
        raise InputError(
            f"{chip.id} states no host bandwidth, so that a warm start has no time. Give --start-up, or --start cold."
        )
    else:
        rate = chip.host.bandwidth_bytes_per_s
    return options.process_start_s + weights / rate


def _scaling(setup: Setup, options: Operations) -> Scaling | None:
    if options.autoscale == "off":
        return None
    steps = options.clock_steps()
    if options.autoscale == "schedule":
        if not steps:
            raise InputError("operations.steps is missing. Give --steps 08:00=6,20:00=2 or another --autoscale.")
        most = setup.most or max(count for _, count in steps)
    elif setup.most is None:
        return None
    elif options.target is None:
        raise InputError(f"operations.target is missing. Give --target, for --autoscale {options.autoscale}.")
    else:
        most = setup.most
    if not setup.least <= setup.replicas <= most:
        raise InputError(
            f"replicas = {setup.replicas} at the start, not between {setup.least} and {most}. "
            "Mend --min-replicas, --max-replicas or --replicas."
        )
    return Scaling(
        setup.least,
        most,
        options.autoscale,
        options.target or 1.0,
        steps,
        options.day_starts_s,
        options.check_every_s,
        options.cooldown_s,
    )
