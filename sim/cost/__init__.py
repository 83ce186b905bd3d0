"""Kernels x Machine -> seconds, joules, intervals. Knows no model, no file, no family name."""

from .core import clock, joules, kernel_s, seconds, seconds_of, seconds_of_rows
from .intervals import basis, beyond, interval, size_classes, sizes
from .machine import BASES, SIZES, Machine, machine
from .power import held_j

__all__ = [
    "BASES",
    "SIZES",
    "Machine",
    "basis",
    "beyond",
    "clock",
    "held_j",
    "interval",
    "joules",
    "kernel_s",
    "machine",
    "seconds",
    "seconds_of",
    "seconds_of_rows",
    "size_classes",
    "sizes",
]
