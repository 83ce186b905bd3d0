"""One step as a schedule: for traces, for SimPy, and for tests that hold the two executors against each other."""

from __future__ import annotations

import numpy as np

from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.targets import Target
from ..cost import machine, seconds
from ..engine import Schedule
from ..engine.pipeline_blocks import block_schedule
from ..engine.pipeline_tables import one_f_one_b_schedule
from ..lowering import columns, units
from ..lowering.sharding import Step
from .pricing import _Sums
from .stages import Stages
from .times import executed, times_of


def stage_times(model: Model, plan: Plan, target: Target, seq_len: float) -> Stages:
    """Chunk times of one plan, as `price` places them."""
    c = columns(model, [plan], True)
    packed = machine(target.chip, target.family, target.calibration, target.cluster)
    rows = executed(units(model, c, Step("train", 1.0, seq_len, seq_len)), target)
    return _Sums(model, c, target, times_of(rows, c, seconds(rows, packed), len(model.blocks))).stages()


def step_schedule(model: Model, plan: Plan, target: Target, seq_len: float) -> Schedule:
    """The pipeline of one step: a queue for each stage's compute and for each link between neighbours."""
    times = stage_times(model, plan, target, seq_len)
    work_s, send_s, micro_batches = times.of(0), float(times.send_s[0]), int(times.micro_batches[0])
    if plan.schedule != "1f1b":
        return block_schedule(plan.schedule, micro_batches, work_s, np.full(plan.pp, send_s))
    return one_f_one_b_schedule(plan.pp, micro_batches, plan.virtual_stages, work_s[0], work_s[1] + work_s[2], send_s)
