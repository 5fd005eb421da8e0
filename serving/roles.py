"""The scopes that routes ask for, and the roles that hold them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One right that a route or a command asks for."""

    DECIDE = "decide"
    """Have a claim decided: it goes onto the log."""
    SCORE = "score"
    """Ask what would be decided; nothing is written."""
    READ = "read"
    """Read decisions, evidence, features and models."""
    BATCH = "batch"
    """Score files of claims."""


ROLES: Final[dict[str, frozenset[Scope]]] = {
    "service": frozenset(Scope),
    "scorer": frozenset({Scope.SCORE}),
    "reader": frozenset({Scope.READ}),
}
"""The scopes that each role holds.

>>> Scope.DECIDE in ROLES["service"], Scope.DECIDE in ROLES["reader"]
(True, False)
"""
