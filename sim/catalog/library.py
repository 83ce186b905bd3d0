"""Where catalogue entries are found: --catalog, GAMBREL_CATALOG, ./devices and ./workloads, the package; first one wins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from ..errors import InputError, did_you_mean
from .calibrations import Calibration, Stack
from .chips import Chip, Family, Port
from .clusters import Cluster, HostMachine, Pool, Tier
from .files import read_text
from .models import Model
from .records import Record, read
from .sites import Site

R = TypeVar("R", bound=Record)
FOLDERS = {
    "chip": "devices/chips",
    "cluster": "devices/clusters",
    "family": "devices/families",
    "stack": "devices/stacks",
    "calibration": "devices/calibrations",
    "site": "devices/sites",
    "model": "workloads/models",
    "scenario": "workloads/scenarios",
    "claim": "workloads/claims",
    "law": "workloads/laws",
    "sweep": "workloads/sweeps",
}
_ALIASES = re.compile(r"^aliases:\s*\[(?P<inline>[^\]]*)\]|^aliases:\s*\n(?P<listed>(?:\s*- .*\n)*)", re.MULTILINE)


class Entry(NamedTuple):
    """One file of the catalogue and where it came from."""

    id: str
    path: Path
    origin: str
    names: tuple[str, ...]


def normal(name: str) -> str:
    """Ids are kebab-case; `_`, `-`, blanks and case are equal on look-up."""
    return re.sub(r"[\s_/]+", "-", name.strip().lower())


def package_root() -> Path:
    """The repository in a checkout or editable install, else the data inside the wheel."""
    here = Path(__file__).resolve().parent.parent
    checkout = here.parent
    return checkout if (checkout / "devices" / "chips").is_dir() else here / "_data"


class Library:
    """The catalogue as one user sees it."""

    def __init__(self, catalog: Path | None = None) -> None:
        roots: list[tuple[Path, str]] = []
        if catalog is not None:
            if not catalog.is_dir():
                raise InputError(
                    f"--catalog {catalog}: no such folder. Give a folder that holds devices/ or workloads/."
                )
            roots.append((catalog, "--catalog"))
        if os.environ.get("GAMBREL_CATALOG"):
            roots.append((Path(os.environ["GAMBREL_CATALOG"]), "GAMBREL_CATALOG"))
        roots += [(Path.cwd(), "this folder"), (package_root(), "package")]
        seen: set[Path] = set()
        self.roots: list[tuple[Path, str]] = []
        for root, origin in roots:
            if (resolved := root.resolve()) not in seen:
                seen.add(resolved)
                self.roots.append((resolved, "package" if resolved == package_root() else origin))
        self._index: dict[str, dict[str, Entry]] = {}
        self._read: dict[Path, Record] = {}
        self.facts: dict[tuple[str | None, ...], dict[str, dict[str, Any]]] = {}  # see facts.py; read once

    def entries(self, kind: str) -> list[Entry]:
        """Every entry of a kind, by id; raises InputError for an id or alias that two files of one folder claim."""
        return sorted({entry.id: entry for entry in self._names(kind).values()}.values())

    def find(self, kind: str, name: str) -> Entry:
        """The entry of an id or alias; InputError with the nearest names if there is none."""
        names = self._names(kind)
        entry = names.get(normal(name))
        if entry is None:
            raise InputError(f"{kind} {name!r} is not in the catalogue. {_remedy(kind, name, names)}")
        return entry

    def _names(self, kind: str) -> dict[str, Entry]:
        if kind not in self._index:
            names: dict[str, Entry] = {}
            for root, origin in self.roots:
                own = {entry.id: entry for entry in names.values()}
                found = _names_in(root / FOLDERS[kind], origin)
                # an entry that an earlier folder replaces lends its aliases to the one that replaces it
                names = {**{name: own.get(entry.id, entry) for name, entry in found.items()}, **names}
            self._index[kind] = names
        return self._index[kind]

    def _get(self, record: type[R], kind: str, name: str) -> R:
        path = Path(name) if name.endswith((".yaml", ".yml")) else self.find(kind, name).path
        if path not in self._read:
            value = read(record, path)
            own = getattr(value, "id", path.stem)
            if not name.endswith((".yaml", ".yml")) and own != path.stem:
                raise InputError(f"{path}: id = {own!r} differs from the file's name. Call the file {own}.yaml.")
            self._read[path] = value
        return cast(R, self._read[path])

    def chip(self, name: str) -> Chip:
        return self._get(Chip, "chip", name)

    def family(self, name: str) -> Family:
        return self._get(Family, "family", name)

    def stack(self, name: str) -> Stack:
        return self._get(Stack, "stack", name)

    def cluster(self, name: str) -> Cluster:
        """A cluster by id or alias, or the one that a chip's own ports make."""
        if not name.endswith((".yaml", ".yml")) and normal(name) not in self._names("cluster"):
            if normal(name) in self._names("chip"):
                chip = self.chip(name)  # under any of its names: the system that has the chip's id as an alias
                return self.cluster(chip.id) if chip.id in self._names("cluster") else cluster_of(chip)
            known = {*self._names("cluster"), *self._names("chip")}
            raise InputError(f"cluster {name!r} is not in the catalogue. {_remedy('cluster', name, known)}")
        return self._get(Cluster, "cluster", name)

    def model(self, name: str) -> Model:
        """A model by id or alias, a YAML file, or a Hugging Face config.json (or the folder that holds it)."""
        path = Path(name)
        if path.suffix == ".json" or _has_config(path):
            from .huggingface import read_config

            return read_config(path if path.suffix == ".json" else path / "config.json")
        return self._get(Model, "model", name)

    def calibration(self, chip: Chip, stack: Stack, level: str = "fitted") -> Calibration:
        """The family's parameters overridden by its generation's and the chip's, under this stack or the one its kernels
        come from.

        `bases` holds the basis of a chip's own file for the kinds that it names; the family's holds for all others.
        level: `fitted`; `family` leaves the chip's own fits out, `shared` those of its generation too, `datasheet` also those
        of every stack. Factors of the user's site come with `fitted`.
        """
        merged: Calibration | None = None
        for subject, key in self.calibration_files(chip, stack, level):
            found = self._get(Calibration, "calibration", key)
            if subject == chip.family:
                found = found.with_(residuals=_of_another_generation(found))
            merged = found if merged is None else _over(merged, found, own=subject == chip.id)
        if merged is None:
            raise InputError(
                f"devices/calibrations: none for family {chip.family!r}. Add {chip.family}--any.yaml there."
            )
        site = self.site(chip.id, stack.id) if level == "fitted" else None
        return merged if site is None else merged.with_(site=site)

    def calibration_named(self, name: str) -> Calibration:
        """One file of calibrations, laid over nothing."""
        return self._get(Calibration, "calibration", name)

    def site(self, chip: str, stack: str) -> Site | None:
        """The factors that runs of a chip under a stack were found to take at the user's site; None where there are none."""
        name = f"{chip}--{stack}"
        return self._get(Site, "site", name) if normal(name) in self._names("site") else None

    def calibration_files(self, chip: Chip, stack: Stack, level: str = "fitted") -> list[tuple[str, str]]:
        """(subject, id) of the calibrations that are laid over each other, the last one on top."""
        like = self.family(chip.family).like.get(chip.generation, chip.generation)
        shared = (chip.family, f"{chip.family}-{like}")
        subjects = {"fitted": (*shared, chip.id), "family": shared}.get(level, (chip.family,))
        stacks = ("any",) if level == "datasheet" else ("any", stack.kernels_from, stack.id)
        known = {entry.id for entry in self.entries("calibration")}
        # what a stack says of the family holds against what others say of a chip
        pairs = [(subject, normal(f"{subject}--{name}")) for name in stacks if name is not None for subject in subjects]
        return [(subject, key) for subject, key in pairs if key in known]


