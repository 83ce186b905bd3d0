"""An integer program, column by column and row by row, solved to a gap of zero (`scipy.optimize.milp`, HiGHS)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Infeasible, InputError

FloatArray = NDArray[np.float64]
Terms = dict[int, float]
TIME_LIMIT_S = 300.0


@dataclass
class Program:
    """Columns and rows of an integer program. Rows carry the name of the limit that they belong to."""

    cost: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    rows: list[tuple[Terms, float, float]] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    def column(self, cost: float = 0.0, whole: bool = False, upper: float = np.inf) -> int:
        """A variable from 0 to `upper`."""
        self.cost.append(cost)
        self.whole.append(int(whole))
        self.upper.append(upper)
        return len(self.cost) - 1

    def row(self, terms: Terms, low: float, high: float, limit: str) -> None:
        """low <= terms <= high."""
        self.rows.append((terms, low, high))
        self.limits.append(limit)

    def solve(self, gap: float = 0.0, whole: bool = True) -> FloatArray | None:
        """The optimum, proven to a relative gap; None if there is none. whole False: of the continuous relaxation.

        Raises Infeasible if the time limit passes before it is proven."""
        optimize, sparse = _scipy()
        data, at, starts = [], [], [0]
        for terms, _, _ in self.rows:
            at += list(terms)
            data += list(terms.values())
            starts.append(len(at))
        matrix = sparse.csr_array((data, at, starts), shape=(len(self.rows), len(self.cost)))
        bounds = optimize.LinearConstraint(matrix, [row[1] for row in self.rows], [row[2] for row in self.rows])
        options = {"mip_rel_gap": gap, "time_limit": TIME_LIMIT_S}
        with _silence():
            found = optimize.milp(
                self.cost,
                integrality=self.whole if whole else None,
                bounds=optimize.Bounds(0.0, self.upper),
                constraints=bounds,
                options=options,
            )
        if found.status == 1:
            raise Infeasible(
                f"capacity: no proven optimum within {TIME_LIMIT_S:.0f} s. Use fewer offers, regions or quarters."
            )
        return None if found.x is None else np.asarray(found.x, dtype=np.float64)


def _scipy() -> tuple[Any, Any]:
    """scipy.optimize and scipy.sparse. Raises InputError if SciPy is not installed."""
    try:
        return import_module("scipy.optimize"), import_module("scipy.sparse")
    except ModuleNotFoundError:
        raise InputError(
            "capacity: a fleet plan needs SciPy. Install the extra: pip install 'gambrel[capacity]'."
        ) from None


@contextmanager
def _silence() -> Iterator[None]:
    """HiGHS prints some of its doubts to file descriptor 1, where --json writes."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
