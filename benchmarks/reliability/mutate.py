"""Broken files out of whole ones: a value of a tree, a cell, a word or a byte is replaced by what a reader least expects.

Everything is drawn from one `random.Random`, so that a seed stands for a file and Hypothesis can shrink what it finds.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from typing import Any

import yaml

# written as they stand, unquoted: numbers and words of YAML, JSON and CSV that a reader may stumble over
RAW = (
    *("NaN", "nan", ".nan", "Infinity", "-Infinity", ".inf", "-.inf", "inf", "1e999", "-1e999", "1e308", "5e-324"),
    *("0", "-0.0", "-1", "1", "0.5", "2", "9223372036854775807", "9223372036854775808", "-9223372036854775809"),
    *("2147483648", "1" + "0" * 30, "1" * 400, "9" * 5000, "1e12", "1_000", "0x10", "0o17", "1,5", "1.2.3", "--", "+"),
    *("null", "~", "true", "yes", "[]", "{}", "[[]]", "[{}]", '[""]', "[1, [2, [3]]]", "{a: {b: {c: 1}}}", '""', "''"),
    *("2026-02-30", "2026-13-01T00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "12:99:00"),
    *("&a [*a]", "*nobody", "!!python/object:os.system x", "!!binary aGk=", "? x", "|", ">", "- - -", "%TAG", "@", "`"),
)
TEXTS = (
    *(
        "",
        " ",
        "x",
        "x" * 300,
        "x" * 70_000,
        "a\nb",
        "a\tb",
        "a\x00b",
        "\x7f",
        "\ud800",
        "\ufeff",
        "é" * 40,
        "💥",
        "\u202e",
    ),
    *(
        "=",
        "==",
        "a=",
        "=b",
        "*=2",
        "a=b=c",
        "../../etc/passwd",
        "/dev/null",
        "/",
        ".",
        "a/b",
        "~",
        "*",
        "(",
        "[",
        "%s",
        "{0}",
    ),
    *(
        "nan",
        "inf",
        "-1",
        "1e999",
        "1/0",
        "__import__('os')",
        "${x}",
        "$(x)",
        "9" * 400,
        "2**99999",
        "None",
        "<script>",
    ),
)
NASTY_BYTES = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\x1f\x8b",
    b'"',
    b"'",
    b"\t",
    b",",
    b":",
    b"[",
    b"{",
    b"}",
    b"]",
    b"#",
    b"\\",
    b"\x0b",
    b"\x85",
    b"\xe2\x80\xa8",
    b"9" * 5000,
)
Tree = Any
Path = tuple[Any, ...]


def mutated(sample: bytes, kind: str, chance: random.Random) -> bytes:
    """A sample of a kind (yaml, json, jsonl, csv, psv, text) with one to four things changed in it."""
    content = sample
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        content = _once(content, kind, chance)
    return content


def _once(content: bytes, kind: str, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return _of_bytes(content, kind, chance)
    try:
        text = content.decode("utf-8")
        if kind in ("yaml", "json"):
            return _of_tree(text, kind, chance)
        if kind == "jsonl":
            return _of_records(text, chance)
        if kind in ("csv", "psv"):
            return _of_cells(text, "," if kind == "csv" else "|", chance)
        return _of_words(text, chance)
    except (ValueError, TypeError, yaml.YAMLError, RecursionError, csv.Error, LookupError):  # no longer of its kind
        return _of_bytes(content, kind, chance)


def _of_tree(text: str, kind: str, chance: random.Random) -> bytes:
    if len(text) > 200_000 or re.search(r"[&*]\w", text) or text.count("[") > 1000:
        raise ValueError("aliases would expand, and so much takes long to write")
    tree = json.loads(text) if kind == "json" else _plain(yaml.load(text, Loader=yaml.CBaseLoader))
    raws: list[str] = []
    tree = _change(tree, chance, raws)
    if kind == "json":
        out = json.dumps(tree, ensure_ascii=chance.random() < 0.9)
    else:
        out = yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=10**6)
    for number, raw in enumerate(raws):
        out = re.sub(rf"(['\"]?)@@{number}@@\1", lambda _, raw=raw: raw, out)  # type: ignore[misc]
    return out.encode("utf-8", "surrogatepass")


def _plain(tree: Tree) -> Tree:
    """Numbers and words of YAML as what they stand for; all else as text."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    for of in (int, float):
        try:
            return of(tree)
        except ValueError:
            continue
    return {"true": True, "false": False, "null": None}.get(tree, tree)


