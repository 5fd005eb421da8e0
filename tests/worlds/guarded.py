"""An application with rights on a manual clock: keys are made, requests sent, the audit read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.clock import ManualClock
from serving.adapters.audit_log import EmbeddedAudit
from serving.adapters.http.credentials import Credentials, Tokens
from serving.adapters.http.rights import Rights, Shield
from serving.adapters.keys_table import KeyRing, KeyTable
from serving.adapters.recorder import Recorder
from serving.audit.event import SealedEvent, read_event
from serving.rights.keys import KeyRecord, digest_of_secret, make_key
from serving.rights.rate import Rate, TokenBuckets

SECRET = "of this test"


@dataclass
class Server:
    """The application with its rights, and what it wrote."""

    app: Shield
    rights: Rights
    keys: KeyTable
    clock: ManualClock
    audit: Path
    made: int = 0

    def key(self, role: str, rate: Rate = Rate(), **more: Any) -> dict[str, str]:  # noqa: B008
        """Make a key; returns the header."""
        self.made += 1
        shown = make_key(self.made.to_bytes(6, "big"), bytes([self.made]) * 32)
        self.keys.add(KeyRecord(
            key_id=shown.key_id, name=role, digest=digest_of_secret(shown.secret), role=role,
            rate=rate, made_ms=0, made_by="ann", **more,
        ))  # fmt: skip
        self.clock.sleep(1)  # a ring may hold what it read for a second
        return {"authorization": f"Bearer {shown.text}"}

    def ask(self, method: str, path: str, headers: Any = None, **more: Any) -> httpx.Response:
        """Send one request."""

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                return await http.request(method, path, headers=headers, **more)

        return asyncio.run(one())

    def recorded(self) -> list[SealedEvent]:
        """Stop the audit, and return its events in order."""
        self.rights.recorder.stop()
        audit = EmbeddedAudit(self.audit, 0, to_read=True)
        found = [event for r in audit.records() if (event := read_event(r.value)) is not None]
        audit.close()
        return sorted(found, key=lambda event: event.sequence)


def guarded_server(
    folder: Path, app_of: Callable[[Rights], Any], *, may_be_open: bool = False,
    tokens: Tokens | None = None, clock: ManualClock | None = None, **more: Any,
) -> Server:  # fmt: skip
    """Put an application behind rights; `more` are fields of `Rights`.

    The caller stops the recorder.
    """
    clock, audit = clock or ManualClock(1_800_000_000_000), folder / "audit.db"
    keys = KeyTable(SqliteTable(folder / "keys.db"))
    keys.create(clock)
    recorder = Recorder(lambda: EmbeddedAudit(audit, 2), clock, lambda _: None)
    recorder.start()
    credentials = Credentials(KeyRing(keys, clock), tokens, clock, may_be_open=may_be_open)
    rights = Rights(**{
        "credentials": credentials, "recorder": recorder, "clock": clock,
        "buckets": TokenBuckets(), "over_tls": True, "behind_proxy": False,
        "upload_bytes": 1 << 21, "secret": SECRET, **more,
    })  # fmt: skip
    return Server(Shield(app_of(rights), rights, lambda: "r-1"), rights, keys, clock, audit)
