"""What an answer was made from: id, origin and a hash of the content of every catalogue entry, of the price row, of the traffic."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InputError, UnknownFigure
from .library import Library
from .models import Model
from .prices import price_of
from .scenarios import Group, Scenario, Traffic
from .targets import Target, fingerprint, target

_NO_FIGURES = ("studies", "evidence", "report", "app", "_data")  # rooms that no figure depends on


@cache
def code() -> str:
    """A hash of the sources that figures come out of."""
    root = Path(__file__).resolve().parent.parent
    paths = sorted(path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in _NO_FIGURES)
    return hashlib.blake2b(b"".join(path.read_bytes() for path in paths), digest_size=8).hexdigest()


@cache
def software() -> dict[str, str]:
    """Versions of what computes: the last bits may depend on them."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "numba")}}


def looked_up(library: Library, scenario: Scenario) -> tuple[Model, Target]:
    """Model and target of the first group as the catalogue has them, before the scenario's changes."""
    group = scenario.groups[0]
    return library.model(group.model), target(library, group.cluster, group.stack, group.role)


def facts(library: Library, scenario: Scenario) -> dict[str, dict[str, Any]]:
    """By kind of fact: its id, where it came from, and a hash of what it says; calibrations name the files laid over each other."""
    found: dict[str, dict[str, Any]] = {}
    for number, group in enumerate(scenario.groups):
        key = (group.model, group.cluster, group.stack, group.role, scenario.economy.term)
        if key not in library.facts:
            library.facts[key] = _facts(library, scenario.model_copy(update={"groups": (group,)}))
        head = f"groups.{number}." if number else ""
        found.update({head + kind: fact for kind, fact in library.facts[key].items()})
        draft = _draft(group)
        if draft is not None:
            model = library.model(draft)
            found[f"{head}draft model"] = {
                "id": model.id,
                **_origin(library, "model", model.id),
                "hash": fingerprint(model),
            }
        if scenario.economy.usd_per_device_hour is not None:
            found.pop(f"{head}price", None)
    if isinstance(scenario.demand, Traffic):
        for name in ("trace", "generator"):
            given = getattr(scenario.demand, name)
            if given is not None and (path := _file(library, given)) is not None:
                found[name] = {"id": given, "hash": _file_hash(path)}
    return found


def _facts(library: Library, scenario: Scenario) -> dict[str, dict[str, Any]]:
    model, found = looked_up(library, scenario)
    records = {"model": model, **found._asdict()}
    out = {
        kind: {"id": record.id, **_origin(library, kind, record.id), "hash": fingerprint(record)}
        for kind, record in records.items()
    }
    out["calibration"] = {
        "id": found.calibration.id,
        "files": {
            key: _file_hash(library.find("calibration", key).path)
            for _, key in library.calibration_files(found.chip, found.stack)
        },
        "hash": fingerprint(found.calibration),
    }
    try:
        offer = price_of(library, found.chip.id, scenario.economy.term)
    except UnknownFigure:
        return out
    row = " ".join((offer.provider, offer.instance, offer.term, offer.region, offer.date))
    return {
        **out,
        "price": {
            "id": row,
            "usd_per_device_hour": offer.usd_per_device_hour,
            "source": offer.source,
            "hash": fingerprint(offer),
        },
    }


def _draft(group: Group) -> str | None:
    """The model that drafts tokens for a group, if it has one of its own."""
    speculative = group.engine.speculative
    return None if speculative is None else speculative.draft_model


def _origin(library: Library, kind: str, name: str) -> dict[str, str]:
    try:
        return {"origin": library.find(kind, name).origin}
    except InputError:  # a file of the user's own, or a cluster that a chip's own ports make
        return {"origin": "file or ports"}


def _file(library: Library, name: str) -> Path | None:
    places = [Path(name), *(root / "workloads" / "traffic" / name for root, _ in library.roots)]
    return next((path for path in places if os.path.isfile(path)), None)


def _file_hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def contents(library: Library, scenario: Scenario) -> dict[str, Any]:
    """What the entries say, as plain values: enough to answer again without the catalogue. Of one group that needs one model; empty
    for others."""
    if len(scenario.groups) > 1 or _draft(scenario.groups[0]) is not None:
        return {}
    model, found = looked_up(library, scenario)
    records = {"model": model, **found._asdict()}
    out: dict[str, Any] = {kind: record.model_dump(mode="json") for kind, record in records.items()}
    price = facts(library, scenario).get("price", {})
    return {**out, "price": price.get("usd_per_device_hour"), "price_source": price.get("source", "")}
