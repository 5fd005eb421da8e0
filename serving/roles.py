"""The scopes that routes ask for, and the roles that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One right that a route or a command asks for."""

    DECIDE = "decide"
    """Have a claim decided: it goes onto the log."""
    SCORE = "score"
    """Ask what would be decided; nothing is written."""
    READ = "read"
    """Read decisions, one by one or as they fall."""
    EVIDENCE = "evidence"
    """Read what lies behind a decision: the rows of other claims, features of people, what-if."""
    BATCH = "batch"
    """Score files of claims."""
    MODELS = "models"
    """Read which models there are, and who approved them."""
    METRICS = "metrics"
    """Read the metrics of the process."""


PERSONAL: Final = frozenset({Scope.READ, Scope.EVIDENCE})
"""Scopes whose answers are about a person that the caller didn't name the facts of: each such
answer is recorded on `claims.audit` before it is given."""

ROLES: Final[dict[str, frozenset[Scope]]] = {
    "service": frozenset({Scope.DECIDE, Scope.SCORE, Scope.READ, Scope.BATCH}),
    "submitter": frozenset({Scope.DECIDE}),
    "scorer": frozenset({Scope.SCORE}),
    "reader": frozenset({Scope.READ}),
    "investigator": frozenset({Scope.READ, Scope.EVIDENCE}),
    "auditor": frozenset({Scope.READ, Scope.EVIDENCE, Scope.MODELS}),
    "ml": frozenset({Scope.SCORE, Scope.BATCH, Scope.MODELS}),
    "monitor": frozenset({Scope.METRICS}),
}
"""The scopes that each role holds: no role holds them all.

>>> Scope.DECIDE in ROLES["service"], Scope.DECIDE in ROLES["reader"]
(True, False)
"""


def scopes_of(roles: Iterable[str], scopes: Iterable[str] = ()) -> frozenset[Scope]:
    """Return the scopes that roles and names of scopes give together; unknown names give none.

    Unknown names are no error: a token's issuer may name rights of other systems beside ours.

    >>> sorted(scopes_of(["reader", "emperor"], ["score", "fly"]))
    [<Scope.READ: 'read'>, <Scope.SCORE: 'score'>]
    """
    given: set[Scope] = set()
    for role in roles:
        given |= ROLES.get(role, frozenset())
    given |= {Scope(name) for name in scopes if name in Scope.__members__.values()}
    return frozenset(given)
