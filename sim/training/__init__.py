"""Training: where physics (lowering, cost) meets time (engine). Names are loaded on first use: `fit` needs no Numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .campaign import Outcome, run
    from .campaign_figures import PlainRun, campaigns, without_faults
    from .pricing import Priced, price
    from .step import step_schedule

__all__ = ["Outcome", "PlainRun", "Priced", "campaigns", "price", "run", "step_schedule", "without_faults"]
_HOMES = {
    "Outcome": "campaign",
    "run": "campaign",
    "PlainRun": "campaign_figures",
    "campaigns": "campaign_figures",
    "without_faults": "campaign_figures",
    "Priced": "pricing",
    "price": "pricing",
    "step_schedule": "step",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
