"""All-gathers that take as long as the family's values say, for tests of fits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from sim.cost import seconds
from sim.cost.parameters import TABLES, column
from sim.evidence.context import Context
from sim.evidence.fit_files import Made
from sim.evidence.groups import Group, groups_of
from sim.evidence.tables import parse_table

MADE = Made("a test", "2026-11-24", "none")
HEADER = "device,op,num_devices,dtype,elements,time_us,stack\n"


def rows(count: int, chip: str = "h100-sxm") -> str:
    """All-gathers of sizes from launch-bound to large."""
    random = np.random.default_rng(1)
    sizes = (2.0 ** random.uniform(9, 29, count)).astype(int)
    return HEADER + "".join(
        f"{chip},all_gather,{2 ** (1 + i % 3)},half,{size},1,nccl\n" for i, size in enumerate(sizes)
    )


def group(text: str) -> Group:
    """The only group of a table, by the family's values: they take exactly as long as measured."""
    context = Context(level="family")
    found = groups_of([parse_table(text, "t.csv")], lambda chip: True, None, (), context)[0]
    return replace(
        found, members=tuple(m._replace(measured=s) for m, s in zip(found.members, found.current, strict=True))
    )


@cache
def known(count: int) -> Group:
    return group(rows(count))


def slower(given: Group, launch: float, efficiency: float) -> np.ndarray:
    """Times of the same kernels [s] where launches take `launch` times as long and the links are used less."""
    member = given.members[0]
    cells = member.machine.parameters.copy()
    at, table = int(member.kernels.kind[0]), TABLES[given.kind]
    cells[at, ..., column(table, "launch_clocks")] *= launch
    cells[at, ..., column(table, "efficiency")] *= efficiency
    return seconds(member.kernels, member.machine._replace(parameters=cells))


def measured(given: Group, times: np.ndarray) -> Group:
    return replace(given, members=(given.members[0]._replace(measured=times),))
