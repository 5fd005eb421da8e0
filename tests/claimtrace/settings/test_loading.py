"""Settings: file, then environment; a mistake names the field, the nearest name and the source."""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ConfigError
from claimtrace.settings.loading import ENV_PREFIX, load_settings
from claimtrace.settings.schema import SECRETS, Settings, StreamSettings


def test_defaults_hold():
    assert load_settings(None, {}) == Settings()
    assert load_settings(b"", {"PATH": "/bin"}) == Settings()


def test_the_environment_wins_over_the_file():
    toml = b'partitions = 2\n[stream]\nbatch_records = 5\nhash_key = "mine"\n'
    toml += b"[training.params]\neta = 0.1\n"
    found = load_settings(
        toml, {"CLAIMTRACE_STREAM__BATCH_RECORDS": "7", "CLAIMTRACE_FOLDER": "elsewhere"}
    )
    assert (found.partitions, found.stream.batch_records, found.stream.hash_key) == (2, 7, "mine")
    assert found.folder == "elsewhere"
    assert found.training.params == {"eta": 0.1}
    with pytest.raises(AttributeError):
        found.partitions = 3  # type: ignore[misc]


WRONG = [
    (b"partitons = 2", {}, "unknown setting partitons", "did you mean partitions?"),
    (
        b"[stream]\nbatch = 2",
        {},
        "unknown setting stream.batch",
        "did you mean stream.batch_records?",
    ),
    (b"[streem]\nbatch_records = 2", {}, "unknown setting streem", "did you mean stream?"),
    (b"zzz = 2", {}, "unknown setting zzz", "known: folder, models"),
    (b"stream = 2", {}, "stream is a section", ""),
    (b'partitions = "many"', {}, "wrong type.*partitions", "whole number"),
    (b"partitions = 1.5", {}, "wrong type.*partitions", ""),
    (b"partitions = 0", {}, "partitions = 0 is not within 1", ""),
    (b"partitions = ", {}, "not a TOML file", ""),
    (b"\xff", {}, "not a TOML file", ""),
    (None, {"CLAIMTRACE_PARTITIONS__X": "1"}, "partitions", ""),
    (None, {"CLAIMTRACE_": "1"}, "unknown setting", ""),
    (
        None,
        {"CLAIMTRACE_STREAM": "5", "CLAIMTRACE_STREAM__BATCH_RECORDS": "5"},
        "stream is a section",
        "",
    ),
    (
        None,
        {"CLAIMTRACE_STREAM__BATCH_RECORDS": "5", "CLAIMTRACE_STREAM": "5"},
        "stream is a section",
        "",
    ),
    (b"[stream]\nbatch_records = 2001", {}, "stream.batch_records = 2001", ""),
    (b'[stream]\nallowed_lateness = "a month"', {}, "stream.allowed_lateness: not a duration", ""),
    (b'[stream]\nremember_ids = "1d"', {}, "shorter than stream.allowed_lateness", "count twice"),
    (b'[drift]\nwindow = "0d"', {}, "drift.window", ""),
    (b"[drift]\nalert_m = 4", {}, "drift.alert_n = 3 is not within 4", ""),
    (b"[decision]\nreview_per_day = 1", {}, "decision.review_per_day = 1", ""),
    (b"[decision]\ncapacity_per_day = nan", {}, "decision.capacity_per_day = nan", ""),
    (b"[training]\ntest_share = 1.0", {}, "training.test_share", ""),
    (b'source = "kinesis"', {}, "source = kinesis is not a known source", "kafka://host"),
    (b'[kinesis]\ntable = "t"', {}, "kinesis.table = t is not a valid name", "3 to 255"),
    (b'[kinesis]\nfan_out = "w 1"', {}, "kinesis.fan_out = w 1 is not a valid name", "1 to 128"),
    (b'[aws]\nalerts_topic = "alerts"', {}, "aws.alerts_topic = alerts is no", "arn:aws:sns:"),
    (b'[aws]\nmetrics_every = "0s"', {}, "aws.metrics_every must be longer than zero", "60s"),
    (b'source = "kafka://"', {}, "source names no broker", "kafka://host"),
    (b"[kafka]\nmin_insync = 2", {}, "kafka.min_insync = 2", ""),
    (b'[kafka]\noutput = "twice"', {}, "kafka.output = twice isn't known", "at_least_once or"),
    (b'[kafka]\ninput_retention = "always"', {}, "kafka.input_retention: not a duration", ""),
    (b'[security]\npassword = "p"', {}, "security.password is a secret", "SECURITY__PASSWORD"),
    (b'[security]\nkey_password = "p"', {}, "security.key_password is a secret", "KEY_PASSWORD"),
    (b'[schemas]\npassword = "p"', {}, "schemas.password is a secret", "SCHEMAS__PASSWORD"),
]


