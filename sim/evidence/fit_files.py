"""Calibration files: what a fit found is merged into them, group by group; all else of a file stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..catalog.files import held, read_yaml, write_whole
from ..cost.parameters import TABLES
from .fit import ChipFit, GroupFit
from .groups import family_key
from .joint import Errors

WAIT_S = 30.0  # for another process that is writing the same file


class Made(NamedTuple):
    """What was measured, when and by which command it was fitted."""

    data: str
    date: str
    command: str


class Shelf(NamedTuple):
    """Where files are written (below the folder's devices/calibrations), and those of the catalogue now by name: a new file
    replaces one of another folder, so it holds all that the other held."""

    folder: Path
    known: Mapping[str, Path]


class Entry(NamedTuple):
    """One group of one file, by its full key. blocks: what stands beside the parameters, by name; basis: of a new file; shared:
    of a family, where values that the fit left alone stay, while generations and chips keep nothing but choices."""

    key: str
    parameters: dict[str, float]
    blocks: dict[str, dict[str, Any]]
    basis: str = "extrapolated"
    shared: bool = False


def write_family(shelf: Shelf, family: str, fits: Sequence[GroupFit], made: Made) -> list[Path]:
    """Merge fits over a family into the files of the family, its generations and its chips; returns what was written."""
    files: dict[tuple[str, str], list[Entry]] = {}
    for fit in fits:
        if not fit.refused:
            for subject, entry in _entries(family, fit, made):
                files.setdefault((subject, fit.stack), []).append(entry)
    return [merge(shelf, subject, stack, entries, made) for (subject, stack), entries in sorted(files.items())]


def _entries(family: str, fit: GroupFit, made: Made) -> Iterator[tuple[str, Entry]]:
    """What a fit says of its family, its generations and its chips, by subject."""
    shared: dict[str, dict[str, Any]] = {
        "residuals": fit.residuals[""],
        "ranges": _joined([chip.ranges for chip in fit.chips]),
        "priors": {"generation": fit.priors.generation, "chip": fit.priors.chip} if fit.local else {},
        "fits": _fit(made, fit.rows, fit.left_out["random"]),
    }
    yield family, Entry(fit.key, fit.family, shared, shared=True)
    for generation, values in fit.generations.items():
        yield f"{family}-{generation}", Entry(fit.key, values, {"residuals": fit.residuals.get(generation, {})})
    for chip in fit.chips:
        yield chip.chip, _own(chip, fit.key, made)


def _own(chip: ChipFit, key: str, made: Made) -> Entry:
    """What a fit says of one chip."""
    blocks: dict[str, dict[str, Any]] = {
        "residuals": chip.residuals,
        "ranges": chip.ranges,
        "fits": _fit(made, chip.rows, chip.left_out),
    }
    return Entry(key, chip.values, blocks, "calibrated")


def write_chip(shelf: Shelf, chip: str, fits: Sequence[GroupFit], made: Made) -> list[Path]:
    """Merge fits of a chip into its files, one for each stack; returns what was written."""
    files: dict[str, list[Entry]] = {}
    for fit in fits:
        if not fit.refused:
            files.setdefault(fit.stack, []).append(_own(fit.chips[0], fit.key, made))
    return [merge(shelf, chip, stack, entries, made) for stack, entries in sorted(files.items())]


def merge(shelf: Shelf, subject: str, stack: str, entries: Sequence[Entry], made: Made) -> Path:
    """Put groups into `<subject>--<stack>.yaml`: their values that a fit may change are replaced, other keys stay.

    Raises InputError for a malformed file and for one that another process holds.
    """
    name = f"{subject}--{stack}"
    path = shelf.folder / "devices" / "calibrations" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_name(f".{path.name}.lock"), WAIT_S):
        under = path if path.exists() else shelf.known.get(name)
        document = dict(read_yaml(under).data) if under else _empty(subject, stack, entries[0].basis, made)
        for entry in entries:
            _put(document, entry)
        write_whole(path, text_of(document))
    return path


def _empty(subject: str, stack: str, basis: str, made: Made) -> dict[str, Any]:
    return {
        "id": f"{subject}--{stack}",
        "subject": subject,
        "stack": stack,
        "basis": basis,
        "parameters": {},
        "source": f"robust least squares on {made.data}",
    }


def _put(document: dict[str, Any], entry: Entry) -> None:
    """Replace one group of a file. Parameters of a format stored as it is multiplied stand
    under `kind.dtype`, where they also serve formats without rows; what a chip was measured with, under the full key."""
    choices = {parameter.name for parameter in TABLES[entry.key.partition(".")[0]] if parameter.scope == "choice"}
    wide = family_key(entry.key)
    parameters = dict(document["parameters"])
    before = {**parameters.pop(wide, {}), **parameters.pop(entry.key, {})}
    kept = {name: value for name, value in before.items() if name in choices or entry.shared}
    parameters[wide] = {**kept, **{name: short(value) for name, value in entry.parameters.items()}}
    document["parameters"] = dict(sorted(parameters.items()))
    beside = entry.key if entry.basis == "calibrated" else wide
    for block in ("residuals", "ranges", "priors", "fits"):
        values = {key: value for key, value in document.pop(block, {}).items() if key not in (wide, entry.key)}
        if entry.blocks.get(block):
            values[beside] = {name: _plain(value) for name, value in entry.blocks[block].items()}
        if values:
            document[block] = dict(sorted(values.items()))
    document["source"] = document.pop("source")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return short(value)
    return [short(each, 12) for each in value] if isinstance(value, tuple) else value


def text_of(document: Mapping[str, Any]) -> str:
    """A calibration file: one line for each group."""
    lines = []
    for name, value in document.items():
        if isinstance(value, dict) and value:
            lines.append(f"{name}:\n")
            lines += [f"  {key}: {_flow(inner)}" for key, inner in value.items()]
        else:
            lines.append(f"{name}: {_flow(value)}")
    return "".join(lines)


def _flow(value: Any) -> str:
    """A value on one line."""
    text: str = yaml.safe_dump(
        _listed(value), sort_keys=False, width=10**6, default_flow_style=True, allow_unicode=True
    )
    return text.removesuffix("...\n")


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _fit(made: Made, rows: int, left_out: Errors) -> dict[str, Any]:
    return {**made._asdict(), "rows": rows, "median": left_out.median, "p90": left_out.p90}


def _joined(parts: Sequence[Mapping[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Of each dim from the least to the largest value that any of them held."""
    out: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (low, high) in part.items():
            before = out.get(name, (low, high))
            out[name] = (min(before[0], low), max(before[1], high))
    return out


def short(value: float, digits: int = 4) -> float:
    """Rounded to so many digits; whole numbers as such."""
    number = float(f"{value:.{digits}g}")
    return int(number) if number == int(number) else number
