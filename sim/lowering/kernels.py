"""Kernels: what must be done, as a table. Knows no chip and no domain size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kinds import KINDS

# fp8_block: fp8 with one scale for each block of values; a stored format, multiplied as fp8
DTYPE_NAMES = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4", "int4", "fp8_block")
DTYPE_IDS = {name: index for index, name in enumerate(DTYPE_NAMES)}
EMBEDDING, HEAD, SEND, STEP = -1, -2, -3, -4
ELEMENT_BYTES = np.array([4.0, 4.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.5, 1.0])


def stored_bytes(ids: NDArray[np.int16]) -> NDArray[np.float64]:
    """Bytes of a stored weight, with the scales of 4-bit groups (one byte for 16 values)."""
    size = ELEMENT_BYTES[ids]
    return np.where(size == 0.5, 0.5625, size)


@dataclass(frozen=True)
class Kernels:
    """n rows. kind, dtype (multiplied in), stored (format of weights or KV): ids; dims[n, 8] as the kind names them;
    count: how often the row runs; part, phase: ids; stage: pipeline stage (-1: not placed yet); owner: which plan of a batch
    it belongs to; site: index of its block of layers, or EMBEDDING, HEAD, SEND (each pass), STEP (once a step)."""

    kind: NDArray[np.int16]
    dtype: NDArray[np.int16]
    stored: NDArray[np.int16]
    dims: NDArray[np.float64]
    count: NDArray[np.float64]
    part: NDArray[np.int16]
    phase: NDArray[np.int16]
    stage: NDArray[np.int32]
    owner: NDArray[np.int32]
    site: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.kind)

    def flops(self) -> NDArray[np.float64]:
        """Compulsory FLOPs of one run of each row [n]."""
        return self._by_kind("flops")

    def bytes(self) -> NDArray[np.float64]:
        """Compulsory bytes of one run of each row [n]."""
        return self._by_kind("bytes")

    def _by_kind(self, formula: str) -> NDArray[np.float64]:
        out = np.zeros(len(self.kind))
        stored, active = ELEMENT_BYTES[self.stored], ELEMENT_BYTES[self.dtype]
        for index, kind in enumerate(KINDS):
            rows = np.flatnonzero(self.kind == index)
            if rows.size:
                out[rows] = getattr(kind, formula)(self.dims[rows], stored[rows], active[rows])
        return out

    def take(self, rows: NDArray[np.intp], **changed: NDArray[np.generic]) -> Kernels:
        """A table of some rows (an index array), with columns replaced."""
        columns = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__}
        return Kernels(**{**columns, **changed})


def concatenate(tables: list[Kernels]) -> Kernels:
    """Tables one below the other."""
    return Kernels(
        **{name: np.concatenate([getattr(t, name) for t in tables]) for name in Kernels.__dataclass_fields__}
    )
