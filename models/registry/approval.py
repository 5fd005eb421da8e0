"""The rules of approval: which version may be approved or put in charge, by whom, and why not.

A version is published as pending. Gates that failed keep it there until a person waives them. With
four eyes on, no version takes charge by the will of one person:

- who trained a version can't approve it;
- a version must be approved before it is promoted, and who approved it can't promote it.

Users of the operating system are compared, without the name of the machine: a person with accounts
on two machines is one person. To roll back to a version that was in charge needs one person only,
because it can't wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from claimtrace.errors import StateError, UsageError

from .approvals_log import CHAMPION, ApprovalsLog, Entry


def failed_gates(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names of the gates that a version failed, as its manifest says.

    Args:
        metrics: `metrics` of the manifest; those of older versions have no gates.

    >>> failed_gates({"gates": [{"name": "bias", "state": "failed"}]})
    ['bias']
    """
    gates = metrics.get("gates")
    return [
        str(gate["name"])
        for gate in (gates if isinstance(gates, list) else ())
        if isinstance(gate, dict) and gate.get("state") == "failed" and gate.get("name")
    ]


def check_approval(
    log: ApprovalsLog,
    version: int,
    *,
    failed: Sequence[str],
    waived: Sequence[str],
    user: str,
    four_eyes: bool,
) -> None:
    """Check that a person may approve a version.

    Args:
        failed: the gates that the version failed.
        waived: the gates that the person lets pass.
        user: the person's account on the machine, `user@host`.

    Raises:
        StateError: the version is retired, a gate failed and isn't waived, or four eyes are on and
            the person trained the version.
        UsageError: a gate is waived that didn't fail.
    """
    _check_not_retired(log, version)
    _check_gates(log, version, failed, waived, "approve")
    published = log.version(version)
    if four_eyes and published is not None:
        _check_other(user, published, f"trained version {version}", "approve")


def check_promotion(
    log: ApprovalsLog,
    version: int,
    *,
    failed: Sequence[str],
    waived: Sequence[str],
    user: str,
    four_eyes: bool,
) -> None:
    """Check that a person may put a version in charge; arguments as for `check_approval`.

    Without four eyes a pending version is approved by being promoted.

    Raises:
        StateError: the version is retired or rejected, a gate failed and isn't waived; or four
            eyes are on, and it isn't approved or this person approved it.
        UsageError: a gate is waived that didn't fail, or that must be waived by who approves.
    """
    if four_eyes and waived:
        raise UsageError("with four eyes a gate is waived by who approves", where="--waive",
                         hint=f"claimtrace models approve {version} --waive ...")  # fmt: skip
    _check_usable(log, version, four_eyes)
    _check_gates(log, version, failed, waived, "promote")
    approved = approval_of(log, version)
    if four_eyes and approved is not None:
        _check_other(user, approved, f"approved version {version}", "promote")


def check_canary(
    log: ApprovalsLog, version: int, *, failed: Sequence[str], four_eyes: bool
) -> None:
    """Check that a version may decide on a share of the claims.

    Raises:
        StateError: the version is retired or rejected, a gate failed and wasn't waived when it was
            approved; or four eyes are on, and it isn't approved.
    """
    _check_usable(log, version, four_eyes)
    _check_gates(log, version, failed, (), "approve")


def check_retirement(log: ApprovalsLog, version: int) -> None:
    """Check that no alias points to a version that is to be retired.

    Raises:
        StateError: names the alias.
    """
    for alias, pointed in log.aliases().items():
        if pointed == version:
            raise StateError(f"version {version} is {alias}", where=f"version {version}",
                             hint="put another version in its place first")  # fmt: skip


def approval_of(log: ApprovalsLog, version: int) -> Entry | None:
    """Return the entry that approved a version: the last `approved`, else the first promotion.

    None for a version that isn't approved.
    """
    if log.state(version) != "approved":
        return None
    about = log.about(version)
    approved = [entry for entry in about if entry.act == "approved"]
    moved = [entry for entry in about if entry.act == "moved" and entry.alias == CHAMPION]
    return approved[-1] if approved else moved[0]


def _check_not_retired(log: ApprovalsLog, version: int) -> None:
    if log.state(version) == "retired":
        raise StateError(f"version {version} is retired, for good", where=f"version {version}",
                         hint="take another version, or train a new one")  # fmt: skip


def _check_usable(log: ApprovalsLog, version: int, four_eyes: bool) -> None:
    """Check that nobody has decided against a version, and with four eyes that somebody approved.

    Raises:
        StateError: it is retired or rejected, or it is pending and four eyes are on.
    """
    _check_not_retired(log, version)
    state, where = log.state(version), f"version {version}"
    if state == "rejected":
        by = next(e for e in reversed(log.entries) if (e.act, e.version) == ("rejected", version))
        raise StateError(
            f"version {version} was rejected by {by.actor}: {by.reason}",
            where=where,
            hint=f'if it is right all the same: claimtrace models approve {version} --reason "..."',
        )
    if four_eyes and state == "pending":
        raise StateError(
            f"version {version} is pending and four eyes are on",
            where=where,
            hint=f"another person first: claimtrace models approve {version} --reason ...",
        )


def _check_gates(
    log: ApprovalsLog, version: int, failed: Sequence[str], waived: Sequence[str], act: str
) -> None:
    unknown = [gate for gate in waived if gate not in failed]
    if unknown:
        raise UsageError(
            f"version {version} didn't fail the gate {unknown[0]}",
            where="--waive",
            hint="failed: " + ", ".join(failed) if failed else "it failed none",
        )
    passed = set(waived) | set(log.waivers(version))
    left = [gate for gate in failed if gate not in passed]
    if left:
        options = " ".join(f"--waive {gate}" for gate in left)
        raise StateError(
            f"version {version} failed the gate{'s' * (len(left) > 1)} {', '.join(left)}",
            where=f"version {version}",
            hint=f"claimtrace models show {version} has the evidence; to let it pass all the same: "
            f'claimtrace models {act} {version} {options} --reason "..."',
        )


def _check_other(user: str, before: Entry, did: str, act: str) -> None:
    """Check that another user did the act before; one of an older log has no user.

    Raises:
        StateError: it was the same, or this one isn't known.
    """
    first = _account(before.user) if before.user is not UNSET else ""
    second = _account(user)
    if second and first != second:
        return
    what = f"{second} {did}" if second else "the user of this machine isn't known"
    raise StateError(
        f"{what}, and four eyes are on",
        where="approval.four_eyes",
        hint=f"another person must {act} it, from an account of their own (--actor is only a name)",
    )


def _account(user: str) -> str:
    return user.partition("@")[0]