# a generation left out of a fit of three: four fifths of its rows then lie inside. Were all spread between generations, Student's
# t of two degrees of freedom would ask for 1.7, were none 1
FEW_GENERATIONS = 1.5
_LISTED_BY = {"chip": "devices", "model": "models", "cluster": "clusters"}


def _remedy(kind: str, name: str, known: Iterable[str]) -> str:
    """The nearest names, else where they are listed."""
    listed = _LISTED_BY.get(kind)
    return did_you_mean(normal(name), known) or (
        f"`gambrel {listed}` lists them." if listed else f"See {FOLDERS[kind]}/."
    )


def _of_another_generation(shared: Calibration) -> dict[str, dict[str, float]]:
    """Residuals of a family's file for a chip of a generation without rows: those that a fit of generations told (groups with
    priors) are of two or three generations, and the next one differs by more than these do among themselves."""
    return {
        key: {name: FEW_GENERATIONS * value for name, value in values.items()} if key in shared.priors else dict(values)
        for key, values in shared.residuals.items()
    }


def _over(under: Calibration, over: Calibration, own: bool) -> Calibration:
    parameters = {kind: dict(values) for kind, values in under.parameters.items()}
    for kind, values in over.parameters.items():
        parameters[kind] = {**parameters.get(kind, {}), **values}
    return over.with_(
        parameters=parameters,
        residuals={**under.residuals, **over.residuals},
        ranges={**under.ranges, **over.ranges},
        priors={**under.priors, **over.priors},
        fits={**under.fits, **over.fits},
        basis=under.basis,
        bases={**under.bases, **dict.fromkeys(over.fits or over.parameters, over.basis)} if own else under.bases,
    )


