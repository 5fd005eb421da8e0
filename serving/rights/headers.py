"""Security headers that every answer carries, errors and streams too (OWASP ASVS 5.0, 3.4)."""

from __future__ import annotations

import re
from typing import Final

CSP: Final = (
    "default-src 'none'; base-uri 'none'; object-src 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""For answers that are no pages: nothing may be loaded by them, and nobody may frame them."""
PAGE_CSP: Final = CSP.replace("base-uri", "style-src 'self'; base-uri", 1)
"""For a page without script, whose style sheet comes from here."""
HSTS: Final = "max-age=31536000"
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_OVER_TLS: Final = (*_ALWAYS, (b"strict-transport-security", HSTS.encode()))
_USUALLY: Final = (
    (b"content-security-policy", CSP.encode()),
    (b"cache-control", b"no-store"),
)
"""Headers that a page sets otherwise: a page has its own policy, a file of ours may be cached."""
_NAMES: Final = frozenset(name for name, _ in (*_OVER_TLS, *_USUALLY))
_NEEDED: Final = ("base-uri 'none'", "object-src 'none'", "frame-ancestors 'none'")

Headers = list[tuple[bytes, bytes]]


def secured(headers: Headers, *, over_tls: bool) -> Headers:
    """Return the headers of an answer with those that each answer must have.

    Args:
        headers: of the answer, names in lower case.
        over_tls: whether the caller came over TLS, to this server or to a proxy before it.

    >>> names = [name for name, _ in secured([], over_tls=True)]
    >>> b"strict-transport-security" in names, len(names)
    (True, 7)
    """
    there = {name for name, _ in headers}
    always = _OVER_TLS if over_tls else _ALWAYS
    if there.isdisjoint(_NAMES):
        return [*headers, *always, *_USUALLY]
    ours = {name for name, _ in always}
    kept = [each for each in headers if each[0] not in ours]
    return [*kept, *always, *(each for each in _USUALLY if each[0] not in there)]


def is_safe_policy(policy: str) -> bool:
    """Whether a content security policy of a page keeps what each page must keep.

    >>> is_safe_policy(CSP), is_safe_policy("default-src 'self'; script-src 'unsafe-inline'")
    (True, False)
    """
    return "unsafe-" not in policy and all(
        re.search(rf"(^|;)\s*{re.escape(each)}\s*(;|$)", policy) for each in _NEEDED
    )
