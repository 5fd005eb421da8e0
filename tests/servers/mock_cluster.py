"""librdkafka's own mock cluster: brokers in this process, on TCP, with faults on request.

    with MockCluster(brokers=3) as mock:
        mock.create_topic("t", partitions=12)
        mock.fail(Api.PRODUCE, KafkaError.REQUEST_TIMED_OUT, times=3)
        mock.down(1)
        Producer({"bootstrap.servers": mock.bootstrap})

Other processes can connect too. The mock supports groups (both protocols), idempotent producers and
automatic creation of topics; it does *not* support admin requests, offsets by time, TLS or logins,
and its transactions are a facade: aborted records are visible to all readers, and no producer is
fenced. Those tests need the real broker. The C interface is experimental, so a missing symbol makes
the tests skip.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import confluent_kafka

from claimtrace.closing import Closing
from claimtrace.errors import StoreUnavailable
from tests.servers.fetch import ServerMissing

EVERY_BROKER: Final = -1
NO_LEADER: Final = -1
_PRODUCER: Final = 0


class Api(IntEnum):
    """API keys of Kafka's protocol."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    CONSUMER_GROUP_HEARTBEAT = 68


class MockCluster(Closing):
    """Mock brokers 1 .. `brokers`; `with` ends them.

    Raises:
        ServerMissing: this build of librdkafka has no mock cluster, or an incompatible one.
    """

    def __init__(self, brokers: int = 1) -> None:
        self._library = _library()
        self._functions: dict[str, Callable[..., Any]] = {}
        why = ctypes.create_string_buffer(512)
        new = self._function("rd_kafka_new", ctypes.c_void_p)
        self._handle = ctypes.c_void_p(new(_PRODUCER, None, why, ctypes.c_size_t(len(why))))
        if not self._handle:
            raise StoreUnavailable(f"no librdkafka: {why.value.decode()}")
        self._function("rd_kafka_set_log_level", None)(self._handle, 0)
        make = self._function("rd_kafka_mock_cluster_new", ctypes.c_void_p)
        self._cluster = ctypes.c_void_p(make(self._handle, brokers))
        if not self._cluster:
            raise StoreUnavailable("no mock cluster came up")
        # By default a rebalance waits 3 s for further members.
        self._call("group_initial_rebalance_delay_ms", ctypes.c_int32(0))

    @property
    def bootstrap(self) -> str:
        """The addresses for `bootstrap.servers`."""
        name = "rd_kafka_mock_cluster_bootstraps"
        address: bytes = self._function(name, ctypes.c_char_p)(self._cluster)
        return address.decode()

    def create_topic(self, topic: str, partitions: int, copies: int = 1) -> None:
        """Create a topic; a topic that a client merely names is created with 4 partitions."""
        self._ask("topic_create", topic.encode(), partitions, copies)

    def fail(self, api: Api, *codes: int, times: int = 1) -> None:
        """Answer the next requests of a kind with errors, one after the other, then normally.

        The code `KafkaError._TRANSPORT` cuts the connection instead.
        """
        errors = list(codes) * times
        self._call("push_request_errors_array", ctypes.c_int16(api), ctypes.c_size_t(len(errors)),
                   (ctypes.c_int * len(errors))(*errors))  # fmt: skip

    def heal(self, api: Api) -> None:
        """Drop the errors that are still queued for a kind of request."""
        self._call("clear_request_errors", ctypes.c_int16(api))

    def down(self, broker: int = EVERY_BROKER) -> None:
        """Cut a broker's connections and refuse new ones; its partitions keep their leader."""
        self._ask("broker_set_down", ctypes.c_int32(broker))

    def up(self, broker: int = EVERY_BROKER) -> None:
        """Accept connections again after `down`."""
        self._ask("broker_set_up", ctypes.c_int32(broker))

    def delay(self, rtt_ms: int, broker: int = EVERY_BROKER) -> None:
        """Delay the answer to each request; 0: answer at once, as initially."""
        self._ask("broker_set_rtt", ctypes.c_int32(broker), rtt_ms)

    def set_leader(self, topic: str, partition: int, broker: int) -> None:
        """Move a partition to another leader, or to none (`NO_LEADER`)."""
        self._ask("partition_set_leader", topic.encode(), ctypes.c_int32(partition),
                  ctypes.c_int32(broker))  # fmt: skip

    def set_coordinator(self, group: str, broker: int) -> None:
        """Move a consumer group to another coordinator."""
        self._ask("coordinator_set", b"group", group.encode(), ctypes.c_int32(broker))

    def watch(self) -> None:
        """Start recording requests, for `requests`."""
        self._call("start_request_tracking")

    def requests(self) -> list[Api | int]:
        """Return the kinds of requests since `watch` or the last call, in order of arrival."""
        count = ctypes.c_size_t()
        get = self._function("rd_kafka_mock_get_requests", ctypes.POINTER(ctypes.c_void_p))
        noted = get(self._cluster, ctypes.byref(count))
        kind_of = self._function("rd_kafka_mock_request_api_key", ctypes.c_int16)
        kinds = [kind_of(ctypes.c_void_p(noted[n])) for n in range(count.value)]
        self._function("rd_kafka_mock_request_destroy_array", None)(noted, count)
        self._call("clear_requests")
        known = {int(api) for api in Api}
        return [Api(kind) if kind in known else int(kind) for kind in kinds]

    def close(self) -> None:
        """End the brokers; harmless when called again."""
        if self._cluster:
            self._function("rd_kafka_mock_cluster_destroy", None)(self._cluster)
            self._function("rd_kafka_destroy", None)(self._handle)
            self._cluster = ctypes.c_void_p()

    def _call(self, name: str, *arguments: Any) -> None:
        self._function(f"rd_kafka_mock_{name}", None)(self._cluster, *arguments)

    def _ask(self, name: str, *arguments: Any) -> None:
        code = self._function(f"rd_kafka_mock_{name}", ctypes.c_int)(self._cluster, *arguments)
        if code:
            what = confluent_kafka.KafkaError(code).str()
            raise StoreUnavailable(f"{name}: {what}", where="mock cluster")

    def _function(self, name: str, result: Any) -> Callable[..., Any]:
        if name not in self._functions:
            try:
                found = getattr(self._library, name)
            except AttributeError as error:
                version = confluent_kafka.libversion()[0]
                raise ServerMissing(f"librdkafka {version} has no {name}") from error
            found.restype = result
            self._functions[name] = found
        return self._functions[name]


def _library() -> ctypes.CDLL:
    """Return the librdkafka that confluent_kafka itself has loaded."""
    package = Path(confluent_kafka.__file__).parent
    for pattern in ("../confluent_kafka.libs/librdkafka*", ".dylibs/librdkafka*"):
        for path in sorted(package.glob(pattern)):
            return ctypes.CDLL(str(path))
    raise ServerMissing("confluent_kafka brings no librdkafka of its own", where=str(package),
                        hint="install its wheel")  # fmt: skip
