"""The table of keys, the audit's file, and the thread that writes it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.clock import ManualClock
from claimtrace.errors import StateError, StoreUnavailable, UsageError
from producers.sending.sink import ListSink
from serving.adapters.audit_log import AuditLog, EmbeddedAudit, NotAcknowledged, SinkAudit
from serving.adapters.keys_table import KeyRing, KeyTable
from serving.adapters.recorder import Recorder
from serving.audit.event import Actor, Draft, read_event
from serving.audit.refusals import Refused
from serving.audit.trail import Trail, in_order
from serving.rights.keys import KeyRecord, digest_of_secret, make_key
from serving.rights.rate import Rate

WRONG = Refused(Actor("nobody"), 401, "bad_credential", "unknown key", "/v1/scores")


def key(number: int = 1, **more: object) -> KeyRecord:
    shown = make_key(number.to_bytes(6, "big"), bytes(32))
    values = {"key_id": shown.key_id, "name": "n", "digest": digest_of_secret(shown.secret),
              "role": "reader", "rate": Rate(), "made_ms": 1, "made_by": "ann", **more}  # fmt: skip
    return KeyRecord(**values)  # type: ignore[arg-type]


@pytest.fixture
def keys(tmp_path: Path) -> KeyTable:
    table = KeyTable(SqliteTable(tmp_path / "keys.db"))
    table.create(ManualClock())
    return table


def draft(number: int = 0, claim_id: str = "") -> Draft:
    return Draft(kind="personal.read", at_ms=number, actor=Actor("key:1"), claim_id=claim_id)


def test_keys_are_kept_revoked_and_never_removed(keys: KeyTable, tmp_path: Path) -> None:
    assert not keys.has_any()
    keys.add(key(1))
    keys.add(key(2))
    keys.note_used("000000000002", 77)
    assert keys.revoke("000000000001", 50).revoked_ms == 50
    assert keys.revoke("000000000001", 60).revoked_ms == 50
    again = KeyTable(SqliteTable(tmp_path / "keys.db"))
    assert [(r.key_id, r.revoked_ms, used) for r, used in again.all()] == [
        ("000000000001", 50, 0), ("000000000002", 0, 77),
    ]  # fmt: skip
    assert again.has_any()


def test_a_taken_id_and_an_unknown_one_are_refused(keys: KeyTable) -> None:
    keys.add(key(1))
    with pytest.raises(StateError, match="already"):
        keys.add(key(1))
    with pytest.raises(UsageError, match="no key"):
        keys.revoke("00", 1)


def test_without_a_table_there_is_no_key(tmp_path: Path) -> None:
    keys = KeyTable(SqliteTable(tmp_path / "none.db"))
    assert (keys.find("a"), list(keys.all()), keys.has_any()) == (None, [], False)
    assert not (tmp_path / "none.db").exists()


def test_a_ring_learns_of_a_revoked_key_within_a_second(keys: KeyTable) -> None:
    clock = ManualClock(10_000)
    ring = KeyRing(keys, clock)
    keys.add(key(1))
    found = ring.find("000000000001")
    assert found is not None
    assert found.revoked_ms == 0
    keys.revoke("000000000001", 5)
    clock.sleep(0.99)
    assert ring.is_fresh("000000000001")
    clock.sleep(0.01)
    assert not ring.is_fresh("000000000001")
    again = ring.find("000000000001")
    assert again is not None
    assert again.revoked_ms == 5


def test_a_ring_learns_of_the_first_key_within_a_second(keys: KeyTable) -> None:
    clock = ManualClock(10_000)
    ring = KeyRing(keys, clock)
    assert not ring.has_any()
    keys.add(key(1))
    clock.sleep(1)
    assert ring.has_any()


def test_uses_are_stored_once_a_minute(keys: KeyTable) -> None:
    clock = ManualClock(100_000)
    ring = KeyRing(keys, clock)
    keys.add(key(1))
    for _ in range(5):
        ring.used("000000000001")
        ring.store_uses()
        clock.sleep(15)
    assert [used for _, used in keys.all()] == [160_000]


def test_a_ring_is_bounded(keys: KeyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.adapters.keys_table.MOST_CACHED", 5)
    ring = KeyRing(keys, ManualClock())
    for number in range(50):
        assert ring.find(f"{number:012x}") is None
    assert len(ring._cached) == 5


def proved(path: Path) -> Trail:
    audit, trail = EmbeddedAudit(path, 0, to_read=True), Trail()
    for value, where in in_order((r.value, f"{r.partition}/{r.position}") for r in audit.records()):
        trail.add(value, where)
    audit.close()
    return trail


def test_processes_write_one_chain(tmp_path: Path) -> None:
    """Several writers at once, on several partitions: no gap, no fork."""
    path = tmp_path / "audit.db"
    EmbeddedAudit(path, 3).close()

    def write(writer: int) -> None:
        audit = EmbeddedAudit(path, 3)
        for number in range(10):
            audit.append([draft(number, f"C-{writer}-{number}"), draft(number)])
        audit.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    trail = proved(path)
    assert (trail.wrong, trail.events, trail.heads["log"].sequence) == (0, 80, 80)


def test_a_cluster_gets_a_chain_a_writer(tmp_path: Path) -> None:
    sink, trail = ListSink(), Trail()
    for writer in ("w1", "w2"):
        audit = SinkAudit(sink, writer)
        audit.append([draft(1, "C-1")])
        audit.append([draft(2)])
    for record in sink.sent:
        trail.add(record.value, "here")
    assert (trail.wrong, trail.events) == (0, 4)
    assert [record.key for record in sink.sent[:2]] == [b"C-1", b"key:1"]


class Flaky(AuditLog):
    """A log that fails as often as it is told, before or after it has taken the events."""

    def __init__(self) -> None:
        self.fails: list[StoreUnavailable] = []
        self.taken: list[Draft] = []
        self.wrote = threading.Event()

    def append(self, drafts: Sequence[Draft]) -> None:
        error = self.fails.pop(0) if self.fails else None
        if error is None or isinstance(error, NotAcknowledged):
            self.taken += drafts
        if error is not None:
            raise error
        self.wrote.set()

    def close(self) -> None:
        pass


def test_who_asks_learns_whether_it_is_durable(tmp_path: Path) -> None:
    path, told = tmp_path / "audit.db", list[str]()
    recorder = Recorder(lambda: EmbeddedAudit(path, 2), ManualClock(), told.append)
    recorder.start()
    futures = [recorder.record(draft(number, "C-1")) for number in range(20)]
    for future in futures:
        future.result(20)
    assert proved(path).events == 20
    recorder.refused(WRONG, "r1")
    recorder.refused(WRONG, "r2")
    recorder.stop()
    audit = EmbeddedAudit(path, 0, to_read=True)
    found = [event for r in audit.records() if (event := read_event(r.value)) is not None]
    audit.close()
    refused = sorted(
        (event for event in found if event.kind == "access.refused"), key=lambda e: e.sequence
    )
    assert [(e.request_id, e.body["count"]) for e in refused] == [("r1", 1), ("", 1)]
    assert told == []


@pytest.mark.parametrize("error", [StoreUnavailable("down"), NotAcknowledged("slow")])
def test_a_log_that_is_down_loses_no_refusal(error: StoreUnavailable) -> None:
    log, told = Flaky(), list[str]()
    log.fails = [error]
    recorder = Recorder(lambda: log, ManualClock(), told.append)
    recorder.start()
    with pytest.raises(StoreUnavailable):
        recorder.record(draft()).result(20)
    log.fails = [error]
    recorder.refused(WRONG, "r1")
    while log.fails:  # until the thread has met the error
        log.wrote.wait(0.01)
    recorder.record(draft()).result(20)
    recorder.stop()
    assert [each.request_id for each in log.taken if each.kind == "access.refused"] == ["r1"]
    assert "isn't written" in told[0]
    assert "again" in told[1]


def test_a_log_that_cannot_be_opened_ends_the_start() -> None:
    def fail() -> AuditLog:
        raise StateError("damaged")

    with pytest.raises(StateError):
        Recorder(fail, ManualClock(), lambda _: None).start()
