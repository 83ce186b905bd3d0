"""What a stored result was made from, against another one or against now: which difference moved which figure by how much."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..catalog.files import read_json
from ..catalog.library import Library
from ..catalog.plans import Plan
from ..catalog.recorded import Recorded, scenario_of
from ..catalog.scenarios import Scenario
from ..catalog.targets import modified
from ..errors import GambrelError, InputError
from ..lowering.check import resolved
from ..result import Result

Verb = Callable[[Scenario, Library], Result]
MOST = 1e300  # of a figure
SAME = 1e-12  # relative: what counts as the same figure
MOST_LEAVES = 60  # differences of one entry that are swapped one by one; more are swapped by block
VERBS = ("train", "serve", "fit")
_WORDS = ("source", "sources", "name", "notes", "aliases", "fits", "date")  # of entries: no figure reads them


class Stored(NamedTuple):
    """A result's JSON. verb: what answers it; contents: what its entries said, if `--out` wrote that beside it."""

    path: Path
    verb: str
    plain: dict[str, Any]
    scenario: Scenario
    contents: dict[str, Any] | None

    def figures(self) -> dict[str, float | None]:
        """Value by name."""
        return {name: figure.get("value") for name, figure in self.plain["figures"].items()}

    def ends(self) -> dict[str, float | None]:
        """Values, lows and highs by name."""
        return ends_of(self.plain)


def read_stored(path: Path) -> Stored:
    """Read a result that --json or --out wrote (its file or folder). Raises InputError for anything else."""
    path = path / "result.json" if path.is_dir() else path
    plain = read_json(path)
    schema = plain.get("schema", "") if isinstance(plain, dict) else ""
    name, _, version = str(schema).removeprefix("gambrel.").partition("/")
    if (
        name not in VERBS
        or version != "1"
        or not all(isinstance(plain.get(key), dict) for key in ("scenario", "figures", "provenance"))
    ):
        raise InputError(
            f"{path}: schema = {schema!r} is no result of {', '.join(VERBS)}. Give what their --json or --out wrote."
        )
    _check(plain, path)
    beside = path.parent / "facts.json"
    contents = read_json(beside) if beside.is_file() else None
    if not isinstance(contents, dict | None):
        raise InputError(f"{beside}: is no facts.json of Gambrel. Give the folder as --out wrote it.")
    price = (contents or {}).get("price")
    if price is not None and not _is_number(price):
        raise InputError(f"{beside}: price = {json.dumps(price)} is no number. Give the folder as --out wrote it.")
    return Stored(path, name, plain, scenario_of(plain["scenario"]), contents)


