"""The Kafka topics that a domain needs, with their configuration, and checks of existing ones.

The input log is the change log of all state, the journal is the one order of all workers, and the
decisions carry the chain: a topic that deletes records too early, or keeps only the last record of
a key, would break what this system promises. So topics are checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from ..clock import DAY_MS, duration_ms
from ..decisions import (
    ALERTS_TOPIC,
    AUDIT_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    JOURNAL_TOPIC,
)
from ..limits import MAX_DEAD_LETTER_BYTES, MAX_HEADER_BYTES, MAX_VALUE_BYTES
from ..settings.schema import KafkaSettings

Role = Literal["input", "output", "report", "journal"]

FOREVER_MS: Final = -1
MIN_MESSAGE_BYTES: Final = 512 * 1024
"""Least `max.message.bytes` of a topic; the dead letters' topic needs `_DEAD_LETTER_BYTES`."""

_MESSAGE_BYTES: Final = 1024 * 1024
_SAFE_COPIES: Final = 3
_DEAD_LETTER_BYTES: Final = MAX_DEAD_LETTER_BYTES + 10_000
"""A record alone in its batch, which compression may make a little larger."""
assert MAX_VALUE_BYTES + MAX_HEADER_BYTES < MIN_MESSAGE_BYTES <= _MESSAGE_BYTES
assert _DEAD_LETTER_BYTES <= _MESSAGE_BYTES


@dataclass(frozen=True)
class WantedTopic:
    """A topic to be created.

    `role`: inputs, outputs with a partition for each input partition, reports (one partition), or
    the journal (one partition, kept forever). `config` holds Kafka's topic configuration by name.
    """

    name: str
    role: Role
    partitions: int
    replication: int
    config: dict[str, str]


@dataclass(frozen=True)
class FoundTopic:
    """An existing topic; `topic_id` changes when a topic is deleted and created again."""

    name: str
    topic_id: str
    partitions: int
    replication: int
    config: dict[str, str] = field(default_factory=dict)

    @property
    def retention_ms(self) -> int:
        """Retention in ms; -1: forever."""
        return int(self.config.get("retention.ms", FOREVER_MS))


@dataclass(frozen=True)
class Complaint:
    """A problem with a topic, and how to fix it."""

    topic: str
    what: str
    hint: str


