"""One frozen object with every setting: defaults, a TOML file, then `CLAIMTRACE_...` variables.

    # claimtrace.toml
    [stream]
    batch_records = 1000

    CLAIMTRACE_STREAM__BATCH_RECORDS=1000

An unknown key is an error that names the nearest one; a wrong type names the field. Secrets come
from variables or from files of their own, never from the TOML file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from .clock import duration_ms
from .errors import ConfigError
from .limits import MAX_BATCH_RECORDS

ENV_PREFIX: Final = "CLAIMTRACE_"
KAFKA: Final = "kafka://"
KINESIS: Final = "kinesis://"
SECRETS: Final = ("security.password", "security.key_password", "schemas.password")
"""Never in a settings file, never shown."""
SECRET_NAMES: Final = ("hash_key", *(path.partition(".")[2] for path in SECRETS))


REDACTED: Final = "..."


class Secretive(msgspec.Struct, frozen=True):
    """Settings some of which are secrets: they don't show themselves.

    >>> SecuritySettings(username="worker", password="hunter2").password
    'hunter2'
    >>> "hunter2" in repr(Settings(security=SecuritySettings(password="hunter2")))
    False
    """

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Names and values; a secret that is set has dots."""
        pairs = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(n, REDACTED if value and n in SECRET_NAMES else value) for n, value in pairs]


class StreamSettings(Secretive, frozen=True, forbid_unknown_fields=True):
    """The driver: batches, snapshots, and how late an event may be."""

    batch_records: int = 2000
    """Records of one plan at the most."""
    snapshot_every_records: int = 1_000_000
    """Records between two snapshots; a restart replays at most this many."""
    snapshot_every: str = "15m"
    """Time between two snapshots while anything comes in; the log must keep records much longer."""
    offline_every_records: int = 50_000
    """Records between two appends to the offline store."""
    offline_every: str = "30s"
    """Time after which rows that wait are appended, however few they are."""
    allowed_lateness: str = "30d"
    """Events up to this late are applied at their event time; later ones are scored and flagged."""
    remember_ids: str = "400d"
    """How long an event id is known, for duplicates and for labels that come late."""
    hash_key: str = "claimtrace"
    """Keys the index of ids. Set your own where ids come from people you don't trust."""


class DecisionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the organisation can do with referred claims."""

    capacity_per_day: float = 40.0
    """Claims that can be investigated in a day: sets the threshold for `refer`."""
    review_per_day: float = 160.0
    """Claims that can be looked at briefly in a day: sets the threshold for `review`."""
    reasons: int = 6
    """Reasons listed on a referred claim; the others are summed up. 0: decisions wait for none."""


class DriftSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Drift windows and when they alert."""

    window: str = "1d"
    """Width of a tumbling window, in event time."""
    lateness: str = "1d"
    """A window closes when event time has passed its end by this much."""
    min_count: int = 200
    """Windows with fewer claims are reported without a verdict."""
    alert_m: int = 2
    """An alert needs this many drifted windows ..."""
    alert_n: int = 3
    """... among this many last ones."""


class TrainingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The batch training job."""

    test_share: float = 0.25
    """The newest share of the labelled time that is kept for the evaluation."""
    min_frauds: int = 20
    """Fewer known frauds than this in any split: no model is fitted."""
    seed: int = 7
    """For subsampling and for the intervals; the same seed gives the same model, byte for byte."""
    params: dict[str, float | int | str] = {}
    """Parameters for XGBoost that override the defaults."""


class KafkaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Kafka cluster as the log; the brokers stand in `source`."""

    group: str = "claimtrace"
    """The consumer group that shares the partitions out among the workers."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """`classic` is cooperative-sticky; `consumer` the protocol of KIP-848, from Kafka 4.0 on."""
    instance: str = ""
    """A name of this worker's own that survives a restart (static membership); empty: none."""
    session_timeout: str = "10s"
    """A worker that is silent for this long loses its partitions (classic protocol)."""
    output: Literal["at_least_once", "exactly_once"] = "at_least_once"
    """`exactly_once`: decisions, dead letters and offsets in one transaction."""
    commit_every: str = "500ms"
    """Time between two commits, and the length of a transaction."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """Of what is produced."""
    on_lost_records: Literal["stop", "earliest"] = "stop"
    """Records that retention took before they were read: stop, or go on with the earliest left."""
    replication: int = 1
    """Copies of a new topic; 3 on a cluster that may lose a broker."""
    min_insync: int = 1
    """Copies that must have a record before it counts as acknowledged; 2 with 3 copies."""
    input_retention: str = "30d"
    """How long new input topics keep records."""
    output_retention: str = "forever"
    """How long new output topics keep records: a duration, or `forever`."""
    properties: dict[str, str | int | bool] = {}
    """Further properties of librdkafka; no secrets, and none that would lose records."""


class KinesisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Amazon Kinesis Data Streams as the log; the streams' common name stands in `source`."""

    region: str = ""
    """The AWS region; empty: AWS_REGION, or the profile's."""
    kinesis_endpoint: str = ""
    """Another URL than AWS' own, such as a VPC endpoint or a local server; empty: AWS' own."""
    dynamodb_endpoint: str = ""
    """The same for DynamoDB."""
    table: str = ""
    """A DynamoDB table for journal and leases, so that several workers can share the work; empty:
    one worker, with the journal in its folder."""
    lease_time: str = "10s"
    """A worker that is silent for this long loses its shards."""
    commit_every: str = "1s"
    """Time between two notes in the table of how far a worker came."""
    retention: str = "7d"
    """How long new streams keep records: 1d to 365d; decisions are in the offline store as well."""
    aggregate: bool = False
    """Put several small records into one, in the form of Amazon's producer library."""
    on_lost_records: Literal["stop", "earliest"] = "stop"
    """Records that retention took before they were read: stop, or go on with the earliest left."""


