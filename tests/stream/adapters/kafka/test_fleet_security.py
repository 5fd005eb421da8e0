"""Real workers at a broker with logins and ACLs: a refusal is reported, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import require_kafka
from tests.servers.kafka import Cluster
from tests.servers.secure import (
    SASL,
    SASL_TLS,
    USERS,
    WRONG_NAME,
    allow,
    forbid,
    secure_cluster,
    set_password,
)
from tests.worlds.kafka_fleet import (
    TOPICS,
    Fleet,
    Worker,
    a_feed,
    check,
    feed,
    feeding,
    find,
    make_topics,
    until,
)

PARTITIONS = 2
REAUTHENTICATE_MS = 2000
SOON_S = 40
"""A bound against waiting for ever, generous on a busy machine; no measure of speed."""
CANARY = "c4n4ry-s3cret"
GROUP = "fraud"

Entry = tuple[str, str, str]

WORKER: tuple[Entry, ...] = (
    ("topic", "claims.filed", "read"),
    ("topic", "claims.adjudicated", "read"),
    ("topic", "policies.changed", "read"),
    ("topic", "claims.journal", "read"),
    ("topic", "claims.journal", "write"),
    ("topic", "claims.decisions", "read"),
    ("topic", "claims.decisions", "write"),
    ("topic", "claims.dead", "write"),
    ("topic", "claims.drift", "write"),
    ("topic", "claims.alerts", "write"),
    ("group", GROUP, "read"),
)
"""All that a worker may do; docs/security.md has the same list."""

EXACTLY_ONCE: tuple[Entry, ...] = (("transactional_id", f"{GROUP}-*", "write"),)
"""With kafka.output = exactly_once also this."""

_numbers = count()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_kafka()
    own = {"connections.max.reauth.ms": str(REAUTHENTICATE_MS)}
    with secure_cluster(tmp_path_factory.mktemp("secure"), properties=own) as cluster:
        yield cluster


@pytest.fixture
def fleet(secure: Cluster, tmp_path: Path) -> Iterator[Fleet]:
    """Fresh topics; the test's own clients use a listener without login, its workers log in."""
    admin = secure.admin()
    there = [topic for topic in TOPICS if topic in admin.list_topics(timeout=30).topics]
    for deleted in admin.delete_topics(there).values() if there else ():
        deleted.result(30)
    make_topics(secure, PARTITIONS)
    made = Fleet(tmp_path, secure, {"CLAIMTRACE_KAFKA__GROUP": GROUP})
    yield made
    made.kill()


@pytest.fixture
def user(secure: Cluster) -> Iterator[str]:
    """A user with exactly the rights of a worker; its password is the canary."""
    name = f"worker-{next(_numbers)}"
    set_password(secure, name, CANARY)
    for entry in WORKER:
        allow(secure, name, *entry)
    yield name
    for entry in WORKER:
        forbid(secure, name, *entry)


def orders(cluster: Cluster, user: str, listener: str = SASL, **security: str) -> dict[str, str]:
    """Return the variables of a worker that logs in."""
    protocol = {SASL: "sasl_plaintext", SASL_TLS: "sasl_ssl", WRONG_NAME: "ssl"}[listener]
    wanted = {"protocol": protocol, "mechanism": "SCRAM-SHA-512", "username": user,
              "password": CANARY}  # fmt: skip
    if listener != SASL:
        wanted["ca_file"] = str(cluster.folder / "certificates" / "authority.pem")
    given = {f"CLAIMTRACE_SECURITY__{k.upper()}": v for k, v in (wanted | security).items() if v}
    return {"CLAIMTRACE_SOURCE": f"kafka://{cluster.addresses(listener)}", **given}


def refused(worker: Worker, *words: str) -> float:
    """Check that the worker ends by itself, with a usage error; returns the seconds it took."""
    from_s, before = time.monotonic(), len(worker.text)
    assert worker.wait(SOON_S) == 2, worker.text[-3000:]
    said = worker.text[before - 1 :] if before else worker.text
    assert all(word in said for word in words), said[-3000:]
    assert "Traceback" not in said
    return time.monotonic() - from_s


def no_secret(fleet: Fleet) -> None:
    """Check that no output or file of the workers has a password in it."""
    written = [path for path in fleet.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in written)
    secrets = [word.encode() for word in (CANARY, *USERS.values())]
    for path in written:
        if "certificates" not in path.parts:
            body = path.read_bytes()
            assert not any(word in body for word in secrets), path


def to_the_end(fleet: Fleet, worker: Worker, **own: str) -> None:
    """Let the worker continue after the fix, and check that no record is missing."""
    worker.start(**own)
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    check(fleet, find(fleet), sample=30)
    no_secret(fleet)


def test_a_wrong_password_is_told_and_mended(fleet: Fleet, secure: Cluster, user: str) -> None:
    feed(secure, a_feed(300, PARTITIONS))
    worker = fleet.worker()
    worker.start(**orders(secure, user, password=f"{CANARY}-wrong"))
    took_s = refused(worker, "security.username", "CLAIMTRACE_SECURITY__PASSWORD")
    print(f"a wrong password: {took_s:.1f} s")
    to_the_end(fleet, worker, **orders(secure, user))


