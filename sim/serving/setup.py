"""What serves: the subject of a serving answer."""

from __future__ import annotations

from dataclasses import dataclass

from ..catalog.models import Model
from ..catalog.operations import Operations
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target


@dataclass(frozen=True)
class Setup:
    """Equal replicas of one plan. role: serve, prefill or decode; replicas: at the start; least, most: what autoscaling may
    make of them (None: nothing scales them). draft_model: that of engine.speculative."""

    model: Model
    plan: Plan
    target: Target
    engine: Engine
    replicas: int = 1
    role: str = "serve"
    least: int = 1
    most: int | None = None
    draft_model: Model | None = None

    @property
    def chips(self) -> int:
        """Chips of one replica."""
        plan = self.plan
        return -(-plan.tp * plan.pp * plan.cp * plan.attention_dp // self.target.chip.ranks)

    @property
    def paid_replicas(self) -> int:
        """Replicas that there can be at once."""
        return max(self.replicas, self.most or 0)


@dataclass(frozen=True)
class Deployment:
    """Setups side by side behind routers, and how they are run."""

    setups: tuple[Setup, ...]
    router: str = "round_robin"
    operations: Operations = Operations()  # noqa: RUF009 (frozen)
