"""The registry in a bucket: what is asked of S3, crashes between objects, damage, its errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claimtrace.errors import ConfigError, StateError, StoreUnavailable
from models.registry.adapters.s3 import S3Registry
from tests.contracts.test_registries import MODEL, WHO, bucket_of, publish
from tests.servers.ministack import Ministack
from tests.servers.s3_gate import S3Gate
from tests.worlds.artefacts import draft


@pytest.fixture
def bucket(ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> str:
    return bucket_of(ministack, monkeypatch)


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/models"


@pytest.fixture
def gate(
    ministack: Ministack, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Gate]:
    with S3Gate(tmp_path, ministack.port) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", gate.endpoint)
        yield gate


def keys(ministack: Ministack, bucket: str) -> list[str]:
    listed = ministack.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    return sorted(each["Key"].removeprefix("models/claims/") for each in listed)


def change(ministack: Ministack, bucket: str, key: str, old: bytes, new: bytes) -> None:
    client, key = ministack.client("s3"), f"models/claims/{key}"
    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert old in body
    client.put_object(Bucket=bucket, Key=key, Body=body.replace(old, new))


def delete(ministack: Ministack, bucket: str, key: str) -> None:
    ministack.client("s3").delete_object(Bucket=bucket, Key=f"models/claims/{key}")


def test_all_but_the_copy_of_the_log_is_written_once(
    ministack: Ministack, bucket: str, url: str, gate: S3Gate
) -> None:
    registry = S3Registry(url)
    publish(registry)
    registry.move_alias("champion", 1, at_ms=2, **WHO)
    assert keys(ministack, bucket) == [
        "000001/manifest.json", "000001/model.json", "approvals.log",
        "approvals/000000000001.json", "approvals/000000000002.json", "conditional-writes",
    ]  # fmt: skip
    puts = [each for each in gate.asked() if each.method == "PUT"]
    plain = {each.path for each in puts if each.if_none_match != "*"}
    assert plain == {f"/{bucket}/models/claims/approvals.log"}


def test_a_log_that_is_known_costs_one_request_and_a_new_reader_two(url: str, gate: S3Gate) -> None:
    registry = S3Registry(url)
    for at_ms in (1, 2, 3):
        publish(registry, at_ms)
    before = len(gate.asked())
    registry.aliases()
    assert [each.method for each in gate.asked()[before:]] == ["GET"]
    S3Registry(url).aliases()
    assert len(gate.asked()) - before == 3


class Killed(BaseException):
    """An interruption as sudden as a kill: nothing in the code under test catches it."""


class Dying:
    """A client that dies before or after its nth write."""

    def __init__(self, client: Any, step: int, *, after: bool) -> None:
        self._client, self._step, self._after, self.writes = client, step, after, 0

    def put_object(self, **arguments: Any) -> Any:
        self.writes += 1
        if self.writes == self._step and not self._after:
            raise Killed
        try:
            return self._client.put_object(**arguments)
        finally:
            if self.writes == self._step:
                raise Killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.mark.parametrize("after", [False, True])
def test_a_publish_that_dies_between_objects_leaves_nothing_half_visible(
    ministack: Ministack, url: str, *, after: bool
) -> None:
    finished, step = False, 0
    while not finished:
        step += 1
        registry = S3Registry(url, f"at-{step}")
        first = publish(registry)
        dying = Dying(ministack.client("s3"), step, after=after)
        try:
            publish(S3Registry(url, f"at-{step}", client=dying), 2)
        except Killed:
            pass
        else:
            finished = True
        versions = registry.versions()
        assert versions[0] == first
        assert [registry.load(ref.version).ref for ref in versions] == versions
        assert publish(registry, 3) in registry.versions()
        assert all("a publish was interrupted" in wrong for wrong in registry.verify())
        head = registry.recorded_head()
        assert head is not None
        assert head.head == registry.approvals().head
    assert step == 6  # the check of conditional writes, two files, the line, the copy, and none


def test_a_line_whose_answer_was_lost_is_ours(ministack: Ministack, url: str) -> None:
    class Losing(Dying):
        """The client asks again by itself when the answer to a write is lost."""

        def put_object(self, **arguments: Any) -> Any:
            if "IfNoneMatch" in arguments:
                self._client.put_object(**arguments)
            return self._client.put_object(**arguments)

    registry = S3Registry(url, client=Losing(ministack.client("s3"), 0, after=False))
    registry._can_write = True
    assert publish(registry).version == 1
    registry.move_alias("champion", 1, at_ms=2, expected=None, **WHO)
    assert [entry.act for entry in S3Registry(url).history()] == ["published", "moved"]


def test_verify_names_what_was_changed_or_taken_away(
    ministack: Ministack, bucket: str, url: str
) -> None:
    client = ministack.client("s3")
    registry = S3Registry(url, client=client)
    publish(registry)
    publish(registry, 2)
    registry.move_alias("champion", 2, at_ms=3, **WHO)
    assert S3Registry(url, client=client).verify() == []
    delete(ministack, bucket, "approvals/000000000003.json")
    (wrong,) = S3Registry(url, client=client).verify()
    assert "line 3 of the approvals log is gone" in wrong
    assert S3Registry(url, client=client).aliases() == {"champion": 2}, "the copy has the line"
    change(ministack, bucket, "approvals/000000000002.json", b"because", b"Because")
    assert any(
        "line 2 of the approvals log is not the one" in w
        for w in S3Registry(url, client=client).verify()
    )
    change(ministack, bucket, "000001/model.json", b"binary", b"Binary")
    assert any("000001/model.json" in wrong for wrong in S3Registry(url, client=client).verify())
    delete(ministack, bucket, "000002/model.json")
    assert any(
        "version 2 is gone: model.json" in wrong
        for wrong in S3Registry(url, client=client).verify()
    )
    change(ministack, bucket, "approvals.log", b"because", b"Because")
    with pytest.raises(StateError, match="line 1"):
        S3Registry(url, client=client).versions()


def test_without_its_copy_the_log_is_read_line_by_line(
    ministack: Ministack, bucket: str, url: str
) -> None:
    registry = S3Registry(url)
    publish(registry)
    registry.move_alias("champion", 1, at_ms=2, **WHO)
    delete(ministack, bucket, "approvals.log")
    other = S3Registry(url)
    assert other.history() == registry.history()
    other.move_alias("champion", None, at_ms=3, **WHO)
    head = registry.recorded_head()
    assert head is not None
    assert head.entries == 3


def test_a_line_that_is_none_is_refused(ministack: Ministack, bucket: str, url: str) -> None:
    client = ministack.client("s3")
    publish(S3Registry(url, client=client))
    for body in (b"", b"{}\n", b"\n\n", b"x" * 70_000, b"[" * 60_000 + b"\n"):
        client.put_object(Bucket=bucket, Key="models/claims/approvals/000000000002.json", Body=body)
        with pytest.raises(StateError):
            S3Registry(url, client=client).versions()


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    for attempt in (
        lambda r: r.versions(), publish,
        lambda r: r.move_alias("champion", None, at_ms=1, **WHO),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="no such bucket") as caught:
            attempt(S3Registry("s3://no-such-bucket/models"))
        assert "make the bucket" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [(403, "AccessDenied", ConfigError, "s3:PutObject"),
     (403, "InvalidAccessKeyId", ConfigError, "credentials"),
     (501, "NotImplemented", ConfigError, "If-None-Match"),
     (503, "SlowDown", StoreUnavailable, "")],
)  # fmt: skip
def test_what_s3_refuses_is_said_with_the_way_out(
    url: str, gate: S3Gate, status: int, code: str, kind: type[Exception], hint: str
) -> None:
    registry = S3Registry(url)
    publish(registry)
    gate.refuse(status, code, methods="PUT")
    for act in (lambda: publish(registry, 2),
                lambda: registry.move_alias("champion", 1, at_ms=2, **WHO)):  # fmt: skip
        with pytest.raises(kind) as caught:
            act()
        assert hint in getattr(caught.value, "hint", "")
    gate.open()
    assert len(registry.history()) == 1
    assert registry.aliases() == {}


def test_a_server_that_ignores_conditions_is_refused(url: str, gate: S3Gate) -> None:
    gate.ignore_conditions()
    with pytest.raises(ConfigError, match="ignores conditions of writes"):
        publish(S3Registry(url))
    gate.open()
    assert S3Registry(url).versions() == []


def test_the_lines_are_those_of_a_folder(url: str, ministack: Ministack, bucket: str) -> None:
    registry = S3Registry(url, user="lisa@host")
    registry.publish(draft(), MODEL, at_ms=1, actor="ana", reason="why")
    body = (
        ministack.client("s3")
        .get_object(Bucket=bucket, Key="models/claims/approvals/000000000001.json")["Body"]
        .read()
    )
    assert body == registry.approvals().text(1)
    assert json.loads(body)["user"] == "lisa@host"