def test_no_secret_shows_itself():
    import io

    from rich.console import Console

    environment = {"CLAIMTRACE_" + path.upper().replace(".", "__"): "canary" for path in SECRETS}
    settings = load_settings(None, {**environment, "CLAIMTRACE_STREAM__HASH_KEY": "canary"})
    assert settings.security.password == settings.schemas.password == "canary"
    seen = io.StringIO()
    Console(file=seen, width=2000).print(settings)
    for shown in (repr(settings), str(settings.security), seen.getvalue()):
        assert "canary" not in shown
        assert "password" in shown


@pytest.mark.parametrize(
    ("toml", "environment", "message", "hint"), WRONG, ids=[w[2] for w in WRONG]
)
def test_a_mistake_is_named(toml, environment, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(toml, environment, "the.toml")
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


@given(
    st.dictionaries(
        st.text("ABCDEFST_X", max_size=9).map(lambda t: f"{ENV_PREFIX}{t}"), st.text(max_size=5)
    )
)
@settings(deadline=None)
def test_any_environment_is_taken_or_refused_by_name(environment):
    with suppress(ConfigError):
        load_settings(None, environment)


@given(st.binary(max_size=40))
@settings(deadline=None)
def test_any_file_is_taken_or_refused_by_name(toml):
    with suppress(ConfigError):
        load_settings(toml, {})


FROM = [
    ({"CLAIMTRACE_KAFKA__OUTPUT": "twice"}, {}, "variable CLAIMTRACE_KAFKA__OUTPUT"),
    ({"CLAIMTRACE_PARTITIONS": "many"}, {}, "variable CLAIMTRACE_PARTITIONS"),
    ({"CLAIMTRACE_PARTITIONS": "0"}, {}, "variable CLAIMTRACE_PARTITIONS"),
    ({"CLAIMTRACE_STREAM__OFFLINE_EVERY": "x"}, {}, "variable CLAIMTRACE_STREAM__OFFLINE_EVERY"),
    ({"CLAIMTRACE_STREEM__BATCH": "5"}, {}, "variable CLAIMTRACE_STREEM__BATCH"),
    ({"CLAIMTRACE_STREAM__BATCH": "5"}, {}, "variable CLAIMTRACE_STREAM__BATCH"),
    ({"CLAIMTRACE_STREAM": "5"}, {}, "variable CLAIMTRACE_STREAM"),
    ({"CLAIMTRACE_SOURCE": "nats://x"}, {}, "variable CLAIMTRACE_SOURCE"),
    ({"CLAIMTRACE_SOURCE": "local"}, {"source": "nats://x"}, "--source"),
    ({"CLAIMTRACE_KINESIS__TABLE": "t"}, {}, "variable CLAIMTRACE_KINESIS__TABLE"),
]


@pytest.mark.parametrize(("environment", "options", "where"), FROM, ids=lambda v: str(v))
@pytest.mark.parametrize("toml", [None, b"[drift]\nalert_m = 1\n"], ids=["no file", "file"])
def test_a_mistake_is_where_it_was_made(toml, environment, options, where):
    with pytest.raises(ConfigError) as caught:
        load_settings(toml, environment, "the.toml", options)
    assert caught.value.where == where


def test_reviews_follow_the_capacity():
    small = load_settings(b"[decision]\ncapacity_per_day = 3", {}).decision
    assert small.most_reviews_per_day == 12
    large = load_settings(b"[decision]\ncapacity_per_day = 3\nreview_per_day = 5", {}).decision
    assert large.most_reviews_per_day == 5


def test_every_setting_has_a_default_and_can_be_set_by_the_environment():
    for field in msgspec.structs.fields(StreamSettings):
        name = f"{ENV_PREFIX}STREAM__{field.name.upper()}"
        found = load_settings(None, {name: str(field.default)})
        assert found == Settings(), name
    assert os.environ.keys() & {f"{ENV_PREFIX}FOLDER"} == set()
