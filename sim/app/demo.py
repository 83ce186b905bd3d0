"""The whole tour."""

from __future__ import annotations

from .command import command
from .output import Call


@command()
def demo(call: Call) -> None:
    """The whole tour."""
