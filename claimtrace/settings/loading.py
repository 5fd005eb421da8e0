"""Build the settings: defaults, then a TOML file, then `CLAIMTRACE_...` variables.

The error for an unknown key names the nearest known one; the error for a wrong type names the
field.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..clock import duration_ms
from ..errors import ConfigError
from ..limits import MAX_BATCH_RECORDS
from .schema import KAFKA, KINESIS, SECRETS, Settings

ENV_PREFIX: Final = "CLAIMTRACE_"
_TABLE: Final = re.compile(r"file:.+|[A-Za-z0-9_.-]{3,255}")
_CONSUMER: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SNS_TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}")


def load_settings(toml: bytes | None, environment: Mapping[str, str], where: str = "") -> Settings:
    """Build the settings from the bytes of a TOML file and an environment.

    Raises:
        ConfigError: a key is unknown (the error names the nearest), a type is wrong, or a value is
            out of range.

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
            raise ConfigError(f"{path} is a secret: it must not be in a settings file",
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
        ("aws.metrics_every", settings.aws.metrics_every),
    ):
        if text == "forever" and name.endswith("retention"):
            continue
        try:
            duration = duration_ms(text)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}", where=where) from error
        if name in ("drift.window", "aws.metrics_every") and duration == 0:
            raise ConfigError(f"{name} must be longer than zero", where=where,
                              hint="write 1d, or 60s")  # fmt: skip
    if duration_ms(stream.remember_ids) < duration_ms(stream.allowed_lateness):
        raise ConfigError(
            "stream.remember_ids is shorter than stream.allowed_lateness",
            where=where,
            hint="a late duplicate would count twice; raise remember_ids",
        )
    _check_source(settings.source, where)
    _check_names(settings, where)
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


def _check_names(settings: Settings, where: str) -> None:
    kinesis = settings.kinesis
    for name, value, form, hint in (
        ("aws.alerts_topic", settings.aws.alerts_topic, _SNS_TOPIC,
         "write arn:aws:sns:REGION:ACCOUNT:NAME"),
        ("kinesis.table", kinesis.table, _TABLE, "3 to 255 of a-z, A-Z, 0-9, _-. or file:PATH"),
        ("kinesis.fan_out", kinesis.fan_out, _CONSUMER, "1 to 128 of a-z, A-Z, 0-9, _ - and ."),
    ):  # fmt: skip
        if value and not form.fullmatch(value):
            raise ConfigError(f"{name} = {value} is not a valid name", where=where, hint=hint)


def _check_source(source: str, where: str) -> None:
    examples = {KAFKA: ("broker", "kafka://host:9092"), KINESIS: ("stream", "kinesis://claims")}
    for scheme, (missing, example) in examples.items():
        if source.startswith(scheme):
            if not source.removeprefix(scheme).strip("/"):
                hint = f"write {example}"
                raise ConfigError(f"source names no {missing}", where=where, hint=hint)
            return
    if source != "local":
        raise ConfigError(f"source = {source} is not a known source", where=where,
                          hint="write local, kafka://host:9092 or kinesis://claims")  # fmt: skip
