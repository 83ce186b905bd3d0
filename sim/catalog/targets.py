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
from .models import Model
from .record_changes import rewritten
from .scenarios import Group


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


def adjusted(found: Target, group: Group) -> Target:
    """The target as a group changes it: values of the chip and the cluster, a power cap below the chip's own limit [W].

    Raises InputError for a value that a chip or cluster does not have.
    """
    chip = changed(found.chip, group.chip_changes)
    if group.power_cap_w is not None:
        chip = chip.with_(power=chip.power.with_(cap_w=group.power_cap_w))
    return found._replace(chip=chip, cluster=rewritten(found.cluster, group.cluster_changes, "cluster"))


def modified(model: Model, group: Group) -> Model:
    """The model as a group changes it; its published size no longer checks it then."""
    if not group.model_changes:
        return model
    return rewritten(model.with_(published_parameters=None), group.model_changes, "model")


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
