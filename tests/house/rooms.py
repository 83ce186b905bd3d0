"""What the tests of the house share: the rooms in their order, and every module of the package as a syntax tree."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sim"

# A room imports only rooms of earlier lines; rooms of one line are neighbours and do not import each other.
ORDER: tuple[tuple[str, ...], ...] = (
    ("units", "errors", "seeds", "jit"),
    ("catalog",),
    ("lowering",),
    ("cost",),
    ("engine",),
    ("result",),
    ("training", "serving"),
    ("economics",),
    ("studies", "evidence"),
    ("report",),
    ("api",),
    ("app",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
NEVER = {"engine": {"lowering", "cost"}}


@cache
def modules() -> dict[Path, ast.Module]:
    """Every module of the package by its path below `sim`."""
    paths = (path for path in sorted(PACKAGE.rglob("*.py")) if "_data" not in path.parts)
    return {path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def room_of(module: Path) -> str:
    """`catalog/chips.py` is of the room catalog, `units.py` of units, the package's own `__init__.py` of none."""
    return module.parts[0] if len(module.parts) > 1 else module.stem


def imports(module: Path, tree: ast.Module) -> list[tuple[int, str]]:
    """(line, dotted name) of everything that a module imports, inside functions too; names of the house begin with `sim`."""
    found: list[tuple[int, str]] = []
    package = ("sim", *module.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join((*base, node.module) if node.module else base)
            if node.level and not node.module:  # from .. import units
                found += [(node.lineno, f"{start}.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, start))
    return found


def rooms_imported(module: Path, tree: ast.Module) -> list[tuple[int, str]]:
    """(line, room) of every room of the house that a module imports, its own left out."""
    own = room_of(module)
    rooms = [(line, name.split(".")[1]) for line, name in imports(module, tree) if name.startswith("sim.")]
    return [(line, room) for line, room in rooms if room != own and room in LEVEL]
