"""From a message to scenarios: parsed as a file would be, every name looked up in the catalogue, no file of the user's read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from ...catalog.files import Document, parse_yaml
from ...catalog.library import Library, normal
from ...catalog.models import Model
from ...catalog.records import parse
from ...catalog.scenarios import Group, Scenario, Traffic, nested
from ...errors import GambrelError, InputError, did_you_mean
from ..changes import change
from ..options import Option, options, parsed, plain

MOST_GROUPS = 4
Role = Literal["train", "serve"]


class Sides(NamedTuple):
    """What is asked: the baseline, the changed side if there is one, the texts of its changes, or why they cannot be made."""

    baseline: Scenario
    changed: Scenario | None
    changes: tuple[str, ...]
    refusal: GambrelError | None = None

    @property
    def verb(self) -> Role:
        return "train" if self.baseline.groups[0].role == "train" else "serve"

    def with_only(self, text: str) -> Scenario:
        """The baseline with one of the changes."""
        return _changed(self.baseline, (text,))


class WithModel(Library):
    """The catalogue and one more model, whose text came with the question."""

    def __init__(self, catalog: Path | None, own: Model) -> None:
        super().__init__(catalog)
        self.own = own

    def model(self, name: str) -> Model:
        return self.own if normal(name) == normal(self.own.id) else super().model(name)


def library_of(text: str | None, catalog: Path | None, shared: Library) -> Library:
    """The catalogue, with the model of a text if there is one. Raises InputError for a text that is no model."""
    if text is None or not text.strip():
        return shared
    return WithModel(catalog, parse(Model, parse_yaml(text, "model")))


def sides(scenario: dict[str, Any], changes: Sequence[str], library: Library) -> Sides:
    """Both sides of a question. Raises InputError naming key, value and remedy of the baseline; those of the changed side are told
    in `refusal`."""
    data = plain(nested(Document(scenario, {}, "scenario")).data)
    groups = data.get("groups")
    if not isinstance(groups, list) or not groups or not isinstance(groups[0], dict):
        raise InputError("scenario: a mapping with role, model and cluster is expected. See `gambrel schema scenario`.")
    if len(groups) > MOST_GROUPS:
        raise InputError(f"groups: {len(groups)} are given; the page takes {MOST_GROUPS}. Use the command line.")
    data.setdefault("demand", {"kind": "tokens" if groups[0].get("role") == "train" else "traffic"})
    baseline = parsed(data, names_of(groups[0].get("role")))
    permit(baseline, library)
    if not changes:
        return Sides(baseline, None, ())
    try:
        changed = _changed(baseline, changes)
        permit(changed, library)
    except GambrelError as error:
        return Sides(baseline, None, tuple(changes), error)
    return Sides(baseline, changed, tuple(changes))


def role_of(scenario: dict[str, Any]) -> Any:
    """The role that a scenario as it came gives its first group; None if it gives none."""
    groups = scenario.get("groups")
    first = groups[0] if isinstance(groups, list) and groups else scenario
    return first.get("role") if isinstance(first, dict) else None


def _changed(scenario: Scenario, texts: Sequence[str]) -> Scenario:
    data = plain(scenario.model_dump(exclude_unset=True))
    for text in texts:
        change(data, text)
    return parsed(data, names_of(scenario.groups[0].role))


def names_of(role: Any) -> dict[str, str]:
    """By dotted path of a field, how the form calls it."""
    verb: Role = "train" if role == "train" else "serve"
    return {".".join(map(str, option.path)): option.name.replace("-", " ") for option in options(verb)}


def field_of(message: str, verb: Role) -> str | None:
    """The form's field that a message is about: it begins with its name, or gives its path."""
    for option in sorted(options(verb), key=lambda each: -len(each.name)):
        dotted = ".".join(str(step) for step in option.path if step not in ("groups", 0))
        words = f"{re.escape(option.name.replace('-', ' '))}|{re.escape(dotted)}|--{re.escape(option.name)}"
        if re.match(rf"(?:{words})(?:\s*=|:|\s+is\b|\s[\"'])", message) or re.search(
            rf"\b{re.escape(dotted)} = ", message
        ):
            return option.name
    return None


