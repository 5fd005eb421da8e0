"""The results of a step as bytes and back: typed, without pickle, limited in size.

A value is written as MessagePack: structs and dataclasses as maps, numpy arrays as their kind,
shape and bytes. It is read by the type that `TrainingRun` says, so bytes from a damaged or strange
file give a value of that type or an error, never code.
"""

from __future__ import annotations

import builtins
import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_origin, get_type_hints

import msgspec
import numpy as np

from claimtrace.errors import StateError
from claimtrace.ids import digest

MAX_BYTES: Final = 256 * 2**20
"""Most bytes of the results of one step that are kept: 400,000 claims of 80 features."""

_KINDS: Final = frozenset("biufU")
_MAX_DIMENSIONS: Final = 8
_LINEAGE: Final = "lineage"


class Measured(NamedTuple):
    """The digest of a value, and the bytes of its arrays and byte strings."""

    digest: str
    size: int


class NoCodec(ValueError):
    """A value of a kind that can't be written; the step that set it is run again instead."""


def measure(value: object) -> Measured:
    """Return the digest of a value's content; equal values have equal digests.

    The field `lineage` of a dataclass says where a value came from and isn't part of it.

    Raises:
        NoCodec: the value, or a part of it, is of a kind that can't be written.

    >>> measure(np.arange(3)).digest == measure(np.array([0, 1, 2])).digest
    True
    >>> measure(np.arange(3)).digest == measure(np.arange(3.0)).digest
    False
    """
    size = 0

    def hashed(part: Any) -> Any:
        nonlocal size
        if isinstance(part, np.ndarray):
            _check_kind(part)
            size += part.nbytes
            flat = np.ascontiguousarray(part).reshape(-1)
            content = flat.view(np.uint8).data if part.size else b""
            return [part.dtype.str, list(part.shape), hashlib.sha256(content).hexdigest()]
        return _scalar(part)

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name != _LINEAGE]
        value = {name: getattr(value, name) for name in names}
    content = _encoded(value, hashed, "deterministic")
    return Measured(digest(content), size + len(content))


def encode(value: object) -> bytes:
    """Write a value.

    Raises:
        NoCodec: the value, or a part of it, is of a kind that can't be written.
    """

    def written(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            _check_kind(part)
            return {"kind": part.dtype.str, "shape": list(part.shape), "data": part.tobytes()}
        return _scalar(part)

    return _encoded(value, written, None)


def decode(content: bytes, kind: Any) -> Any:
    """Read a value of a type.

    Raises:
        StateError: the bytes are no value of the type.

    >>> decode(encode([1, 2]), list[int])
    [1, 2]
    """
    try:
        return msgspec.msgpack.decode(content, type=kind, dec_hook=_read)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise StateError(f"no value of its type: {error}", where="kept result") from error


def encode_kept(value: object, kind: Any) -> bytes | None:
    """Write a value; None unless it can be read back and has the same digest then."""
    try:
        if measure(value).size > MAX_BYTES:
            return None
        content = encode(value)
        again = decode(content, kind)
        return content if measure(again).digest == measure(value).digest else None
    except (NoCodec, StateError):
        return None


def types_of(kind: type, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type of each attribute of a class; names that aren't imported count as Any.

    Args:
        kind: the class.
        names: the names of its module.
    """
    return get_type_hints(kind, localns=_Names(names))


class _Names(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


def _encoded(value: object, hook: Any, order: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value, enc_hook=hook, order=order)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NoCodec(str(error)) from error


def _scalar(part: Any) -> Any:
    if isinstance(part, np.generic) and part.dtype.kind in "biufU":
        return part.item()
    raise NoCodec(f"a {type(part).__name__} can't be written")


def _check_kind(array: np.ndarray[Any, Any]) -> None:
    if array.dtype.kind not in _KINDS:
        raise NoCodec(f"an array of {array.dtype} can't be written")


def _read(kind: Any, part: Any) -> Any:
    """Read an array from its kind, shape and bytes; anything of a wrong form is a ValueError."""
    if (get_origin(kind) or kind) is not np.ndarray:
        raise ValueError(f"{kind} can't be read")
    form = msgspec.convert(part, _Array)
    dtype = np.dtype(form.kind)
    if dtype.kind not in _KINDS or len(form.shape) > _MAX_DIMENSIONS or min([0, *form.shape]) < 0:
        raise ValueError("not an array")
    if len(form.data) != math.prod(form.shape) * dtype.itemsize:
        raise ValueError("an array of another length than its shape says")
    return np.frombuffer(form.data, dtype).reshape(form.shape).copy()


class _Array(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    shape: list[int]
    data: bytes
