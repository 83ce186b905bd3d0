"""Times of a step's rows by what a stack's factors tell apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.targets import Target
from ..lowering import PART_IDS, PHASE_IDS, Kernels
from ..lowering.kinds import KIND_IDS, KINDS
from ..lowering.recomputation import last_products
from ..lowering.sharding import Columns

FloatArray = NDArray[np.float64]
_COLLECTIVES = np.array([kind.collective for kind in KINDS])
# classes of rows: the factor of a stack that multiplies their time, and what it is where the stack names none
CLASSES = {
    "other": ("", 1.0),
    "tp_traffic": ("tp_passes", 1.0),
    "cp_traffic": ("cp_exposed", 1.0),
    "ep_traffic": ("ep_passes", 1.0),
    "pp_traffic": ("pp_exposed", 1.0),
    "experts": ("experts_passes", 1.0),
    "casts": ("cast_passes", 1.0),
    "gradients": ("gradient_passes", 0.0),
    "vector": ("vector_passes", 1.0),
    "softmax": ("softmax_passes", 1.0),
    "unaligned": ("unaligned_passes", 1.0),
    "optimizer": ("optimizer_passes", 1.0),
}
_AT = {name: index for index, name in enumerate(CLASSES)}
ALIGNED = 8.0  # values of 16 bits that a matrix unit takes at once
SOFTMAX_KERNELS = 5.0  # launches of the softmax of unfused attention, as it is lowered


def executed(rows: Kernels, target: Target) -> Kernels:
    """Rows that a stack runs as kernels of their own: sums of gradients only where it names their passes; the last product of
    a layer that is recomputed not where a compiler drops what nothing reads (`recomputed_outputs: 0`)."""
    factors = target.stack.factors
    runs = np.ones(len(rows), dtype=bool)
    if factors.get("gradient_passes", 0.0) <= 0.0:
        runs &= rows.part != PART_IDS["gradients"]
    if factors.get("recomputed_outputs", 1.0) <= 0.0:
        again = np.flatnonzero(rows.phase == PHASE_IDS["recompute"])
        runs[again[last_products(rows.take(again))]] = False
    return rows if runs.all() else rows.take(np.flatnonzero(runs))


class Times(NamedTuple):
    """Seconds of rows alone, by what a stack's factors tell apart. owner, site (ends follow the blocks), part, direction: where
    `_Sums` puts them; of: index of CLASSES; seconds: all runs of a row; launches. All [rows]."""

    owner: NDArray[np.int64]
    site: NDArray[np.int64]
    part: NDArray[np.int64]
    direction: NDArray[np.int64]
    of: NDArray[np.int64]
    seconds: FloatArray
    launches: FloatArray

    def spent(self, target: Target) -> FloatArray:
        """Seconds under a stack: times alone, times the factor of their class [rows]."""
        return self.seconds * factors_of(target)[self.of]

    def condensed(self) -> Times:
        """Rows that the same factor and place hold, added up."""
        key = (((self.owner * 64 + self.site) * 32 + self.part) * 4 + self.direction) * 32 + self.of
        _, first, which = np.unique(key, return_index=True, return_inverse=True)
        seconds, launches = (
            np.bincount(which, weights=values).astype(np.float64) for values in (self.seconds, self.launches)
        )
        owner, site, part, direction, of = (column[first] for column in self[:5])
        return Times(owner, site, part, direction, of, seconds, launches)


def times_of(rows: Kernels, c: Columns, alone: FloatArray, blocks: int) -> Times:
    """Rows of a batch of plans as times by class; alone: seconds of one run of each row."""
    direction = np.where(rows.phase == PHASE_IDS["weights"], 2, (rows.phase != PHASE_IDS["forward"]) * 1)
    return Times(
        rows.owner.astype(np.int64),
        np.where(rows.site >= 0, rows.site, blocks - 1 - rows.site).astype(np.int64),
        rows.part.astype(np.int64),
        direction.astype(np.int64),
        class_of(rows, c),
        alone * rows.count,
        np.where(_COLLECTIVES[rows.kind], 1.0, rows.count),
    )


def class_of(rows: Kernels, c: Columns) -> NDArray[np.int64]:
    """Index of CLASSES: which factor of a stack multiplies a row's time [rows]."""
    out = np.zeros(len(rows), dtype=np.int64)
    for part in ("tp_traffic", "cp_traffic", "ep_traffic", "pp_traffic", "experts", "casts", "gradients"):
        out[rows.part == PART_IDS[part]] = _AT[part]
    elementwise = (rows.kind == KIND_IDS["memory"]) & (out == 0)
    scores = (rows.part == PART_IDS["attention"]) & ~c.flash[rows.owner]
    out[elementwise] = _AT["vector"]
    out[elementwise & scores & (rows.dims[:, 2] == SOFTMAX_KERNELS)] = _AT["softmax"]
    odd = (rows.dims[:, :3] % ALIGNED != 0.0).any(axis=1)
    out[(rows.kind == KIND_IDS["gemm"]) & scores & odd] = _AT["unaligned"]
    out[rows.kind == KIND_IDS["optimizer"]] = _AT["optimizer"]
    return out


def factors_of(target: Target) -> FloatArray:
    """What a target's stack multiplies each class with [CLASSES]; what it does not name counts in full, but sums of gradients
    count only where it names them."""
    factors = target.stack.factors
    return np.array([factors.get(name, default) for name, default in CLASSES.values()])
