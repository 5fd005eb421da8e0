"""One frozen object with every setting: defaults, a TOML file, then `CLAIMTRACE_...` variables.

    # claimtrace.toml
    [stream]
    batch_records = 1000

    CLAIMTRACE_STREAM__BATCH_RECORDS=1000

An unknown key is an error that names the nearest one; a wrong type names the field.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .clock import duration_ms
from .errors import ConfigError
from .limits import MAX_BATCH_RECORDS

ENV_PREFIX: Final = "CLAIMTRACE_"


class StreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The driver: batches, snapshots, and how late an event may be."""

    batch_records: int = 1000
    """Records of one plan at the most."""
    snapshot_every_records: int = 200_000
    """Records between two snapshots; a restart replays at most this many."""
    offline_every_records: int = 20_000
    """Records between two appends to the offline store."""
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
    """Reasons listed on a referred claim; the others are summed up."""


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


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting of claimtrace."""

    folder: str = "claimtrace-data"
    """Where the embedded log, the state, the offline store and the models lie."""
    domain: str = "examples.auto_claims"
    """The Python module that declares events, features and rules."""
    partitions: int = 4
    """Partitions of a new embedded topic."""
    stream: StreamSettings = StreamSettings()
    decision: DecisionSettings = DecisionSettings()
    drift: DriftSettings = DriftSettings()
    training: TrainingSettings = TrainingSettings()


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
    ):
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
    ranges = (
        ("partitions", settings.partitions, 1, 1024),
        ("stream.batch_records", stream.batch_records, 1, MAX_BATCH_RECORDS),
        ("stream.snapshot_every_records", stream.snapshot_every_records, 1, 10**9),
        ("stream.offline_every_records", stream.offline_every_records, 1, 10**7),
        ("decision.capacity_per_day", decision.capacity_per_day, 0.001, 10**9),
        ("decision.review_per_day", decision.review_per_day, decision.capacity_per_day, 10**9),
        ("decision.reasons", decision.reasons, 1, 100),
        ("drift.alert_n", drift.alert_n, drift.alert_m, 1000),
        ("drift.alert_m", drift.alert_m, 1, 1000),
        ("training.test_share", settings.training.test_share, 0.05, 0.9),
    )
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise ConfigError(f"{name} = {value} is not within {low} .. {high}", where=where)
