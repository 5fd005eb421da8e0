"""The Kinesis streams that a domain needs, and checks of existing ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...clock import DAY_MS, HOUR_MS, duration_ms
from ...decisions import ALERTS_TOPIC, AUDIT_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC, DRIFT_TOPIC
from ...settings.schema import KinesisSettings
from ..required_topics import Complaint, FoundTopic, Role, WantedTopic

_COPIES: Final = 3


def wanted_streams(
    inputs: Sequence[str], kinesis: KinesisSettings, shards: int
) -> list[WantedTopic]:
    """Return every stream that a domain needs, inputs first; the journal is no stream.

    >>> found = wanted_streams(["claims.filed"], KinesisSettings(), 6)
    >>> [(each.name, each.partitions) for each in found]
    [('claims.filed', 6), ('claims.decisions', 6), ('claims.dead', 1), ('claims.drift', 1),
     ('claims.alerts', 1), ('claims.audit', 1)]
    """
    kept_ms = duration_ms(kinesis.retention)

    def make(name: str, role: Role, count: int) -> WantedTopic:
        return WantedTopic(name, role, count, _COPIES, {"retention.ms": str(kept_ms)})

    return [
        *(make(name, "input", shards) for name in inputs),
        make(DECISIONS_TOPIC, "output", shards),
        *(make(name, "report", 1) for name in (DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC, AUDIT_TOPIC)),
    ]


def stream_complaints(
    wanted: Sequence[WantedTopic], found: Mapping[str, FoundTopic], snapshot_every_ms: int
) -> list[Complaint]:
    """Return the problems of existing streams, and the missing streams; empty when all is well.

    Args:
        wanted: the streams of `wanted_streams`.
        found: existing streams by topic.
        snapshot_every_ms: time between snapshots; inputs must be kept for at least twice as long.
    """
    problems = []
    for topic in wanted:
        existing = found.get(topic.name)
        if existing is None:
            missing = Complaint(topic.name, "it isn't there", "run `claimtrace topics create`")
            problems.append(missing)
        elif topic.role == "input" and existing.retention_ms < 2 * snapshot_every_ms:
            problems.append(
                Complaint(
                    topic.name,
                    f"it keeps records for {existing.retention_ms / DAY_MS:g} days, less than "
                    "twice stream.snapshot_every",
                    "aws kinesis increase-stream-retention-period --retention-period-hours "
                    f"{int(topic.config['retention.ms']) // HOUR_MS} --stream-name",
                )
            )
    return problems