SOME: Final = ("claims.journal",)


@pytest.mark.long
@pytest.mark.parametrize("names", [SOME, ()], ids=str)
def test_each_missing_entry_names_the_command(
    fleet: Fleet, secure: Cluster, user: str, names: tuple[str, ...]
) -> None:
    rows = a_feed(400, PARTITIONS)
    worker = fleet.worker()
    feed(secure, rows[: len(rows) // 2])
    worker.start(**orders(secure, user))  # without a decision there is none to be read
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    feed(secure, rows[len(rows) // 2 :])
    for kind, name, operation in WORKER:
        if name in ("claims.drift", "claims.alerts"):
            continue  # written when a window closes: `test_an_entry_taken_away` is like it
        if names and name not in names:
            continue
        forbid(secure, user, kind, name, operation)
        worker.start(**orders(secure, user))
        shown = "--group" if kind == "group" else "--topic"
        if operation == "write":
            took_s = refused(worker, f"--operation Write {shown} {name}", f"User:{user}")
        else:
            took_s = refused(worker, f"{shown} {name}", f"User:{user}")
        print(f"without {operation} on {kind} {name}: {took_s:.1f} s: {worker.text[-230:]}")
        allow(secure, user, kind, name, operation)
    to_the_end(fleet, worker, **orders(secure, user))


@pytest.mark.parametrize(
    "entry",
    [
        ("topic", "claims.decisions", "write"),
        pytest.param(("group", GROUP, "read"), marks=pytest.mark.long),
        pytest.param(("topic", "claims.filed", "read"), marks=pytest.mark.long),
        pytest.param(("topic", "claims.journal", "write"), marks=pytest.mark.long),
    ],
    ids=lambda entry: f"{entry[1]}-{entry[2]}",
)
def test_an_entry_taken_away_while_it_runs(
    fleet: Fleet, secure: Cluster, user: str, entry: Entry
) -> None:
    worker = fleet.worker(measured=True)
    worker.start(**orders(secure, user))
    with feeding(secure, a_feed(1500, PARTITIONS), 200):
        until(lambda: worker.metric("decisions_total") > 50, fleet.said)
        forbid(secure, user, *entry)
        took_s = refused(worker, f"--operation {entry[2].title()} --{entry[0]} {entry[1]}")
    print(f"{entry} taken away: {took_s:.1f} s")
    allow(secure, user, *entry)
    to_the_end(fleet, worker, **orders(secure, user))


@pytest.mark.long
def test_credentials_that_expire_while_it_runs(
    fleet: Fleet, secure: Cluster, user: str, tmp_path: Path
) -> None:
    secret = tmp_path.parent / f"{tmp_path.name}-password"
    secret.write_text(CANARY + "\n")
    own = orders(secure, user, password="", password_file=str(secret))
    worker = fleet.worker(measured=True)
    worker.start(**own)
    with feeding(secure, a_feed(1500, PARTITIONS), 150):
        until(lambda: worker.metric("decisions_total") > 50, fleet.said)
        time.sleep(1.5 * REAUTHENTICATE_MS / 1000)
        assert worker.alive, fleet.said()  # it has logged in again
        set_password(secure, user, f"{CANARY}-new")
        took_s = refused(worker, "security.password_file")
    print(f"credentials expired: {took_s:.1f} s")
    secret.write_text(f"{CANARY}-new\n")
    to_the_end(fleet, worker, **own)


@pytest.mark.long
def test_transactions_need_an_entry_of_their_own(fleet: Fleet, secure: Cluster, user: str) -> None:
    feed(secure, a_feed(300, PARTITIONS))
    own = {**orders(secure, user), "CLAIMTRACE_KAFKA__OUTPUT": "exactly_once"}
    worker = fleet.worker()
    worker.start(**own)
    took_s = refused(worker, f"--operation Write --transactional-id {GROUP}-", f"User:{user}")
    print(f"without the transactional id: {took_s:.1f} s")
    for entry in EXACTLY_ONCE:
        allow(secure, user, *entry)
    to_the_end(fleet, worker, **own)


@pytest.mark.long
def test_tls_holds_for_the_right_host_only(fleet: Fleet, secure: Cluster, user: str) -> None:
    feed(secure, a_feed(300, PARTITIONS))
    worker = fleet.worker()
    worker.start(**orders(secure, "", WRONG_NAME, password=""))
    took_s = refused(worker, "security.ca_file", "host names")
    print(f"a wrong host name: {took_s:.1f} s")
    worker.start(**orders(secure, user, SASL_TLS, ca_file=""))
    took_s = refused(worker, "security.ca_file")
    print(f"an unknown authority: {took_s:.1f} s")
    to_the_end(fleet, worker, **orders(secure, user, SASL_TLS))
