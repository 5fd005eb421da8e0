"""Callers, and their refusals: values that the adapters turn into answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ..roles import Scope
from .rate import Rate


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose credential was accepted.

    Attributes:
        id: `key:ID`, `token:SUBJECT`, or `open` where no credential is asked for.
        role: the role in words, for the audit.
        rights: the scopes.
        rate: the limit of requests.
    """

    id: str
    role: str
    rights: frozenset[Scope]
    rate: Rate = field(default_factory=Rate)


@dataclass(frozen=True, slots=True)
class Denied:
    """A refusal before any handler ran.

    Attributes:
        status: of HTTP.
        code: a word for programs.
        detail: a sentence for people; says nothing that helps to guess a credential.
        hint: how to fix it.
        reason: the exact reason, for the audit alone.
        retry_after_s: when to try again; 0: never by itself.
    """

    status: int
    code: str
    detail: str
    hint: str = ""
    reason: str = ""
    retry_after_s: int = 0


OPEN: Final = Caller("open", "everything", frozenset(Scope))
"""The caller of a server that asks for no credential: it listens on this machine alone."""

NO_CREDENTIAL: Final = Denied(
    401, "no_credential", "this server answers callers with a key or a token only",
    "send the header Authorization: Bearer ct_...; claimtrace keys add makes a key",
    reason="no_credential",
)  # fmt: skip


def bad_credential(reason: str) -> Denied:
    """Return the refusal of a key or token, the same whatever is wrong with it."""
    return Denied(401, "bad_credential", "the key or token isn't accepted",
                  "check that it is whole, and not revoked or meant for another server",
                  reason=reason)  # fmt: skip


def expired(reason: str) -> Denied:
    """Return the refusal of a credential that was right once."""
    return Denied(401, "expired_credential", "the key or token has expired", "get a new one",
                  reason=reason)  # fmt: skip


def lacks(caller: Caller, scope: Scope) -> Denied | None:
    """Return the refusal of a caller who lacks a scope; None when it has it.

    >>> lacks(Caller("key:1", "reader", frozenset({Scope.READ})), Scope.DECIDE).status
    403
    """
    if scope in caller.rights:
        return None
    return Denied(403, "no_right", f"this needs the scope {scope}, which {caller.role} hasn't",
                  "use a key whose role has it: claimtrace keys list shows them",
                  reason=f"lacks {scope}")  # fmt: skip


def too_many(wait_s: float) -> Denied:
    """Return the refusal of a caller beyond its rate.

    >>> too_many(0.2).retry_after_s, too_many(3.1).retry_after_s
    (1, 4)
    """
    seconds = max(1, -int(-wait_s // 1))
    return Denied(429, "too_many_requests", "this caller sends more requests than its rate allows",
                  f"wait {seconds} s, or send more claims in one request",
                  reason="rate", retry_after_s=seconds)  # fmt: skip
