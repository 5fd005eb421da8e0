"""The rights of `claimtrace serve`, opened from the settings; refuses what would be unsafe."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimtrace.settings.serving_check import algorithms_of

from .access import key_table, open_audit, this_user
from .workspace import Workspace

if TYPE_CHECKING:
    from serving.adapters.http.rights import App, Rights, Shield
    from serving.adapters.keys_table import KeyTable
    from serving.adapters.recorder import Recorder
    from serving.rights.exposure import Exposure

MIB = 1 << 20


@dataclass(frozen=True)
class OpenedRights:
    """The rights of a running server.

    Attributes:
        rights: for `Guarded` and `Shield`.
        recorder: the audit; `close` writes what is left.
        exposure: how it may be reached.
        line: what is said at start-up about who may call.
    """

    rights: Rights
    recorder: Recorder
    exposure: Exposure
    line: str

    def shield(self, app: App) -> Shield:
        """Return the application within its shield."""
        from serving.adapters.http.rights import Shield

        return Shield(app, self.rights, lambda: secrets.token_hex(8))

    def note(self, kind: str, at_ms: int) -> None:
        """Record the start or the end of the server."""
        from serving.audit.event import Draft

        body: dict[str, str | int | bool] = {
            "open": self.exposure.open, "loopback": self.exposure.on_loopback,
            "tls": self.exposure.encrypted, "behind_proxy": self.exposure.behind_proxy,
            "keys": self.exposure.keys, "tokens": self.exposure.tokens,
        }  # fmt: skip
        self.recorder.record(Draft(kind=kind, at_ms=at_ms, actor=this_user(), body=body))

    def close(self) -> None:
        """Write what is left of the audit."""
        self.recorder.stop()


def exposure_of(workspace: Workspace, host: str, keys: KeyTable | None = None) -> Exposure:
    """Return how a server on an address could be reached.

    Raises:
        ConfigError, StoreUnavailable: the table of keys can't be read.
    """
    from serving.rights.exposure import Exposure

    serve, now_ms = workspace.settings.serve, workspace.clock.now_ms()
    states = [record.state(now_ms) for record, _ in (keys or key_table(workspace)).all()]
    return Exposure(
        host=host, certificate=bool(serve.tls_certificate_file), key=bool(serve.tls_key_file),
        behind_proxy=serve.behind_proxy, keys=states.count("valid"), had_keys=bool(states),
        tokens=bool(serve.jwt_issuer),
    )  # fmt: skip


def tls_options(workspace: Workspace) -> dict[str, Any]:
    """Return uvicorn's options for TLS; none without a certificate.

    Raises:
        ConfigError: the files can't be used.
    """
    from serving.adapters.http.tls import check_tls_files

    serve = workspace.settings.serve
    if not serve.tls_certificate_file:
        return {}
    check_tls_files(Path(serve.tls_certificate_file), Path(serve.tls_key_file))
    return {"ssl_certfile": serve.tls_certificate_file, "ssl_keyfile": serve.tls_key_file}


def open_rights(workspace: Workspace, host: str, tell: Callable[[str], None]) -> OpenedRights:
    """Open keys, tokens and audit for a server that will listen on `host`.

    Args:
        workspace: the settings.
        host: the address or name, without its port.
        tell: called with lines about trouble with the audit.

    Raises:
        ConfigError: it would be unsafe, or a file of it can't be used; with the fix.
        StoreUnavailable: the keys or the audit can't be reached.
    """
    from serving.adapters.http.credentials import Credentials, TokenKeys, Tokens
    from serving.adapters.http.rights import Rights
    from serving.adapters.keys_table import KeyRing
    from serving.adapters.recorder import Recorder
    from serving.rights.exposure import check_exposure, said_at_start
    from serving.rights.rate import Rate, TokenBuckets
    from serving.rights.tokens import TokenRules

    serve, clock = workspace.settings.serve, workspace.clock
    keys = key_table(workspace)
    exposure = exposure_of(workspace, host, keys)
    check_exposure(exposure, "serve.listen")
    tls_options(workspace)
    if not exposure.had_keys:
        keys.create(clock)
    secret = keys.pseudonym_secret(secrets.token_hex(32))
    tokens = None
    if serve.jwt_issuer:
        rate = Rate(serve.rate_per_s, serve.rate_burst)
        rules = TokenRules(algorithms_of(serve), serve.jwt_issuer, serve.jwt_audience, rate)
        tokens = Tokens(rules, TokenKeys(Path(serve.jwt_keys_file), clock))
    ring = KeyRing(keys, clock)
    may_be_open = exposure.on_loopback and not exposure.behind_proxy
    recorder = Recorder(lambda: open_audit(workspace), clock, tell, ring.store_uses)
    recorder.start()
    rights = Rights(
        credentials=Credentials(ring, tokens, clock, may_be_open=may_be_open),
        recorder=recorder, clock=clock, buckets=TokenBuckets(),
        over_tls=exposure.encrypted or exposure.behind_proxy, behind_proxy=exposure.behind_proxy,
        upload_bytes=serve.max_upload_mib * MIB, secret=secret,
    )  # fmt: skip
    opened = OpenedRights(rights, recorder, exposure, said_at_start(exposure))
    opened.note("serve.started", clock.now_ms())
    return opened
