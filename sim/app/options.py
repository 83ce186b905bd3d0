"""Flags of the command line, derived from the fields of the catalogue's records; nothing about an option is said twice."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..catalog.campaigns import Campaign
from ..catalog.chips import DTYPES
from ..catalog.files import Document
from ..catalog.operations import Operations
from ..catalog.plans import Dtypes, Engine, Plan, Speculative
from ..catalog.records import Record, parse
from ..catalog.scenarios import Economy, Group, Scenario, Slo, TokenBudget, Traffic, read_scenario
from ..errors import InputError
from ..units import UNITS, split_unit

Verb = Literal["fit", "train", "serve", "trace", "traffic", "whatif"]
KeyPath = tuple[str | int, ...]

_GROUP: KeyPath = ("groups", 0)
_SERVING_PLAN = {"tp", "pp", "dp", "cp", "ep", "expert_tp", "attention_dp", "sequence_parallel"}
_SERVING_DTYPES = {"weights", "activations", "experts", "attention", "kv_cache"}
_NEITHER = {
    "plan",
    "engine",
    "role",
    "dtypes",
    "kind",
    "owned",
    "chip_changes",
    "speculative",
    "cluster_changes",
    "model_changes",
}  # records, and what the verb itself decides
_REPLICAS = {"replicas", "prefill_replicas", "decode_replicas", "min_replicas", "max_replicas"}


class Option(NamedTuple):
    """One flag: its name without dashes, the field that it fills, how its value reads."""

    name: str
    path: KeyPath
    panel: str
    metavar: str
    help: str
    numeric: bool = False
    listed: bool = False
    unit: str = ""
    choices: tuple[str, ...] = ()

    @property
    def switch(self) -> bool:
        return self.metavar == ""

    def read(self, value: str | bool) -> Any:
        """The plain value for the record. Raises InputError for a number that is none."""
        if isinstance(value, bool):
            return value
        if self.listed:
            parts = [part.strip() for part in value.split(",") if part.strip()]
            return tuple(number(part) if self.numeric else part for part in parts)
        if not self.numeric or value in self.choices:
            return value
        text, factor = value.strip(), 1.0
        if self.unit:
            text, factor = _without_unit(text, self.unit)
        plain = number(text)
        if isinstance(plain, str):
            unit = f" [{self.unit}]" if self.unit else ""
            raise InputError(f"--{self.name} = {value!r} is not a number{unit}. Write one, such as 4 or 1.5e3.")
        return plain if factor == 1.0 else plain * factor


def number(text: str) -> int | float | str:
    """`4` is an integer, `1e9` the integer 1000000000, `0.5` a float; anything else stays text."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() and abs(value) < 2**53 and "." not in text else value


def _without_unit(text: str, dimension: str) -> tuple[str, float]:
    """`500ms` of a field in seconds is ("500", 1e-3)."""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/_")
    unit = text[len(digits) :].lower().replace("/", "_per_")
    known = UNITS.get(unit)
    return (digits, known[1]) if known and known[0] == dimension else (text, 1.0)


@cache
def options(verb: Verb) -> tuple[Option, ...]:
    """The flags of a verb, in the order in which help lists them."""
    found: dict[str, Option] = {}
    if verb == "traffic":
        _add(found, Traffic, ("demand",), "Traffic", _NEITHER)
        return tuple(found.values())
    training, serving = verb != "serve", verb != "train"
    hidden = (_NEITHER if serving else _NEITHER | _REPLICAS) - ({"role"} if training and serving else set())
    if verb == "fit":
        hidden = {*hidden, "power_cap_w", *(_REPLICAS - {"replicas"})}
    _add(found, Group, _GROUP, "The question", hidden)
    if training:
        budget = _NEITHER if verb in ("train", "whatif") else {*_NEITHER, "tokens"}
        _add(found, TokenBudget, ("demand",), "The question", budget)
    if verb in ("serve", "trace", "whatif"):
        _add(found, Traffic, ("demand",), "Traffic", _NEITHER)
    if verb in ("serve", "whatif"):
        _add(found, Slo, ("slo",), "Limits that a request must keep", _NEITHER)
    hidden = set() if training else set(Plan.model_fields) - _SERVING_PLAN
    _add(found, Plan, (*_GROUP, "plan"), "Plan", _NEITHER | hidden)
    hidden = set() if training else set(Dtypes.model_fields) - _SERVING_DTYPES
    _add(found, Dtypes, (*_GROUP, "plan", "dtypes"), f"Number formats ({' '.join(DTYPES)})", hidden)
    if serving:
        _add(found, Engine, (*_GROUP, "engine"), "Engine", _NEITHER)
        _add(found, Speculative, (*_GROUP, "engine", "speculative"), "Engine", _NEITHER)
    if verb == "serve":
        _add(found, Scenario, (), "Engine", set(Scenario.model_fields) - {"router"})
        _add(found, Operations, ("operations",), "Running the fleet", ())
    if verb == "train":
        _add(found, Campaign, ("campaign",), "Failures over a campaign", ())
    if verb in ("train", "serve", "whatif"):
        _add(found, Economy, ("economy",), "Money, energy, carbon", _NEITHER)
    return tuple(found.values())