class SecuritySettings(Secretive, frozen=True, forbid_unknown_fields=True):
    """How this worker proves to the brokers who it is, and they to it."""

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """`ssl` encrypts and checks the broker's certificate and host name; `sasl_` adds a login."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    """How the login is done. OAUTHBEARER signs with this machine's AWS identity, for Amazon MSK."""
    username: str = ""
    """For PLAIN and SCRAM."""
    password: str = ""
    """For PLAIN and SCRAM. A secret: from the variable only."""
    password_file: str = ""
    """A file with the password, such as a mounted secret."""
    ca_file: str = ""
    """Certificates of the authority that signed the brokers'; empty: the system's."""
    certificate_file: str = ""
    """This worker's own certificate, for mutual TLS."""
    key_file: str = ""
    """The key of that certificate."""
    key_password: str = ""
    """The password of the key. A secret: from the variable only."""
    region: str = ""
    """The AWS region of the MSK cluster, for OAUTHBEARER."""


class SchemaSettings(Secretive, frozen=True, forbid_unknown_fields=True):
    """How events are encoded on Kafka."""

    registry: str = ""
    """URL of a schema registry; empty: plain JSON without a registry."""
    format: Literal["json", "avro"] = "json"
    """What our producers write when there is a registry: JSON Schema or Avro. Both are read."""
    username: str = ""
    """For the registry."""
    password: str = ""
    """For the registry. A secret: from the variable only."""
    password_file: str = ""
    """A file with the registry's password."""
    ca_file: str = ""
    """Certificates of the authority that signed the registry's; empty: the system's."""


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics and readiness over HTTP."""

    listen: str = ""
    """Address and port of `/metrics`, `/ready` and `/live`, e.g. 127.0.0.1:9464; empty: none."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting of claimtrace."""

    folder: str = "claimtrace-data"
    """Where the embedded log, the state, the offline store and the models lie."""
    models: str = ""
    """The registry's folder, for workers that share it; empty: `models` in the folder."""
    offline: str = ""
    """The offline store: a folder or s3://bucket/prefix; empty: `offline` in the folder."""
    domain: str = "examples.auto_claims"
    """The Python module that declares events, features and rules."""
    source: str = "local"
    """Where events come from and decisions go: `local`, `kafka://host:port,host:port`, or
    `kinesis://name` for the streams name.claims.filed and so on."""
    partitions: int = 4
    """Partitions of a new topic."""
    stream: StreamSettings = StreamSettings()
    decision: DecisionSettings = DecisionSettings()
    drift: DriftSettings = DriftSettings()
    training: TrainingSettings = TrainingSettings()
    kafka: KafkaSettings = KafkaSettings()
    kinesis: KinesisSettings = KinesisSettings()
    security: SecuritySettings = SecuritySettings()
    schemas: SchemaSettings = SchemaSettings()
    metrics: MetricsSettings = MetricsSettings()


def load_settings(toml: bytes | None, environment: Mapping[str, str], where: str = "") -> Settings:
    """Build the settings from the bytes of a TOML file and an environment.

    Raises:
        ConfigError: for an unknown key (names the nearest), a wrong type, or a value out of range.

    >>> load_settings(b"[stream]\\nbatch_records = 500", {}).stream.batch_records
    500
    >>> load_settings(None, {"CLAIMTRACE_STREAM__BATCH_RECORD": "5"})
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: unknown setting stream.batch_record [environment]
    (did you mean stream.batch_records?)
    """
    tree: dict[str, Any] = {}
    if toml is not None:
        try:
            tree = tomllib.loads(toml.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"not a TOML file: {error}", where=where) from error
        _refuse_unknown(tree, Settings, "", where)
        _refuse_secrets(tree, where)
    from_environment = _tree_of(environment)
    _refuse_unknown(from_environment, Settings, "", "environment")
    _merge(tree, from_environment)
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting has the wrong type: {error}", where=where) from error
    _check(settings, where)
    return settings


