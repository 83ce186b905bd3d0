"""What serves: the subject of a serving answer."""

from __future__ import annotations

from dataclasses import dataclass

from ..catalog.models import Model
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target


@dataclass(frozen=True)
class Setup:
    """What serves: equal replicas of one plan behind a router."""

    model: Model
    plan: Plan
    target: Target
    engine: Engine
    replicas: int = 1
    router: str = "round_robin"
