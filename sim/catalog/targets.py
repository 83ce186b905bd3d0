"""What a plan runs on: a cluster with its chip, and the software stack with its calibration."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ..errors import Infeasible, InputError
from .calibrations import Calibration, Stack
from .chip_changes import changed
from .chips import Chip, Family
from .clusters import Cluster
from .library import Library


class Target(NamedTuple):
    """Hardware and software of a group."""

    chip: Chip
    family: Family
    cluster: Cluster
    stack: Stack
    calibration: Calibration

    @property
    def software(self) -> str:
        """Stack and version, as it is named beside every figure."""
        return f"{self.stack.id} {self.stack.version}"


def target(library: Library, cluster: str, stack: str | None, role: str) -> Target:
    """Look up a cluster and the stack that serves or trains on it (null: the family's default)."""
    found = library.cluster(cluster)
    chip = library.chip(found.chip)
    family = library.family(chip.family)
    default = family.default_training_stack if role == "train" else family.default_stack
    chosen = library.stack(stack or default)
    wanted = "train" if role == "train" else "serve"
    if chosen.role not in (wanted, "both"):
        raise InputError(
            f"stack {chosen.id} is for {chosen.role}, not for {wanted}. Use {default}, or leave --stack out."
        )
    return Target(chip, family, found, chosen, library.calibration(chip, chosen))


def adjusted(found: Target, power_cap_w: float | None, chip_changes: tuple[str, ...]) -> Target:
    """The target with another chip than the catalogue's: changed values, a power cap below its own limit [W].

    Raises InputError for a value that a chip does not have.
    """
    chip = changed(found.chip, chip_changes)
    if power_cap_w is not None:
        chip = chip.with_(power=chip.power.with_(cap_w=power_cap_w))
    return found._replace(chip=chip)


def check_size(cluster: Cluster, devices: int) -> None:
    """Raises Infeasible if the cluster's largest job, or its outermost tier, is smaller than this."""
    outer = cluster.tiers[-1].size
    limits = [limit for limit in (cluster.largest, outer) if limit is not None]
    if limits and devices > min(limits):
        raise Infeasible(
            f"{cluster.id}: {devices:,} chips do not fit; it joins {min(limits):,} at most. Use fewer --devices."
        )


def fingerprint(*records: object) -> str:
    """A short hash of the facts that an answer was made from."""
    return hashlib.blake2b("\n".join(map(repr, records)).encode(), digest_size=8).hexdigest()
