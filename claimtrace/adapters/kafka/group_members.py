"""The members of a consumer group as the brokers list them, without joining it."""

from __future__ import annotations

import time
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ...settings.schema import KafkaConnection
from .client import BrokerErrors, client_config, connect
from .errors import error_of

_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.3
_ELECTED: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""The broker that knows the group is being found: the same question is answered soon."""


def members_of(connection: KafkaConnection) -> list[str]:
    """Return client and host of each member of `kafka.group`.

    Raises:
        ConfigError: the group may not be described.
        StoreUnavailable: the brokers don't answer.
    """
    group, troubles = connection.kafka.group, BrokerErrors(connection)
    admin: Any = connect(AdminClient, client_config(connection) | {"error_cb": troubles})
    until_s = time.monotonic() + _ANSWER_S
    while True:
        asked = admin.describe_consumer_groups([group], request_timeout=_ANSWER_S)
        try:
            members = asked[group].result().members
        except KafkaException as error:
            if error.args[0].code() in _ELECTED and time.monotonic() < until_s:
                time.sleep(_POLL_S)
                continue
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []  # newer brokers say so of a group that nobody has joined yet
            troubles.check()
            what, user = "can't list the members of the group", connection.security.username
            raise error_of(error.args[0], what, group, user=user, operation="Describe") from error
        return sorted(f"{each.client_id} at {each.host}" for each in members)
