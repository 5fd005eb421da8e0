"""Build the settings: defaults, then a TOML file, then `CLAIMTRACE_...` variables.

The error for an unknown key names the nearest known one; the error for a wrong type names the
field.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from ..clock import TIME_HINT, duration_ms, time_ms
from ..errors import ConfigError
from ..limits import MAX_BATCH_RECORDS
from .origins import ENV_PREFIX, Origins, variable_of
from .pipeline_check import check_pipeline
from .schema import KAFKA, KINESIS, S3, SECRETS, Settings
from .serving_check import check_rights, rights_ranges

LEAST_CAPACITY: Final = 0.001
MOST_CAPACITY: Final = 10**9
"""Bounds of claims a day."""
LEAST_SAMPLE: Final = 0.0001
"""The least share of a sample."""
MOST_TRIALS: Final = 10_000
"""The most settings that a search tries."""
_TYPES: Final[Mapping[Any, str]] = {
    int: "write a whole number",
    float: "write a number",
    str: "write a text in quotes",
    bool: "write true or false",
}
_AT: Final = re.compile(r" - at `\$\.?([\w.]*)")
_TABLE: Final = re.compile(r"file:.+|[A-Za-z0-9_.-]{3,255}")
_CONSUMER: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PACKAGE_GROUP: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_S3_PLACE: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)*/?")
_SNS_TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}")


def load_settings(
    toml: bytes | None,
    environment: Mapping[str, str],
    where: str = "",
    options: Mapping[str, str] = {},
) -> Settings:
    """Build the settings from the bytes of a TOML file, an environment and options.

    Args:
        toml: the file; None when there is none.
        environment: the variables; they beat the file.
        where: the name of the file, for errors.
        options: values of options such as `--source`, by the setting; they beat the variables.

    Raises:
        ConfigError: a key is unknown (the error names the nearest), a type is wrong, or a value is
            out of range; says which option, variable or file has it.

    >>> load_settings(b"[stream]\\nbatch_records = 500", {}).stream.batch_records
    500
    >>> load_settings(None, {"CLAIMTRACE_STREAM__BATCH_RECORD": "5"})
    Traceback (most recent call last):
    ...
    claimtrace.errors.ConfigError: unknown setting stream.batch_record [variable
    CLAIMTRACE_STREAM__BATCH_RECORD] (did you mean CLAIMTRACE_STREAM__BATCH_RECORDS?)
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
    _refuse_unknown(from_environment, Settings, "", "")
    _merge(tree, from_environment)
    _merge(tree, options)
    origins = Origins(
        where if toml is not None else "", environment, {name: f"--{name}" for name in options}
    )
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_type(error, tree, origins) from error
    _check(settings, origins)
    return settings


def with_values(settings: Settings, values: Mapping[str, str], option: str) -> Settings:
    """Return the settings with some values in their place, checked as those of a file are.

    Args:
        values: the values as texts, by the path of the setting.
        option: the option of the command line that they come from.

    Raises:
        ConfigError: as `load_settings`; names the option.

    >>> with_values(Settings(), {"training.seed": "9"}, "--param").training.seed
    9
    """
    tree: dict[str, Any] = msgspec.to_builtins(settings)
    asked: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        at = asked
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    _refuse_unknown(asked, Settings, "", option)
    _merge(tree, asked)
    origins = Origins(option, {}, dict.fromkeys(values, option))
    try:
        changed = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_type(error, tree, origins) from error
    _check(changed, origins)
    return changed


