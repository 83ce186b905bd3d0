"""`devices`, `models`, `clusters`, `support`, `schema`: what the catalogue holds, each entry with where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import units
from ..catalog.library import Entry, Library
from ..catalog.records import Record
from ..errors import InputError, did_you_mean
from .command import command, known_names
from .output import Call, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..catalog.chips import Chip
    from ..catalog.models import Model

Row = dict[str, Any]


def _argument(kind: str, text: str) -> Any:
    return typer.Argument(
        metavar=kind.upper(),
        help=text,
        show_default=False,
        autocompletion=lambda incomplete: known_names(kind, incomplete),
    )


@command()
def devices(call: Call, id: Annotated[str | None, _argument("chip", "An id or alias.")] = None) -> None:
    """List chips, or show one."""
    library = call.library()
    if id is not None:
        _show_one(call, library, "chip", id, library.chip(id))
        return

    def row(entry: Entry) -> Row:
        chip = library.chip(entry.id)
        return {
            "id": chip.id,
            "family": chip.family,
            "year": chip.year,
            "bf16_flops_per_s": chip.matrix.bf16_flops_per_s,
            "memory_bytes": chip.memory.capacity_bytes,
            "memory_bytes_per_s": chip.memory.bandwidth_bytes_per_s,
            "scale_up_bytes_per_s": chip.scale_up.bandwidth_bytes_per_s if chip.scale_up else None,
            "tdp_w": chip.power.tdp_w,
            "status": chip.status,
            "origin": entry.origin,
        }

    _list(call, "devices", [row(entry) for entry in library.entries("chip")])


@command()
def models(call: Call, id: Annotated[str | None, _argument("model", "An id, alias, or config.json.")] = None) -> None:
    """List models, or show one."""
    from ..lowering.parameters import parameters

    library = call.library()
    if id is not None:
        _show_one(call, library, "model", id, library.model(id))
        return

    def row(entry: Entry) -> Row:
        model = library.model(entry.id)
        return {
            "id": model.id,
            "layers": model.layers,
            "hidden": model.hidden,
            "vocab": model.vocab,
            "mixers": _kinds(block.mixer for block in model.blocks),
            "ffn": _kinds(block.ffn for block in model.blocks),
            "parameters": parameters(model),
            "dtype": model.dtype,
            "origin": entry.origin,
        }

    _list(call, "models", [row(entry) for entry in library.entries("model")])


@command()
def clusters(call: Call, id: Annotated[str | None, _argument("cluster", "An id, alias or chip.")] = None) -> None:
    """List clusters, or show one."""
    library = call.library()
    if id is not None:
        _show_one(call, library, "cluster", id, library.cluster(id))
        return

    def row(entry: Entry) -> Row:
        cluster = library.cluster(entry.id)
        return {
            "id": cluster.id,
            "chip": cluster.chip,
            "chips_per_node": cluster.chips_per_node,
            "network": ", ".join(f"{tier.kind}" + (f" {tier.size}" if tier.size else "") for tier in cluster.tiers),
            "inner_bytes_per_s": cluster.tiers[0].bandwidth_bytes_per_s,
            "outer_bytes_per_s": cluster.tiers[-1].bandwidth_bytes_per_s,
            "largest": cluster.largest,
            "origin": entry.origin,
        }

    _list(call, "clusters", [row(entry) for entry in library.entries("cluster")])


@command()
def schema(
    call: Call, name: Annotated[str, typer.Argument(metavar="NAME", help="chip, cluster, model, plan, ...")]
) -> None:
    """Print a JSON Schema."""
    document = schema_of(name)
    emit(call, document, json.dumps(document, indent=2))


def schema_of(name: str) -> dict[str, Any]:
    """JSON Schema of a kind of record. Raises InputError with the nearest names."""
    records = _records()
    if name.lower() not in records:
        raise InputError(f"schema {name!r} is not known. {did_you_mean(name, records)}")
    return records[name.lower()].model_json_schema()


def _records() -> dict[str, type[Record]]:
    from ..catalog.calibrations import Calibration, Stack
    from ..catalog.chips import Chip, Family
    from ..catalog.claims import Claim
    from ..catalog.clusters import Cluster
    from ..catalog.fleet_plans import FleetPlan
    from ..catalog.models import Model
    from ..catalog.ownership import Owned
    from ..catalog.plans import Engine, Plan
    from ..catalog.scenarios import Scenario

    kinds: tuple[type[Record], ...] = (
        Chip, Family, Cluster, Stack, Calibration, Model, Plan, Engine, Scenario, Claim, Owned, FleetPlan,
    )  # fmt: skip
    return {kind.__name__.lower(): kind for kind in kinds}


@command()
def support(
    call: Call,
    model: Annotated[str | None, _argument("model", "Adds how many chips its weights need.")] = None,
    chip: Annotated[str | None, _argument("chip", "All chips without it.")] = None,
) -> None:
    """What is answered, at which basis."""
    library = call.library()
    names = [entry.id for entry in library.entries("chip")] if chip is None else [library.chip(chip).id]
    rows = [_supported(library, library.chip(name)) for name in names]
    if model is not None:
        wanted = library.model(model)
        rows = [{**row, **_needed(wanted, library.chip(str(row["chip"])))} for row in rows]
    _list(call, "support", rows)


def _supported(library: Library, chip: Chip) -> Row:
    """Stack and basis of a chip for serving and for training."""
    family = library.family(chip.family)
    row: Row = {"chip": chip.id}
    for verb, name in (("serve", family.default_stack), ("train", family.default_training_stack)):
        stack = library.stack(name)
        row[verb] = f"{stack.id} {stack.version}"
        found = library.calibration(chip, stack)
        own = sum(basis == "calibrated" for basis in found.bases.values())
        row[f"{verb}_basis"] = f"calibrated ({own} kernels), {found.basis}" if own else found.basis
    return row


def _needed(model: Model, chip: Chip) -> Row:
    """How many chips hold the weights."""
    from ..catalog.chips import DTYPE_BYTES
    from ..lowering.parameters import parameters

    stored = parameters(model) * DTYPE_BYTES[model.stored.linear or model.dtype]
    return {
        "weights_bytes": stored,
        "least_chips": -(-int(stored) // int(chip.memory.capacity_bytes)),
    }


def _kinds(parts: Iterable[Any]) -> str:
    return "+".join(dict.fromkeys(part.kind for part in parts if part is not None)) or "none"


def _list(call: Call, name: str, rows: list[Row]) -> None:
    document = {"schema": f"gambrel.{name}/1", name: rows}
    emit(call, document, _table(rows) if rows else f"no {name}", {f"{name}.csv": _csv(rows)})


def _table(rows: list[Row]) -> RenderableType:
    """A list on one screen; where every entry comes from one place, that is said once below it."""
    from ..report.tables import columns

    origins = {row.get("origin") for row in rows}
    keys = [key for key in rows[0] if key != "origin" or len(origins) > 1]
    numeric = {key for key in keys if any(isinstance(row[key], int | float) for row in rows)}
    table = columns(*((">" if key in numeric else "") + _heading(key) for key in keys))
    cells = [[_in_column(key, row[key]) for key in keys] for row in rows]
    for index, column in enumerate(table.columns):
        if index == 0 or keys[index] in numeric:
            column.min_width = max(len(row[index]) for row in cells)
    for row in cells:
        table.add_row(*row)
    counted = "1 entry" if len(rows) == 1 else f"{len(rows)} entries"
    table.caption = counted if keys == list(rows[0]) else f"{counted}, from: {origins.pop()}"
    table.caption_justify = "left"
    return table


# columns of a list that all share one unit: heading, and how many SI units it is
_SHARED: dict[str, tuple[str, float]] = {
    "bf16_flops_per_s": ("bf16 TFLOP/s", 1e12),
    "memory_bytes": ("GiB", 2.0**30),
    "memory_bytes_per_s": ("TB/s", 1e12),
    "scale_up_bytes_per_s": ("link GB/s", 1e9),
    "inner_bytes_per_s": ("inner GB/s", 1e9),
    "outer_bytes_per_s": ("outer GB/s", 1e9),
    "tdp_w": ("W", 1.0),
    "parameters": ("1e9 params", 1e9),
    "weights_bytes": ("weights GiB", 2.0**30),
}


def _heading(key: str) -> str:
    return _SHARED[key][0] if key in _SHARED else key.replace("_", " ")


def _in_column(key: str, value: Any) -> str:
    if key in _SHARED:
        return "?" if value is None else f"{value / _SHARED[key][1]:,.4g}"
    return "" if value is None else str(value)


def _cell(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    split = units.split_unit(key)
    if split is None or not isinstance(value, int | float):
        return str(value)
    if key == "capacity_bytes":
        return f"{value / 2**30:,.4g} GiB"
    return units.text(float(value), split[1])


def _csv(rows: list[Row]) -> str:
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _show_one(call: Call, library: Library, kind: str, name: str, record: Record) -> None:
    """One entry: every value that is set, with its unit, and its sources."""
    values = record.model_dump(mode="json", exclude_none=True)
    document = {"schema": f"gambrel.{kind}/1", **_origin(library, kind, name), kind: values}
    emit(call, document, _card(document, values), {f"{values['id']}.json": json.dumps(values, indent=2) + "\n"})


def _origin(library: Library, kind: str, name: str) -> dict[str, str]:
    try:
        entry = library.find(kind, name)
    except InputError:  # a file of the user's own, or a cluster that a chip's own ports make
        return {"origin": "file" if "." in name else "the chip's own ports"}
    return {"origin": entry.origin, "file": str(entry.path)}


def _card(document: dict[str, Any], values: dict[str, Any]) -> RenderableType:
    from ..report.tables import columns

    table = columns("key", "value")
    table.show_header = False
    for key in ("origin", "file"):
        if key in document:
            table.add_row(key, document[key], style="dim")
    for path, value in _leaves(values, ""):
        key = path.rsplit(".", 1)[-1]
        table.add_row(path, _cell(key, value))
    return table


def _leaves(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    """Dotted key and plain value of everything inside; lists of plain values stay whole."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}.{index}")
    elif value not in ([], {}):
        yield path, value
