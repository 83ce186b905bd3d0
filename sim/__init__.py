"""Gambrel: how fast, how costly and how reliable a transformer runs on a cluster that you do not have.

The verbs (`sim.train(...)`, `sim.serve(...)`, ...) are loaded on first use, so that importing the package is cheap.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    from importlib import import_module
    from importlib.util import find_spec

    if name.startswith("__") or find_spec(f"{__name__}.{name}") is not None:  # `from .. import units` needs no verb
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    api = import_module(".api", __name__)
    try:
        return getattr(api, name)
    except AttributeError:
        raise AttributeError(f"module 'sim' has no attribute {name!r}") from None
