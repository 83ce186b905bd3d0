"""Turns a function into a command: adds what every command takes, and the flags of a verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Option, Verb, options
from .output import Call

Function = Callable[..., Any]

_COMMON = {
    "json": Annotated[
        bool, typer.Option("--json", metavar=" ", help="One JSON object on stdout.", rich_help_panel="Output")
    ],
    "out": Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Also write files there.", rich_help_panel="Output")
    ],
    "seed": Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Of all chance (default: 0).", rich_help_panel="Output"),
    ],
    "catalog": Annotated[
        Path | None,
        typer.Option("--catalog", metavar="DIR", help="Look up names there first.", rich_help_panel="Output"),
    ],
}


def command(verb: Verb | None = None) -> Callable[[Function], Function]:
    """Decorator. The function takes a Call, its own parameters, and (with a verb) `flags`: name -> what was typed."""

    def wrap(function: Function) -> Function:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        flags = {_identifier(option): option for option in (options(verb) if verb else ())}

        def call(**given: Any) -> Any:
            common = Call(**{name: given.pop(name) for name in _COMMON})
            typed = {flags[name].name: value for name, value in given.items() if name in flags and value is not None}
            rest = {name: value for name, value in given.items() if name not in flags}
            return function(common, **rest, **({"flags": typed} if verb else {}))

        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name != "flags"]
        parameters += [_parameter(name, _annotation(option), None) for name, option in flags.items()]
        parameters += [_parameter(name, kind, False if name == "json" else None) for name, kind in _COMMON.items()]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        call.__doc__ = function.__doc__
        return call

    return wrap


def _identifier(option: Option) -> str:
    return f"flag_{option.name.replace('-', '_')}"


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _annotation(option: Option) -> Any:
    if option.switch:
        name = f"--{option.name}/--no-{option.name}"
        return Annotated[bool | None, typer.Option(name, metavar=" ", help=option.help, rich_help_panel=option.panel)]
    given = typer.Option(
        f"--{option.name}",
        metavar=option.metavar,
        help=option.help,
        rich_help_panel=option.panel,
        autocompletion=_completion(option),
    )
    return Annotated[str | None, given]


def _completion(option: Option) -> Callable[[str], list[str]] | None:
    if option.choices:
        return lambda incomplete: [choice for choice in option.choices if choice.startswith(incomplete)]
    if option.name in ("model", "cluster", "stack"):
        return lambda incomplete: known_names(option.name, incomplete)
    return None


def known_names(kind: str, incomplete: str) -> list[str]:
    """Ids of the catalogue that begin so, for the shell's completion."""
    from ..catalog.library import Library

    kinds = ("cluster", "chip") if kind == "cluster" else (kind,)
    library = Library()
    return [entry.id for each in kinds for entry in library.entries(each) if entry.id.startswith(incomplete)]
