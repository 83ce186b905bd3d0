"""The table under construction: each emit adds one row for every plan of the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .kernels import DTYPE_IDS, Kernels
from .kinds import KIND_IDS, PART_IDS, PHASE_IDS

BF16 = np.int16(DTYPE_IDS["bf16"])
Value = float | NDArray[np.float64]
Format = np.int16 | NDArray[np.int16]


class Rows:
    """Collects rows for n plans; `site` and `phase` stand for what is emitted next."""

    def __init__(self, n: int, phase: str) -> None:
        self.n = n
        self.phase = PHASE_IDS[phase]
        self.site = 0
        self._ids: list[tuple[int, int, int, int]] = []
        self._formats: list[tuple[Format, Format]] = []
        self._dims: list[tuple[int, Value]] = []
        self._counts: list[Value] = []

    def emit(
        self,
        kind: str,
        part: str,
        dims: Sequence[Value],
        *,
        count: Value = 1.0,
        dtype: Format = BF16,
        stored: Format | None = None,
    ) -> None:
        """One row a plan; dims in the order of the kind's declaration; a count of 0 leaves a plan's row out."""
        row = len(self._ids)
        self._ids.append((KIND_IDS[kind], PART_IDS[part], self.phase, self.site))
        self._formats.append((dtype, dtype if stored is None else stored))
        self._counts.append(count)
        for column, value in enumerate(dims):
            self._dims.append((row * 8 + column, value))

    def table(self) -> Kernels:
        """Everything emitted, rows with a count of 0 left out; sorted by emission, then plan."""
        rows = len(self._ids)
        dims = np.zeros((rows, 8, self.n))
        flat = dims.reshape(rows * 8, self.n)
        for place, value in self._dims:
            flat[place] = value
        counts = np.empty((rows, self.n))
        formats = np.empty((2, rows, self.n), dtype=np.int16)
        for row, (count, (dtype, stored)) in enumerate(zip(self._counts, self._formats, strict=True)):
            counts[row] = count
            formats[0, row] = dtype
            formats[1, row] = stored
        ids = np.array(self._ids, dtype=np.int16).reshape(rows, 4)
        keep = np.flatnonzero(counts.reshape(-1) > 0)
        op, owner = np.divmod(keep, self.n) if self.n else (keep, keep)
        return Kernels(
            kind=ids[op, 0],
            dtype=formats[0].reshape(-1)[keep],
            stored=formats[1].reshape(-1)[keep],
            dims=np.ascontiguousarray(dims.transpose(0, 2, 1).reshape(-1, 8)[keep]),
            count=counts.reshape(-1)[keep],
            part=ids[op, 1],
            phase=ids[op, 2],
            stage=np.full(len(keep), -1, dtype=np.int32),
            owner=owner.astype(np.int32),
            site=ids[op, 3],
        )
