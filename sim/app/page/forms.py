"""Forms out of the JSON Schemas of the catalogue's records: bounds, choices, defaults, help and unit of every flag's field."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from ...catalog.scenarios import Scenario, TokenBudget, Traffic
from ..options import Option, options
from .messages import Form, FormField

Role = Literal["train", "serve"]
Suggestions = Literal["model", "cluster", "stack", "traffic"]
_HIDDEN = {("economy", "grid"), ("economy", "start"), ("campaign", "sacct")}  # what only a file can say
_SUGGESTED: dict[str, Suggestions] = {
    "model": "model",
    "draft-model": "model",
    "speculative-draft-model": "model",
    "cluster": "cluster",
    "stack": "stack",
    "trace": "traffic",
    "generator": "traffic",
}
_UNITS = {
    "s": "s",
    "bytes": "bytes",
    "bytes_per_s": "bytes/s",
    "w": "W",
    "usd": "$",
    "requests_per_s": "requests/s",
    "fraction": "",
}


@cache
def form(verb: Role) -> Form:
    """The form of a verb."""
    whole = Scenario.model_json_schema()
    demand = TokenBudget if verb == "train" else Traffic
    found = [
        _field(option, _schema(whole, option.path, demand.__name__))
        for option in options(verb)
        if option.path not in _HIDDEN
    ]
    return Form(verb=verb, fields=found)


def _schema(whole: dict[str, Any], path: tuple[str | int, ...], demand: str) -> dict[str, Any]:
    """The JSON Schema at a path of the scenario's, with `required` said in it."""
    here: dict[str, Any] = whole
    required = False
    for step in path:
        here = _resolved(whole, here, demand)
        if isinstance(step, int):
            here = here["items"]
        else:
            required = step in here.get("required", ())
            here = here["properties"][step]
    return {**here, "required": required}


def _resolved(whole: dict[str, Any], here: dict[str, Any], demand: str) -> dict[str, Any]:
    """What a reference leads to; of a union, the record."""
    for option in (here, *here.get("anyOf", ()), *here.get("oneOf", ())):
        if "$ref" in option:
            name = option["$ref"].rpartition("/")[2]
            if "oneOf" not in here or name == demand:
                return dict(whole["$defs"][name])
    return here


def _field(option: Option, schema: dict[str, Any]) -> FormField:
    kinds = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    main = kinds[0]
    choices = [str(value) for each in kinds for value in each.get("enum", [each["const"]] if "const" in each else [])]
    default = schema.get("default")
    return FormField(
        name=option.name,
        path=list(option.path),
        label=option.name.replace("-", " "),
        panel=option.panel.partition(" (")[0],
        help=schema.get("description") or option.name.replace("-", " "),
        kind=_kind(main, choices),
        unit=_UNITS.get(option.unit, option.unit.replace("_per_", "/")),
        minimum=main.get("minimum"),
        maximum=main.get("maximum") if main.get("maximum", 0) < 10**12 else None,
        above=main.get("exclusiveMinimum"),
        default=list(default) if isinstance(default, tuple | list) else default,
        required=bool(schema["required"]) and len(option.path) == 3,
        choices=choices,
        suggestions=_SUGGESTED.get(option.name),
    )


def _kind(main: dict[str, Any], choices: list[str]) -> Literal["integer", "number", "switch", "choice", "text", "list"]:
    kind = main.get("type")
    if kind == "boolean":
        return "switch"
    if kind == "array":
        return "list"
    if kind == "integer":
        return "integer"
    if kind == "number":
        return "number"
    return "choice" if choices else "text"
