"""Requests that a web page makes a browser send to this machine: refused before any handler.

A server on 127.0.0.1 that asks for no key can be reached by every page that its user opens: by a
form to another site, and by a name that an attacker lets point to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .caller import Denied
from .exposure import is_loopback

_SAME: Final = frozenset({b"same-origin", b"none"})


def check_origin(headers: Mapping[bytes, bytes], *, is_open: bool) -> Denied | None:
    """Return the refusal of a request that another site made a browser send; None: it is none.

    Args:
        headers: of the request, names in lower case.
        is_open: whether callers need no credential; then `Host` must be a name of this machine.

    >>> check_origin({b"host": b"evil.example"}, is_open=True).code
    'foreign_host'
    >>> check_origin({b"host": b"127.0.0.1:8080"}, is_open=True) is None
    True
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if is_open and not is_loopback(_name(host)):
        return Denied(403, "foreign_host", "this server answers to names of this machine only",
                      "call http://127.0.0.1, or make a key", reason="host header")  # fmt: skip
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    is_cross_site = site is not None and site not in _SAME
    if origin is not None and not is_cross_site:
        is_cross_site = origin.decode("latin-1").partition("://")[2].lower() != host.lower()
    if is_cross_site:
        return Denied(403, "cross_site", "a page of another site may not call this server",
                      "call it from a program", reason="cross-site")  # fmt: skip
    return None


def _name(host: str) -> str:
    """Return the host of a `Host` header without its port."""
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]
