"""Eight rows side by side in one vector of the processor, as numbers that a numba kernel can use.

The compiler vectorises a plain loop over rows only if it can prove that no two arrays overlap; with
a tree's nodes at computed places it can't, and gives up or asks at every node. `Lanes` says it: one
operator is one instruction for all rows (AVX; two of them with SSE or NEON).

Operators work lane by lane in IEEE float32, and nothing is contracted or reordered: a row's numbers
depend neither on its neighbours nor on the machine. The functions run inside `@njit` only:

>>> import numpy as np
>>> from numba import njit
>>> @njit
... def twice(array):
...     lanes = load_row(array, np.uintp(0))
...     store(array, np.uintp(0), lanes + lanes)
>>> rows = np.arange(8, dtype=np.float32)
>>> twice(rows)
>>> rows
array([ 0.,  2.,  4.,  6.,  8., 10., 12., 14.], dtype=float32)

Kernels that are cached on disk don't notice a change of this file: touch theirs as well.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

ROWS: Final = 8
"""Rows in a vector. Sixteen are hardly quicker and nearly double the price of a row alone."""

POINTS: Final = 4
"""Vectors in a `load_points` or `spread_points`: a row's numbers at each point of a quadrature."""

_VECTOR: Final = ir.VectorType(ir.FloatType(), ROWS)
_WIDE: Final = ir.VectorType(ir.DoubleType(), ROWS)
_BITS: Final = ir.VectorType(ir.IntType(1), ROWS)
_NO_LANE: Final = ir.Constant(_VECTOR, ir.Undefined)
_FIRST: Final = ir.Constant(ir.IntType(32), 0)
_ALL_FIRST: Final = ir.Constant(ir.VectorType(ir.IntType(32), ROWS), [0] * ROWS)


class Lanes(types.Type):
    """The numba type of `count` vectors of `ROWS` float32; `+ - *` spread one over several."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Lanes({ROWS}, {count})")


class Mask(types.Type):
    """The numba type of an answer for each row."""

    def __init__(self) -> None:
        super().__init__(name=f"Mask({ROWS})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, kinds: Any, lanes: Lanes) -> None:
        super().__init__(kinds, lanes, ir.ArrayType(_VECTOR, lanes.count))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, kinds: Any, mask: Mask) -> None:
        super().__init__(kinds, mask, _BITS)


def _loader(count: int) -> Any:
    @intrinsic
    def load(_: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            vectors = []
            for number in range(count):
                place = _place(context, builder, signature, values, _VECTOR, number * ROWS)
                vectors.append(builder.load(place, align=4))
            return _joined(builder, vectors)

        return Lanes(count)(array, at), emit

    return load


def _spreader(count: int) -> Any:
    @intrinsic
    def spread(_: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            vectors = []
            for number in range(count):
                place = _place(context, builder, signature, values, ir.FloatType(), number)
                vectors.append(_spread(builder, builder.load(place)))
            return _joined(builder, vectors)

        return Lanes(count)(array, at), emit

    return spread


load_row: Final = _loader(1)
"""`load_row(array, at)`: `array[at : at + ROWS]`, a lane for each row; `at` is a `uintp`."""

load_points: Final = _loader(POINTS)
"""`load_points(array, at)`: `POINTS` vectors that follow each other from `at` on."""

spread_row: Final = _spreader(1)
"""`spread_row(array, at)`: `array[at]` in every lane."""

spread_points: Final = _spreader(POINTS)
"""`spread_points(array, at)`: vector q has `array[at + q]` in every lane."""


@intrinsic
def spread(_: Any, _number: Any) -> Any:
    """`spread(number)`: a float32 in every lane."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _joined(builder, [_spread(builder, values[0])])

    return Lanes(1)(types.float32), emit


