"""Kernels x Machine -> seconds, joules, intervals. Knows no model, no file, no family name."""

from .core import basis, interval, joules, kernel_s, seconds, seconds_of, seconds_of_rows
from .machine import BASES, Machine, machine

__all__ = [
    "BASES",
    "Machine",
    "basis",
    "interval",
    "joules",
    "kernel_s",
    "machine",
    "seconds",
    "seconds_of",
    "seconds_of_rows",
]
