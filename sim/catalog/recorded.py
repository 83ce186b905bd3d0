"""A catalogue of one scenario as a result recorded it: the answer can be made again after the files have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from .calibrations import Calibration, Stack
from .chips import Chip, Family
from .clusters import Cluster
from .library import Library
from .models import Model
from .records import Record
from .scenarios import Scenario

R = TypeVar("R", bound=Record)


class Recorded(Library):
    """The entries that `facts.contents` wrote down, whatever name is asked for; all else comes from the catalogue."""

    def __init__(self, contents: dict[str, Any], catalog: Path | None = None) -> None:
        super().__init__(catalog)
        self.contents = contents
        self.made: dict[str, Record] = {}

    def _record(self, kind: type[R], name: str) -> R:
        if name not in self.contents:
            raise InputError(f"facts.json: {name} is missing. Give the folder as --out wrote it.")
        if name not in self.made:
            self.made[name] = of_plain(kind, self.contents[name], name)
        found = self.made[name]
        assert isinstance(found, kind)
        return found

    def chip(self, name: str) -> Chip:
        return self._record(Chip, "chip")

    def family(self, name: str) -> Family:
        return self._record(Family, "family")

    def stack(self, name: str) -> Stack:
        return self._record(Stack, "stack")

    def cluster(self, name: str) -> Cluster:
        return self._record(Cluster, "cluster")

    def model(self, name: str) -> Model:
        return self._record(Model, "model")

    def calibration(self, chip: Chip, stack: Stack, level: str = "fitted") -> Calibration:
        return self._record(Calibration, "calibration")

    def calibration_files(self, chip: Chip, stack: Stack, level: str = "fitted") -> list[tuple[str, str]]:
        return []


def of_plain(kind: type[R], plain: Any, name: str) -> R:
    """A record from its plain JSON values. Raises InputError for what is none."""
    try:
        return kind.model_validate_json(json.dumps(plain))
    except ValueError as error:
        raise InputError(f"{name}: is not what this version reads: {str(error).splitlines()[-2].strip()}") from None


def scenario_of(plain: Any) -> Scenario:
    """The scenario of a result's JSON. Raises InputError for what is none."""
    return of_plain(Scenario, plain, "scenario")
