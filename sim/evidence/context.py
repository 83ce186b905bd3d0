"""What every kind of rows looks up: chips, stacks, clusters, calibrations and models by the labels of measured tables."""

from __future__ import annotations

import re
from typing import Literal

from ..catalog.calibrations import Calibration, Stack
from ..catalog.chips import Chip, Family
from ..catalog.clusters import Cluster
from ..catalog.library import Library, cluster_of, default_library, normal
from ..catalog.models import Model
from ..cost import Machine, machine, seconds
from ..errors import InputError
from ..lowering.kernels import Kernels
from .tables import FloatArray, Skip

Level = Literal["fitted", "family", "shared", "datasheet"]


class Context:
    """A catalogue and how much of its calibrations may be used.

    level: `fitted` = the chip's own fits; `family` = the family's and its generation's; `shared` =
    the family's alone; `datasheet` = those of no stack, as hand-set priors.
    given: calibrations that stand in for the catalogue's, by (chip id, stack id), for scores on what was left out of a fit.
    cluster: what rows ran on that name no device, and the network of rows that name its chip; None: each chip's own ports.
    """

    def __init__(
        self,
        library: Library | None = None,
        level: Level = "fitted",
        given: dict[tuple[str, str], Calibration] | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.library = library or default_library()
        self.level = level
        self.given = given or {}
        self.cluster = cluster
        self._machines: dict[tuple[str, str, str], Machine] = {}
        self._squeezed: dict[str, str] = {}

    def chip(self, label: str) -> Chip:
        """The chip of a label; without one, the chip of the user's cluster. Raises Skip if there is none."""
        if not label and self.cluster is None:
            raise Skip("the file names no device: give --cluster")
        if not label and self.cluster is not None:
            return self.library.chip(self.cluster.chip)
        try:
            return self.library.chip(label)
        except InputError:
            raise Skip(f"no chip {label!r} in the catalogue") from None

    def stack(self, *names: str) -> Stack:
        """The first of these stacks that the catalogue has. Raises Skip if it has none of them."""
        for name in names:
            if name:
                try:
                    return self.library.stack(name)
                except InputError:
                    continue
        raise Skip(f"no stack {next((name for name in names if name), '')!r} in the catalogue")

    def family(self, chip: Chip) -> Family:
        return self.library.family(chip.family)

    def calibration(self, chip: Chip, stack: Stack) -> Calibration:
        """The calibration of a chip under a stack, as deep as `level` allows."""
        found = self.given.get((chip.id, stack.id))
        return found or self.library.calibration(chip, stack, self.level)

    def machine(self, chip: Chip, stack: Stack, cluster: Cluster | None = None) -> Machine:
        """The packed machine, built once for each (chip, stack, cluster)."""
        cluster = cluster or cluster_of(chip)
        key = (chip.id, stack.id, cluster.id)
        if key not in self._machines:
            self._machines[key] = machine(chip, self.family(chip), self.calibration(chip, stack), cluster)
        return self._machines[key]

    def seconds(self, rows: Kernels, packed: Machine) -> FloatArray:
        """Seconds of each row."""
        return seconds(rows, packed)

    def model_named(self, name: str) -> Model | None:
        """A catalogue model by a name as tables spell it: organisation, precision and date suffixes may follow the id."""
        bare = re.sub(r"\(.*?\)", " ", name.rsplit("/", 1)[-1])
        parts = [part for part in normal(bare).split("-") if part]
        known = self._known_models()
        for length in range(len(parts), min(2, len(parts)) - 1, -1):
            found = known.get("".join(parts[:length]))
            if found is not None:
                return self.library.model(found)
        return None

    def _known_models(self) -> dict[str, str]:
        if not self._squeezed:
            for entry in self.library.entries("model"):
                for name in entry.names:
                    self._squeezed.setdefault(normal(name).replace("-", ""), entry.id)
        return self._squeezed