def _tree_of(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(ENV_PREFIX):
            continue
        branch, *path = reversed(name[len(ENV_PREFIX) :].lower().split("__"))
        at = tree
        for part in reversed(path):
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise ConfigError(f"{part} is a section, not a value", where=f"environment: {name}")
        if isinstance(at.get(branch), dict):
            raise ConfigError(f"{branch} is a section, not a value", where=f"environment: {name}")
        at[branch] = value
    return tree


def _refuse_unknown(tree: Mapping[str, Any], kind: type, path: str, where: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f"did you mean {path}{near[0]}?" if near else "known: " + ", ".join(fields)
            raise ConfigError(f"unknown setting {path}{key}", where=where, hint=hint)
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{path}{key} is a section, not a value", where=where)
            _refuse_unknown(value, inner, f"{path}{key}.", where)


def _refuse_secrets(tree: Mapping[str, Any], where: str) -> None:
    for path in SECRETS:
        section, _, name = path.partition(".")
        if name in tree.get(section, {}):
            variable = ENV_PREFIX + path.upper().replace(".", "__")
            raise ConfigError(f"{path} is a secret: it has no place in a settings file",
                              where=where, hint=f"set {variable}")  # fmt: skip


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _check(settings: Settings, where: str) -> None:
    stream, decision, drift = settings.stream, settings.decision, settings.drift
    for name, text in (
        ("stream.allowed_lateness", stream.allowed_lateness),
        ("stream.remember_ids", stream.remember_ids),
        ("drift.window", drift.window),
        ("drift.lateness", drift.lateness),
        ("stream.snapshot_every", stream.snapshot_every),
        ("stream.offline_every", stream.offline_every),
        ("kafka.session_timeout", settings.kafka.session_timeout),
        ("kafka.commit_every", settings.kafka.commit_every),
        ("kafka.input_retention", settings.kafka.input_retention),
        ("kafka.output_retention", settings.kafka.output_retention),
        ("kinesis.retention", settings.kinesis.retention),
        ("kinesis.lease_time", settings.kinesis.lease_time),
        ("kinesis.commit_every", settings.kinesis.commit_every),
    ):
        if text == "forever" and name.endswith("retention"):
            continue
        try:
            duration = duration_ms(text)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}", where=where) from error
        if name == "drift.window" and duration == 0:
            raise ConfigError(f"{name} has no width", where=where, hint="write 1d")
    if duration_ms(stream.remember_ids) < duration_ms(stream.allowed_lateness):
        raise ConfigError(
            "stream.remember_ids is shorter than stream.allowed_lateness",
            where=where,
            hint="a late duplicate would count twice; raise remember_ids",
        )
    _check_source(settings.source, where)
    ranges = (
        ("kafka.replication", settings.kafka.replication, 1, 100),
        ("kafka.min_insync", settings.kafka.min_insync, 1, settings.kafka.replication),
        ("partitions", settings.partitions, 1, 1024),
        ("stream.batch_records", stream.batch_records, 1, MAX_BATCH_RECORDS),
        ("stream.snapshot_every_records", stream.snapshot_every_records, 1, 10**9),
        ("stream.offline_every_records", stream.offline_every_records, 1, 10**7),
        ("decision.capacity_per_day", decision.capacity_per_day, 0.001, 10**9),
        ("decision.review_per_day", decision.review_per_day, decision.capacity_per_day, 10**9),
        ("decision.reasons", decision.reasons, 0, 100),
        ("drift.alert_n", drift.alert_n, drift.alert_m, 1000),
        ("drift.alert_m", drift.alert_m, 1, 1000),
        ("training.test_share", settings.training.test_share, 0.05, 0.9),
    )
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise ConfigError(f"{name} = {value} is not within {low} .. {high}", where=where)


def _check_source(source: str, where: str) -> None:
    examples = {KAFKA: ("broker", "kafka://host:9092"), KINESIS: ("stream", "kinesis://claims")}
    for scheme, (missing, example) in examples.items():
        if source.startswith(scheme):
            if not source.removeprefix(scheme).strip("/"):
                hint = f"write {example}"
                raise ConfigError(f"source names no {missing}", where=where, hint=hint)
            return
    if source != "local":
        raise ConfigError(f"source = {source} is no source", where=where,
                          hint="write local, kafka://host:9092 or kinesis://claims")  # fmt: skip
