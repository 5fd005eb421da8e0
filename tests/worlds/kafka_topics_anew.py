"""Topics of fixed names, created anew and empty on a broker that tests share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.servers.kafka import Cluster
from tests.servers.topics import client, create_topics

_PATIENCE_S: Final = 60.0


def make_anew(cluster: Cluster, partitions: Mapping[str, int]) -> None:
    """Delete existing topics and create them again: `{name: partitions}`.

    Returns when each partition's leader reports an empty partition: at first it may not know that
    it leads, or still serve the deleted topic.

    """
    admin = cluster.admin()
    there = admin.list_topics(timeout=30).topics
    gone = [topic for topic in partitions if topic in there]
    for deleted in admin.delete_topics(gone, operation_timeout=30).values() if gone else ():
        deleted.result(30)
    create_topics(cluster.bootstrap, partitions)
    topic_partitions = [
        TopicPartition(topic, p) for topic, n in partitions.items() for p in range(n)
    ]
    asking = Consumer({"group.id": "asking", **client(cluster.bootstrap)})
    until_s = time.monotonic() + _PATIENCE_S
    for topic_partition in topic_partitions:
        while not _is_empty(asking, topic_partition):
            assert time.monotonic() < until_s, f"{topic_partition} is not there, or not empty"
            time.sleep(0.02)
    asking.close()


def _is_empty(asking: Consumer, topic_partition: TopicPartition) -> bool:
    try:
        ends = asking.get_watermark_offsets(topic_partition, timeout=10)
    except KafkaException:
        return False
    return bool(ends == (0, 0))
