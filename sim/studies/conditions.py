"""Conditions of a sweep: a small language over named values, such as `tp * pp <= devices`. It can compute and compare, nothing else.

Numbers, text, names (dots allowed), + - * / // % **, comparisons, `in [..]`, and, or, not, min, max, abs.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, did_you_mean

Column = NDArray[Any]
LONGEST = 1000  # characters of a condition
DEEPEST = 40
_DO: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALLS: dict[str, Callable[..., Any]] = {
    "min": lambda *each: reduce(np.minimum, each),
    "max": lambda *each: reduce(np.maximum, each),
    "abs": np.abs,
}


def holds(text: str, names: Mapping[str, Column], n: int) -> NDArray[np.bool_]:
    """Where a condition holds, bool[n]. names: columns of n values, float64 for numbers, objects for text.

    Raises InputError for what is not of the language, an unknown name, or values that cannot be compared.
    """
    if len(text) > LONGEST:
        raise InputError(f"where: a condition has {len(text):,} characters; {LONGEST:,} at most. Split it.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"where: {text!r} is no condition. Write one such as tp * pp <= devices.") from None
    with np.errstate(all="ignore"):
        try:
            found = _Reader(text, names).value(tree, 0)
        except (TypeError, np.exceptions.DTypePromotionError):
            raise InputError(
                f"where: {text!r} computes with text or unknown values. Compare them with == or in."
            ) from None
    return np.broadcast_to(np.asarray(found, dtype=bool), (n,))


class _Reader:
    """Walks the tree of a condition; every kind of node that is not named here is refused."""

    def __init__(self, text: str, names: Mapping[str, Column]) -> None:
        self.text, self.names = text, names

    def value(self, node: ast.AST, depth: int) -> Any:
        if depth > DEEPEST:
            raise InputError(f"where: {self.text!r} is nested too deeply. Split it.")

        def inner(other: ast.AST) -> Any:
            return self.value(other, depth + 1)

        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            return node.value if isinstance(node.value, str | bool) else float(node.value)
        if isinstance(node, ast.Name | ast.Attribute):
            return self.named(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _DO:
            left, right = inner(node.left), inner(node.right)
            if isinstance(left, str) or isinstance(right, str):
                raise TypeError
            return _DO[type(node.op)](np.asarray(left), np.asarray(right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
            value = inner(node.operand)
            return np.logical_not(value) if isinstance(node.op, ast.Not) else -value
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return reduce(join, [np.asarray(inner(each), dtype=bool) for each in node.values])
        if isinstance(node, ast.Compare):
            return self.compared(node, inner)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _CALLS
            and not node.keywords
        ):
            return _CALLS[node.func.id](*map(inner, node.args))
        raise InputError(
            f"where: {self.text!r}: {ast.unparse(node)[:40]!r} is not allowed. Use names, numbers, text, + - * / // % **, "
            "comparisons, in [..], and, or, not, min, max, abs."
        )

    def compared(self, node: ast.Compare, inner: Callable[[ast.AST], Any]) -> Any:
        left, out = inner(node.left), True
        for op, other in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn) and isinstance(other, ast.List | ast.Tuple):
                found = reduce(np.logical_or, [np.equal(left, inner(each)) for each in other.elts], np.asarray(False))
                out = np.logical_and(out, found if isinstance(op, ast.In) else np.logical_not(found))
                continue
            if type(op) not in _DO:
                raise InputError(f"where: {self.text!r}: only == != < <= > >= and in [..] compare. Use one of them.")
            right = inner(other)
            out = np.logical_and(out, _DO[type(op)](np.asarray(left), np.asarray(right)))
            left = right
        return out

    def named(self, node: ast.AST) -> Column:
        name = ast.unparse(node)
        if name not in self.names:
            raise InputError(f"where: {self.text!r}: {name!r} is not known. {did_you_mean(name, self.names)}".rstrip())
        return self.names[name]
