"""Read the fields of delivered messages, whatever the client library raises on one of them.

A producer chooses the bytes of a record, and the library decodes some of them only when they are
asked for: `headers()` raises on a name that isn't UTF-8. One such record must not end the workers,
which would all meet it again at every start. So a field that can't be read has a fixed value in its
place, the same one at each replay:

    headers        no headers: the record is decided on without them
    key            no key
    value, time    `UNREADABLE`, at time 0: no event, so the record becomes a dead letter

No field is asked for twice: after an error the library answers with a damaged list, and the process
dies when that is looked at. And none is asked for by a plain call: the library returns its answer
beside the error, which the interpreter may then raise at a later line; calls from `map` and
`methodcaller` check for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import methodcaller
from typing import Any, Final, NamedTuple

from claimtrace.errors import StoreUnavailable
from claimtrace.events import Headers

UNREADABLE: Final = b"unreadable: the client library failed to read this record"
"""The value in place of one that can't be read; it is no JSON."""

_NO_TIME: Final = (0, 0)
_topic, _partition, _offset = map(methodcaller, ("topic", "partition", "offset"))
_key, _value, _error = map(methodcaller, ("key", "value", "error"))
_timestamp, _headers = map(methodcaller, ("timestamp", "headers"))


class Delivered(NamedTuple):
    """The contents of messages, in columns."""

    keys: list[bytes | None]
    values: list[bytes | None]
    log_times_ms: list[int]
    headers: list[Headers] | None
    """None when no message has any."""


def contents_of(arrived: Sequence[Any]) -> Delivered:
    """Return what messages hold, with fixed values in place of fields that can't be read.

    Their log times are the broker's.
    """
    values = _each(_value, arrived, UNREADABLE)
    times = _each(_timestamp, arrived, None)
    if None in times:
        values = [UNREADABLE if at is None else v for v, at in zip(values, times, strict=True)]
    headers = _each(_headers, arrived, None)
    return Delivered(
        _each(_key, arrived, None),
        values,
        [at for _, at in (each or _NO_TIME for each in times)],
        [headers_of(each) for each in headers] if any(headers) else None,
    )


def places_of(arrived: Sequence[Any]) -> tuple[list[tuple[str, int]], list[int]]:
    """Return the topic-partition and the offset of each message.

    Raises:
        StoreUnavailable: the library can't tell one of them. They are the brokers' own, not the
            producer's, so the messages are to be fetched again.
    """
    try:
        parts = list(zip(map(_topic, arrived), map(_partition, arrived), strict=True))
        return parts, list(map(_offset, arrived))
    except MemoryError:
        raise
    except Exception as error:
        raise _unplaced(error) from error


def errors_of(arrived: Sequence[Any]) -> list[Any]:
    """Return the error of each message, None for a record.

    Raises:
        StoreUnavailable: the library can't tell; the messages are to be fetched again.
    """
    try:
        return list(map(_error, arrived))
    except MemoryError:
        raise
    except Exception as error:
        raise _unplaced(error) from error


def headers_of(delivered: Iterable[tuple[str, bytes | None]] | None) -> Headers:
    """Return delivered headers; a null value becomes an empty one.

    >>> headers_of([("a", None), ("b", b"1")])
    (('a', b''), ('b', b'1'))
    """
    return tuple((name, value or b"") for name, value in delivered) if delivered else ()


def _each(field: Any, arrived: Sequence[Any], otherwise: Any) -> list[Any]:
    """Return a field of each message; `otherwise` for a message on which the library raises."""
    found: list[Any] = []
    answers = map(field, arrived)
    while True:
        try:
            found.extend(answers)
        except MemoryError:  # says nothing about the record
            raise
        except Exception:
            found.append(otherwise)  # `answers` goes on behind the message that it raised on
        else:
            return found


def _unplaced(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the client library can't say where a record stands: {type(error).__name__}",
        where="source",
        hint="the records are fetched again",
    )
