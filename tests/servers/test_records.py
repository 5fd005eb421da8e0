"""Records of a faulty producer arrive as sent."""

from __future__ import annotations

from collections import Counter

import pytest

from claimtrace.encoding.decoder import Decoder
from claimtrace.events import Record
from claimtrace.refusals import Refusal
from claimtrace_examples.auto_claims import DOMAIN
from tests.servers.kafka import Cluster
from tests.servers.records import POISONS, outgoing, send, spoil
from tests.servers.topics import create_topics, read_topic
from tests.worlds.random_events import KEY


def test_spoiling_repeats_and_breaks_what_it_says() -> None:
    clean = outgoing(3, 2000)
    spoiled = spoil(clean, 3)
    assert spoiled == spoil(clean, 3)
    assert 50 < spoiled.duplicate_count < 150
    assert 5 < spoiled.poison_count < 40
    counts = Counter(spoiled.records)
    assert sum(count for record, count in counts.items() if record.value in POISONS) == (
        spoiled.poison_count
    )
    assert sum(counts[record] - 1 for record in set(clean)) == spoiled.duplicate_count
    firsts = [record for record in dict.fromkeys(spoiled.records) if record.value not in POISONS]
    assert firsts == clean


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("topic", ["claims.filed", "claims.adjudicated", "policies.changed"])
def test_every_poison_is_refused(poison: bytes, topic: str) -> None:
    wire = Decoder(DOMAIN.events, DOMAIN.currency, KEY)
    (answer,) = wire.decode([Record(topic, 0, 0, b"k", poison, 1_780_000_000_000)])
    assert isinstance(answer, Refusal)


def test_what_is_sent_is_acknowledged_with_its_place_and_read_back(kafka: Cluster) -> None:
    sent = spoil(outgoing(5, 500), 5).records
    topics = {record.topic: f"servers.records.{record.topic}" for record in sent}
    create_topics(kafka.bootstrap, dict.fromkeys(topics.values(), 4))
    sent = [record._replace(topic=topics[record.topic]) for record in sent]
    acknowledged = send(kafka.bootstrap, sent, compression_type="zstd")
    read = [record for topic in topics.values() for record in read_topic(kafka.bootstrap, topic)]
    assert sorted(acknowledged) == sorted(read)
    target = {record: (record.topic, record.partition) for record in sent}
    for topic, partition in set(target.values()):
        there = [r for r in read if (r.topic, r.partition) == (topic, partition)]
        wanted = [r for r in sent if target[r] == (topic, partition)]
        assert [(r.key, r.value, r.log_time_ms) for r in there] == [
            (r.key, r.value, r.log_time_ms) for r in wanted
        ]
