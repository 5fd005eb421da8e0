"""One frozen object with every setting and its default.

    # claimtrace.toml
    [stream]
    batch_records = 1000

    CLAIMTRACE_STREAM__BATCH_RECORDS=1000

Secrets come from variables or from files of their own, never from the TOML file.
`claimtrace.settings.loading` reads all of them.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from .model_life import ApprovalSettings as ApprovalSettings
from .model_life import GateSettings as GateSettings
from .model_life import GuardSettings as GuardSettings
from .model_life import MirrorSettings as MirrorSettings
from .model_life import PipelineSettings as PipelineSettings
from .model_life import TrainingSettings as TrainingSettings
from .serving import ServeSettings as ServeSettings

KAFKA: Final = "kafka://"
KINESIS: Final = "kinesis://"
S3: Final = "s3://"
FILE: Final = "file:"
"""Prefix of `kinesis.table` for a table in a file instead of in DynamoDB."""
SECRETS: Final = ("security.password", "security.key_password", "schemas.password")
"""Settings that are refused in a settings file and never shown."""
SECRET_NAMES: Final = ("hash_key", *(path.partition(".")[2] for path in SECRETS))
"""Fields whose value is never shown; `hash_key` may be in the file."""
REDACTED: Final = "..."
"""The text shown in place of a secret."""


class RedactedSettings(msgspec.Struct, frozen=True):
    """A section whose secrets are not shown by `repr` or on a console.

    >>> SecuritySettings(username="worker", password="hunter2").password
    'hunter2'
    >>> "hunter2" in repr(Settings(security=SecuritySettings(password="hunter2")))
    False
    """

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return names and values for rich; a secret that is set is replaced by `REDACTED`."""
        pairs = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(n, REDACTED if value and n in SECRET_NAMES else value) for n, value in pairs]


class StreamSettings(RedactedSettings, frozen=True, forbid_unknown_fields=True):
    """The driver: batches, snapshots, and how late an event may be."""

    batch_records: int = 2000
    """Maximum number of records of one plan."""
    snapshot_every_records: int = 1_000_000
    """Records between two snapshots; a restart replays at most this many."""
    snapshot_every: str = "15m"
    """Time between two snapshots while records arrive; the log must keep records much longer."""
    offline_every_records: int = 50_000
    """Records between two appends to the offline store."""
    offline_every: str = "30s"
    """Time after which waiting rows are appended to the offline store, however few they are."""
    allowed_lateness: str = "30d"
    """Events up to this late are applied at their event time; later ones are scored and flagged."""
    remember_ids: str = "400d"
    """Time for which an event id is remembered, for duplicates and for late labels."""
    hash_key: str = "claimtrace"
    """Key of the hash index of ids. Set your own if ids come from people you don't trust."""


class DecisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The organisation's capacity for referred claims."""

    capacity_per_day: float = 40.0
    """Claims that can be investigated in a day: sets the threshold for `refer`."""
    review_per_day: float = 0.0
    """Claims that can be looked at briefly in a day: sets the threshold for `review`. 0: four times
    `capacity_per_day`."""
    reasons: int = 6
    """Reasons listed on a referred claim; the others are summed up. 0: none are computed."""
    reasons_for: Literal["refer", "review"] = "refer"
    """Claims whose decisions get reasons: referred ones, or reviewed ones as well. A journal keeps
    the value that it was begun with; `review` needs edition 4."""
    review_hours: float = 0.25
    """Hours of people that a review takes; `models compare` counts with it."""
    investigation_hours: float = 3.0
    """Hours of people that the investigation of a referred claim takes."""

    @property
    def most_reviews_per_day(self) -> float:
        """The claims that can be looked at briefly in a day."""
        return self.review_per_day or 4 * self.capacity_per_day


class DriftSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Drift windows and the rule for alerts."""

    window: str = "1d"
    """Width of a tumbling window, in event time."""
    lateness: str = "1d"
    """A window closes when event time has passed its end by this much."""
    min_count: int = 200
    """Windows with fewer claims are reported without a verdict."""
    alert_m: int = 2
    """Number of drifted windows among the last `alert_n` that raises an alert."""
    alert_n: int = 3
    """Number of last windows that are looked at for an alert."""


class KafkaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Kafka cluster as the log; `source` names the brokers."""

    group: str = "claimtrace"
    """The consumer group in which workers share the partitions."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """`classic` is cooperative-sticky; `consumer` the protocol of KIP-848, from Kafka 4.0 on."""
    instance: str = ""
    """Name of this worker that survives a restart (static membership); empty: none."""
    session_timeout: str = "10s"
    """A worker without a heartbeat for this long loses its partitions (classic protocol)."""
    output: Literal["at_least_once", "exactly_once"] = "at_least_once"
    """`exactly_once`: decisions, dead letters and offsets in one transaction."""
    commit_every: str = "500ms"
    """Time between two commits, and the length of a transaction."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """Compression of produced records."""
    on_lost_records: Literal["stop", "earliest"] = "stop"
    """If retention took records before they were read: stop, or continue with the earliest left."""
    replication: int = 1
    """Replicas of a new topic; 3 on a cluster that may lose a broker."""
    min_insync: int = 1
    """Replicas that must have a record before it counts as acknowledged; 2 of 3 replicas."""
    input_retention: str = "30d"
    """Retention of new input topics."""
    output_retention: str = "forever"
    """Retention of new output topics: a duration, or `forever`."""
    properties: dict[str, str | int | bool] = {}
    """Further properties of librdkafka; no secrets, and none that would lose records."""


class KinesisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Amazon Kinesis Data Streams as the log; `source` has the common name of the streams."""

    region: str = ""
    """The AWS region; empty: AWS_REGION, or the profile's."""
    kinesis_endpoint: str = ""
    """URL of the service, such as a VPC endpoint or a local server; empty: AWS' own."""
    dynamodb_endpoint: str = ""
    """URL of DynamoDB, such as a VPC endpoint or a local server; empty: AWS' own."""
    table: str = ""
    """A DynamoDB table for journal and leases, so that several workers can share the work; or
    file:PATH for workers on one machine. Empty: one worker, with the journal in its folder."""
    lease_time: str = "10s"
    """A worker that doesn't renew a lease for this long loses the shard."""
    commit_every: str = "1s"
    """Time between two commits of a worker's positions to the table."""
    retention: str = "7d"
    """Retention of new streams: 1d to 365d; decisions are in the offline store as well."""
    fan_out: str = ""
    """This worker's own name as a registered consumer: the streams push to it (enhanced fan-out)
    and it uses none of the shared read limit; AWS charges for it. Empty: the worker polls."""
    aggregate: bool = False
    """Put several small records into one, in the form of Amazon's producer library."""
    on_lost_records: Literal["stop", "earliest"] = "stop"
    """If retention took records before they were read: stop, or continue with the earliest left."""


class AwsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """AWS services that receive alerts and metrics, whatever the log is."""

    alerts_topic: str = ""
    """The ARN of an SNS topic to which alerts are published; empty: none."""
    metrics_namespace: str = ""
    """The CloudWatch namespace to which the worker's metrics are sent; empty: none."""
    metrics_every: str = "60s"
    """Time between two sends of metrics; CloudWatch charges for each metric."""


