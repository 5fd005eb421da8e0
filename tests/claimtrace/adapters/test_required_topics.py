"""The wanted topics, and the problems reported for topics that aren't as wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claimtrace.adapters.required_topics import FoundTopic, WantedTopic, complaints, wanted_topics
from claimtrace.clock import DAY_MS, HOUR_MS
from claimtrace.decisions import AUDIT_TOPIC, DECISIONS_TOPIC, JOURNAL_TOPIC
from claimtrace.settings.schema import KafkaSettings

INPUTS = ("policies.changed", "claims.filed")
COPIES_3 = KafkaSettings(replication=3, min_insync=2)


def wanted() -> list[WantedTopic]:
    return wanted_topics(INPUTS, COPIES_3, 6)


def as_wanted() -> dict[str, FoundTopic]:
    return {
        t.name: FoundTopic(t.name, f"id-{t.name}", t.partitions, t.replication, dict(t.config))
        for t in wanted()
    }


def problems(found: dict[str, FoundTopic]) -> list[tuple[str, str, str]]:
    return [(c.topic, c.what, c.hint) for c in complaints(wanted(), found, HOUR_MS)]


def changed(topic: str, **config: str) -> dict[str, FoundTopic]:
    found = as_wanted()
    config = {name.replace("_", "."): value for name, value in config.items()}
    found[topic] = replace(found[topic], config=found[topic].config | config)
    return found


def test_inputs_and_outputs_are_as_wide_and_the_journal_has_one_partition_for_ever():
    by_name = {topic.name: topic for topic in wanted()}
    assert {name: topic.partitions for name, topic in by_name.items()} == {
        "policies.changed": 6, "claims.filed": 6, "claims.decisions": 6, "claims.dead": 6,
        "claims.drift": 1, "claims.alerts": 1, "claims.journal": 1, "claims.audit": 6,
    }  # fmt: skip
    assert by_name["claims.filed"].config["message.timestamp.type"] == "LogAppendTime"
    assert by_name["claims.filed"].config["retention.ms"] == str(30 * DAY_MS)
    assert by_name[JOURNAL_TOPIC].config["retention.ms"] == "-1"
    assert by_name[AUDIT_TOPIC].config["retention.ms"] == "-1"
    assert by_name[AUDIT_TOPIC].config["message.timestamp.type"] == "LogAppendTime"
    assert {topic.replication for topic in by_name.values()} == {3}
    assert {topic.config["min.insync.replicas"] for topic in by_name.values()} == {"2"}
    assert {topic.config["cleanup.policy"] for topic in by_name.values()} == {"delete"}


def test_topics_made_as_wanted_have_no_problem():
    assert problems(as_wanted()) == []


@pytest.mark.parametrize("topic", [*INPUTS, DECISIONS_TOPIC, JOURNAL_TOPIC])
def test_a_missing_topic_names_the_command(topic):
    found = as_wanted()
    del found[topic]
    assert problems(found) == [(topic, "it isn't there", "run `claimtrace topics create`")]


@pytest.mark.parametrize(
    ("topic", "config", "what", "hint"),
    [
        ("claims.filed", {"cleanup_policy": "compact"}, "compacted", "cleanup.policy=delete"),
        ("claims.filed", {"cleanup_policy": "compact,delete"}, "compacted", "cleanup.policy"),
        (DECISIONS_TOPIC, {"cleanup_policy": "compact"}, "compacted", "cleanup.policy=delete"),
        ("claims.filed", {"retention_ms": str(2 * HOUR_MS - 1)}, "twice stream.snapshot_every",
         "retention.ms=2592000000"),
        ("claims.filed", {"retention_bytes": "1000000"}, "limited in size", "retention.bytes=-1"),
        ("claims.filed", {"message_timestamp_type": "CreateTime"}, "producers' clocks",
         "message.timestamp.type=LogAppendTime"),
        ("claims.dead", {"max_message_bytes": str(512 * 1024 - 1)}, "takes records of 524287",
         "max.message.bytes=1048576"),
        ("claims.filed", {"min_insync_replicas": "1"}, "acknowledges alone",
         "min.insync.replicas=2"),
        ("claims.filed", {"min_insync_replicas": "4"}, "nothing can be sent",
         "min.insync.replicas=3"),
        ("claims.filed", {"unclean_leader_election_enable": "true"}, "would be lost",
         "unclean.leader.election.enable=false"),
        (JOURNAL_TOPIC, {"retention_ms": str(400 * DAY_MS)}, "400 days", "retention.ms=-1"),
        (JOURNAL_TOPIC, {"cleanup_policy": "compact"}, "compacted", "cleanup.policy=delete"),
        (AUDIT_TOPIC, {"retention_ms": str(400 * DAY_MS)}, "no beginning", "retention.ms=-1"),
        (AUDIT_TOPIC, {"message_timestamp_type": "CreateTime"}, "producers' clocks",
         "message.timestamp.type=LogAppendTime"),
    ],
)  # fmt: skip
def test_a_setting_that_would_lose_records_is_reported_with_the_command_that_fixes_it(
    topic, config, what, hint
):
    (name, text, fix), *others = problems(changed(topic, **config))
    assert not others
    assert name == topic
    assert what in text
    assert fix.startswith("kafka-configs --alter")
    assert topic in fix
    assert hint in fix


def test_retention_of_exactly_twice_the_snapshots_and_for_ever_is_enough():
    assert problems(changed("claims.filed", retention_ms=str(2 * HOUR_MS))) == []
    assert problems(changed("claims.filed", retention_ms="-1")) == []


@pytest.mark.parametrize(
    ("topic", "count", "what"),
    [
        ("policies.changed", 4, "another input has 6"),
        (DECISIONS_TOPIC, 5, "the inputs have 6"),
        ("claims.dead", 1, "the inputs have 6"),
        (JOURNAL_TOPIC, 2, "exactly one"),
    ],
)
def test_partitions_must_match(topic, count, what):
    found = as_wanted()
    found[topic] = replace(found[topic], partitions=count)
    ((name, text, hint),) = problems(found)
    assert name == topic
    assert what in text
    assert "claimtrace topics create" in hint


def test_more_partitions_of_outputs_and_reports_do_no_harm():
    found = as_wanted()
    for topic in (DECISIONS_TOPIC, "claims.drift"):
        found[topic] = replace(found[topic], partitions=9)
    assert problems(found) == []


def test_too_few_copies_are_reported():
    found = as_wanted()
    found["claims.filed"] = replace(found["claims.filed"], replication=2)
    ((name, text, hint),) = problems(found)
    assert name == "claims.filed"
    assert "2 copies" in text
    assert "kafka-reassign-partitions" in hint
