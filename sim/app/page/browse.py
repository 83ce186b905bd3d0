"""The catalogue as lists and cards: every value with its unit, every source, the file itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from ...catalog.files import read_text
from ...catalog.library import Entry as File
from ...catalog.library import Library, package_root
from ...catalog.records import Record
from ...errors import InputError
from ...units import split_unit, text
from .messages import Accuracy, Card, Entry, ErrorLine, Leaf, Listing

Kind = Literal["chip", "model", "cluster", "stack", "scenario"]
_SOURCES = ("source", "sources", "citation", "url")
Row = dict[str, tuple[str, float | None]]


def listing(library: Library, kind: Kind) -> Listing:
    """Every entry of a kind with its main values."""
    heads, row = _ROWS[kind]
    entries = []
    for file in library.entries(kind):
        cells = row(library, file)
        entries.append(
            Entry(
                id=file.id,
                origin=file.origin,
                cells={key: said for key, (said, _) in cells.items()},
                sort={key: number for key, (_, number) in cells.items() if number is not None},
            )
        )
    numeric = sorted({key for entry in entries for key in entry.sort})
    return Listing(kind=kind, columns=heads, numeric=numeric, entries=entries)


def _plain(value: Any) -> tuple[str, float | None]:
    return ("" if value is None else str(value)), None


def _amount(value: float | None, unit: str) -> tuple[str, float | None]:
    return ("unknown", None) if value is None else (text(value, unit), float(value))


def _chip(library: Library, file: File) -> Row:
    chip = library.chip(file.id)
    link = chip.scale_up.bandwidth_bytes_per_s if chip.scale_up else None
    return {
        "name": _plain(chip.name),
        "family": _plain(chip.family),
        "year": (str(chip.year or ""), float(chip.year or 0)),
        "bf16": _amount(chip.matrix.bf16_flops_per_s, "flops_per_s"),
        "memory": (f"{chip.memory.capacity_bytes / 2**30:,.4g} GiB", float(chip.memory.capacity_bytes)),
        "bandwidth": _amount(chip.memory.bandwidth_bytes_per_s, "bytes_per_s"),
        "link": _amount(link, "bytes_per_s"),
        "power": _amount(chip.power.tdp_w, "w"),
    }


def _model(library: Library, file: File) -> Row:
    from ...lowering.parameters import parameters

    model = library.model(file.id)
    size = float(parameters(model))
    mixers = dict.fromkeys(block.mixer.kind for block in model.blocks if block.mixer is not None)
    ffn = dict.fromkeys(block.ffn.kind for block in model.blocks if block.ffn is not None)
    return {
        "name": _plain(model.name),
        "parameters": (text(size, ""), size),
        "layers": (str(model.layers), float(model.layers)),
        "hidden": (f"{model.hidden:,}", float(model.hidden)),
        "mixer": _plain(" + ".join(mixers)),
        "ffn": _plain(" + ".join(ffn)),
        "dtype": _plain(model.dtype),
    }


def _cluster(library: Library, file: File) -> Row:
    cluster = library.cluster(file.id)
    network = ", ".join(f"{tier.kind}" + (f" {tier.size}" if tier.size else "") for tier in cluster.tiers)
    return {
        "name": _plain(cluster.name),
        "chip": _plain(cluster.chip),
        "node": (str(cluster.chips_per_node), float(cluster.chips_per_node)),
        "network": _plain(network),
        "inner": _amount(cluster.tiers[0].bandwidth_bytes_per_s, "bytes_per_s"),
        "outer": _amount(cluster.tiers[-1].bandwidth_bytes_per_s, "bytes_per_s"),
    }


def _stack(library: Library, file: File) -> Row:
    stack = library.stack(file.id)
    return {
        "version": _plain(stack.version),
        "role": _plain(stack.role),
        "kernels": _plain(stack.kernels_from or stack.id),
    }


def _scenario(library: Library, file: File) -> Row:
    from ...catalog.scenarios import read_scenario

    scenario = read_scenario(file.path)
    group = scenario.groups[0]
    return {"role": _plain(group.role), "model": _plain(group.model), "cluster": _plain(group.cluster)}


_ROWS: dict[Kind, tuple[dict[str, str], Callable[[Library, File], Row]]] = {
    "chip": (
        {
            "name": "name", "family": "family", "year": "year", "bf16": "bf16 dense", "memory": "memory",
            "bandwidth": "memory bandwidth", "link": "scale-up link", "power": "TDP",
        },
        _chip,
    ),
    "model": (
        {
            "name": "name", "parameters": "parameters", "layers": "layers", "hidden": "hidden", "mixer": "mixer",
            "ffn": "ffn", "dtype": "stored as",
        },
        _model,
    ),
    "cluster": (
        {
            "name": "name", "chip": "chip", "node": "chips a node", "network": "network", "inner": "inner link",
            "outer": "outer link",
        },
        _cluster,
    ),
    "stack": ({"version": "version", "role": "for", "kernels": "kernels fitted from"}, _stack),
    "scenario": ({"role": "for", "model": "model", "cluster": "cluster"}, _scenario),
}  # fmt: skip


def card(library: Library, kind: Kind, name: str) -> Card:
    """One entry. Raises InputError with the nearest names if there is none."""
    file = library.find(kind, name)
    record = _record(library, kind, file)
    values = record.model_dump(mode="json", exclude_none=True)
    leaves = list(_leaves(values, ""))
    sources = [leaf for leaf in leaves if leaf.key.rsplit(".", 1)[-1] in _SOURCES or ".sources." in f".{leaf.key}."]
    return Card(
        kind=kind,
        id=file.id,
        name=str(values.get("name") or file.id),
        origin=file.origin,
        values=[leaf for leaf in leaves if leaf not in sources and leaf.key not in ("id", "name")],
        sources=sources,
        yaml=read_text(file.path),
        record=values,
    )


def _record(library: Library, kind: Kind, file: File) -> Record:
    from ...catalog.scenarios import read_scenario

    if kind == "scenario":
        return read_scenario(file.path)
    found: Record = getattr(library, kind)(file.id)
    return found


def _leaves(value: Any, path: str) -> Iterable[Leaf]:
    """Dotted key and text of everything inside; short lists of plain values stay whole, sources are split."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and (path.endswith("sources") or any(isinstance(each, dict | list) for each in value)):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}.{index}")
    elif value not in ([], {}):
        yield Leaf(key=path, text=_said(path.rsplit(".", 1)[-1], value))


