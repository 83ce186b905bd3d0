"""The only reader of YAML files: YAML 1.2 numbers, a line for every key, no tags, no endless expansion."""

from __future__ import annotations

import glob
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import InputError

MAX_BYTES = 10_000_000
PART = ".part"
MAX_NODES = 500_000
MAX_DEPTH = 100

Path_ = tuple[str | int, ...]


class Document(NamedTuple):
    """A parsed file: plain values (mappings are dicts, sequences tuples), and the line of every key path."""

    data: Any
    lines: dict[Path_, int]
    name: str

    def place(self, path: Path_) -> str:
        """`file:line` of the nearest known key on the path."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """SafeLoader with the core schema of YAML 1.2: `1e9` is a number, `no` and `12:30:00` are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def read_text(path: Path) -> str:
    """The text of a file of at most 10 MB; InputError for one that is missing, larger or not UTF-8."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size:,} bytes; files of the catalogue may hold 10 MB at most. Split the file.")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text. Save the file as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None


def read_yaml(path: Path) -> Document:
    """Parse one YAML file. Raises InputError with file and line for anything malformed."""
    return parse_yaml(read_text(path), str(path))


def _too_deep(place: str) -> InputError:
    return InputError(f"{place}: more than {MAX_DEPTH} blocks inside each other. Flatten the file.")


def parse_yaml(text: str, name: str) -> Document:
    """Parse YAML text; `name` stands for the file in errors."""
    if len(text) > MAX_BYTES:
        raise InputError(f"{name}: {len(text):,} characters; 10 MB at most. Split the file.")
    try:
        _check_depth(text, name)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        if "nesting depth" in (error.problem or ""):  # newer readers refuse it before we do
            raise _too_deep(f"{name}{line}") from None
        raise InputError(f"{name}{line}: not valid YAML: {error.problem or error.context}. Mend the line.") from None
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: character {error.start} cannot be written as UTF-8. Remove it.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {str(error).splitlines()[0]}. Mend the file.") from None
    if root is None:
        raise InputError(f"{name}: the file is empty. See `gambrel schema` for what belongs into it.")
    builder = _Builder(name)
    try:
        data = builder.build(root, ())
    except RecursionError:
        raise InputError(f"{name}: nested too deeply. Flatten the file.") from None
    return Document(data, builder.lines, name)


def _check_depth(text: str, name: str) -> None:
    """Compose recurses in C and would crash the process on a file of brackets; reading events does not recurse."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            place = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
            raise _too_deep(place)


class _Builder:
    """Turns a node tree into plain values, keeping lines and refusing what expands without end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path_, int] = {}
        self.nodes = 0
        self.open: set[int] = set()

    def build(self, node: yaml.Node, path: Path_) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MAX_NODES or id(node) in self.open:
            raise InputError(f"{self.name}:{line}: the aliases of this file expand without end. Write the values out.")
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, line)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                if node.tag != "tag:yaml.org,2002:seq":
                    raise InputError(f"{self.name}:{line}: tag {node.tag} is not allowed. Remove it.")
                return tuple(self.build(child, (*path, index)) for index, child in enumerate(node.value))
            return self.mapping(node, path, line)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.Node, path: Path_, line: int) -> dict[str, Any]:
        if node.tag != "tag:yaml.org,2002:map":
            raise InputError(f"{self.name}:{line}: tag {node.tag} is not allowed. Remove it.")
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError(f"{self.name}:{key_line}: a key must be plain text. Write `key: value`.")
            key = str(key_node.value)
            if key in values:
                raise InputError(f"{self.name}:{key_line}: {key} stands twice in one block. Remove one.")
            self.lines[(*path, key)] = key_line
            values[key] = self.build(value_node, (*path, key))
        return values

    def scalar(self, node: yaml.ScalarNode, line: int) -> Any:
        kind = node.tag.rsplit(":", 1)[-1]
        text = node.value
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:  # a tag that lies, or more digits than Python reads
            raise InputError(f"{self.name}:{line}: {text[:40]!r} is not a number. Write a number.") from None
        if kind == "str":
            return text
        raise InputError(f"{self.name}:{line}: tag {node.tag} is not allowed. Remove it.")


def read_json(path: Path) -> Any:
    """Parse one JSON file (a model's config.json). Raises InputError with file and line."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}. Mend the line.") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply. Flatten the file.") from None
    except ValueError:  # more digits than Python reads
        raise InputError(f"{path}: holds a number of thousands of digits. Write it shorter.") from None


STALE_S = 3600.0  # a temporary file that is older was left by a process that was killed


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it is either whole or not there: to a temporary name beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
        if left.stat().st_mtime < time.time() - STALE_S:
            left.unlink(missing_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextmanager
def held(lock: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, which is let go however this process ends. Raises InputError if another process holds it for `wait_s`.

    Where the system or the file system knows no such locks, nothing is held.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
    until_s = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    waited = f" for {wait_s:g} s" if wait_s else ""
                    raise InputError(
                        f"{lock.parent}: in use by another process{waited}. Wait, or take another folder."
                    ) from None
                time.sleep(0.05)
            except OSError:
                break
        yield
    finally:
        os.close(handle)