def wanted_topics(
    inputs: Sequence[str], kafka: KafkaSettings, partitions: int
) -> list[WantedTopic]:
    """Return every topic that a domain needs, inputs first.

    Args:
        inputs: the domain's topics.
        kafka: retention and replicas.
        partitions: of each input, and of the decisions and dead letters.

    >>> found = wanted_topics(["claims.filed"], KafkaSettings(), 6)
    >>> [(each.name, each.partitions) for each in found]
    [('claims.filed', 6), ('claims.decisions', 6), ('claims.dead', 6), ('claims.drift', 1),
     ('claims.alerts', 1), ('claims.journal', 1), ('claims.audit', 6)]
    """

    def make(name: str, role: Role, retention_ms: int) -> WantedTopic:
        config = {
            "cleanup.policy": "delete",
            "retention.ms": str(retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(_MESSAGE_BYTES),
            "min.insync.replicas": str(kafka.min_insync),
            "unclean.leader.election.enable": "false",
        }
        if role == "input" or name == AUDIT_TOPIC:  # the time is the log's, not a producer's
            config["message.timestamp.type"] = "LogAppendTime"
        return WantedTopic(
            name, role, partitions if role in ("input", "output") else 1, kafka.replication, config
        )

    in_ms, out_ms = retention_of(kafka.input_retention), retention_of(kafka.output_retention)
    return [
        *(make(name, "input", in_ms) for name in inputs),
        *(make(name, "output", out_ms) for name in (DECISIONS_TOPIC, DEAD_TOPIC)),
        *(make(name, "report", out_ms) for name in (DRIFT_TOPIC, ALERTS_TOPIC)),
        make(JOURNAL_TOPIC, "journal", FOREVER_MS),
        make(AUDIT_TOPIC, "output", FOREVER_MS),
    ]


def retention_of(text: str) -> int:
    """Return a retention in ms; `forever` is Kafka's -1.

    >>> retention_of("7d"), retention_of("forever")
    (604800000, -1)
    """
    return FOREVER_MS if text == "forever" else duration_ms(text)


def complaints(
    wanted: Sequence[WantedTopic], found: Mapping[str, FoundTopic], snapshot_every_ms: int
) -> list[Complaint]:
    """Return the problems of existing topics, and the missing topics; empty when all is well.

    Args:
        wanted: the topics of `wanted_topics`.
        found: existing topics by name; a topic that isn't in it is missing.
        snapshot_every_ms: time between snapshots. A restart reads the log from the last snapshot
            on, so inputs must be kept for at least twice as long.
    """
    problems: list[Complaint] = []
    for topic in wanted:
        existing = found.get(topic.name)
        if existing is None:
            missing = Complaint(topic.name, "it isn't there", "run `claimtrace topics create`")
            problems.append(missing)
        else:
            problems += _kept(topic, existing, snapshot_every_ms)
            problems += _copied(topic, existing)
    problems += _counted(wanted, found)
    return problems


def _kept(topic: WantedTopic, existing: FoundTopic, snapshot_every_ms: int) -> Iterator[Complaint]:
    """Check that records are kept unchanged and long enough: compaction, retention, size, time."""
    name, config = topic.name, existing.config
    stamps = topic.role == "input" or name == AUDIT_TOPIC
    if "compact" in config.get("cleanup.policy", "delete"):
        what = "it is compacted: only the last record of a key would stay"
        yield _alter(name, what, "cleanup.policy=delete")
    kept_ms = existing.retention_ms
    if topic.role == "journal" and kept_ms != FOREVER_MS:
        what = f"it keeps plans for {_days(kept_ms)} only: a replay needs them all"
        yield _alter(name, what, "retention.ms=-1")
    elif name == AUDIT_TOPIC and kept_ms != FOREVER_MS:
        what = f"it keeps events for {_days(kept_ms)} only: the chains would have no beginning"
        yield _alter(name, what, "retention.ms=-1")
    elif topic.role != "report" and 0 <= kept_ms < 2 * snapshot_every_ms:
        what = f"it keeps records for {_days(kept_ms)}, less than twice stream.snapshot_every"
        yield _alter(name, what, f"retention.ms={topic.config['retention.ms']}")
    if int(config.get("retention.bytes", -1)) != -1 and topic.role != "report":
        what = "it is limited in size: a busy day would push records out before their time"
        yield _alter(name, what, "retention.bytes=-1")
    least = _DEAD_LETTER_BYTES if name == DEAD_TOPIC else MIN_MESSAGE_BYTES
    if int(config.get("max.message.bytes", _MESSAGE_BYTES)) < least:
        what = f"it takes records of {config['max.message.bytes']} bytes only"
        yield _alter(name, what, f"max.message.bytes={_MESSAGE_BYTES}")
    stamped = config.get("message.timestamp.type", "CreateTime")
    if stamps and stamped != "LogAppendTime":
        what = "its records carry the producers' clocks, which may be wrong"
        yield _alter(name, what, "message.timestamp.type=LogAppendTime")


def _copied(topic: WantedTopic, existing: FoundTopic) -> Iterator[Complaint]:
    """Check replication: an acknowledged record survives the loss of a broker."""
    name, config, copies = topic.name, existing.config, existing.replication
    in_sync = int(config.get("min.insync.replicas", 1))
    if copies < topic.replication:
        what = f"it has {copies} copies, kafka.replication says {topic.replication}"
        yield Complaint(name, what, "add copies: kafka-reassign-partitions")
    if in_sync > copies:
        what = f"min.insync.replicas = {in_sync} of {copies} copies: nothing can be sent"
        yield _alter(name, what, f"min.insync.replicas={copies}")
    elif copies >= _SAFE_COPIES and in_sync < 2:
        what = "one copy acknowledges alone: with its broker the record is lost"
        yield _alter(name, what, "min.insync.replicas=2")
    if config.get("unclean.leader.election.enable", "false") == "true":
        what = "a copy that lags may become the leader: acknowledged records would be lost"
        yield _alter(name, what, "unclean.leader.election.enable=false")


def _counted(wanted: Sequence[WantedTopic], found: Mapping[str, FoundTopic]) -> Iterator[Complaint]:
    """Check partition counts: an output's partition is that of its input, so the counts match."""
    counts = {t.name: found[t.name].partitions for t in wanted if t.name in found}
    inputs = [t.name for t in wanted if t.role == "input" and t.name in counts]
    most = max((counts[name] for name in inputs), default=0)
    for topic in wanted:
        count = counts.get(topic.name)
        if count is None:
            continue
        hint = f"run `claimtrace topics create --partitions {most}`"
        if topic.role == "input" and count < most:
            what = (f"it has {count} partitions, another input has {most}: "
                    "a key has another partition")  # fmt: skip
            yield Complaint(topic.name, what, hint)
        elif topic.role == "output" and count < most:
            what = f"it has {count} partitions, the inputs have {most}"
            yield Complaint(topic.name, what, hint)
        elif topic.role == "journal" and count != 1:
            what = f"it has {count} partitions: one order needs exactly one"
            hint = "delete it, and the workers' state, and run `claimtrace topics create`"
            yield Complaint(topic.name, what, hint)


def _alter(topic: str, what: str, config: str) -> Complaint:
    command = "kafka-configs --alter --entity-type topics --entity-name"
    return Complaint(topic, what, f"{command} {topic} --add-config {config}")


def _days(duration: int) -> str:
    """Return a retention in words.

    >>> _days(7 * 86_400_000), _days(90_000)
    ('7 days', '90 s')
    """
    if duration < DAY_MS:
        return f"{duration / 1000:g} s"
    return f"{duration / DAY_MS:g} days"