def permit(scenario: Scenario, library: Library) -> None:
    """Raises InputError for a name that is not of the catalogue: the page reads no path and loads no class that a request names."""
    from ...serving.routers import ROUTERS
    from ...serving.schedulers import SCHEDULERS

    for group in scenario.groups:
        _permit_group(group, library)
        if group.engine.scheduler is not None:
            _one_of("scheduler", group.engine.scheduler, SCHEDULERS)
    _one_of("router", scenario.router, ROUTERS)
    demand = scenario.demand
    if isinstance(demand, Traffic):
        known = traffic_files(library)
        for field in ("trace", "generator"):
            name = getattr(demand, field)
            if name is not None and name not in known:
                raise InputError(
                    f"{field} = {name!r}: the page reads no files; shipped: {', '.join(known)}. Use one, or `gambrel serve`."
                )
        for name in demand.shares():
            _model(name, library)
    for what, given in (("grid", scenario.economy.grid), ("sacct", scenario.campaign.sacct)):
        if given is not None:
            raise InputError(f"{what} = {given!r}: the page reads no files. Use the command line for it.")


def _permit_group(group: Group, library: Library) -> None:
    _model(group.model, library)
    speculative = group.engine.speculative
    if speculative is not None and speculative.draft_model is not None:
        _model(speculative.draft_model, library)
    known = {name for kind in ("cluster", "chip") for entry in library.entries(kind) for name in entry.names}
    if normal(group.cluster) not in {normal(name) for name in known}:
        raise InputError(f"cluster {group.cluster!r} is not in the catalogue. {did_you_mean(group.cluster, known)}")
    if group.stack is not None:
        library.find("stack", group.stack)


def _model(name: str, library: Library) -> None:
    if not (isinstance(library, WithModel) and normal(name) == normal(library.own.id)):
        library.find("model", name)


def _one_of(what: str, name: str, known: dict[str, Any]) -> None:
    if name.replace("-", "_").lower() not in known:
        raise InputError(f"{what} = {name!r}: the page loads no classes. Use {', '.join(known)}.")


def traffic_files(library: Library) -> tuple[str, ...]:
    """Names of the traces and generators that the catalogue ships."""
    folders = (root / "workloads" / "traffic" for root, _ in library.roots)
    return tuple(sorted({path.name for folder in folders for path in folder.glob("*") if path.suffix != ".md"}))


def command_of(asked: Sides) -> str:
    """What to type for the same answer; from a file where a value has no flag."""
    verb = "whatif" if asked.changes else asked.verb
    data = plain(asked.baseline.model_dump(exclude_unset=True))
    words = ["gambrel", verb]
    left = set(_leaves(data, ()))
    for option in options(verb):
        if option.path in left:
            words += _typed(option, _at(data, option.path))
            left.discard(option.path)
    left = {path for path in left if path[-1] not in ("kind", "role")}
    if verb == "whatif" and asked.verb == "serve":
        words += ["--role", "serve"] if "--role" not in words else []
    if left:
        words = ["gambrel", verb, "scenario.yaml"]
    return shlex.join([*words, *(word for text in asked.changes for word in ("--set", text))])


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Paths of everything that is set; lists of plain values are one."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, (*path, key))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for index, each in enumerate(value):
            yield from _leaves(each, (*path, index))
    elif value is not None:
        yield path


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        data = data[step]
    return data


def _typed(option: Option, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{option.name}" if value else f"--no-{option.name}"]
    if isinstance(value, list):
        return [f"--{option.name}", ",".join(map(_number, value))]
    return [f"--{option.name}", _number(value)]


def _number(value: Any) -> str:
    """Shortest text that reads back as the same number."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short.replace("e+", "e") if float(short) == value else repr(value)


def yaml_of(scenario: Scenario) -> str:
    """The scenario as a file to go on from; one group stays flat."""
    data = plain(scenario.model_dump(mode="json", exclude_unset=True))
    if len(data["groups"]) == 1:
        data = {**data.pop("groups")[0], **data}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
