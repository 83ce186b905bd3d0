"""Arithmetic of figures: an expression over named figures and columns, with their intervals and basis carried along.

Intervals are combined at their worst (errors of different figures may go either way), so a result's interval is never too narrow
for the intervals that went in. What is unknown makes unknown what needs it.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..errors import InputError
from ..result import BASES, Figure

Column: TypeAlias = dict[str, Figure]
Value: TypeAlias = Figure | Column
Lookup: TypeAlias = Callable[[str], Value]
Function: TypeAlias = Callable[..., float]

_BINARY: dict[type[ast.operator], Function] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}
# what is monotone in every argument, so that an interval's ends lie at ends of the arguments
FUNCTIONS: dict[str, Function] = {
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "ceil": lambda x: float(math.ceil(x - 1e-9)),
    "least": min,
    "most": max,
}


def names_in(formula: str) -> tuple[str, ...]:
    """Names and columns that a formula reads. Raises InputError for one that is not arithmetic."""
    return tuple(dict.fromkeys(_names(_parsed(formula))))


def evaluated(formula: str, lookup: Lookup, unit: str = "", extra: Mapping[str, Function] | None = None) -> Figure:
    """The figure of a formula. lookup: a name, or `table.column`, to its figure or column.

    Columns: `least(column)`, `most(column)`, and `at(column, "row")`. extra: more functions, monotone in every argument.
    Raises InputError for unknown names and functions.
    """
    found = _of(_parsed(formula), lookup, {**FUNCTIONS, **(extra or {})})
    if isinstance(found, dict):
        raise InputError(f'{formula!r} is a column. Take least(...), most(...) or at(..., "row") of it.')
    return Figure(found.value, unit, found.low, found.high, found.basis, found.note)


def _parsed(formula: str) -> ast.expr:
    try:
        return ast.parse(formula, mode="eval").body
    except SyntaxError as error:
        raise InputError(f"{formula!r} is not a formula ({error.msg}). Use names, + - * / ** and functions.") from None


def _names(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return [f"{node.value.id}.{node.attr}"]
    if isinstance(node, ast.BinOp):
        return _names(node.left) + _names(node.right)
    if isinstance(node, ast.UnaryOp):
        return _names(node.operand)
    if isinstance(node, ast.Call):
        return [name for argument in node.args for name in _names(argument)]
    if isinstance(node, ast.Constant):
        return []
    raise InputError(f"{ast.unparse(node)!r} is not arithmetic. Use names, + - * / ** and functions.")


def _of(node: ast.expr, lookup: Lookup, functions: Mapping[str, Function]) -> Value:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Figure(float(node.value), "", basis=BASES[0])
    if isinstance(node, ast.Name | ast.Attribute):
        return lookup(_names(node)[0])
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return applied(_BINARY[type(node.op)], [_of(node.left, lookup, functions), _of(node.right, lookup, functions)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return applied(lambda x: -x, [_of(node.operand, lookup, functions)])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _called(node, node.func.id, lookup, functions)
    raise InputError(f"{ast.unparse(node)!r} is not arithmetic. Use names, + - * / ** and functions.")


def _called(node: ast.Call, name: str, lookup: Lookup, functions: Mapping[str, Function]) -> Value:
    if name == "at" and len(node.args) == 2 and isinstance(node.args[1], ast.Constant):
        column, row = _of(node.args[0], lookup, functions), str(node.args[1].value)
        if not isinstance(column, dict) or row not in column:
            raise InputError(f"{ast.unparse(node)}: there is no such row.")
        return column[row]
    if name not in functions:
        raise InputError(f"{name}: no such function. Use at, {', '.join(sorted(functions))}.")
    given: list[Figure] = []
    for argument in node.args:
        value = _of(argument, lookup, functions)
        given += [each for each in value.values() if each.value is not None] if isinstance(value, dict) else [value]
    if not given:
        return Figure.unknown("", f"{ast.unparse(node)}: no row of it is known")
    return applied(functions[name], given)


def applied(function: Function, given: Sequence[Value]) -> Figure:
    """A function of figures: its value, its least and largest over the corners of their intervals, the weakest basis."""
    figures = [each for each in given if isinstance(each, Figure)]
    if len(figures) != len(given):
        raise InputError('a column is used as a number. Take least(...), most(...) or at(..., "row") of it.')
    missing = next((each for each in figures if each.value is None), None)
    if missing is not None:
        return Figure.unknown("", missing.note)
    try:
        value = function(*(each.value for each in figures))
        corners = [function(*corner) for corner in _corners(function, figures)]
    except (ZeroDivisionError, ValueError, OverflowError) as error:
        return Figure.unknown("", f"cannot be computed: {error}")
    ranged = any(each.low is not None or each.high is not None for each in figures)
    low, high = (min(corners), max(corners)) if ranged else (None, None)
    chosen = [each for each in figures if each.value == value] if function in (min, max) else figures
    basis = max((each.basis for each in chosen), key=BASES.index)
    return Figure(value, "", low, high, basis)


def _corners(function: Function, figures: list[Figure]) -> list[tuple[float, ...]]:
    ends = [tuple(dict.fromkeys(x for x in (each.low, each.value, each.high) if x is not None)) for each in figures]
    if function in (min, max):  # both rise with each argument: all low, or all high
        return [tuple(min(each) for each in ends), tuple(max(each) for each in ends)]
    return list(itertools.product(*ends))
