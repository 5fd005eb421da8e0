"""Events for a broker: random valid ones, with duplicates and broken ones; and sending them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from confluent_kafka import KafkaException, Message, Producer

from claimtrace.encoding.encoder import encode
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace.ids import partition_of
from tests.servers.topics import client, record_of
from tests.worlds.random_events import a_stream

POISONS: Final = (
    b"{",
    b"not json at all",
    b'{"claim_id":"c-1","filed_at":',
    b'{"claim_id":17}',
    b'{"claim_id":"c-1","total_claim_cents":NaN}',
    b"\xff\xfe\x00",
    b"[" * 5000,
)
"""Values that no decoder accepts; each must end as a dead letter."""

NEAR: Final = 200
"""Maximum distance of a duplicate from the original, in records."""


class Spoiled(NamedTuple):
    """Records as a faulty producer sends them, and how many are duplicates or poison."""

    records: list[Outgoing]
    duplicate_count: int
    poison_count: int


def outgoing(seed: int, count: int, partitions: int = 4) -> list[Outgoing]:
    """Return `a_stream` as a producer would send it, keyed by policy, or by event id without one.

    >>> [record.topic for record in outgoing(1, 3)][0]
    'claims.filed'
    """
    records = []
    for _, event, _, log_time_ms in a_stream(seed, count):
        key = str(getattr(event, "policy_id", None) or getattr(event, event.id_field))
        partition = partition_of(key, partitions)
        records.append(Outgoing(event.topic, partition, key.encode(), encode(event), log_time_ms))
    return records


def spoil(
    records: Sequence[Outgoing],
    seed: int,
    *,
    duplicate_ratio: float = 0.05,
    poison_ratio: float = 0.01,
) -> Spoiled:
    """Repeat some records a little later, byte for byte, and insert poison records.

    A poison record goes to the topic and partition of the record beside it. The same arguments give
    the same result.

    >>> some = outgoing(1, 100)
    >>> spoiled = spoil(some, 1, duplicate_ratio=0.5, poison_ratio=0.1)
    >>> len(spoiled.records) == 100 + spoiled.duplicate_count + spoiled.poison_count
    True
    """
    rng = np.random.default_rng(seed)
    count = len(records)
    repeated = np.flatnonzero(rng.random(count) < duplicate_ratio)
    broken = np.flatnonzero(rng.random(count) < poison_ratio)
    order: list[tuple[float, int, Outgoing]] = [(n, 0, each) for n, each in enumerate(records)]
    later = repeated + rng.integers(1, NEAR, len(repeated)) + 0.5
    order += [(at, 1, records[n]) for at, n in zip(later.tolist(), repeated.tolist(), strict=True)]
    kinds = rng.integers(len(POISONS), size=len(broken)).tolist()
    order += [
        (n + 0.5, 2, records[n]._replace(value=POISONS[kind]))
        for n, kind in zip(broken.tolist(), kinds, strict=True)
    ]
    order.sort(key=lambda placed: placed[:2])
    return Spoiled([each for _, _, each in order], len(repeated), len(broken))


def send(
    bootstrap: str, records: Iterable[Outgoing], **properties: str | int | bool
) -> list[Record]:
    """Send records in order with an idempotent producer and `acks=all`, and wait for each of them.

    Args:
        bootstrap: addresses of the cluster.
        records: the records, with partition and time.
        properties: properties of the client, with `_` for `.`: `compression_type="zstd"`.

    Returns:
        The acknowledged records in the order of acknowledgement: ascending in each partition.

    Raises:
        KafkaException: a record was refused.
        StoreUnavailable: some records weren't acknowledged within two minutes.
    """
    acknowledged: list[Record] = []
    troubles: list[Exception] = []

    def on_delivery(error: object, sent: Message) -> None:
        if error is None:
            acknowledged.append(record_of(sent))
        else:
            troubles.append(KafkaException(error))

    producer = Producer(client(bootstrap, enable_idempotence=True, linger_ms=5, **properties))
    for topic, partition, key, value, log_time_ms, headers in records:
        while True:
            try:
                producer.produce(topic, value, key, partition, on_delivery, timestamp=log_time_ms,
                                 headers=list(headers))  # fmt: skip
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(120)
    if troubles:
        raise troubles[0]
    if left:
        raise StoreUnavailable(f"{left} records were not acknowledged", where=bootstrap)
    return acknowledged