def _nodes(tree: Tree, path: Path = ()) -> list[Path]:
    out = [path]
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        out += _nodes(value, (*path, key))
    return out


def _at(tree: Tree, path: Path) -> Tree:
    for step in path:
        tree = tree[step]
    return tree


def _put(tree: Tree, path: Path, value: Tree) -> Tree:
    if not path:
        return value
    _at(tree, path[:-1])[path[-1]] = value
    return tree


def _change(tree: Tree, chance: random.Random, raws: list[str]) -> Tree:
    """One value, key or place of a tree changed."""
    path = chance.choice(_nodes(tree))
    what = chance.randrange(9)
    parent = _at(tree, path[:-1]) if path else None
    if what <= 2 or parent is None:
        return _put(tree, path, _odd(tree, chance, raws))
    if what == 3:
        del parent[path[-1]]
    elif what == 4 and isinstance(parent, dict):
        items = [(_renamed(key, chance) if key == path[-1] else key, value) for key, value in parent.items()]
        parent.clear()
        parent.update(items)
    elif what == 5 and isinstance(parent, dict):  # the same key twice: of the text that is written
        raws.append(f"{chance.choice(RAW)}\n{path[-1]}: {chance.choice(RAW)}")
        parent[path[-1]] = f"@@{len(raws) - 1}@@"
    elif what == 6:
        parent[path[-1]] = chance.choice(
            ([_at(tree, path)], {"kind": _at(tree, path)}, {str(path[-1]): _at(tree, path)})
        )
    elif what == 7:
        other = chance.choice(_nodes(tree))
        parent[path[-1]] = json.loads(json.dumps(_at(tree, other)))
    elif isinstance(parent, list):
        parent += [parent[path[-1]]] * chance.choice((1, 2, 50))
    else:
        parent[
            chance.choice(("", "x", "source", "kind", "id", "\x00", "a.b", "*", "1", "name_gb", *map(str, parent)))
        ] = _odd(tree, chance, raws)
    return tree


def _odd(tree: Tree, chance: random.Random, raws: list[str]) -> Tree:
    kind = chance.randrange(6)
    if kind <= 2:
        raws.append(chance.choice(RAW))
        return f"@@{len(raws) - 1}@@"
    if kind == 3:
        return chance.choice(TEXTS)
    if kind == 4:
        raws.append("[" * (depth := chance.choice((5, 99, 101, 3000))) + "]" * depth)
        return f"@@{len(raws) - 1}@@"
    return chance.choice(
        (None, True, False, [], {}, [None], {"": None}, -1, 0, 1, 10**12, 0.1, -2.5, [1, 2, 3], {"x": 1})
    )


def _renamed(key: str, chance: random.Random) -> str:
    units = ("gb", "bytes", "s", "ms", "us", "w", "ghz", "hz", "tb_per_s", "bytes_per_s", "usd", "kg", "x")
    stem = str(key).rsplit("_", 1)[0]
    return chance.choice(
        (f"{stem}_{chance.choice(units)}", str(key).upper(), f" {key}", str(key)[:-1], f"{key}s", "", "x" * 500)
    )