@intrinsic
def store(_: Any, array: Any, at: Any, lanes: Any) -> Any:
    """`store(array, at, lanes)`: write what `load_row` or `load_points` read."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        for number in range(lanes.count):
            place = _place(context, builder, signature, values, _VECTOR, number * ROWS)
            builder.store(builder.extract_value(values[2], number), place, align=4)
        return context.get_dummy_value()

    return types.void(array, at, lanes), emit


@intrinsic
def add_to(_: Any, array: Any, at: Any, lanes: Any) -> Any:
    """`add_to(array, at, lanes)`: `array[at : at + ROWS] += lanes`, in the array's float64."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _place(context, builder, signature, values, _WIDE, 0)
        wide = builder.fpext(builder.extract_value(values[2], 0), _WIDE)
        builder.store(builder.fadd(builder.load(place, align=8), wide), place, align=8)
        return context.get_dummy_value()

    return types.void(array, at, lanes), emit


@intrinsic
def total(_: Any, lanes: Any) -> Any:
    """`total(lanes)`: the sum of the vectors, first to last, row by row."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        found = builder.extract_value(values[0], 0)
        for number in range(1, lanes.count):
            found = builder.fadd(found, builder.extract_value(values[0], number))
        return _joined(builder, [found])

    return Lanes(1)(lanes), emit


@intrinsic
def choose(_: Any, mask: Any, yes: Any, no: Any) -> Any:
    """`choose(mask, yes, no)`: `yes` in the rows where the mask holds, else `no`."""
    count = max(yes.count, no.count)

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        vectors = []
        for q in range(count):
            chosen = [_vector(builder, value, q) for value in values[1:]]
            vectors.append(builder.select(values[0], *chosen))
        return _joined(builder, vectors)

    return Lanes(count)(mask, yes, no), emit


def _comparison(symbol: str) -> Any:
    @intrinsic
    def compare(_: Any, one: Any, other: Any) -> Any:
        def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            left, right = (builder.extract_value(value, 0) for value in values)
            return builder.fcmp_ordered(symbol, left, right)

        return Mask()(one, other), emit

    return compare


below: Final = _comparison("<")
"""`below(one, other)`: the rows where one is less; never where either is NaN."""

same: Final = _comparison("==")
"""`same(one, other)`: the rows where they are equal; never where either is NaN."""


def _define(symbol: Callable[[Any, Any], Any], instruction: str) -> None:
    """Give lanes an operator."""

    @intrinsic
    def combine(_: Any, one: Any, other: Any) -> Any:
        count = max(one.count, other.count)

        def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            vectors = []
            for q in range(count):
                operands = [_vector(builder, value, q) for value in values]
                vectors.append(getattr(builder, instruction)(*operands))
            return _joined(builder, vectors)

        return Lanes(count)(one, other), emit

    def combined(one: Any, other: Any) -> Any:
        return combine(one, other)

    @overload(symbol)
    def chosen(one: Any, other: Any) -> Any:
        return combined if isinstance(one, Lanes) and isinstance(other, Lanes) else None


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")


def _place(
    context: Any, builder: Any, signature: Any, values: Any, of: ir.Type, further: int
) -> Any:
    """The address of element `at + further`, for the arguments (array, at, ...)."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    at = builder.add(values[1], ir.Constant(values[1].type, further))
    return builder.bitcast(builder.gep(array.data, [at]), of.as_pointer())


def _spread(builder: Any, number: Any) -> Any:
    first = builder.insert_element(_NO_LANE, number, _FIRST)
    return builder.shuffle_vector(first, _NO_LANE, _ALL_FIRST)


def _vector(builder: Any, lanes: Any, number: int) -> Any:
    """Vector `number` of several, or the only one."""
    return builder.extract_value(lanes, number if lanes.type.count > 1 else 0)


def _joined(builder: Any, vectors: list[Any]) -> Any:
    lanes = ir.Constant(ir.ArrayType(_VECTOR, len(vectors)), ir.Undefined)
    for number, vector in enumerate(vectors):
        lanes = builder.insert_value(lanes, vector, number)
    return lanes
