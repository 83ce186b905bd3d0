"""What a long part of the run came to, kept so that a run can be stopped and gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def cache() -> Path:
    """The folder of what is kept: results, and inputs that broke a reader."""
    path = ROOT / "out" / "reliability"
    path.mkdir(parents=True, exist_ok=True)
    return path


def once(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is kept under a name, else what `make` gives, which is kept if nothing was wrong."""
    path = cache() / f"{name}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    made = {**make(), "date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count()}
    if not made.get("wrong") and not made.get("broken"):
        path.write_text(json.dumps(made), encoding="utf-8")
    return made
