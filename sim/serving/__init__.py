"""Serving: physics (lowering, cost) and time (SimPy) joined. `pack` prices a replica, `simulate` serves, `metrics` sums up."""

from .fleet import Fleet
from .limits import Limits
from .metrics import Metrics, metrics
from .pack import Pack, pack
from .run import Served, simulate
from .schedulers import Batch, Sequence

__all__ = ["Batch", "Fleet", "Limits", "Metrics", "Pack", "Sequence", "Served", "metrics", "pack", "simulate"]
