"""Conditions on index columns, such as ``source_seconds >= 2 and camera != 'pan'``, read without running anything."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError
from motive.extras import require

_COMPARE: Mapping[type, str] = {
    ast.Eq: "equal", ast.NotEq: "not_equal", ast.Lt: "less",
    ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal",
}  # fmt: skip
_FORM = "columns, numbers and 'text' with == != < <= > >= in, joined by and, or, not and brackets"


class Filter:
    """A condition on the index columns of a store.

    A comparison with a missing value does not hold, nor does its negation by ``not``.

    Args:
        text: the condition; columns by name, also ``clip_id``.
        where: the option, for messages.

    Raises:
        OptionError: the text is no condition.
    """

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self._where = where
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._wrong("a condition", text) from error
        self.names: list[str] = []
        self._tree = tree
        self._check(tree)

    def mask(self, table: Any, where: str) -> NDArray[np.bool_]:
        """Which rows of a pyarrow table with the columns ``names`` pass.

        Raises:
            OptionError: a column cannot be compared with the value given.
        """
        pa, compute = require("pyarrow", where, extra="tables"), require("pyarrow.compute", where, extra="tables")
        try:
            found = self._evaluate(self._tree, table, compute)
        except (pa.ArrowException, TypeError) as error:
            raise self._wrong("a condition that fits the columns' types", f"{self.text!r} ({error})") from error
        return compute.fill_null(found, False).combine_chunks().to_numpy(zero_copy_only=False).astype(np.bool_)

    def _check(self, node: ast.AST) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self._check(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._check(node.operand)
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
            if node.left.id not in self.names:
                self.names.append(node.left.id)
            for kind, right in zip(node.ops, node.comparators, strict=True):
                if isinstance(kind, (ast.In, ast.NotIn)) and isinstance(right, (ast.List, ast.Tuple)):
                    fits = all(map(_is_constant, right.elts))
                else:
                    fits = type(kind) in _COMPARE and _is_constant(right)
                if len(node.ops) > 1 or not fits:
                    raise self._wrong(_FORM, ast.unparse(node))
        elif isinstance(node, ast.Name):
            if node.id not in self.names:
                self.names.append(node.id)
        else:
            raise self._wrong(_FORM, ast.unparse(node))

    def _evaluate(self, node: Any, table: Any, compute: Any) -> Any:
        if isinstance(node, ast.BoolOp):
            join = compute.and_kleene if isinstance(node.op, ast.And) else compute.or_kleene
            found = self._evaluate(node.values[0], table, compute)
            for value in node.values[1:]:
                found = join(found, self._evaluate(value, table, compute))
            return found
        if isinstance(node, ast.UnaryOp):
            return compute.invert(self._evaluate(node.operand, table, compute))
        if isinstance(node, ast.Name):
            return table.column(node.id)
        column, kind, right = table.column(node.left.id), node.ops[0], ast.literal_eval(node.comparators[0])
        if isinstance(kind, (ast.In, ast.NotIn)):
            pa = require("pyarrow", self._where, extra="tables")
            found = compute.is_in(column, value_set=pa.array(list(right), column.type))
            found = compute.if_else(compute.is_valid(column), found, pa.scalar(None, pa.bool_()))
            return found if isinstance(kind, ast.In) else compute.invert(found)
        return getattr(compute, _COMPARE[type(kind)])(column, right)

    def _wrong(self, must: str, got: str) -> OptionError:
        return OptionError(
            f"{self._where}: filter must be {must}, got {got!r}; write for example source_seconds >= 2 and not static"
        )


def _is_constant(node: ast.AST) -> bool:
    try:
        value = ast.literal_eval(node)  # type: ignore[arg-type]
    except ValueError:
        return False
    return isinstance(value, (str, int, float, bool))
