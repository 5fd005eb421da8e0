"""The doctor's look at who may call `claimtrace serve`: each weak setting with its fix."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from claimtrace.errors import ConfigError

from ...wiring.access import key_table
from ...wiring.serving_rights import exposure_of

if TYPE_CHECKING:
    from ...wiring.workspace import Workspace


def check_serving(workspace: Workspace) -> str:
    """Say who may call, and what of it is weak.

    A server that is open on loopback, before there is a key, is said and is no failure: it is the
    first try on one's own machine.

    Raises:
        ConfigError: the first weak setting, and how many there are; with the fix.
    """
    from serving.rights.exposure import said_at_start

    if find_spec("uvicorn") is None:
        return "not installed: pip install 'claimtrace[serve]'"
    exposure = exposure_of(workspace, host_of(workspace.settings.serve.listen))
    found = list(_weak(workspace))
    if found:
        what = "; ".join(each for each, _ in found)
        raise ConfigError(what, hint="; ".join(dict.fromkeys(hint for _, hint in found)))
    return f"{workspace.settings.serve.listen}: {said_at_start(exposure)}"


def host_of(listen: str) -> str:
    """Return the host of `HOST:PORT`.

    >>> host_of("127.0.0.1:8470"), host_of("[::1]:8470")
    ('127.0.0.1', '[::1]')
    """
    return listen.rpartition(":")[0]


def _weak(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Yield each weak setting in words, with its fix."""
    from serving.adapters.http.credentials import TokenKeys
    from serving.adapters.http.tls import check_tls_files
    from serving.rights.exposure import weaknesses

    serve = workspace.settings.serve
    now_ms = workspace.clock.now_ms()
    exposure = exposure_of(workspace, host_of(serve.listen))
    endless = [
        record for record, _ in key_table(workspace).all()
        if not record.expires_ms and record.state(now_ms) == "valid"
    ]  # fmt: skip
    for what, fix in weaknesses(exposure, keys_without_end=len(endless)):
        if not exposure.open:
            yield what, fix
    try:
        if exposure.encrypted:
            for what in check_tls_files(Path(serve.tls_certificate_file), Path(serve.tls_key_file)):
                yield what, "chmod 600, and let the server's user own it"
        if exposure.tokens:
            TokenKeys(Path(serve.jwt_keys_file), workspace.clock)
    except ConfigError as error:
        yield str(error), error.hint
