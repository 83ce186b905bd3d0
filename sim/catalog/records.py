"""What a file may hold, declared once: frozen pydantic records in SI units, filled from keys in any unit of the dimension."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError, did_you_mean
from ..units import UNITS, split_unit, units_of
from .files import Document, Path_, read_yaml

Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, strict=True, le=10**12)]
CountOrZero = Annotated[int, Field(ge=0, strict=True, le=10**12)]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$", max_length=80)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=4000)]


class Record(BaseModel):
    """A frozen value of the catalogue; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def with_(self, **changes: Any) -> typing.Self:
        """A copy with some fields changed, validated again."""
        return type(self).model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


R = TypeVar("R", bound=Record)


def read(kind: type[R], path: Path) -> R:
    """Read and check one file of a kind of record."""
    return parse(kind, read_yaml(path))


def parse(kind: type[R], document: Document) -> R:
    """Check a document against a record; InputError names file, line, key, value and remedy."""
    if not isinstance(document.data, dict):
        raise InputError(
            f"{document.name}: a mapping of keys is expected. See `gambrel schema {kind.__name__.lower()}`."
        )
    converted = _to_si(kind, document.data, (), document)
    try:
        return kind.model_validate(converted)
    except ValidationError as error:
        raise InputError(_explain(error, document)) from None


def _to_si(kind: type[Record], data: dict[str, Any], path: Path_, document: Document) -> dict[str, Any]:
    """Rename `x_gb` to the field `x_bytes` and scale it, in this record and those inside it."""
    fields = kind.model_fields
    converted: dict[str, Any] = {}
    for key, value in data.items():
        here = (*path, key)
        name = key
        if key not in fields:
            name, value = _convert(fields, key, value, here, document)
        if name in converted:
            raise InputError(f"{document.place(here)}: {key} gives {name} a second time. Keep one.")
        converted[name] = _inside(fields[name].annotation, value, here, document)
    return converted


def _convert(fields: dict[str, Any], key: str, value: Any, path: Path_, document: Document) -> tuple[str, Any]:
    split = split_unit(key)
    if split is not None:
        stem, dimension, factor = split
        name = f"{stem}_{dimension}"
        if name in fields:
            if value is None:
                return name, None
            if isinstance(value, dict):  # a number for each name
                return name, {each: _scaled(number, factor, (*path, each), document) for each, number in value.items()}
            return name, _scaled(value, factor, path, document)
        other = next((f for f in fields if split_unit(f) and split_unit(f)[0] == stem), None)  # type: ignore[index]
        if other is not None:
            wanted = ", ".join(f"{stem}_{unit}" for unit in units_of(split_unit(other)[1]))  # type: ignore[index]
            raise InputError(f"{document.place(path)}: {_dotted(path)} has the wrong unit. Use one of {wanted}.")
    raise InputError(f"{document.place(path)}: unknown key {_dotted(path)}. {did_you_mean(key, fields)}")


def field_of(fields: Iterable[str], name: str, any_unit: bool, key: str) -> tuple[str, float] | None:
    """The field that a key's last step means, and what one of the unit that it carries is in SI; None if there is no such field.

    any_unit: a stem without unit is enough, as for a factor. Raises InputError, naming `key`, where the unit must be said.
    """
    known = tuple(fields)
    if name in known:
        return name, 1.0
    split = split_unit(name)
    if split is not None and f"{split[0]}_{split[1]}" in known:
        return f"{split[0]}_{split[1]}", split[2]
    for field in known:
        stem = split_unit(field)
        if stem is None or stem[0] not in (name, split[0] if split else name):
            continue
        if any_unit and split is None:
            return field, 1.0
        units = units_of(stem[1])
        forms = ", ".join(f"{stem[0]}_{unit}" for unit in [each for each in units if each[0] in "gt"] or units)
        raise InputError(f"{key}: say in which unit. Use one of {forms}, or *=.")
    return None


def _scaled(value: Any, factor: float, path: Path_, document: Document) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{document.place(path)}: {_dotted(path)} = {value!r} is not a number. Write a number.")
    try:
        return value * factor
    except OverflowError:
        raise InputError(f"{document.place(path)}: {_dotted(path)} is too large for a number. Write less.") from None


def _inside(annotation: Any, value: Any, path: Path_, document: Document) -> Any:
    """Convert records inside lists and optional fields; a union of records is told apart by its `kind`."""
    records = _record_types(annotation)
    if isinstance(value, tuple | list):
        return tuple(_inside(annotation, item, (*path, index), document) for index, item in enumerate(value))
    if isinstance(value, dict) and records:
        return _to_si(_chosen(records, value, path, document), value, path, document)
    return value


def _chosen(records: list[type[Record]], value: dict[str, Any], path: Path_, document: Document) -> type[Record]:
    if len(records) == 1:
        return records[0]
    known = {str(record.model_fields["kind"].default): record for record in records if "kind" in record.model_fields}
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in known:
        raise InputError(
            f"{document.place(path)}: {_dotted(path)}.kind = {kind!r} is not known. {did_you_mean(str(kind), known)}"
        )
    return known[str(kind)]


def _record_types(annotation: Any) -> list[type[Record]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Record) else []
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, tuple, list, Annotated):
        return [record for argument in typing.get_args(annotation) for record in _record_types(argument)]
    return []


def _dotted(path: Path_) -> str:
    return ".".join(str(step) for step in path)


def _explain(error: ValidationError, document: Document) -> str:
    """The first error as one line, with how many more there are."""
    first = error.errors(include_url=False)[0]
    path = tuple(step for step in first["loc"] if isinstance(step, int) or _is_key(step))
    written = _as_written(path, document)
    place = document.place(written)
    value = _at(document.data, written, first.get("input"))
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
    message = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{place}: {_dotted(path)} is missing. Add it.{more}"
    return f"{place}: {_dotted(written)}{shown}: {message}.{more}"


def _is_key(step: str) -> bool:
    return step.replace("_", "").replace("-", "").isalnum() and not step[:1].isupper()


def _at(data: Any, path: Path_, default: Any) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return default
    return data


def _as_written(path: Path_, document: Document) -> Path_:
    """The path as the file spells it: its last key may carry another unit."""
    if path in document.lines or not path or not isinstance(path[-1], str):
        return path
    split = split_unit(path[-1])
    if split:
        for unit in UNITS:
            spelt = (*path[:-1], f"{split[0]}_{unit}")
            if spelt in document.lines:
                return spelt
    return path
