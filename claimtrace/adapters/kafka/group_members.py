"""The members of a consumer group as the brokers list them, without joining it."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ...settings.schema import KafkaConnection
from .client import BrokerErrors, client_config, connect
from .errors import error_of

_ANSWER_S = 10.0


def members_of(connection: KafkaConnection) -> list[str]:
    """Return client and host of each member of `kafka.group`.

    Raises:
        ConfigError: the group may not be described.
        StoreUnavailable: the brokers don't answer.
    """
    group, troubles = connection.kafka.group, BrokerErrors(connection)
    admin: Any = connect(AdminClient, client_config(connection) | {"error_cb": troubles})
    asked = admin.describe_consumer_groups([group], request_timeout=_ANSWER_S)
    try:
        members = asked[group].result().members
    except KafkaException as error:
        troubles.check()
        what, user = "can't list the members of the group", connection.security.username
        raise error_of(error.args[0], what, group, user=user, operation="Describe") from error
    return sorted(f"{each.client_id} at {each.host}" for each in members)
