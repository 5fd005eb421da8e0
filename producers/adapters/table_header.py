"""Check the header of a table against the columns that a mapping names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from claimtrace.errors import ConfigError, UsageError

from ..replay.nearest import nearest


def check_header(header: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Check that each column of the mapping is there, and that no name occurs twice.

    Raises:
        UsageError: two columns have the same name, so that it isn't known which one is meant.
        ConfigError: a column is missing.
    """
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice := [name for name in twice if name or name in wanted]:
        raise UsageError(f"there are two columns {', '.join(map(repr, twice))}", where=where,
                         hint="rename or remove one of them in the file")  # fmt: skip
    missing = [name for name in wanted if name not in header]
    if missing:
        meant = (nearest(missing[0], header) + " ") if len(missing) == 1 else ""
        raise ConfigError(
            f"there is no column {', '.join(missing)}",
            where=where,
            hint=f"{meant}it has " + ", ".join(map(str, header)),
        )