def _wrong_type(
    error: msgspec.ValidationError, tree: Mapping[str, Any], origins: Origins
) -> ConfigError:
    """Return the error for a value of a wrong type; names the words that are allowed."""
    at = _AT.search(str(error))
    path = at[1] if at is not None else ""
    kind: Any = Settings
    value: Any = tree
    for name in filter(None, path.split(".")):
        kind = {f.name: f.type for f in msgspec.structs.fields(kind)}.get(name, kind)
        value = value.get(name) if isinstance(value, Mapping) else value
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            break
    words = get_args(kind) if get_origin(kind) is Literal else ()
    if words:
        what, hint = f"{path} = {value} isn't known", "write " + " or ".join(words)
    else:
        problem = str(error).partition(" - at")[0]
        what, hint = f"a setting has the wrong type: {path}: {problem}", _TYPES.get(kind, "")
    return ConfigError(what, where=origins.of(path), hint=hint)


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
                raise ConfigError(f"{part} is a section, not a value", where=f"variable {name}")
        if isinstance(at.get(branch), dict):
            raise ConfigError(f"{branch} is a section, not a value", where=f"variable {name}")
        at[branch] = value
    return tree


def _refuse_unknown(tree: Mapping[str, Any], kind: type, path: str, where: str) -> None:
    """Refuse unknown keys of a file, or of the environment when `where` is empty."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        place = where or f"variable {variable_of(_deepest(path + key, value))}"
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            known = [path + name if where else variable_of(path + name) for name in near or fields]
            hint = f"did you mean {known[0]}?" if near else "known: " + ", ".join(known)
            raise ConfigError(f"unknown setting {path}{key}", where=place, hint=hint)
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{path}{key} is a section, not a value", where=place)
            _refuse_unknown(value, inner, f"{path}{key}.", where)


def _deepest(path: str, value: Any) -> str:
    """Return the path of the first value below a key of the environment's tree."""
    while isinstance(value, Mapping):
        key, value = next(iter(value.items()))
        path = f"{path}.{key}"
    return path


def _refuse_secrets(tree: Mapping[str, Any], where: str) -> None:
    for path in SECRETS:
        section, _, name = path.partition(".")
        if name in tree.get(section, {}):
            variable = variable_of(path)
            raise ConfigError(f"{path} is a secret: it must not be in a settings file",
                              where=where, hint=f"set {variable}")  # fmt: skip


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _check(settings: Settings, origins: Origins) -> None:
    stream, drift = settings.stream, settings.drift
    for name, text in (
        ("stream.allowed_lateness", stream.allowed_lateness),
        ("stream.remember_ids", stream.remember_ids),
        ("drift.window", drift.window),
        ("drift.lateness", drift.lateness),
        ("guard.window", settings.guard.window),
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
        ("training.assume_legit_after", settings.training.assume_legit_after or "0s"),
    ):
        if text == "forever" and name.endswith("retention"):
            continue
        try:
            duration = duration_ms(text)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}", where=origins.of(name)) from error
        if name in ("drift.window", "guard.window", "aws.metrics_every") and duration == 0:
            raise ConfigError(f"{name} must be longer than zero", where=origins.of(name),
                              hint="write 1d, or 60s")  # fmt: skip
    if duration_ms(stream.remember_ids) < duration_ms(stream.allowed_lateness):
        raise ConfigError(
            "stream.remember_ids is shorter than stream.allowed_lateness",
            where=origins.of("stream.remember_ids"),
            hint="a late duplicate would count twice; raise remember_ids",
        )
    _check_source(settings.source, origins.of("source"))
    _check_models(settings.models, origins.of("models"))
    _check_names(settings, origins)
    check_pipeline(settings.pipeline, origins)
    check_rights(settings.serve, origins)
    for name, value, low, high in _ranges(settings):
        if not low <= value <= high:
            raise ConfigError(
                f"{name} = {value} is not within {low} .. {high}", where=origins.of(name)
            )
    _check_time("training.test_from", settings.training.test_from, origins)


def _check_time(name: str, text: str, origins: Origins) -> None:
    """Refuse a text that is neither empty nor a date or time."""
    try:
        time_ms(text or "1970-01-01")
    except ValueError as error:
        raise ConfigError(str(error), where=origins.of(name), hint=TIME_HINT) from None