def _of_records(text: str, chance: random.Random) -> bytes:
    """Lines of JSON: one of them changed, or lines out of place."""
    lines = text.splitlines()
    place = chance.randrange(len(lines))
    if chance.random() < 0.8:
        lines[place] = _of_tree(lines[place], "json", chance).decode("utf-8", "surrogatepass")
    else:
        _shuffle(lines, place, chance)
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def _shuffle(lines: list[str], place: int, chance: random.Random) -> None:
    what = chance.randrange(5)
    if what == 0:
        del lines[place]
    elif what == 1:
        lines[place:place] = [lines[place]] * chance.choice((1, 2, 20))
    elif what == 2:
        other = chance.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif what == 3:
        del lines[place:]
    else:
        lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]


def _of_cells(text: str, mark: str, chance: random.Random) -> bytes:
    rows = [list(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark)]
    place = chance.randrange(len(rows))
    row = rows[place]
    at = chance.randrange(len(row)) if row else 0
    what = chance.randrange(8)
    if what <= 3 and row:
        row[at] = chance.choice(
            (*RAW, *TEXTS, row[at] * 2, f"-{row[at]}", f"{row[at]}e3", f" {row[at]} ", f"{row[at]}.5", f">{row[at]}")
        )
    elif what == 4:  # a column less, or twice
        for each in rows:
            each[at : at + 1] = each[at : at + 1] * chance.choice((0, 2))
    elif what == 5:
        row[at:at] = [chance.choice(TEXTS)] if chance.random() < 0.5 else []
        del row[at + 1 : at + 2]
    elif what == 6 and row:
        other = chance.choice(chance.choice(rows) or [""])
        row[at] = other
    else:
        flat = [mark.join(each) for each in rows]
        _shuffle(flat, place, chance)
        return "\n".join([*flat, ""]).encode("utf-8", "surrogatepass")
    out = io.StringIO(newline="")
    end = chance.choice(("\n", "\n", "\n", "\r\n", "\r"))
    csv.writer(out, delimiter=mark, lineterminator=end).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _of_words(text: str, chance: random.Random) -> bytes:
    """A number or a word of a text replaced, a line taken out, cut, repeated or moved."""
    if chance.random() < 0.3:
        lines = text.splitlines() or [""]
        _shuffle(lines, chance.randrange(len(lines)), chance)
        return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")
    words = list(re.finditer(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?|[A-Za-z_][\w-]*|[^\s\w]", text))
    numbers = [each for each in words if each[0][-1].isdigit()]
    found = chance.choice(numbers if numbers and chance.random() < 0.6 else words)
    new = chance.choice((*RAW, *TEXTS, found[0] * 2, f"-{found[0]}", f"{found[0]}.5", chance.choice(words)[0]))
    return (text[: found.start()] + new + text[found.end() :]).encode("utf-8", "surrogatepass")


def _of_bytes(content: bytes, kind: str, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    what = chance.randrange(8)
    if what == 0:
        return content[:place]
    if what == 1:
        return content[:place] + chance.choice(NASTY_BYTES) + content[place:]
    if what == 2 and place < len(content):
        return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
    if what == 3:
        return content.replace(b"\n", chance.choice((b"\r\n", b"\r", b"", b"\n\n", b"\x00\n")))
    if what == 4:
        return chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\n", b" ")) + content
    if what == 5:
        return (
            content[:place] + bytes(chance.randrange(256) for _ in range(chance.choice((1, 4, 40)))) + content[place:]
        )
    if what == 6:
        return (
            content[:place]
            + chance.choice((b"[", b"{", b"x", b"9", b" ", b"\n", b"- ", b'{"a":')) * chance.choice((200, 20_000))
            + content[place:]
        )
    return _bomb(kind) if chance.random() < 0.3 else content + content[place:]


def _bomb(kind: str) -> bytes:
    """A short file that would expand to a billion values, or nests without end."""
    if kind == "yaml":
        lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
        lines += [
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ]
        return "\n".join(lines).encode()
    return b'{"a":' * 50_000
