"""Describe, create and grow topics of a Kafka cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from ...errors import ConfigError, StoreUnavailable
from ...settings.schema import KafkaConnection
from ..required_topics import FoundTopic, WantedTopic
from .client import BrokerErrors, brokers_of, client_config, connect
from .errors import error_of

_ANSWER_S: Final = 15.0
_POLL_S: Final = 0.05


def topic_ids(connection: KafkaConnection, names: Sequence[str]) -> dict[str, str]:
    """Return the ids of topics that must exist: `KafkaTopics.ids`."""
    return KafkaTopics(connection).ids(names)


def check_reachable(connection: KafkaConnection, patience_s: float) -> None:
    """Ask whether any broker answers, for at most `patience_s`.

    Raises:
        ConfigError: the login is refused.
        StoreUnavailable: no broker answers.
    """
    where, broker_errors = brokers_of(connection), BrokerErrors(connection)
    admin: Any = connect(AdminClient, client_config(connection) | {"error_cb": broker_errors})
    try:
        admin.list_topics(timeout=patience_s)
    except KafkaException as error:
        admin.poll(0)
        broker_errors.check()
        raise error_of(error.args[0], "no broker answers", where) from error


class KafkaTopics:
    """An admin client of the cluster in `source`.

    Each request waits at most `_ANSWER_S` for its answer.

    Raises, from any method:
        ConfigError: a login or an ACL is missing, or the cluster refuses; the hint says how to fix
            it.
        StoreUnavailable: the cluster doesn't answer.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._where = brokers_of(connection)
        self._user = connection.security.username
        self._broker_errors = BrokerErrors(connection)
        self._admin: Any = connect(AdminClient, client_config(connection) | {
            "error_cb": self._broker_errors,
        })  # fmt: skip

    def found(self, names: Sequence[str]) -> dict[str, FoundTopic]:
        """Return those of the named topics that exist, with their ids and configuration."""
        existing = self._described(names)
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in existing]
        configs: dict[str, Any] = {}
        if resources:
            asked = self._admin.describe_configs(resources, request_timeout=_ANSWER_S)
            by_name = {resource.name: future for resource, future in asked.items()}
            what = "can't look at the topic's settings"
            configs = self._answers(by_name, what, "DescribeConfigs")
        return {
            name: FoundTopic(
                name=name,
                topic_id=str(existing[name].topic_id),
                partitions=len(existing[name].partitions),
                replication=min(len(each.replicas) for each in existing[name].partitions),
                config={
                    key: entry.value
                    for key, entry in configs[name].items()
                    if entry.value is not None
                },
            )
            for name in names
            if name in existing
        }

    def ids(self, names: Sequence[str]) -> dict[str, str]:
        """Return the id of each topic; a topic that was deleted and created again has a new one.

        Raises:
            ConfigError: a topic doesn't exist.
        """
        existing = self._described(names)
        for name in names:
            if name not in existing:
                hint = "make the topics with `claimtrace topics create`"
                raise ConfigError("there is no such topic", where=name, hint=hint)
        return {name: str(existing[name].topic_id) for name in names}

    def create(self, topics: Sequence[WantedTopic], *, only_check: bool = False) -> None:
        """Create topics and wait until each partition has a leader.

        A topic that another process creates at the same time is no error.

        Args:
            topics: topics that don't exist yet.
            only_check: let the cluster validate the request, and create nothing.
        """
        if not topics:
            return
        new = [
            NewTopic(t.name, num_partitions=t.partitions, replication_factor=t.replication,
                     config=t.config)
            for t in topics
        ]  # fmt: skip
        asked = self._admin.create_topics(
            new, operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S, validate_only=only_check
        )
        self._answers(asked, "can't make the topic", "Create", KafkaError.TOPIC_ALREADY_EXISTS)
        if not only_check:
            self._led({topic.name: topic.partitions for topic in topics})

    def grow(self, partitions: Mapping[str, int]) -> None:
        """Add partitions to topics; keys may move to other partitions, existing records don't."""
        if not partitions:
            return
        new = [NewPartitions(name, count) for name, count in partitions.items()]
        asked = self._admin.create_partitions(
            new, operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S
        )
        self._answers(asked, "can't add partitions", "Alter")
        self._led(partitions)

    def _described(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the cluster's description of those topics that exist."""
        asked = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=_ANSWER_S)
        answers = self._answers(
            asked, "can't look at the topic", "Describe", KafkaError.UNKNOWN_TOPIC_OR_PART
        )
        return {name: answer for name, answer in answers.items() if answer is not None}

    def _led(self, partitions: Mapping[str, int]) -> None:
        """Wait until every partition has a leader: a new partition has none for a moment."""
        end_s = time.monotonic() + _ANSWER_S
        while True:
            try:
                known = self._admin.list_topics(timeout=_ANSWER_S).topics
            except KafkaException as failure:
                self._broker_errors.check()
                raise error_of(failure.args[0], "can't list the topics", self._where) from None
            led = {
                name: sum(each.leader >= 0 for each in known[name].partitions.values())
                for name in partitions
                if name in known
            }
            late = [name for name, count in partitions.items() if led.get(name, 0) < count]
            if not late:
                return
            if time.monotonic() > end_s:
                raise StoreUnavailable("a new topic has no leader yet", where=late[0],
                                       hint="are enough brokers up?")  # fmt: skip
            time.sleep(_POLL_S)

    def _answers(
        self,
        asked: Mapping[str, Future[Any]],
        what: str,
        operation: str,
        accepted: int | None = None,
    ) -> dict[str, Any]:
        """Wait for all answers; a refused login is raised at once.

        Args:
            asked: future answers, by topic.
            what: the operation that failed, when an answer is an error.
            operation: the operation of the ACL that may be missing.
            accepted: the code of an error that counts as the answer None.
        """
        end_s = time.monotonic() + _ANSWER_S + 1
        while not all(future.done() for future in asked.values()):
            self._admin.poll(_POLL_S)
            self._broker_errors.check()
            if time.monotonic() > end_s:
                why = f": {self._broker_errors.last}" if self._broker_errors.last else ""
                raise StoreUnavailable(f"{what}: no answer{why}", where=self._where,
                                       hint="are the brokers up, and reachable?")  # fmt: skip
        answers: dict[str, Any] = {}
        for name, future in asked.items():
            failure = future.exception()
            if failure is None:
                answers[name] = future.result()
                continue
            if not isinstance(failure, KafkaException):
                raise failure
            code = failure.args[0].code()
            if code != accepted:
                self._broker_errors.check()
                ours = error_of(failure.args[0], what, name, user=self._user, operation=operation)
                raise ours from None
            answers[name] = None
        return answers
