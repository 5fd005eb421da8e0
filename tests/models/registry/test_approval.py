"""Who may approve and promote which version: gates, waivers, states, and four eyes."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET

from claimtrace.errors import ClaimtraceError, StateError, UsageError
from models.registry.approval import (
    approval_of,
    check_approval,
    check_promotion,
    check_retirement,
    failed_gates,
)
from models.registry.approvals_log import Act, ApprovalsLog, read_approvals


def log(*acts: tuple[Act, str]) -> ApprovalsLog:
    """Build a log about version 1 from acts and the users who did them."""
    made = ApprovalsLog()
    for act, user in acts:
        alias = "champion" if act in ("moved", "withdrawn") else None
        _, line = made.line(
            act, at_ms=1, actor=user or "of old", reason="why", version=1, digest="d" * 64,
            alias=alias, user=user,
        )  # fmt: skip
        made = made.extended(line)
    return made


PENDING = (("published", "tom@a"),)
APPROVED = (*PENDING, ("approved", "ann@a"))
REJECTED = (*PENDING, ("rejected", "ann@a"))
IN_CHARGE = (*APPROVED, ("moved", "bob@a"))


def tried(
    check: object, acts: tuple[tuple[Act, str], ...], user: str, *, four_eyes: bool, **more: object
) -> str:
    """Return why an act is refused; empty when it may be done."""
    rest = {"failed": [], "waived": [], **more}
    try:
        check(log(*acts), 1, user=user, four_eyes=four_eyes, **rest)  # type: ignore[operator]
    except ClaimtraceError as error:
        return str(error) if error.hint else "without a hint"
    return ""


@pytest.mark.parametrize(
    ("acts", "user", "refused"),
    [
        (PENDING, "tom@a", ""),
        (APPROVED, "ann@a", ""),
        (REJECTED, "bob@a", "rejected by ann@a: why"),
        ((*REJECTED, ("approved", "ann@a")), "ann@a", ""),
        ((*APPROVED, ("rejected", "ann@a")), "tom@a", "rejected by ann@a"),
        ((*IN_CHARGE, ("withdrawn", "x"), ("retired", "ann@a")), "bob@a", "retired, for good"),
    ],
)
def test_one_person_is_enough_without_four_eyes(
    acts: tuple[tuple[Act, str], ...], user: str, refused: str
) -> None:
    assert refused in tried(check_promotion, acts, user, four_eyes=False)
    assert bool(refused) == bool(tried(check_promotion, acts, user, four_eyes=False))


@pytest.mark.parametrize(
    ("acts", "user", "refused"),
    [
        (PENDING, "ann@a", ""),
        (PENDING, "tom@a", "tom trained version 1"),
        (PENDING, "tom@elsewhere", "tom trained version 1"),
        (PENDING, "", "the user of this machine isn't known"),
        ((("published", ""),), "tom@a", ""),
        (REJECTED, "ann@a", ""),
    ],
)
def test_with_four_eyes_another_one_approves(
    acts: tuple[tuple[Act, str], ...], user: str, refused: str
) -> None:
    found = tried(check_approval, acts, user, four_eyes=True)
    assert refused in found
    assert bool(found) == bool(refused)
    assert not user or not tried(check_approval, acts, user, four_eyes=False)


@pytest.mark.parametrize(
    ("acts", "user", "refused"),
    [
        (PENDING, "ann@a", "pending and four eyes are on"),
        (REJECTED, "bob@a", "rejected by ann@a"),
        (APPROVED, "ann@a", "ann approved version 1"),
        (APPROVED, "ann@elsewhere", "ann approved version 1"),
        (APPROVED, "tom@a", ""),
        (APPROVED, "bob@a", ""),
        (IN_CHARGE, "bob@a", ""),
        (IN_CHARGE, "ann@a", "ann approved version 1"),
        ((*PENDING, ("moved", "bob@a")), "bob@a", "bob approved version 1"),
        ((("published", ""), ("moved", "")), "bob@a", ""),
    ],
)
def test_with_four_eyes_who_approved_does_not_promote(
    acts: tuple[tuple[Act, str], ...], user: str, refused: str
) -> None:
    found = tried(check_promotion, acts, user, four_eyes=True)
    assert refused in found
    assert bool(found) == bool(refused)


def test_with_four_eyes_nobody_takes_a_version_from_training_to_charge_alone() -> None:
    for person in ("tom@a", "ann@a"):
        for trainer in ("tom@a", "job@a"):
            acts: tuple[tuple[Act, str], ...] = (("published", trainer),)
            if not tried(check_approval, acts, person, four_eyes=True):
                acts = (*acts, ("approved", person))
            assert tried(check_promotion, acts, person, four_eyes=True)


@pytest.mark.parametrize("check", [check_approval, check_promotion])
def test_gates_that_failed_must_be_waived_one_by_one(check: object) -> None:
    failed = ["bias", "size"]
    found = tried(check, PENDING, "ann@a", four_eyes=False, failed=failed)
    assert "failed the gates bias, size" in found
    assert "--waive bias --waive size" in found
    assert "gate size" in tried(check, PENDING, "ann@a", four_eyes=False, failed=failed,
                                waived=["bias"])  # fmt: skip
    assert not tried(check, PENDING, "ann@a", four_eyes=False, failed=failed, waived=failed)
    assert "didn't fail the gate leak" in tried(
        check, PENDING, "ann@a", four_eyes=False, failed=failed, waived=["leak", *failed]
    )
    made = log(*PENDING)
    _, line = made.line("approved", at_ms=1, actor="ann", reason="ok", version=1, digest="d" * 64,
                        waived=failed)  # fmt: skip
    made = made.extended(line)
    check(made, 1, failed=failed, waived=[], user="b@a", four_eyes=False)  # type: ignore[operator]
    assert sorted(made.waivers(1)) == failed
    assert made.waivers(2) == {}


def test_with_four_eyes_waivers_are_for_who_approves() -> None:
    with pytest.raises(UsageError, match="waived by who approves"):
        check_promotion(log(*APPROVED), 1, failed=["bias"], waived=["bias"], user="bob@a",
                        four_eyes=True)  # fmt: skip


def test_what_an_alias_points_to_is_not_retired() -> None:
    with pytest.raises(StateError, match="version 1 is champion"):
        check_retirement(log(*IN_CHARGE), 1)
    check_retirement(log(*IN_CHARGE, ("withdrawn", "ann@a")), 1)
    check_retirement(log(*IN_CHARGE), 2)


def test_the_entry_that_approved_is_found() -> None:
    assert approval_of(log(*PENDING), 1) is None
    assert approval_of(log(*REJECTED), 1) is None
    for acts, number in ((IN_CHARGE, 2), ((*PENDING, ("moved", "b"), ("moved", "c")), 2)):
        entry = approval_of(log(*acts), 1)  # type: ignore[arg-type]
        assert entry is not None
        assert entry.number == number


@pytest.mark.parametrize(
    ("metrics", "failed"),
    [
        ({}, []),
        ({"gates": None}, []),
        ({"gates": "failed"}, []),
        ({"gates": [1, {"state": "failed"}, {"name": "a", "state": "failed"}]}, ["a"]),
        ({"gates": [{"name": "a", "state": "not evaluable"}]}, []),
    ],
)  # fmt: skip
def test_failed_gates_of_any_manifest(metrics: dict[str, object], failed: list[str]) -> None:
    assert failed_gates(metrics) == failed


OLD = (
    b'{"number":1,"at_ms":5,"act":"published","actor":"claimtrace train","reason":"trained",'
    b'"version":1,"digest":"ab","alias":null,"from_version":null,"evidence":null,"chain":"'
)


def test_lines_of_older_versions_are_read_and_written_as_they_were() -> None:
    body = OLD.partition(b',"chain"')[0] + b"}"
    import hashlib

    chain = hashlib.sha256(b"0" * 64 + body).hexdigest().encode()
    line = OLD + chain + b'"}\n'
    found = read_approvals(line)
    (entry,) = found.entries
    assert entry.user is UNSET
    assert found.text(1) == line
    assert msgspec.json.encode(entry) == body
    assert found.states() == {1: "pending"}
