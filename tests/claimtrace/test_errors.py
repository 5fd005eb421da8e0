"""Errors name what went wrong, where, and a hint; `retryable` tells the driver whether to retry."""

from __future__ import annotations

import pytest

from claimtrace import errors
from claimtrace.errors import (
    BadRequest,
    ClaimRefused,
    ClaimtraceError,
    ConfigError,
    Conflict,
    NotAllowed,
    NotDecidedYet,
    NotFound,
    NotServed,
    ServerUnavailable,
    StateError,
    StoreUnavailable,
    TooManyRequests,
    UsageError,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ClaimtraceError)
]

CALLERS = (UsageError, BadRequest, NotAllowed, NotFound, Conflict, ClaimRefused, NotServed)
"""Mistakes of whoever runs the command, or calls the server."""
LATER = (StoreUnavailable, TooManyRequests, ServerUnavailable, NotDecidedYet)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_tells_all_it_knows(kind):
    error = kind("it broke", where="here", hint="fix it")
    assert str(error) == "it broke [here] (fix it)"
    assert (error.what, error.where, error.hint) == ("it broke", "here", "fix it")
    assert str(kind("it broke")) == "it broke"
    assert error.exit_code == (2 if issubclass(kind, CALLERS) else 70)
    assert error.retryable == (kind in LATER)


def test_a_users_mistake_is_told_from_our_own():
    assert issubclass(ConfigError, UsageError)
    assert not issubclass(StateError, UsageError)
