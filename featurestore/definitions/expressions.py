"""Arithmetic and conditions over fields and features, built with Python's own operators.

>>> from featurestore.definitions.expressions import feature, field
>>> new_and_large = (feature("policy.age_days") < 30) & (field("total_claim_cents") > 2_000_000)
>>> columns = {"policy.age_days": np.array([5.0, 5.0, np.nan]),
...            "field:total_claim_cents": np.array([3e6, 1e6, 3e6])}
>>> new_and_large.evaluate(columns).tolist()
[1.0, 0.0, 0.0]

Arithmetic with a missing value (NaN) is missing; a comparison with a missing value is false.
Division by zero is missing. There are only + - * /, comparisons, & and |, so that the result is the
same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Union

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
Columns = Mapping[str, Column]
Operand = Union["Expression", int, float]

FIELD_PREFIX: Final = "field:"
PROFILE_PREFIX: Final = "profile:"
"""Prefixes that tell columns of the event's own fields, and of profiles, from features."""


def _divide(a: Column, b: Column) -> Column:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b == 0, np.nan, a / b)


_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": _divide,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "&": lambda a, b: (a == 1) & (b == 1),
    "|": lambda a, b: (a == 1) | (b == 1),
}


@dataclass(frozen=True, eq=False)
class Expression:
    """A node of an expression tree: a name, a number, or an operator over two nodes."""

    operator: str
    operands: tuple[Expression | str | float, ...]

    def evaluate(self, columns: Columns) -> Column:
        """Return the value for each row, float64; a condition gives 1.0 or 0.0.

        Raises:
            KeyError: a name is not among the columns.
        """
        if self.operator == "name":
            return columns[str(self.operands[0])]
        if self.operator == "number":
            return np.float64(self.operands[0])  # type: ignore[return-value, arg-type]
        left, right = (o.evaluate(columns) for o in self.operands if isinstance(o, Expression))
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(_OPERATORS[self.operator](left, right), np.float64)

    def names(self) -> Iterator[str]:
        """Yield every name that the expression reads: features, `field:x` and `profile:g.x`."""
        for operand in self.operands:
            if isinstance(operand, Expression):
                yield from operand.names()
            elif self.operator == "name":
                yield str(operand)

    def tree(self) -> list[Any]:
        """Return the expression as nested lists, for digests and for display."""
        return [
            self.operator,
            *(o.tree() if isinstance(o, Expression) else o for o in self.operands),
        ]

    def __str__(self) -> str:
        if self.operator in ("name", "number"):
            return str(self.operands[0]).removeprefix(FIELD_PREFIX).removeprefix(PROFILE_PREFIX)
        return f"({self.operands[0]} {self.operator} {self.operands[1]})"

    def _as_left(self, operator: str, other: Operand) -> Expression:
        return Expression(operator, (self, _as_expression(other)))

    def _as_right(self, operator: str, other: Operand) -> Expression:
        return Expression(operator, (_as_expression(other), self))

    def __add__(self, other: Operand) -> Expression:
        return self._as_left("+", other)

    def __sub__(self, other: Operand) -> Expression:
        return self._as_left("-", other)

    def __rsub__(self, other: Operand) -> Expression:
        return self._as_right("-", other)

    def __mul__(self, other: Operand) -> Expression:
        return self._as_left("*", other)

    def __truediv__(self, other: Operand) -> Expression:
        return self._as_left("/", other)

    def __lt__(self, other: Operand) -> Expression:
        return self._as_left("<", other)

    def __le__(self, other: Operand) -> Expression:
        return self._as_left("<=", other)

    def __gt__(self, other: Operand) -> Expression:
        return self._as_left(">", other)

    def __ge__(self, other: Operand) -> Expression:
        return self._as_left(">=", other)

    def equals(self, other: Operand) -> Expression:
        """Return the condition that both are equal; `==` itself keeps comparing Python objects."""
        return self._as_left("==", other)

    def __and__(self, other: Expression) -> Expression:
        return self._as_left("&", other)

    def __or__(self, other: Expression) -> Expression:
        return self._as_left("|", other)


def feature(name: str) -> Expression:
    """Return an expression for the value of a feature that is defined earlier in the domain."""
    return Expression("name", (name,))


def field(name: str) -> Expression:
    """Return an expression for a field of the claim: a number, or a time in ms since 1970."""
    return Expression("name", (FIELD_PREFIX + name,))


def profile(group: str, name: str) -> Expression:
    """Return an expression for a field of a group's newest profile: a number or ms since 1970."""
    return Expression("name", (f"{PROFILE_PREFIX}{group}.{name}",))


def _as_expression(operand: Operand) -> Expression:
    if isinstance(operand, Expression):
        return operand
    return Expression("number", (float(operand),))
