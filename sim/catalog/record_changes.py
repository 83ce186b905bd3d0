"""What if a cluster or a model were another: `tiers.0.bandwidth*=2`, `pue=1.1`, `blocks.0.layers+=8`, by key path."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, TypeVar

from pydantic import ValidationError

from ..errors import InputError, did_you_mean
from .chip_changes import FORM
from .records import Record, field_of

R = TypeVar("R", bound=Record)
_DONE = {"=": lambda old, value: value, "*=": lambda old, value: old * value, "+=": lambda old, value: old + value}


def rewritten(record: R, texts: tuple[str, ...], what: str) -> R:
    """The record after these changes, one after the other. what: how errors name it, such as cluster.

    Raises InputError naming key, value and remedy for a key that is not there, a unit that is not said, or an illegal value.
    """
    for text in texts:
        match = FORM.match(text.strip())
        if match is None:
            raise InputError(f"{what}.{text} is not a change. Write {what}.key*=factor, {what}.key=value or +=.")
        steps = match["key"].replace("-", "_").split(".")
        changed = _at(record, steps, match["operator"], match["value"], f"{what}.{match['key']}")
        record = typing.cast(R, changed)
    return record


def _at(holder: Any, steps: list[str], operator: str, value: str, key: str) -> Any:
    """The holder (a record, list or mapping) with the value at the end of the path changed."""
    step, rest = steps[0], steps[1:]
    if isinstance(holder, tuple):
        place = _index(holder, step, key)
        new = _at(holder[place], rest, operator, value, key) if rest else _new(holder[place], operator, value, 1.0, key)
        return (*holder[:place], new, *holder[place + 1 :])
    if isinstance(holder, dict):
        if step not in holder:
            raise InputError(f"{key}: there is no {step!r}. {did_you_mean(step, holder)}")
        return {**holder, step: _new(holder[step], operator, value, 1.0, key)}
    if not isinstance(holder, Record):
        raise InputError(f"{key}: nothing lies below the value {holder!r}. Shorten the key.")
    fields = type(holder).model_fields
    found = field_of(fields, step, operator == "*=" and not rest, key)
    if found is None:
        raise InputError(f"{key}: there is no {step!r}. {did_you_mean(step, fields)}")
    name, factor = found
    old = getattr(holder, name)
    new = _at(old, rest, operator, value, key) if rest else _new(old, operator, value, factor, key)
    try:
        return holder.with_(**{name: new})
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{key} = {new!r}: {message}.") from None


def _index(holder: tuple[Any, ...], step: str, key: str) -> int:
    if not step.isdigit() or int(step) >= len(holder):
        raise InputError(f"{key}: {step!r} is not one of 0 to {len(holder) - 1}. Use a number of the list.")
    return int(step)


def _new(old: Any, operator: str, value: str, factor: float, key: str) -> Any:
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        if operator == "=" and not isinstance(old, int | float):
            return None if text == "null" else text
        raise InputError(f"{key} = {text!r} is not a number. Write one, such as 2 or 1.5e3.") from None
    if isinstance(old, bool) or not isinstance(old, int | float):
        if operator == "=" and old is None:
            return number * factor
        raise InputError(f"{key}{operator}{text}: {old!r} is no number to change. Give the value in the file.")
    new = _DONE[operator](old, number if operator == "*=" else number * factor)
    return round(new) if isinstance(old, int) else new


def numeric_keys(kind: type[Record]) -> tuple[str, ...]:
    """Fields of a record that hold one number."""
    return tuple(name for name, info in kind.model_fields.items() if _is_number(info.annotation))


def _is_number(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _is_number(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return any(_is_number(each) for each in typing.get_args(annotation))
    return annotation in (int, float)
