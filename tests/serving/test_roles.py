"""The table of roles: least privilege, written out once more by hand."""

from __future__ import annotations

from serving.roles import PERSONAL, ROLES, Scope, scopes_of

MAY = {
    "service": "decide score read batch",
    "submitter": "decide",
    "scorer": "score",
    "reader": "read",
    "investigator": "read evidence",
    "auditor": "read evidence models",
    "ml": "score batch models",
    "monitor": "metrics",
}


def test_each_role_may_what_is_written_here_and_no_more() -> None:
    assert {role: set(scopes) for role, scopes in ROLES.items()} == {
        role: {Scope(name) for name in names.split()} for role, names in MAY.items()
    }


def test_no_role_may_everything_and_each_scope_has_a_role() -> None:
    assert all(scopes < set(Scope) for scopes in ROLES.values())
    assert frozenset().union(*ROLES.values()) == set(Scope)


def test_people_are_seen_by_personal_scopes_alone() -> None:
    assert {Scope.READ, Scope.EVIDENCE} == PERSONAL
    assert not {role for role in ("scorer", "submitter", "ml", "monitor") if ROLES[role] & PERSONAL}


def test_unknown_names_give_nothing() -> None:
    assert scopes_of(["root", ""], ["*", "READ", "read "]) == frozenset()
