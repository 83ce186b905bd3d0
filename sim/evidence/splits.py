"""What `--leave-out` leaves out: every row gets the label of the refit that does not see it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..lowering.kernels import Kernels
from ..lowering.kinds import KINDS
from ..seeds import generator
from .context import Context
from .joint import FOLDS
from .tables import Skip, Table

Labels = NDArray[np.object_]
NAMES = ("random", "shapes", "model", "source", "device", "generation", "stack", "all")
OF_KERNELS = ("random", "shapes", "device", "generation", "stack")
OF_POWER = ("model", "device")
OF_SERVING = ("random", "model", "device", "stack")
OF_INFERENCE = ("random", "model", "device", "source")
OF_TRAINING = ("random", "source", "device", "model", "all")
_OTHERS = {"power": OF_POWER, "training": OF_TRAINING, "serving": OF_SERVING, "inference": OF_INFERENCE}


def check_split(verb: str, split: str) -> None:
    """Raises InputError for a split that is none, or that has no sense for rows of this verb."""
    known = ", ".join(OF_KERNELS)
    if split not in NAMES:
        raise InputError(f"--leave-out = {split!r}: no such split. For kernels use one of {known}.")
    if verb in _OTHERS:
        if split not in _OTHERS[verb]:
            raise InputError(f"validate {verb} --leave-out {split}: use one of {', '.join(_OTHERS[verb])}.")
        return
    if verb != "kernels":
        raise InputError(
            f"validate {verb} --leave-out {split}: nothing is refitted to {verb} rows; what they use stands in "
            f"devices/stacks. Use `gambrel validate kernels --leave-out` with one of {known}."
        )
    if split not in OF_KERNELS:
        raise InputError(
            f"validate kernels --leave-out {split}: rows of kernels have no {split} that a fit knows. Use one of {known}."
        )


def split_labels(table: Table, kernels: Kernels, split: str, context: Context, seed: int = 0) -> Labels:
    """Label of the refit that leaves a row out, "" for rows that every refit sees [n].

    random: fifths of each device, stack and format; shapes: the largest quarter of each of these by work (bytes, where a kind
    multiplies nothing); device, generation, stack: by name.
    """
    if split == "stack":
        return np.array(table.column("stack"), dtype=object)
    if split in ("device", "generation"):
        return np.array([_of_chip(label, split, context) for label in table.column("device")], dtype=object)
    out = np.full(len(table), "", dtype=object)
    for name, members in _parts(table).items():
        rows = np.array(members, dtype=np.intp)
        if split == "random":
            shuffled = rows[generator(seed, "leave-out", *name).permutation(rows.size)]
            for fold in range(FOLDS):
                out[shuffled[fold::FOLDS]] = f"fifth {fold + 1}"
        else:
            work = _work(kernels)[rows]
            out[rows[np.argsort(work, kind="stable")[rows.size - rows.size // 4 :]]] = "largest quarter"
    return out


def _of_chip(label: str, split: str, context: Context) -> str:
    try:
        chip = context.chip(label)
    except Skip:
        return ""
    return chip.id if split == "device" else chip.generation


def _parts(table: Table) -> dict[tuple[str, ...], list[int]]:
    columns = [table.column(name) for name in ("device", "stack", "dtype", "kv_dtype", "op")]
    out: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(*columns, strict=True)):
        out[key].append(index)
    return out


def _work(kernels: Kernels) -> NDArray[np.float64]:
    collective = np.array([kind.collective for kind in KINDS])[kernels.kind]
    work: NDArray[np.float64] = np.where(collective, kernels.dims[:, 0], kernels.flops())
    return work