def _ranges(settings: Settings) -> tuple[tuple[str, float, float, float], ...]:
    """Return settings with the least and the greatest value that each may have."""
    stream, decision, drift = settings.stream, settings.decision, settings.drift
    return (
        ("kafka.replication", settings.kafka.replication, 1, 100),
        ("kafka.min_insync", settings.kafka.min_insync, 1, settings.kafka.replication),
        ("partitions", settings.partitions, 1, 1024),
        ("stream.batch_records", stream.batch_records, 1, MAX_BATCH_RECORDS),
        ("stream.snapshot_every_records", stream.snapshot_every_records, 1, 10**9),
        ("stream.offline_every_records", stream.offline_every_records, 1, 10**7),
        ("decision.capacity_per_day", decision.capacity_per_day, LEAST_CAPACITY, MOST_CAPACITY),
        (
            "decision.review_per_day",
            decision.most_reviews_per_day,
            decision.capacity_per_day,
            10**9,
        ),
        ("decision.reasons", decision.reasons, 0, 100),
        *_rollout_ranges(settings),
        *rights_ranges(settings.serve),
        ("drift.alert_n", drift.alert_n, drift.alert_m, 1000),
        ("drift.alert_m", drift.alert_m, 1, 1000),
        ("training.test_share", settings.training.test_share, 0.05, 0.9),
        ("training.sample", settings.training.sample, LEAST_SAMPLE, 1.0),
        ("training.most_rows", settings.training.most_rows, 1_000, 10**9),
        ("training.tune", settings.training.tune, 0, MOST_TRIALS),
        ("training.tune_jobs", settings.training.tune_jobs, 1, 64),
        ("gates.calibration_error_ratio", settings.gates.calibration_error_ratio, 0, 100),
        ("gates.month_drop", settings.gates.month_drop, 0, 1),
        ("gates.scoring_steps", settings.gates.scoring_steps, 1, 10**9),
        ("gates.splits", settings.gates.splits, 1, 10**9),
        ("gates.trees", settings.gates.trees, 1, 10**6),
        ("gates.model_mib", settings.gates.model_mib, 1, 64),
    )


def _rollout_ranges(settings: Settings) -> Iterator[tuple[str, float, float, float]]:
    """Yield name, value and limits of the settings for roll-outs and comparisons."""
    decision, guard = settings.decision, settings.guard
    yield "decision.review_hours", decision.review_hours, 0, 1000
    yield "decision.investigation_hours", decision.investigation_hours, 0, 1000
    yield "guard.min_count", guard.min_count, 1, 10**9
    yield "guard.referral_ratio", guard.referral_ratio, 1.001, 1000
    yield "guard.error_ratio", guard.error_ratio, 0, 1
    yield "guard.unseen_ratio", guard.unseen_ratio, 0, 1
    yield "guard.score_psi", guard.score_psi, 0, 1000
    yield "guard.step_ratio", guard.step_ratio, 1.001, 1000


def _check_names(settings: Settings, origins: Origins) -> None:
    kinesis = settings.kinesis
    for name, value, form, hint in (
        ("aws.alerts_topic", settings.aws.alerts_topic, _SNS_TOPIC,
         "write arn:aws:sns:REGION:ACCOUNT:NAME"),
        ("mirrors.sagemaker", settings.mirrors.sagemaker, _S3_PLACE, "write s3://bucket/prefix"),
        ("mirrors.sagemaker_group", settings.mirrors.sagemaker_group, _PACKAGE_GROUP,
         "1 to 63 of a-z, A-Z, 0-9 and -"),
        ("kinesis.table", kinesis.table, _TABLE, "3 to 255 of a-z, A-Z, 0-9, _-. or file:PATH"),
        ("kinesis.fan_out", kinesis.fan_out, _CONSUMER, "1 to 128 of a-z, A-Z, 0-9, _ - and ."),
    ):  # fmt: skip
        if value and not form.fullmatch(value):
            raise ConfigError(
                f"{name} = {value} is not a valid name", where=origins.of(name), hint=hint
            )


def _check_models(place: str, where: str) -> None:
    scheme, _, rest = place.partition("://")
    if (rest and scheme + "://" != S3) or (place.startswith(S3) and not _S3_PLACE.fullmatch(place)):
        raise ConfigError(f"models = {place} is not a place for models", where=where,
                          hint="write a folder, or s3://bucket/prefix")  # fmt: skip


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
