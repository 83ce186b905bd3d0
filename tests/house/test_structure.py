"""The house keeps its shape: who imports whom, how long things are, where simulated time advances."""

from __future__ import annotations

import ast
import re

import pytest
from rooms import LEVEL, NEVER, PACKAGE, ROOT, imports, modules, room_of, rooms_imported

MODULES = list(modules())
LONGEST_FILE = 400
LONGEST_FUNCTION = 40
MOST_PARAMETERS = 6
TIME_ROOMS = {"engine", "serving"}
HOUSE_NAMES = {"utils", "common", "manager", "base", "helpers", "misc"}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_room_imports_only_rooms_that_stand_above_it(module):
    own = room_of(module)
    if own == "__init__":
        return  # the package itself loads the verbs on first use
    assert own in LEVEL, f"{module}: the room {own} is not on the plan of the house"
    for line, room in rooms_imported(module, modules()[module]):
        assert LEVEL[room] < LEVEL[own], f"sim/{module}:{line} imports {room}, which does not stand above {own}"
        assert room not in NEVER.get(own, ()), f"sim/{module}:{line}: {own} never imports {room}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_inside_the_package_are_relative(module):
    for line, name in imports(module, modules()[module]):
        source = (PACKAGE / module).read_text(encoding="utf-8").splitlines()[line - 1]
        assert not re.match(r"\s*(from|import) sim\b", source), f"sim/{module}:{line} imports {name} by its full name"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_and_functions_are_short(module):
    lines = len((PACKAGE / module).read_text(encoding="utf-8").splitlines())
    assert lines < LONGEST_FILE, f"sim/{module} has {lines} lines: probably two ideas"
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.FunctionDef) and not _jitted(node):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"sim/{module}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_plain_function_takes_more_than_six_parameters(module):
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.FunctionDef) and not _jitted(node) and not _takes_a_call(node):
            named = [p.arg for p in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in named if name not in ("self", "cls")])
            assert count <= MOST_PARAMETERS, f"sim/{module}:{node.lineno}: {node.name} takes {count} parameters"


def test_only_engine_serving_and_the_campaign_import_simpy():
    for module, tree in modules().items():
        names = {name.split(".")[0] for _, name in imports(module, tree)}
        if "simpy" in names:
            assert room_of(module) in TIME_ROOMS or str(module) == "training/campaign.py", f"sim/{module} imports simpy"


def test_only_jit_py_imports_numba():
    for module, tree in modules().items():
        names = {name.split(".")[0] for _, name in imports(module, tree)}
        assert "numba" not in names or str(module) == "jit.py", f"sim/{module} imports numba; use sim/jit.py"


def test_only_the_catalogue_and_the_line_of_commands_know_pydantic():
    for module, tree in modules().items():
        names = {name.split(".")[0] for _, name in imports(module, tree)}
        if names & {"pydantic", "pydantic_core"}:
            assert room_of(module) in ("catalog", "app"), f"sim/{module} imports pydantic"


def test_cost_names_no_family_and_no_product():
    families = {path.stem for path in (ROOT / "devices" / "families").glob("*.yaml")}
    chips = {path.stem for path in (ROOT / "devices" / "chips").glob("*.yaml")}
    words = (
        families | chips | {"nvidia", "cuda", "trainium", "inferentia", "hopper", "ampere", "blackwell", "h100", "a100"}
    )
    pattern = re.compile(rf"(?<![a-z0-9])({'|'.join(sorted(map(re.escape, words)))})(?![a-z0-9])", re.IGNORECASE)
    for path in sorted((PACKAGE / "cost").glob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = pattern.search(line)
            assert not found, f"{path.relative_to(ROOT)}:{number} names {found[0]!r}"  # type: ignore[index]


def test_no_module_has_a_name_that_says_nothing():
    for module in MODULES:
        assert not HOUSE_NAMES & {part.removesuffix(".py") for part in module.parts}, module


def test_no_variable_is_called_sim():
    for module, tree in modules().items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Name) and node.id == "sim"), f"sim/{module}:{node.lineno}"
            assert not (isinstance(node, ast.arg) and node.arg == "sim"), f"sim/{module}:{node.lineno}"


def _jitted(node: ast.FunctionDef) -> bool:
    names = {decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)}
    return bool(names & {"jit", "inline"})


def _takes_a_call(node: ast.FunctionDef) -> bool:
    """A command's parameters are its flags."""
    return bool(node.args.args) and node.args.args[0].arg == "call"
