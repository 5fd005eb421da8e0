"""Records sent to Kafka again, each once: transactions of one id, and a look at what is there.

The first transaction of an id makes the brokers abort or finish whatever an earlier process of that
id has left, and refuse it from then on. So what this process reads after its `init` is all that has
been sent before, and what it commits nobody else can have sent since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from claimtrace.events import Outgoing
from claimtrace.settings.schema import KafkaConnection

from .kafka import KafkaSink

_AT_ONCE: Final = 500
_NOBODY: Final = -1
"""The partition that lets the key say which one it is."""


def send_once(
    connection: KafkaConnection,
    wanted: Sequence[tuple[str, Outgoing]],
    sent_before: Callable[[], set[str]],
    advance: Callable[[int], object],
) -> set[str]:
    """Send records that have not been sent before, in transactions; returns their names.

    Args:
        connection: brokers and security.
        wanted: name and record; a record with a key goes to the key's partition.
        sent_before: reads from the log which of the names are on it; called once, when no other
            process can send any more.
        advance: called with the number of records after each commit.

    Raises:
        Fenced: another process has begun to send records again.
        StoreUnavailable: the brokers don't answer; the same call later sends what is missing.
    """
    name = f"{connection.kafka.group}-resend"
    sink = KafkaSink(connection, transactional_id=name)
    done: set[str] = set()
    try:
        sink.begin()
        sink.abort()
        there = sent_before()
        missing = [(each, record) for each, record in wanted if each not in there]
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            sink.begin()
            sink.send([r if r.key is None else r._replace(partition=_NOBODY) for _, r in part])
            sink.commit([], None)
            done.update(each for each, _ in part)
            advance(len(part))
    finally:
        sink.close()
    return done
