"""Topics for tests: make them, and read all of their records back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

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
    """Properties of a client: the address, no log, quick to call again, and others, `_` for `.`.

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
    """Make topics, `{name: partitions}`, with as many copies as the brokers' default says.

    Returns when each partition has a leader.

    Args:
        bootstrap: of the cluster.
        partitions: of each topic.
        config: of each topic, such as `{"retention.ms": "1000"}`.
        properties: of the client, with `_` for `.`.

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
    """All records of a topic as they stand now, by partition and position.

    Args:
        bootstrap: of the cluster.
        topic: must exist.
        committed: leave out what a transaction aborted or has not committed yet.
        timeout_s: for all of it.
        properties: of the client, with `_` for `.`.

    Raises:
        KafkaException: the topic can't be read.
        StoreUnavailable: the end was not reached in time.
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
    """Take away records as retention does, but at once: all below a position, by partition.

    Raises:
        KafkaException: the cluster refused.
    """
    admin = AdminClient(client(bootstrap))
    bounds = [TopicPartition(topic, n, to) for (topic, n), to in positions.items()]
    for done in admin.delete_records(bounds).values():
        done.result()


def values(records: Iterable[Record]) -> list[bytes | None]:
    """The values alone."""
    return [record.value for record in records]


def record_of(got: Message) -> Record:
    """What a client got or sent, as a record with its place."""
    headers = tuple((name, value or b"") for name, value in got.headers() or ())
    return Record(got.topic(), got.partition(), got.offset(), got.key(), got.value(),
                  got.timestamp()[1], headers)  # fmt: skip
