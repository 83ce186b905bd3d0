"""ASTRA-sim's network YAML -> a cluster of a chip of the catalogue: a tier a dimension, inner to outer.

Keys and units: astra-sim inputs/network/analytical (2026): topology, npus_count, bandwidth [GB/s a link and direction], latency [ns].
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..errors import InputError
from .chips import Chip
from .files import Document, parse_yaml
from .imported import Note

_KINDS = {"Ring": "ring", "Switch": "switch", "FullyConnected": "mesh"}
_KEYS = ("topology", "npus_count", "bandwidth", "latency")


class Network(NamedTuple):
    """The cluster as a file of the catalogue, chips in all, and what became of each field."""

    cluster: dict[str, Any]
    npus: int
    understood: tuple[Note, ...]
    assumed: tuple[Note, ...]
    ignored: tuple[Note, ...]


def looks_like(text: str) -> bool:
    """Is a text such a network?"""
    return bool(re.search(r"^npus_count\s*:", text, re.MULTILINE) and re.search(r"^topology\s*:", text, re.MULTILINE))


def read_network(text: str, name: str, chip: Chip, cluster_id: str) -> Network:
    """The network of a file. Raises InputError with file, line, key and value for what is malformed or not known."""
    document = parse_yaml(text, name)
    data: Any = document.data
    if not isinstance(data, dict):
        raise InputError(f"{name}: not a list of keys. Give a network of ASTRA-sim.")
    lists: dict[str, tuple[Any, ...]] = {}
    for key in _KEYS:
        value = data.get(key)
        if not isinstance(value, tuple | list) or not value:
            raise InputError(f"{document.place((key,))}: {key} must be a list such as [ 8, 4 ]. Mend it.")
        lists[key] = tuple(value)
    if len({len(value) for value in lists.values()}) != 1:
        sizes = ", ".join(f"{key} {len(value)}" for key, value in lists.items())
        raise InputError(f"{name}: lists of different lengths ({sizes}). Give one entry a dimension.")
    tiers = _tiers(document, lists)
    reach = int(tiers[-1]["size"])
    inner = int(lists["npus_count"][0])
    cluster = {
        "id": cluster_id,
        "name": f"network of {name.rsplit('/', 1)[-1]}",
        "pools": [{"chip": chip.id, "chips_per_node": inner}],
        "tiers": tiers,
        "sources": [f"{name.rsplit('/', 1)[-1]}, a network of ASTRA-sim"],
    }
    understood = tuple(Note(key, str(list(lists[key])), "tiers") for key in _KEYS)
    assumed = (
        Note("chip", chip.id, "the network names none: as you say"),
        Note("chips_per_node", str(inner), "the chips of the innermost dimension"),
    )
    rest = tuple(Note(str(key), str(value)[:60], "not used") for key, value in data.items() if key not in _KEYS)
    return Network(cluster, reach, understood, assumed, rest)


def _tiers(document: Document, lists: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The tiers as a file of the catalogue, inner to outer."""
    tiers: list[dict[str, Any]] = []
    reach = 1
    for i, (topology, npus, rate, latency) in enumerate(zip(*lists.values(), strict=True)):
        if not isinstance(topology, str) or topology not in _KINDS:
            place = document.place(("topology", i))
            raise InputError(f"{place}: topology = {str(topology)[:60]!r} is not known. Use {', '.join(_KINDS)}.")
        count = _number(npus, 2**31, document.place(("npus_count", i)), "npus_count")
        gb_per_s = _number(rate, 1e9, document.place(("bandwidth", i)), "bandwidth")
        if count != int(count):
            raise InputError(f"{document.place(('npus_count', i))}: npus_count = {npus} is no whole number. Mend it.")
        reach *= int(count)
        links = {"Ring": 2, "FullyConnected": max(1, int(count) - 1)}.get(topology, 1)
        wait = _number(latency, 1e12, document.place(("latency", i)), "latency", least=0.0)
        tiers.append(
            {
                "name": f"dimension-{i + 1}",
                "kind": _KINDS[topology],
                "size": reach,
                "bandwidth_gb_per_s": gb_per_s * links,
                **({"latency_ns": wait} if wait else {}),
            }
        )
    return tiers


def _number(value: Any, most: float, place: str, key: str, least: float = 1e-9) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < most:
        raise InputError(f"{place}: {key} = {str(value)[:60]!r} is not a number above 0. Mend it.")
    return float(value)