def _check(plain: dict[str, Any], path: Path) -> None:
    """Raises InputError, naming the place, for figures and facts that no result has."""
    for name, figure in plain["figures"].items():
        ends = [figure.get(key) for key in ("value", "low", "high")] if isinstance(figure, dict) else [""]
        if not all(each is None or _is_number(each) for each in ends):
            raise InputError(
                f"{path}: figures.{name} is no figure: {json.dumps(figure)}. Give what --json or --out wrote."
            )
    provenance = plain["provenance"]
    for key in ("software", "facts"):
        if not isinstance(provenance.get(key), dict | None):
            raise InputError(f"{path}: provenance.{key} is no object. Give what --json or --out wrote.")
    for name, fact in (provenance.get("facts") or {}).items():
        if (
            not isinstance(fact, dict)
            or not isinstance(fact.get("files", {}), dict)
            or (fact and not {"id", "hash"} <= fact.keys())
        ):
            raise InputError(
                f"{path}: provenance.facts.{name} is no fact: {json.dumps(fact)}. Give what --json or --out wrote."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST


def ends_of(plain: dict[str, Any]) -> dict[str, float | None]:
    """Values, lows and highs of a result's figures by name."""
    return {
        name + end: figure.get(key)
        for name, figure in plain["figures"].items()
        for end, key in (("", "value"), (" low", "low"), (" high", "high"))
        if key == "value" or figure.get(key) is not None
    }


class Changed(NamedTuple):
    """A fact that differs between two provenances: what it is, and what each side says."""

    fact: str
    before: str
    after: str


def changed_facts(before: dict[str, Any], after: dict[str, Any]) -> tuple[Changed, ...]:
    """Version, code, software, seed, and every catalogue entry, calibration file, price row or trace whose content differs."""
    out = [
        Changed(name, str(before.get(name)), str(after.get(name)))
        for name in ("version", "code", "seed")
        if before.get(name) != after.get(name)
    ]
    mine, other = before.get("software") or {}, after.get("software") or {}
    out += [
        Changed(f"software.{name}", str(mine.get(name)), str(other.get(name)))
        for name in {**mine, **other}
        if mine.get(name) != other.get(name)
    ]
    one, two = before.get("facts") or {}, after.get("facts") or {}
    for kind in {**one, **two}:
        a, b = one.get(kind, {}), two.get(kind, {})
        if a.get("hash") != b.get("hash"):
            out.append(Changed(kind, _said(a), _said(b)))
        files = {**a.get("files", {}), **b.get("files", {})}
        for name in files:
            x, y = a.get("files", {}).get(name), b.get("files", {}).get(name)
            if x != y:
                out.append(Changed(f"calibration file {name}", x or "none", y or "none"))
    return tuple(out)


def _said(fact: dict[str, Any]) -> str:
    return f"{fact['id']} ({fact['hash']})" if fact else "none"


class Moved(NamedTuple):
    """A figure on both sides; ratio None where a side is unknown or 0."""

    figure: str
    before: float | None
    after: float | None
    ratio: float | None


def moved(
    before: dict[str, float | None], after: dict[str, float | None], tolerance: float = SAME
) -> tuple[Moved, ...]:
    """The figures that differ by more than rounding, the most moved first."""
    out = []
    for name in {**before, **after}:
        a, b = before.get(name), after.get(name)
        if a == b or (a is not None and b is not None and abs(a - b) <= tolerance * max(abs(a), abs(b))):
            continue
        out.append(Moved(name, a, b, b / a if a and b is not None else None))
    return tuple(
        sorted(out, key=lambda each: -abs(math.log(each.ratio)) if each.ratio and each.ratio > 0 else -math.inf)
    )


def answered(verb: Verb, stored: Stored, library: Library, seed: int | None = None) -> Result:
    """The same question, answered now."""
    scenario = stored.scenario if seed is None else stored.scenario.with_(seed=seed)
    return verb(scenario, library)


class Difference(NamedTuple):
    """One difference between two results: in the scenario or in a catalogue entry. paths: the values that it swaps together."""

    where: str
    paths: tuple[tuple[str | int, ...], ...]
    before: Any
    after: Any

    @property
    def name(self) -> str:
        path = self.paths[0] if len(self.paths) == 1 else self.paths[0][:1]
        return ".".join(map(str, (self.where, *path))).removeprefix("scenario.").removeprefix("groups.0.")


class Attribution(NamedTuple):
    """What one difference alone does to the first result: ratio by figure, or why it cannot be swapped alone."""

    difference: Difference
    ratios: dict[str, float]
    error: str = ""


def differences(one: Stored, two: Stored, now: Sequence[dict[str, Any]]) -> list[Difference]:
    """Leaves that differ, of the scenarios and of the entries; now: contents of the entries for a side that recorded none."""
    out = [_single("scenario", path, a, b) for path, a, b in _unequal(one.plain["scenario"], two.plain["scenario"])]
    sides = [stored.contents or current for stored, current in zip((one, two), now, strict=True)]
    as_given = any(each.scenario.economy.usd_per_device_hour is not None for each in (one, two))
    for kind in sides[0]:
        if kind == "price_source" or (kind == "price" and as_given):
            continue  # the price itself says it, or the scenario's own
        found = [
            each
            for each in _unequal(sides[0][kind], sides[1].get(kind))
            if not any(step in _WORDS for step in each[0]) and each[0] != ("id",)
        ]
        if len(found) > MOST_LEAVES or (found and _renamed(kind, sides)):
            out += _blocks(kind, found)
        else:
            out += [_single(kind, path, a, b) for path, a, b in found]
    return out


def _renamed(kind: str, sides: list[dict[str, Any]]) -> bool:
    """Another entry altogether: its values belong together."""
    entries = [side.get(kind) for side in sides]
    return all(isinstance(each, dict) for each in entries) and entries[0]["id"] != entries[1]["id"]  # type: ignore[index]


def _single(where: str, path: tuple[str | int, ...], a: Any, b: Any) -> Difference:
    return Difference(where, (path,), a, b)


def _blocks(kind: str, found: list[tuple[tuple[str | int, ...], Any, Any]]) -> list[Difference]:
    """One difference for each block of an entry."""
    grouped: dict[Any, list[tuple[str | int, ...]]] = {}
    for path, _, _ in found:
        grouped.setdefault(path[0], []).append(path)
    return [
        Difference(kind, tuple(paths), f"{len(paths)} values", f"{len(paths)} others") for paths in grouped.values()
    ]


def _unequal(a: Any, b: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """(path, a, b) of what differs; lists of another length and blocks that one side lacks differ as a whole."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            yield from _unequal(a.get(key), b.get(key), (*path, key))
    elif (
        isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and any(isinstance(x, dict | list) for x in a)
    ):
        for place, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _unequal(x, y, (*path, place))
    elif a != b:
        yield path, a, b


class Sides(NamedTuple):
    """Everything that can be swapped: plain scenario and plain entries of each of two results."""

    scenario: tuple[dict[str, Any], dict[str, Any]]
    contents: tuple[dict[str, Any], dict[str, Any]]
    library: Library

    def swapped(self, chosen: Sequence[Difference]) -> tuple[Scenario, Library]:
        """The first result's question with some differences taken from the second."""
        whole = copy.deepcopy({"scenario": self.scenario[0], **self.contents[0]})
        other = {"scenario": self.scenario[1], **self.contents[1]}
        for difference in chosen:
            for path in difference.paths:
                _put(whole, other, (difference.where, *path))
        scenario = whole.pop("scenario")
        if whole.get("price") is not None and scenario["economy"].get("usd_per_device_hour") is None:
            scenario["economy"]["usd_per_device_hour"] = whole["price"]
        return scenario_of(scenario), Recorded(whole) if whole else self.library


def _put(into: Any, other: Any, path: tuple[str | int, ...]) -> None:
    for step in path[:-1]:
        into, other = into[step], other[step]
    if isinstance(other, dict) and path[-1] not in other:
        into.pop(path[-1], None)
    else:
        into[path[-1]] = copy.deepcopy(other[path[-1]])


def attributed(
    verb: Verb, sides: Sides, found: Sequence[Difference]
) -> tuple[dict[str, float | None], list[Attribution]]:
    """Figures of the first result as answered now, and what each difference alone does to them. Differences that are not legal
    alone are swapped once more together."""
    base = _figures(verb(*sides.swapped(())))
    out, refused = [], []
    for difference in found:
        try:
            out.append(Attribution(difference, _ratios(base, _figures(verb(*sides.swapped([difference]))))))
        except GambrelError as error:
            refused.append(Attribution(difference, {}, str(error)))
    if len(refused) > 1:
        names = ", ".join(each.difference.name for each in refused)
        try:
            ratios = _ratios(base, _figures(verb(*sides.swapped([each.difference for each in refused]))))
            return base, [*out, Attribution(Difference(names, ((),), "", ""), ratios)]
        except GambrelError:
            return base, [*out, *refused]
    return base, [*out, *refused]


def _figures(result: Result) -> dict[str, float | None]:
    return {name: figure.value for name, figure in result.figures.items()}


def _ratios(base: dict[str, float | None], other: dict[str, float | None]) -> dict[str, float]:
    found = moved(base, other)
    return {each.figure: each.ratio for each in found if each.ratio is not None}


def remainder(total: Sequence[Moved], parts: Sequence[Attribution]) -> dict[str, float]:
    """By figure, what the differences one at a time leave: how they act together, and what cannot be swapped (the code)."""
    out = {}
    for each in total:
        if each.ratio:
            out[each.figure] = each.ratio / math.prod(part.ratios.get(each.figure, 1.0) for part in parts)
    return out


def plain_text(value: Any) -> str:
    """A value of a scenario or entry in one line."""
    return value if isinstance(value, str) else json.dumps(value)


def resolved_plan(library: Library, scenario: Scenario) -> tuple[Plan, int]:
    """The plan of a training question with dp and global_batch filled in, and its chips, as `train` understands them."""
    group = scenario.groups[0]
    plan, ranks = group.plan, library.chip(library.cluster(group.cluster).chip).ranks
    devices = group.devices or -(-plan.tp * plan.pp * plan.cp * (plan.dp or 1) // ranks) * (group.replicas or 1)
    plan = resolved(plan, devices * ranks, modified(library.model(group.model), group))
    return plan if plan.global_batch else plan.with_(global_batch=plan.micro_batch * (plan.dp or 1)), devices
