"""The place in the stream of decisions that a listener has reached: a number for each partition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_MOST_PARTITIONS: Final = 1_024
_PLACE: Final = re.compile(r"(\d{1,6})-(\d{1,18})")


def cursor_of(reached: Mapping[int, int]) -> str:
    """Return the text of a cursor.

    Args:
        reached: the next position of each partition.

    >>> cursor_of({1: 20, 0: 7})
    '0-7.1-20'
    """
    return ".".join(f"{partition}-{position}" for partition, position in sorted(reached.items()))


def read_cursor(text: str) -> dict[int, int] | None:
    """Read the text of a cursor; None for any other text.

    >>> read_cursor("0-7.1-20"), read_cursor(""), read_cursor("0-7;drop")
    ({0: 7, 1: 20}, None, None)
    """
    parts = text.split(".") if len(text) < 32 * _MOST_PARTITIONS else [""]
    found = [_PLACE.fullmatch(part) for part in parts[:_MOST_PARTITIONS]]
    if len(parts) > _MOST_PARTITIONS or None in found:
        return None
    return {int(one[1]): int(one[2]) for one in found if one is not None}