def _add(found: dict[str, Option], record: type[Record], path: KeyPath, panel: str, without: Iterable[str]) -> None:
    for field, info in record.model_fields.items():
        if field in without:
            continue
        split = split_unit(field)
        stem, unit = (split[0], split[1]) if split and split[1] != "fraction" else (field, "")
        name = stem.replace("_", "-")
        if path[-1:] == ("speculative",):
            name = f"speculative-{name}"
        if name in found:  # dtypes.optimizer beside plan.optimizer
            name = f"{name}-{path[-1]}".removesuffix("s")
        kinds = _kinds(info.annotation)
        choices = tuple(dict.fromkeys(str(kind) for kind in kinds if isinstance(kind, str)))
        found[name] = Option(
            name=name,
            path=(*path, field),
            panel=panel,
            metavar=_metavar(kinds),
            help=_help(stem, info, unit, choices if tuple not in kinds else ()),
            numeric=int in kinds or float in kinds,
            listed=tuple in kinds,
            unit=unit,
            choices=choices,
        )


def _help(stem: str, info: FieldInfo, unit: str, choices: tuple[str, ...]) -> str:
    """Description, unit, choices (number formats stand in the panel's title) and default of a field."""
    text = (info.description or stem.replace("_", " ")).replace("null: ", "if not given: ")
    if unit:
        text += f" [{unit}]"
    if choices and choices != DTYPES:
        text += f": {' | '.join(choices)}"
    default = info.default
    if default in (None, PydanticUndefined, ()):
        return text
    shown = ("on" if default else "off") if isinstance(default, bool) else default
    return f"{text} (default: {','.join(shown) if isinstance(shown, tuple) else shown})"


def _metavar(kinds: list[Any]) -> str:
    if bool in kinds:
        return ""
    return "N" if int in kinds else "X" if float in kinds else "NAME"


def _kinds(annotation: Any) -> list[Any]:
    """The plain types of an annotation, `tuple` for a list, and the texts of a Literal."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return list(typing.get_args(annotation))
    if origin is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if origin is tuple:
        return [tuple, *(kind for each in typing.get_args(annotation) if each is not ... for kind in _kinds(each))]
    if origin in (typing.Union, types.UnionType):
        return [kind for each in typing.get_args(annotation) for kind in _kinds(each)]
    return [annotation]


def scenario_from(
    verb: Verb, file: Path | None, values: dict[str, str | bool], seed: int | None = None, changes: Iterable[str] = ()
) -> Scenario:
    """The scenario of a file, overridden by flags, then by `--set` changes.

    values: flag name -> what stood on the command line. Raises InputError that names the flag, its value and a remedy.
    """
    known = {option.name: option for option in options(verb)}
    data = _start(values.get("role", "serve" if verb in ("serve", "traffic") else "train"), file)
    if verb == "traffic" and file is None:  # what is served where does not matter
        data["groups"][0] |= {"model": "any", "cluster": "any"}
    for name, value in values.items():
        option = known[name]
        if option.path[:2] == _GROUP and len(data["groups"]) > 1:
            raise InputError(
                f"--{name}: the scenario has {len(data['groups'])} groups. Say which: --set groups.0.{option.path[-1]}=..."
            )
        _put(data, option.path, option.read(value))
    if seed is not None:
        data["seed"] = seed
    if changes:
        from .changes import change

        for text in changes:
            change(data, text)
    if verb in ("train", "serve", "whatif") and not data["groups"][0].get("model"):
        raise InputError(f"{verb}: no model is named. Give a SCENARIO file, or --model and --cluster.")
    flag_of = {_dotted(option.path): f"--{option.name}" for option in known.values()}
    return _parsed(data, flag_of)


def _start(role: str | bool, file: Path | None) -> dict[str, Any]:
    """What flags are put into: the file's values, or one group of that role; demand of the role's kind."""
    data: dict[str, Any] = {"groups": [{"role": role}]}
    if file is not None:
        data = _plain(read_scenario(file).model_dump(exclude_unset=True))
    data.setdefault("demand", {"kind": "tokens" if data["groups"][0]["role"] == "train" else "traffic"})
    return data


def _plain(value: Any) -> Any:
    """Lists for tuples, so that one entry can be changed."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _put(data: Any, path: KeyPath, value: Any) -> None:
    for step, following in pairwise(path):
        if isinstance(data, dict):
            data = data.setdefault(step, [] if isinstance(following, int) else {})
        else:
            data = data[step]
    data[path[-1]] = value


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _parsed(data: dict[str, Any], flag_of: dict[str, str]) -> Scenario:
    try:
        return parse(Scenario, Document(data, {}, "command line"))
    except InputError as error:
        text = str(error).removeprefix("command line: ")
        key, gap, rest = text.removeprefix("unknown key ").partition(" ")
        key = re.sub(r"^demand\.(tokens|traffic)\.", "demand.", key.rstrip(":."))  # the union's tag is no key
        if not text.startswith("unknown key "):
            raise InputError(f"{flag_of.get(key, key)}{gap}{rest}") from None
        if key not in flag_of:
            raise InputError(text) from None
        kind = data["demand"].get("kind")
        raise InputError(f"{flag_of[key]}: demand of kind {kind} has no such value. Drop it, or set --role.") from None
