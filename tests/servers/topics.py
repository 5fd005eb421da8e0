"""Topics for tests: create them, and read back all of their records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from operator import methodcaller

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from claimtrace.errors import StoreUnavailable
from claimtrace.events import Record


def client(bootstrap: str, **properties: str | int | bool) -> dict[str, str | int | bool]:
    """Return properties of a client: address, no log, quick reconnects, and others, `_` for `.`.

    >>> client("127.0.0.1:9092", security_protocol="ssl")["security.protocol"]
    'ssl'
    """
    own = {name.replace("_", "."): value for name, value in properties.items()}
    quick = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 250}
    return {"bootstrap.servers": bootstrap, "log_level": 0, **quick, **own}


def create_topics(
    bootstrap: str,
    partitions: Mapping[str, int],
    *,
    config: Mapping[str, str] | None = None,
    **properties: str | int | bool,
) -> None:
    """Create topics, `{name: partitions}`, with the brokers' default number of replicas.

    Returns when each partition has a leader.

    Args:
        bootstrap: addresses of the cluster.
        partitions: topic -> number of partitions.
        config: configuration of each topic, such as `{"retention.ms": "1000"}`.
        properties: properties of the client, with `_` for `.`.

    Raises:
        KafkaException: the cluster refused.
        StoreUnavailable: no leader in 30 s.
    """
    admin = AdminClient(client(bootstrap, **properties))
    topics = [NewTopic(name, num_partitions=count, replication_factor=-1, config=dict(config or {}))
              for name, count in partitions.items()]  # fmt: skip
    for made in admin.create_topics(topics, operation_timeout=30).values():
        made.result()
    deadline = time.monotonic() + 30
    while True:
        known = admin.list_topics(timeout=10).topics
        if all(
            name in known
            and len(known[name].partitions) == count
            and all(partition.leader >= 0 for partition in known[name].partitions.values())
            for name, count in partitions.items()
        ):
            return
        if time.monotonic() > deadline:
            raise StoreUnavailable("a new topic has no leader", where=", ".join(partitions))
        time.sleep(0.05)


def read_topic(
    bootstrap: str,
    topic: str,
    *,
    committed: bool = True,
    timeout_s: float = 60.0,
    **properties: str | int | bool,
) -> list[Record]:
    """Return all records that a topic has now, by partition and position.

    Args:
        bootstrap: addresses of the cluster.
        topic: must exist.
        committed: leave out records of aborted and open transactions.
        timeout_s: time-out for all of it.
        properties: properties of the client, with `_` for `.`.

    Raises:
        KafkaException: the topic can't be read.
        StoreUnavailable: the end wasn't reached in time.
    """
    level = "read_committed" if committed else "read_uncommitted"
    reader = Consumer(
        {"group.id": "reader", "enable.auto.commit": False, "enable.partition.eof": True,
         "fetch.wait.max.ms": 20,
         **client(bootstrap, isolation_level=level, **properties)}
    )  # fmt: skip
    try:
        partitions = reader.list_topics(topic, timeout=timeout_s).topics[topic].partitions
        reader.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in partitions])
        records, open_ends = [], set(partitions)
        deadline = time.monotonic() + timeout_s
        while open_ends:
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"the ends of {sorted(open_ends)} did not come", where=topic)
            for got in reader.consume(1000, timeout=0.2):
                if got.error() is None:
                    records.append(record_of(got))
                elif got.error().code() == KafkaError._PARTITION_EOF:
                    open_ends.discard(got.partition())
                elif not got.error().retriable():
                    raise KafkaException(got.error())
    finally:
        reader.close()
    return sorted(records, key=lambda record: (record.partition, record.position))


def delete_before(bootstrap: str, positions: Mapping[tuple[str, int], int]) -> None:
    """Delete all records below positions, by (topic, partition); retention would do it later.

    Raises:
        KafkaException: the cluster refused.
    """
    admin = AdminClient(client(bootstrap))
    bounds = [TopicPartition(topic, n, to) for (topic, n), to in positions.items()]
    for done in admin.delete_records(bounds).values():
        done.result()


def values(records: Iterable[Record]) -> list[bytes | None]:
    """Return the values of records."""
    return [record.value for record in records]


def record_of(got: Message) -> Record:
    """Return a client's message as a `Record`; without headers where a name isn't UTF-8."""
    try:
        delivered = methodcaller("headers")(got) or ()  # a plain call may raise only later
    except (SystemError, UnicodeDecodeError):
        delivered = ()
    headers = tuple((name, value or b"") for name, value in delivered)
    return Record(got.topic(), got.partition(), got.offset(), got.key(), got.value(),
                  got.timestamp()[1], headers)  # fmt: skip