def _names_in(folder: Path, origin: str) -> dict[str, Entry]:
    names: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.yaml")):
        match = _ALIASES.search(read_text(path))
        listed = (match["inline"] or match["listed"] or "") if match else ""
        aliases = [part.strip(" -\"'") for part in re.split(r"[,\n]", listed) if part.strip(" -\"'")]
        entry = Entry(path.stem, path, origin, (path.stem, *aliases))
        for name in {normal(each) for each in entry.names}:
            if name in names:
                raise InputError(f"{path}: {name!r} already names {names[name].path}. Remove one of the two.")
            names[name] = entry
    return names


def _has_config(path: Path) -> bool:
    """Is it a folder with a config.json? A name that no file can have is none."""
    return os.path.isdir(path) and os.path.exists(path / "config.json")


def cluster_of(chip: Chip) -> Cluster:
    """The cluster that a chip's own ports make: a scale-up domain, a server over PCIe, a network. No port: one chip alone."""
    tiers: list[Tier] = []
    reach = 1
    for name, port in (("scale-up", chip.scale_up), ("host", chip.host)):
        if port is not None and port.bandwidth_bytes_per_s and port.domain > reach:
            reach = port.domain
            tiers.append(_tier(name, port, port.bandwidth_bytes_per_s, reach))
    if chip.scale_out is not None and chip.scale_out.bandwidth_bytes_per_s:
        tiers.append(_tier("scale-out", chip.scale_out, chip.scale_out.bandwidth_bytes_per_s, None))
    if not tiers:
        port = Port(kind="host", source="no port is published")
        tiers.append(_tier("chip", port, chip.memory.bandwidth_bytes_per_s, 1))
    return Cluster(
        id=chip.id,
        name=f"{chip.name}, by its own ports",
        pools=(Pool(chip=chip.id, chips_per_node=min(reach, 16)),),
        tiers=tuple(tiers),
        host=HostMachine(),
        server_w=chip.power.server_w,
        sources=chip.sources,
    )


def _tier(name: str, port: Port, bandwidth_bytes_per_s: float, size: int | None) -> Tier:
    return Tier(
        name=name,
        kind=port.kind,
        size=size,
        bandwidth_bytes_per_s=bandwidth_bytes_per_s,
        latency_s=port.latency_s,
        reduces=port.reduces,
    )


@lru_cache(maxsize=1)
def default_library() -> Library:
    """The library without --catalog, read once a process."""
    return Library()
