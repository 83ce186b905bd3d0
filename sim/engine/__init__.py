"""Engine: Schedule -> Timeline. SimPy defines the answer; the compiled executor imitates it. Knows no transformer.

The compiled functions load Numba and so come on first use; the decode leap is `from sim.engine.leap import leap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .actors import Host
from .faults import FaultProcess, Faults, Outage, SlowDown
from .links import Fabric, Link, Transfer, max_min
from .run import run
from .schedule import Schedule
from .timeline import Timeline

if TYPE_CHECKING:
    from .compiled import overlapping, sweep
    from .pipeline_tables import PipelineTimes, one_f_one_b, one_f_one_b_many, one_f_one_b_schedule

__all__ = [
    "Fabric",
    "FaultProcess",
    "Faults",
    "Host",
    "Link",
    "Outage",
    "PipelineTimes",
    "Schedule",
    "SlowDown",
    "Timeline",
    "Transfer",
    "max_min",
    "one_f_one_b",
    "one_f_one_b_many",
    "one_f_one_b_schedule",
    "overlapping",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import compiled, pipeline_tables

    return getattr(compiled if hasattr(compiled, name) else pipeline_tables, name)
