"""SIMD vectors of eight float32 rows as a numba type, for use inside kernels.

The compiler vectorises a plain loop over rows only if it can prove that no two arrays overlap. With
computed offsets of a tree's nodes the proof fails, and the compiler gives up or adds a check at
every node. With `Lanes` no proof is needed: one operator is one instruction for all rows (with AVX;
two instructions with SSE or NEON).

Operators work lane by lane in IEEE float32, and nothing is contracted or reordered: a row's numbers
depend neither on the other rows nor on the machine. The functions run inside `@njit` only:

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

numba doesn't notice a change of this file in kernels that it has cached on disk: change the
kernels' own files as well, or delete the cache.

When numba or llvmlite is upgraded, check this file first; it builds LLVM code by hand and relies on
interfaces that numba documents for extensions but may change:

- `numba.extending`: the signatures of `intrinsic`, `overload`, `register_model` and
  `models.PrimitiveModel`; that an operator of two `Lanes` is still resolved through `overload`.
- `numba.core.types.Type`: types are compared and cached by `name`, which therefore holds `ROWS` and
  `count`.
- `context.make_array(...)(context, builder, value).data` as the typed address of an array's first
  element, and `context.get_dummy_value()` as the result of a void function.
- `llvmlite.ir`: `_pointer` casts with `bitcast` and `as_pointer()`. LLVM's opaque pointers remove
  typed pointers; then `gep`, `load` and `store` need their element types spelled out.
- Fast-math flags: neither `fadd`, `fsub`, `fmul` nor `@njit` may set any, and multiply and add may
  not be contracted into one instruction, or contributions differ between machines.
- Alignment: loads and stores name the alignment of one element (4 or 8 bytes). With that of a whole
  vector, processors fault on addresses that aren't multiples of it.

`tests/models/kernels/test_simd.py` covers each operation against numpy, `test_shap.py` the
kernel, and `tests/models/test_scorer.py` (marked slow) that a plain processor gives the same bytes.
`benchmarks/explain_rate.py` measures the speed, which drops when operators become several
instructions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

ROWS: Final = 8
"""Rows in a vector. Sixteen are hardly faster and nearly double the cost of a single row."""

POINTS: Final = 4
"""Vectors in a `load_points` or `spread_points`: a row's numbers at each point of a quadrature."""

_VECTOR: Final = ir.VectorType(ir.FloatType(), ROWS)
_WIDE: Final = ir.VectorType(ir.DoubleType(), ROWS)
_BITS: Final = ir.VectorType(ir.IntType(1), ROWS)
_NO_LANE: Final = ir.Constant(_VECTOR, ir.Undefined)
_FIRST: Final = ir.Constant(ir.IntType(32), 0)
_ALL_FIRST: Final = ir.Constant(ir.VectorType(ir.IntType(32), ROWS), [0] * ROWS)


class Lanes(types.Type):
    """The numba type of `count` vectors of `ROWS` float32.

    The operators `+ - *` broadcast a single vector over several.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Lanes({ROWS}, {count})")


class Mask(types.Type):
    """The numba type of one bit for each row, the result of a comparison."""

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
    """Make the intrinsic that loads `count` consecutive vectors."""

    @intrinsic
    def load(_: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            vectors = []
            for number in range(count):
                pointer = _pointer(context, builder, signature, values, _VECTOR, number * ROWS)
                # An offset is any multiple of a float32: the vector's own alignment can't be had.
                vectors.append(builder.load(pointer, align=4))
            return _joined(builder, vectors)

        return Lanes(count)(array, at), emit

    return load


def _spreader(count: int) -> Any:
    """Make the intrinsic that broadcasts `count` consecutive floats, each to a vector."""

    @intrinsic
    def spread(_: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            vectors = []
            for number in range(count):
                pointer = _pointer(context, builder, signature, values, ir.FloatType(), number)
                vectors.append(_spread(builder, builder.load(pointer)))
            return _joined(builder, vectors)

        return Lanes(count)(array, at), emit

    return spread


load_row: Final = _loader(1)
"""`load_row(array, at)`: load `array[at : at + ROWS]`, one lane for each row; `at` is a `uintp`."""

load_points: Final = _loader(POINTS)
"""`load_points(array, at)`: load `POINTS` consecutive vectors, the first at `at`."""

spread_row: Final = _spreader(1)
"""`spread_row(array, at)`: put `array[at]` into every lane."""

spread_points: Final = _spreader(POINTS)
"""`spread_points(array, at)`: put `array[at + q]` into every lane of vector q."""


@intrinsic
def spread(_: Any, _number: Any) -> Any:
    """`spread(number)`: put a float32 into every lane."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _joined(builder, [_spread(builder, values[0])])

    return Lanes(1)(types.float32), emit


