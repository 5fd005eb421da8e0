"""Dead letters as read back: what was refused and why, and the record that is sent again.

A dead letter is named for the record that was refused, `TOPIC/PARTITION/POSITION`: a worker that
dies may write the letter twice, at two positions of `claims.dead`, and it is still one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from claimtrace.errors import UsageError
from claimtrace.events import Headers, Outgoing, Record
from claimtrace.limits import MAX_HEADER_BYTES, MAX_HEADERS

RESENT_HEADER: Final = "x-resent-dead-letter"
"""The header of a record that was sent again; its value is the name of the dead letter."""

_PREFIX: Final = "x-dead-"
_WORDS: Final = (
    "topic", "partition", "position", "log-time-ms", "reason", "field", "detail", "hint", "bytes",
    "digest", "key-bytes", "key-digest", "file", "row", "column",
)  # fmt: skip
_OURS: Final = frozenset(_PREFIX + each for each in _WORDS)
_MOST_DIGITS: Final = 18


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A refused record, and why it was refused.

    Attributes:
        id: the name of the letter, unique on a log.
        topic, partition, position: of the record that was refused; -1 for a row of a table.
        log_time_ms: when the log took that record.
        dead_at: partition and position of the letter on `claims.dead`.
        reason, field, detail, hint: see `claimtrace.refusals`.
        file, row: where the row of a table stood; empty for a record.
        whole_bytes: the size of the value when only its beginning was kept, else None.
        has_whole_key: whether the key is whole.
        resent_as: the letter that this record was sent again for; empty for a first refusal.
    """

    id: str
    topic: str
    partition: int
    position: int
    log_time_ms: int
    dead_at: tuple[int, int]
    reason: str
    field: str
    detail: str
    hint: str
    file: str
    row: str
    key: bytes | None
    value: bytes
    headers: Headers
    whole_bytes: int | None
    has_whole_key: bool
    resent_as: str

    def why_not(self, replacement: bytes | None) -> str:
        """Return why this letter can't be sent again as it is; empty when it can.

        Args:
            replacement: the value to send in place of the letter's own, if any.
        """
        if self.file:
            return "a row of a table: mend the table, then claimtrace replay"
        if self.position < 0:
            return "it doesn't say which record it was"
        if not self.has_whole_key:
            return "only the beginning of its key was kept"
        if self.whole_bytes is not None and replacement is None:
            return "only its beginning was kept: give the whole value by --with"
        return ""


def letter_of(record: Record) -> DeadLetter:
    """Read a record of `claims.dead`; total: any bytes give a letter.

    >>> letter_of(Record("claims.dead", 0, 7, None, b"{", 5, (("x-dead-reason", b"bad_json"),))).id
    'claims.dead/0/7'
    """
    told: dict[str, str] = {}
    rest = 0
    for name, value in record.headers:
        if name not in _OURS or name in told:
            break  # the original headers follow, whatever their names are
        told[name] = value.decode(errors="replace")
        rest += 1
    headers = record.headers[rest:]

    def number(name: str) -> int:
        return _number(told.get(_PREFIX + name, ""))

    topic, partition = told.get(_PREFIX + "topic", ""), number("partition")
    position = number("position")
    is_row = _PREFIX + "file" in told
    named = topic and partition >= 0 and position >= 0 and not is_row
    own = f"{record.partition}/{record.position}"
    return DeadLetter(
        id=f"{topic}/{partition}/{position}" if named else f"{record.topic}/{own}",
        topic=topic, partition=partition, position=position if named else -1,
        log_time_ms=max(number("log-time-ms"), 0) or record.log_time_ms,
        dead_at=(record.partition, record.position),
        reason=told.get(_PREFIX + "reason", ""), field=told.get(_PREFIX + "field", ""),
        detail=told.get(_PREFIX + "detail", ""), hint=told.get(_PREFIX + "hint", ""),
        file=told.get(_PREFIX + "file", ""), row=told.get(_PREFIX + "row", ""),
        key=record.key, value=record.value or b"", headers=headers,
        whole_bytes=number("bytes") if _PREFIX + "bytes" in told else None,
        has_whole_key=_PREFIX + "key-bytes" not in told,
        resent_as=resent_id(headers),
    )  # fmt: skip


def resent_id(headers: Headers) -> str:
    """Return the name of the dead letter for which a record was sent again; empty for none."""
    found = [value for name, value in headers if name == RESENT_HEADER]
    return found[-1].decode(errors="replace") if found else ""


def resent(letter: DeadLetter, replacement: bytes | None, now_ms: int) -> Outgoing:
    """Make the record that is sent again: on its topic, with its key, and named by a header.

    Original headers stay as far as a record may have them. On Kafka the key says the partition.

    Args:
        letter: one for which `why_not` is empty.
        replacement: the value in place of the letter's own; None: its own.
        now_ms: the log time, where the log takes the sender's.
    """
    name = letter.id.encode()
    kept: list[tuple[str, bytes]] = []
    size = len(RESENT_HEADER) + len(name)
    for header, value in letter.headers[: MAX_HEADERS - 1]:
        if header == RESENT_HEADER:
            continue
        size += len(header) + len(value)
        if size > MAX_HEADER_BYTES:
            break
        kept.append((header, value))
    value = letter.value if replacement is None else replacement
    headers = (*kept, (RESENT_HEADER, name))
    return Outgoing(letter.topic, letter.partition, letter.key, value, now_ms, headers)


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions that a dead letter must meet, all of them.

    Attributes:
        ids: one of these names.
        reasons: one of these words.
        topic: the topic of the refused record.
        from_ms, to_ms: the log time of that record, `from_ms` included, `to_ms` not.
    """

    ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    topic: str = ""
    from_ms: int | None = None
    to_ms: int | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter meets all conditions."""
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.topic or letter.topic == self.topic)
            and (self.from_ms is None or letter.log_time_ms >= self.from_ms)
            and (self.to_ms is None or letter.log_time_ms < self.to_ms)
        )


def first_of_each(letters: Iterable[DeadLetter]) -> Iterable[DeadLetter]:
    """Yield each letter once: a worker that died may have written it twice."""
    seen: set[str] = set()
    for letter in letters:
        if letter.id not in seen:
            seen.add(letter.id)
            yield letter


def check_id(text: str) -> str:
    """Return the name of a dead letter, if it is one.

    Raises:
        UsageError: it isn't `TOPIC/PARTITION/POSITION`.

    >>> check_id("claims.filed/0/12")
    'claims.filed/0/12'
    """
    topic, *numbers = text.rsplit("/", 2)
    if not topic or len(numbers) != 2 or any(_number(each) < 0 for each in numbers):
        raise UsageError(f"{text!r} names no dead letter", where="ID",
                         hint="write TOPIC/PARTITION/POSITION, as claimtrace dead list shows it",
                         )  # fmt: skip
    return text


def shown_bytes(content: bytes, most: int) -> str:
    r"""Return bytes for a screen: printable ASCII as it is, all else as escapes; cut at `most`.

    >>> print(shown_bytes(b'{"a":\x1b[31m\xff}', 11))
    {"a":\x1b[31m\xff
    """
    return "".join(map(_shown_byte, content[:most]))


def _shown_byte(byte: int) -> str:
    if byte == ord("\\"):
        return "\\\\"
    return chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"


def _number(text: str) -> int:
    is_one = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_one else -1
