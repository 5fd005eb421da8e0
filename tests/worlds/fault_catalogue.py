"""Group C of the fault catalogue as a table: the input of each case, and its expected outcome.

In a value, `@` stands for an id of the case's own and `<T>` for its log time; `<T+600s>` is ten
minutes later. Where the expectation differs from the catalogue's, the case gives the reason.

"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

CLAIMS, CHANGES, LABELS = "claims.filed", "policies.changed", "claims.adjudicated"


@dataclass(frozen=True)
class Dead:
    """A dead letter with this reason, about this field."""

    reason: str
    field: str = ""


@dataclass(frozen=True)
class Decided:
    """A decision with exactly these flags beside `no_model`, and these features (None: missing)."""

    flags: tuple[str, ...] = ()
    features: tuple[tuple[str, float | None], ...] = ()
    event_time: str = ""


@dataclass(frozen=True)
class Silent:
    """Neither a decision nor a dead letter; counted under this name."""

    counted: str


TOMBSTONE, DUPLICATE, CHANGE, LABEL = map(Silent, ("tombstones", "duplicates", "changes", "labels"))
Expected = Dead | Decided | Silent


@dataclass(frozen=True)
class Put:
    """One record and its expected outcome."""

    value: bytes | None
    expected: Expected
    topic: str = CLAIMS
    headers: tuple[tuple[str, bytes], ...] = ()

    def bytes_at(self, log_time_ms: int, name: str) -> bytes | None:
        """Return the value with its id and its times filled in."""
        if self.value is None:
            return None

        def time(found: re.Match[bytes]) -> bytes:
            when = datetime.fromtimestamp(log_time_ms / 1000, UTC)
            when += timedelta(seconds=int(found[1] or 0))
            written = when.replace(tzinfo=None).isoformat(timespec="milliseconds")
            return written.encode() + (b"" if found[2] else b"Z")

        return _TIME.sub(time, self.value).replace(b"@", name.encode())


_TIME = re.compile(rb"<T(?:([+-]\d+)s)?(-naive)?>")


@dataclass(frozen=True)
class Case:
    """Records of one fault, in order; `why` explains a difference from the catalogue."""

    fault: str
    what: str
    puts: tuple[Put, ...]
    why: str = ""

    @property
    def name(self) -> str:
        """The id of the test."""
        return f"{self.fault} {self.what}"


MARK = "\u0301"
"""A combining acute accent."""


def wide(text: str) -> str:
    """Return ASCII text in its full-width form."""
    return "".join(chr(ord(c) + 0xFEE0) for c in text)


def json_object(members: str) -> bytes:
    """Return a claim filed at its log time, with further members."""
    return (
        f'{{"claim_id":"@","filed_at":"<T>","policy_id":"p@"{members and ","}{members}}}'.encode()
    )


def one(fault: str, what: str, value: bytes | None, expected: Expected, why: str = "") -> Case:
    return Case(fault, what, (Put(value, expected),), why)


def members(fault: str, expected: Expected, *members: str, why: str = "") -> Iterator[Case]:
    for each in members:
        yield one(
            fault,
            each if len(each) < 60 else f"{each[:40]} ... {len(each)} characters",
            json_object(each),
            expected,
            why,
        )


def same_entity(fault: str, field: str, feature: str, *spellings: str) -> Case:
    """Return a case in which each spelling sees the earlier claims with the other spellings."""
    return Case(fault, f"{len(spellings)} spellings of one {field}: {spellings[0]}", tuple(
        Put(json_object(f'"{field}":"{text}"'), Decided((), ((feature, float(seen)),)))
        for seen, text in enumerate(spellings)
    ))  # fmt: skip