class SecuritySettings(RedactedSettings, frozen=True, forbid_unknown_fields=True):
    """Encryption and login between this worker and the brokers."""

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """`ssl` encrypts and checks the broker's certificate and host name; `sasl_` adds a login."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    """SASL mechanism. OAUTHBEARER signs with this machine's AWS identity, for Amazon MSK."""
    username: str = ""
    """User name for PLAIN and SCRAM."""
    password: str = ""
    """Password for PLAIN and SCRAM. A secret: from the variable only."""
    password_file: str = ""
    """A file with the password, such as a mounted secret."""
    ca_file: str = ""
    """Certificates of the authority that signed the brokers' certificates; empty: the system's."""
    certificate_file: str = ""
    """This worker's own certificate, for mutual TLS."""
    key_file: str = ""
    """The key of `certificate_file`."""
    key_password: str = ""
    """The password of the key. A secret: from the variable only."""
    region: str = ""
    """The AWS region of the MSK cluster, for OAUTHBEARER."""


class SchemaSettings(RedactedSettings, frozen=True, forbid_unknown_fields=True):
    """Encoding of events on Kafka."""

    registry: str = ""
    """URL of a schema registry; empty: plain JSON without a registry."""
    format: Literal["json", "avro"] = "json"
    """Encoding of our producers when there is a registry: JSON Schema or Avro. Both are read."""
    username: str = ""
    """User name for the registry."""
    password: str = ""
    """Password for the registry. A secret: from the variable only."""
    password_file: str = ""
    """A file with the registry's password."""
    ca_file: str = ""
    """Certificates of the authority that signed the registry's certificate; empty: the system's."""


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics and readiness over HTTP."""

    listen: str = ""
    """Address and port of `/metrics`, `/ready` and `/live`, e.g. 127.0.0.1:9464; empty: none."""


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lines that a worker without a terminal writes to standard error."""

    format: Literal["text", "json"] = "text"
    """One line an event: words and `name=value`, or one JSON object."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug` adds each batch and the lines of the Kafka client; `warning` leaves pauses, lost
    partitions and errors."""


class KafkaConnection(NamedTuple):
    """The settings that a Kafka client is made from: the brokers in `source`, options, login."""

    source: str
    kafka: KafkaSettings = KafkaSettings()
    security: SecuritySettings = SecuritySettings()


class KinesisConnection(NamedTuple):
    """The settings that a Kinesis client is made from: the streams' name in `source`, options."""

    source: str
    kinesis: KinesisSettings = KinesisSettings()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting of claimtrace."""

    folder: str = "claimtrace-data"
    """The folder of the embedded log, the state, the offline store and the models."""
    models: str = ""
    """The registry, for workers that share it: a folder or s3://bucket/prefix; empty: `models` in
    `folder`."""
    offline: str = ""
    """The offline store: a folder or s3://bucket/prefix; empty: `offline` in `folder`."""
    domain: str = "claimtrace_examples.auto_claims"
    """The Python module that declares events, features and rules."""
    source: str = "local"
    """The log of events and decisions: `local`, `kafka://host:port,host:port`, or
    `kinesis://name` for the streams name.claims.filed and so on."""
    partitions: int = 4
    """Partitions of a new topic."""
    stream: StreamSettings = StreamSettings()
    decision: DecisionSettings = DecisionSettings()
    drift: DriftSettings = DriftSettings()
    guard: GuardSettings = GuardSettings()
    training: TrainingSettings = TrainingSettings()
    pipeline: PipelineSettings = PipelineSettings()
    gates: GateSettings = GateSettings()
    approval: ApprovalSettings = ApprovalSettings()
    kafka: KafkaSettings = KafkaSettings()
    kinesis: KinesisSettings = KinesisSettings()
    aws: AwsSettings = AwsSettings()
    security: SecuritySettings = SecuritySettings()
    schemas: SchemaSettings = SchemaSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    mirrors: MirrorSettings = MirrorSettings()
    serve: ServeSettings = ServeSettings()

    @property
    def kafka_connection(self) -> KafkaConnection:
        """The sections that Kafka clients are made from."""
        return KafkaConnection(self.source, self.kafka, self.security)

    @property
    def kinesis_connection(self) -> KinesisConnection:
        """The sections that Kinesis clients are made from."""
        return KinesisConnection(self.source, self.kinesis)
