"""A group of one worker: the checkpoints of a worker that Faust runs, and a check that it is alone.

Faust's own consumer group can't hold checkpoints. They are kept where a plain worker keeps them, as
offsets of `kafka.group`, committed without being a member: so Faust and plain workers can take over
a journal from each other, and a plain worker that joins while Faust runs makes the broker refuse
these commits. Faust's consumer is in the group `kafka.group` + `-faust`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from claimtrace.adapters.kafka.client import BrokerErrors, client_config, connect
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.clock import Clock, duration_ms
from claimtrace.errors import StateError, Superseded
from claimtrace.settings.schema import KafkaConnection

from ...group.group import Checkpoint
from ...journal.plan import TopicPartition
from ..kafka.group import KafkaGroup
from ..kafka.output import KafkaOutput

_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.25
_GRACE_S: Final = 5.0
"""A dead worker leaves its group at the latest this long after its session time-out."""

_STOP: Final = "stop the other worker, or this one; a dead one leaves with its session time-out"


def faust_group(connection: KafkaConnection) -> str:
    """Return the group of Faust's consumer, which is also the id of the app.

    >>> faust_group(KafkaConnection("kafka://a:9092"))
    'claimtrace-faust'
    """
    return f"{connection.kafka.group}-faust"


class SingleWorkerGroup(KafkaGroup):
    """The group of the only worker on a journal, which always owns all topic-partitions.

    Args:
        connection: brokers, security, and the group that keeps the checkpoints.
        topics: the input topics.
        clock: for deadlines, and for when to list the partitions again.
        output: commits the offsets in its transaction when it is transactional.
    """

    def __init__(
        self, connection: KafkaConnection, topics: Sequence[str], clock: Clock, output: KafkaOutput
    ) -> None:
        # this consumer commits without being a member, so it must not carry the protocol and the
        # instance id that plain workers join the group with
        kafka = msgspec.structs.replace(connection.kafka, group_protocol="classic", instance="")
        super().__init__(connection._replace(kafka=kafka), topics, clock, output)
        self.committed: dict[TopicPartition, int] = {}
        """The positions of the last commit that was accepted."""

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:  # noqa: ARG002
        """Return all topic-partitions; no other worker can take any of them."""
        self._consumer.poll(0)
        self._troubles.check()
        return self.topic_partitions()

    def commit(
        self,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        """Commit the positions, with the checkpoints as metadata.

        Raises:
            StateError: the group has members now: another worker runs on this journal.
        """
        try:
            is_accepted = super().commit(checkpoints, positions)
        except Superseded as error:
            raise StateError(error.what, where=self._name, hint=_STOP) from error
        if is_accepted:
            self.committed = dict(positions)
        return is_accepted


class GroupMembers:
    """The members of the groups of Faust and of plain workers."""

    def __init__(self, connection: KafkaConnection, clock: Clock) -> None:
        self._clock, self._connection = clock, connection
        self._troubles = BrokerErrors(connection)
        config = client_config(connection) | {"error_cb": self._troubles}
        self._admin: Any = connect(AdminClient, config)

    def wait_until_empty(self, notify: Callable[[str], None] = lambda _: None) -> bool:
        """Wait until no other worker is in either group, for as long as a dead one may be listed.

        A member of Faust's group with this worker's own `kafka.instance` is its previous process,
        whose membership it takes over. Returns whether there is one.

        Raises:
            StateError: another worker is in a group, and doesn't leave.
            ConfigError: the groups may not be described.
        """
        session_s = duration_ms(self._connection.kafka.session_timeout) / 1000
        until_s = self._clock.monotonic_s() + session_s + _GRACE_S
        instance, faust = self._connection.kafka.instance, faust_group(self._connection)
        is_notified = False
        while True:
            members = self._members()
            others = [(group, name) for group, name, of in members
                      if group != faust or not instance or of != instance]  # fmt: skip
            if not others:
                return bool(members)
            group, name = others[0]
            if self._clock.monotonic_s() > until_s:
                raise StateError(f"another worker is in the group: {name}", where=group, hint=_STOP)
            if not is_notified:
                notify(f"waiting for {name} to leave the group {group}")
                is_notified = True
            self._clock.sleep(_POLL_S)

    def _members(self) -> list[tuple[str, str, str]]:
        """Return group, name and instance of each member."""
        groups = [faust_group(self._connection), self._connection.kafka.group]
        asked = self._admin.describe_consumer_groups(groups, request_timeout=_ANSWER_S)
        found = []
        for group, answer in asked.items():
            try:
                members: Collection[Any] = answer.result().members
            except KafkaException as error:
                self._troubles.check()
                raise error_of(error.args[0], "can't list the members of the group", group,
                               user=self._connection.security.username,
                               operation="Describe") from error  # fmt: skip
            found += [
                (group, f"{each.client_id} at {each.host}", each.group_instance_id or "")
                for each in members
            ]
        return found


def set_start_offsets(connection: KafkaConnection, positions: Mapping[TopicPartition, int]) -> None:
    """Set the offsets of Faust's group to this worker's positions, whatever they were.

    The group must have no members. Otherwise Faust would deliver again what a plain worker has
    applied.

    Raises:
        StateError: the group has members.
        StoreUnavailable: no broker answers.
    """
    offsets = [
        KafkaPartition(*topic_partition, at)
        for topic_partition, at in sorted(positions.items())
        if at > 0
    ]
    if not offsets:
        return
    group, troubles = faust_group(connection), BrokerErrors(connection)
    config = {"group.id": group, "enable.auto.commit": False, "error_cb": troubles}
    writer: Any = connect(Consumer, client_config(connection) | config)
    try:
        done = writer.commit(offsets=offsets, asynchronous=False)
        failed = [each.error for each in done or () if each.error is not None]
    except KafkaException as error:
        failed = [error.args[0]]
    finally:
        writer.close()
    if failed:
        troubles.check()
        user = connection.security.username
        raise error_of(failed[0], "can't set Faust's offsets", group, user=user, operation="Read")