def _said(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    split = split_unit(key)
    if split is None or isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value / 2**30:,.4g} GiB" if key == "capacity_bytes" else text(float(value), split[1])


def accuracy() -> Accuracy:
    """The errors that ship with this version. Raises InputError if its file is not there."""
    path = package_root() / "docs" / "accuracy.json"
    if not path.is_file():
        raise InputError(f"{path}: not there. Install Gambrel again.")
    errors = json.loads(read_text(path))["errors"]
    lines = []
    for name, values in errors.items():
        table, _, metric = name.partition(": ")
        lines.append(
            ErrorLine(
                table=table.replace("_", " "), metric=metric.replace("_", " "), group=_group(table),
                n=int(values["n"]), median=values["median"], p90=values["p90"],
            )
        )  # fmt: skip
    return Accuracy(lines=lines, chart=_chart(lines))


_GROUPS = {
    "training": "training",
    "serving": "serving",
    "inference": "inference",
    "power": "power",
    "collectives": "networks",
    "operators": "operators' figures",
    "campaigns": "campaigns",
}


def _group(table: str) -> str:
    return _GROUPS.get(table.partition("_")[0], "kernels")


_SHORT = {
    ": time us": "",
    "tokens per s per chip": "tokens/s/chip",
    "inference neuron: ": "neuron: ",
    "collectives multinode": "networks",
    "energy j per token": "J per token",
    "measured power w": "W",
}


def _chart(lines: Iterable[ErrorLine]) -> dict[str, Any]:
    """Median and 90th percentile of the errors, a row for each table; parts of a table that is there already are left to the
    numbers, and a percentile beyond 100% has no mark."""
    from ...report.charts_rows import errors

    shown: dict[str, tuple[float, float]] = {}
    for line in lines:
        name = f"{line.table}: {line.metric}"
        if "time us, " not in name:
            for long, short in _SHORT.items():
                name = name.replace(long, short)
            shown[name] = (line.median, line.p90 if line.p90 <= 1.0 else math.nan)
    return errors(shown)
