"""Records sent to Kinesis again, each once: a note before the call, one after it, and a look.

Kinesis has no transactions, and its inputs have no headers. So a note in a table says that a record
is about to be sent, and later that it was. After a crash in between, the stream itself is asked
whether it has the record: the same key and the same bytes since the letter was written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from claimtrace.adapters.tables.table import Change, Item, Table
from claimtrace.clock import Clock
from claimtrace.events import Outgoing

from ..sending.sink import Sink

_PK: Final = "resent-dead-letter"
_SENDING, _SENT = "sending", "sent"
_SETTLED_MS: Final = 15_000
"""A call that was under way when its process died has reached the stream by then, or never will."""
_FLUSH_S: Final = 60.0


def names_sent(table: Table) -> set[str]:
    """Return the names of all records that were sent again."""
    return {str(each["sk"]) for each in table.query(_PK) if each["state"] == _SENT}


def send_once(
    table: Table,
    sink: Sink,
    wanted: Sequence[tuple[str, Outgoing]],
    is_there: Callable[[str, Outgoing], bool],
    clock: Clock,
    advance: Callable[[int], object],
) -> set[str]:
    """Send records that have not been sent before, one by one; returns their names.

    Args:
        table: keeps the notes.
        sink: sends records.
        wanted: name and record.
        is_there: asks the stream whether it has the record of a name; only after a crash.
        clock: times of notes.
        advance: called with 1 after each record.

    Raises:
        StoreUnavailable: stream or table don't answer; the same call later sends what is missing.
    """
    done = set()
    for name, record in wanted:
        if _take(table, name, record, is_there, clock):
            sink.send([record])
            sink.flush(_FLUSH_S)
            table.put_always(_note(name, _SENT, clock))
            done.add(name)
        advance(1)
    return done


def _take(
    table: Table,
    name: str,
    record: Outgoing,
    is_there: Callable[[str, Outgoing], bool],
    clock: Clock,
) -> bool:
    """Whether this process is to send a record; a note says so to all others."""
    if table.put(Change(_note(name, _SENDING, clock), None)):
        return True
    found: Item | None = table.get(_PK, name)
    if found is None or found["state"] == _SENT:
        return False
    left_ms = int(found["at_ms"]) + _SETTLED_MS - clock.now_ms()
    clock.sleep(min(max(left_ms, 0), _SETTLED_MS) / 1000)
    expected = {"state": _SENDING, "at_ms": found["at_ms"]}
    if is_there(name, record):
        table.put(Change(_note(name, _SENT, clock), expected))
        return False
    return table.put(Change(_note(name, _SENDING, clock), expected))


def _note(name: str, state: str, clock: Clock) -> dict[str, str | int]:
    return {"pk": _PK, "sk": name, "state": state, "at_ms": clock.now_ms()}