@intrinsic
def store(_: Any, array: Any, at: Any, lanes: Any) -> Any:
    """`store(array, at, lanes)`: write lanes in the layout of `load_row` and `load_points`."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        for number in range(lanes.count):
            pointer = _pointer(context, builder, signature, values, _VECTOR, number * ROWS)
            builder.store(builder.extract_value(values[2], number), pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, at, lanes), emit


@intrinsic
def add_to(_: Any, array: Any, at: Any, lanes: Any) -> Any:
    """`add_to(array, at, lanes)`: `array[at : at + ROWS] += lanes`, summed in float64."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature, values, _WIDE, 0)
        wide = builder.fpext(builder.extract_value(values[2], 0), _WIDE)
        builder.store(builder.fadd(builder.load(pointer, align=8), wide), pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, at, lanes), emit


@intrinsic
def total(_: Any, lanes: Any) -> Any:
    """`total(lanes)`: sum the vectors from first to last, row by row."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        # One chain of additions: a tree of them would round differently.
        found = builder.extract_value(values[0], 0)
        for number in range(1, lanes.count):
            found = builder.fadd(found, builder.extract_value(values[0], number))
        return _joined(builder, [found])

    return Lanes(1)(lanes), emit


@intrinsic
def choose(_: Any, mask: Any, yes: Any, no: Any) -> Any:
    """`choose(mask, yes, no)`: select `yes` in the rows where the mask is set, else `no`."""
    count = max(yes.count, no.count)

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        vectors = []
        for q in range(count):
            chosen = [_vector(builder, value, q) for value in values[1:]]
            vectors.append(builder.select(values[0], *chosen))
        return _joined(builder, vectors)

    return Lanes(count)(mask, yes, no), emit


def _comparison(symbol: str) -> Any:
    """Make the intrinsic of an ordered comparison: false where an operand is NaN."""

    @intrinsic
    def compare(_: Any, one: Any, other: Any) -> Any:
        def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            left, right = (builder.extract_value(value, 0) for value in values)
            return builder.fcmp_ordered(symbol, left, right)

        return Mask()(one, other), emit

    return compare


below: Final = _comparison("<")
"""`below(one, other)`: mask of the rows where `one < other`; false where either is NaN."""

same: Final = _comparison("==")
"""`same(one, other)`: mask of the rows where `one == other`; false where either is NaN."""


def _define(symbol: Callable[[Any, Any], Any], instruction: str) -> None:
    """Define an operator of two `Lanes` as one LLVM instruction for each vector."""

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


def _pointer(
    context: Any, builder: Any, signature: Any, values: Any, pointee: ir.Type, further: int
) -> Any:
    """Return the address of element `at + further`, for the arguments (array, at, ...)."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    at = builder.add(values[1], ir.Constant(values[1].type, further))
    return builder.bitcast(builder.gep(array.data, [at]), pointee.as_pointer())


def _spread(builder: Any, number: Any) -> Any:
    """Broadcast a number: insert it into lane 0, then shuffle lane 0 into all lanes."""
    first = builder.insert_element(_NO_LANE, number, _FIRST)
    return builder.shuffle_vector(first, _NO_LANE, _ALL_FIRST)


def _vector(builder: Any, lanes: Any, number: int) -> Any:
    """Return vector `number` of several, or the only one."""
    return builder.extract_value(lanes, number if lanes.type.count > 1 else 0)


def _joined(builder: Any, vectors: list[Any]) -> Any:
    """Pack vectors into the LLVM array that represents `Lanes`."""
    lanes = ir.Constant(ir.ArrayType(_VECTOR, len(vectors)), ir.Undefined)
    for number, vector in enumerate(vectors):
        lanes = builder.insert_value(lanes, vector, number)
    return lanes
