"""The error of a refused commit; with a real broker: `test_fleet_security.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.errors import ConfigError
from claimtrace.settings.schema import SecuritySettings, Settings
from stream.adapters.kafka.group import KafkaGroup
from stream.group.group import Checkpoint

TOPICS = ("claims.filed", "claims.adjudicated")


class Guarded:
    """A consumer whose commits are refused as a whole if they include a forbidden topic."""

    def __init__(self, forbidden: str) -> None:
        self._forbidden = forbidden
        self.committed: list[str] = []

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        if any(each.topic == self._forbidden for each in offsets):
            refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "refused")
            raise KafkaException(refused)
        self.committed += [each.topic for each in offsets]
        return offsets

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("forbidden", TOPICS)
def test_a_refused_commit_names_the_topic_that_may_not_be_read(forbidden: str) -> None:
    settings = Settings(source="kafka://127.0.0.1:1", security=SecuritySettings(username="w-1"))
    output: Any = SimpleNamespace(is_transactional=False)
    group = KafkaGroup(settings.kafka_connection, TOPICS, SystemClock(), output)
    group._consumer.close()
    group._consumer = Guarded(forbidden)
    checkpoints = {(topic, 0): Checkpoint(1, 1, "0" * 64) for topic in TOPICS}
    with pytest.raises(ConfigError) as caught:
        group.commit(checkpoints, {})
    assert f"--operation Read --topic {forbidden}" in str(caught.value)
    assert "User:w-1" in str(caught.value)
