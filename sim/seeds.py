"""Chance comes from named streams, so that adding one process changes no other and two designs meet the same world."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: object) -> np.random.Generator:
    """The random stream of one named process: generator(7, "faults", "node-3"). Equal names give equal streams."""
    digest = hashlib.blake2b(repr((int(seed), *map(str, names))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
