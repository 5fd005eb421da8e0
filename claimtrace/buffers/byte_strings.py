"""Many byte strings in one buffer: keys and values of records, without a Python object for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

_FEW: Final = 8
"""Up to this many strings are copied one by one: faster than loading the kernel."""


class ByteStrings(Sequence[bytes | None]):
    """A sequence of byte strings; None means null.

    Args:
        content: uint8, the bytes.
        starts, sizes: int64[n], the range of each string in `content`; a size of -1 is null.
        is_packed: whether the strings follow each other in `content` without gaps, in order.

    >>> some = ByteStrings.of([b"ab", None, b"c"])
    >>> list(some[1:]), list(some.take(np.array([2, 0])))
    ([None, b'c'], [b'c', b'ab'])
    """

    __slots__ = ("content", "is_packed", "sizes", "starts")

    def __init__(
        self,
        content: NDArray[np.uint8],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        *,
        is_packed: bool = False,
    ) -> None:
        self.content, self.starts, self.sizes, self.is_packed = content, starts, sizes, is_packed

    @classmethod
    def of(cls, values: Iterable[bytes | None]) -> ByteStrings:
        """Return byte strings in their order; a `ByteStrings` is returned unchanged."""
        if isinstance(values, ByteStrings):
            return values
        rows = list(values)
        try:  # the common case has no None in it, and C loops only
            joined = b"".join(rows)  # type: ignore[arg-type]
            sizes = np.fromiter(map(len, rows), np.int64, len(rows))  # type: ignore[arg-type]
        except TypeError:
            joined = b"".join(row for row in rows if row is not None)
            sizes = np.array([-1 if row is None else len(row) for row in rows], np.int64)
        return cls.packed(np.frombuffer(joined, np.uint8), sizes)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> ByteStrings:
        """Return texts encoded in UTF-8."""
        joined = "".join(texts)
        if not joined.isascii():
            return cls.of([text.encode() for text in texts])
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        return cls.packed(np.frombuffer(joined.encode(), np.uint8), sizes)

    @classmethod
    def packed(cls, content: NDArray[np.uint8], sizes: NDArray[np.int64]) -> ByteStrings:
        """Return byte strings that follow each other in `content`; a size of -1 is null."""
        return cls(content, bounds_of(np.maximum(sizes, 0))[:-1], sizes, is_packed=True)

    @classmethod
    def none(cls, count: int) -> ByteStrings:
        """Return `count` nulls."""
        starts, sizes = np.zeros(count, np.int64), np.full(count, -1, np.int64)
        return cls(np.zeros(0, np.uint8), starts, sizes, is_packed=True)

    @classmethod
    def joined(cls, parts: Sequence[ByteStrings]) -> ByteStrings:
        """Return the concatenation of several sequences."""
        contents = [part.content_alone() for part in parts]
        return cls.packed(
            np.concatenate(contents or [np.zeros(0, np.uint8)]),
            np.concatenate([part.sizes for part in parts] or [np.zeros(0, np.int64)]),
        )

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> ByteStrings: ...
    def __getitem__(self, at: int | slice) -> bytes | ByteStrings | None:
        if isinstance(at, slice):
            is_packed = self.is_packed and at.step in (None, 1)
            return ByteStrings(self.content, self.starts[at], self.sizes[at], is_packed=is_packed)
        start, size = int(self.starts[at]), int(self.sizes[at])
        return None if size < 0 else self.content[start : start + size].tobytes()

    def __iter__(self) -> Iterator[bytes | None]:
        whole, bounds = self.content_alone().tobytes(), self.bounds().tolist()
        found: list[bytes | None] = [whole[start:end] for start, end in pairwise(bounds)]
        for at in np.flatnonzero(self.sizes < 0).tolist():
            found[at] = None
        return iter(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: NDArray[np.int64]) -> ByteStrings:
        """Return the strings at `rows`, in that order; the content isn't copied."""
        return ByteStrings(self.content, self.starts[rows], self.sizes[rows])

    def bounds(self) -> NDArray[np.int64]:
        """Return int64[n + 1]: the start of each string in `content_alone`, and the last end."""
        return bounds_of(np.maximum(self.sizes, 0))

    def content_alone(self) -> NDArray[np.uint8]:
        """Return the bytes of all strings without gaps; a view where they are packed already."""
        if not self.is_packed:
            return self.copied()
        if not len(self):
            return self.content[:0]
        return self.content[self.starts[0] : self.starts[-1] + max(self.sizes[-1], 0)]

    def copied(self, behind: bytes = b"") -> NDArray[np.uint8]:
        """Return a new array with the bytes of all strings without gaps, followed by `behind`."""
        if len(self) <= _FEW:
            content, ranges = self.content.data, zip(self.starts, self.sizes, strict=True)
            few = [content[start : start + max(size, 0)] for start, size in ranges]
            return np.frombuffer(b"".join([*few, behind]), np.uint8)
        from .byte_kernels import gather

        bounds = self.bounds()
        total = int(bounds[-1])
        out = np.empty(total + len(behind), np.uint8)
        gather(self.content, self.starts, bounds, out)
        out[total:] = np.frombuffer(behind, np.uint8)
        return out


def bounds_of(sizes: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
    """Return int64[n + 1]: the start of each part in a concatenation, and the end of the last.

    >>> bounds_of([2, 0, 1]).tolist()
    [0, 2, 2, 3]
    """
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return bounds
