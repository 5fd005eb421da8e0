"""Keys and audit of `claimtrace serve`, where the settings say that they are."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claimtrace.errors import StoreUnavailable
from claimtrace.settings.schema import FILE, KAFKA

from .workspace import Workspace, os_user

if TYPE_CHECKING:
    from serving.adapters.audit_log import AuditLog
    from serving.adapters.keys_table import KeyTable
    from serving.audit.event import Actor, Draft

KEYS_FILE = "keys.db"
AUDIT_FILE = "audit.db"
SERVER_WAIT_S = 5.0
"""How long a server waits for a cluster's acknowledgement: an answer about a person waits too."""
COMMAND_WAIT_S = 20.0
"""The same of a command: longer than a client needs to find that a topic isn't there."""


def key_table(workspace: Workspace) -> KeyTable:
    """Return the table of API keys; it may not exist yet.

    Raises:
        ConfigError: it is in DynamoDB, and no AWS region is set.
    """
    from claimtrace.adapters.tables.choice import shared_table
    from claimtrace.adapters.tables.sqlite import SqliteTable
    from serving.adapters.keys_table import KeyTable

    place = workspace.settings.serve.keys or f"{FILE}{workspace.folder / KEYS_FILE}"
    if place.startswith(FILE):
        path = Path(place.removeprefix(FILE))
        return KeyTable(SqliteTable(path), lambda: _make_private(path))
    table = shared_table(msgspec.structs.replace(workspace.settings.kinesis, table=place))
    assert table is not None
    return KeyTable(table)


def audit_path(workspace: Workspace) -> Path:
    """Return the file of the audit beside an embedded log."""
    return workspace.folder / AUDIT_FILE


def open_audit(workspace: Workspace, wait_s: float = SERVER_WAIT_S) -> AuditLog:
    """Open the audit to append to it: a file, or the topic or stream of a cluster.

    Raises:
        ConfigError: the cluster's settings are wrong.
        StateError, StoreUnavailable: the file is damaged, or can't be written.
    """
    from serving.adapters.audit_log import EmbeddedAudit, SinkAudit

    settings = workspace.settings
    if settings.source == "local":
        _make_private(audit_path(workspace))
        return EmbeddedAudit(audit_path(workspace), settings.partitions)
    writer = f"w{secrets.token_hex(6)}"
    if settings.source.startswith(KAFKA):
        from producers.adapters.kafka import KafkaSink

        sink = KafkaSink(settings.kafka_connection, send_deadline_s=1.0)
        return SinkAudit(sink, writer, wait_s)
    from producers.adapters.kinesis import KinesisSink

    to_streams = KinesisSink(settings.kinesis_connection, workspace.clock)
    return SinkAudit(to_streams, writer, wait_s)


def record_act(workspace: Workspace, drafts: Sequence[Draft]) -> None:
    """Append events of a command to the audit, durably.

    Raises:
        StoreUnavailable: the log doesn't answer.
    """
    audit = open_audit(workspace, COMMAND_WAIT_S)
    try:
        audit.append(drafts)
    finally:
        audit.close()


def _make_private(path: Path) -> None:
    """Make a file that its owner alone can read, if there is none; SQLite's others follow it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailable(f"the file can't be made: {error.strerror}",
                               where=str(path)) from error  # fmt: skip


def this_user() -> Actor:
    """Return the user of the operating system as an actor of the audit."""
    from serving.audit.event import Actor

    return Actor(f"os:{os_user()}")
