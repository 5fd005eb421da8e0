"""The approvals log: aliases at a time, the chain, and damaged or incomplete lines."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.decisions import GENESIS
from claimtrace.errors import StateError
from models.registry.approvals_log import ApprovalsLog, read_approvals, reign


def log(*moves: tuple[str, int | None, int]) -> bytes:
    """Build a log from moves (alias, version or None, at_ms)."""
    content = b""
    for alias, version, at_ms in moves:
        _, line = read_approvals(content).line(
            "moved" if version else "withdrawn",
            at_ms=at_ms,
            actor="ana",
            reason=f"{alias} to {version}",
            version=version,
            digest="d" * 64 if version else None,
            alias=alias,
        )
        content += line
    return content


MOVES = log(
    ("champion", 1, 100), ("shadow", 2, 150), ("champion", 2, 200), ("shadow", None, 300),
    ("champion", 1, 400),
)  # fmt: skip


def test_an_empty_log_says_nothing() -> None:
    approvals = read_approvals(b"")
    assert approvals == ApprovalsLog()
    assert approvals.head == GENESIS
    assert approvals.alias("champion") is None
    assert approvals.aliases() == {}


def test_the_last_line_about_an_alias_is_its_state() -> None:
    approvals = read_approvals(MOVES)
    assert approvals.aliases() == {"champion": 1}
    assert approvals.alias("shadow") is None
    entry = approvals.alias("champion")
    assert entry is not None
    assert (entry.number, entry.version, entry.reason) == (5, 1, "champion to 1")


@pytest.mark.parametrize(
    ("at_ms", "champion", "shadow"),
    [(99, None, None), (100, 1, None), (199, 1, 2), (200, 2, 2), (300, 2, None), (10**15, 1, None)],
)
def test_what_was_live_then_is_answered(
    at_ms: int, champion: int | None, shadow: int | None
) -> None:
    approvals = read_approvals(MOVES)
    live = [approvals.live_at(alias, at_ms) for alias in ("champion", "shadow")]
    assert [entry and entry.version for entry in live] == [champion, shadow]
    assert all(entry is None or entry.actor == "ana" for entry in live)


def test_two_clocks_that_disagree_leave_the_order_of_the_log() -> None:
    approvals = read_approvals(log(("champion", 1, 100), ("champion", 2, 90)))
    for at_ms, version in ((89, None), (95, 2), (100, 2)):
        entry = approvals.live_at("champion", at_ms)
        assert (entry and entry.version) == version


@settings(max_examples=150, deadline=None)
@given(index=st.integers(0, len(MOVES) - 1), byte=st.integers(0, 255))
def test_any_changed_byte_is_found_and_its_line_named(index: int, byte: int) -> None:
    mutated = bytearray(MOVES)
    if mutated[index] == byte:
        return
    mutated[index] = byte
    if index == len(MOVES) - 1:  # without its newline the last line is incomplete
        assert len(read_approvals(bytes(mutated)).entries) == 4
        return
    with pytest.raises(StateError) as caught:
        read_approvals(bytes(mutated), "log")
    assert caught.value.where == f"log, line {MOVES[:index].count(10) + 1}"


def test_a_dropped_inserted_or_moved_line_is_found() -> None:
    lines = MOVES.splitlines(keepends=True)
    for forged, number in (
        ([*lines[:1], *lines[2:]], 2),
        ([*lines[:2], lines[0], *lines[2:]], 3),
        ([lines[1], lines[0], *lines[2:]], 1),
        ([*lines, b"\n"], 6),
    ):
        with pytest.raises(StateError, match=f"line {number}"):
            read_approvals(b"".join(forged))


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, len(MOVES)))
def test_a_torn_last_line_does_not_count(cut: int) -> None:
    approvals = read_approvals(MOVES[:cut])
    assert len(approvals.entries) == MOVES[:cut].count(b"\n")
    assert MOVES[: approvals.whole_bytes] == b"".join(
        MOVES.splitlines(keepends=True)[: len(approvals.entries)]
    )


@pytest.mark.parametrize(("actor", "reason"), [("", "r"), ("a", " \n"), ("a" * 2001, "r")])
def test_nobody_and_no_reason_are_refused(actor: str, reason: str) -> None:
    with pytest.raises(StateError, match="is empty or longer"):
        ApprovalsLog().line(
            "rejected", at_ms=1, actor=actor, reason=reason, version=1, digest="d" * 64
        )


def test_a_reason_of_any_characters_stays_one_line() -> None:
    reason = 'two\nlines, "quotes", \u2028 and \U0001f600'
    entry, line = ApprovalsLog().line(
        "rejected", at_ms=1, actor="ana", reason=reason, version=1, digest="d" * 64, evidence="e"
    )
    assert line.count(b"\n") == 1
    assert read_approvals(line).entries == (entry,)
    assert msgspec.json.decode(line)["reason"] == reason


@given(st.lists(st.tuples(st.sampled_from(["champion", "shadow"]),
                          st.sampled_from([1, 2, 3, None])), max_size=12))  # fmt: skip
def test_a_reign_is_who_would_come_back_one_by_one(moves: list[tuple[str, int | None]]) -> None:
    entries = read_approvals(log(*((name, to, at) for at, (name, to) in enumerate(moves)))).entries
    found = reign(entries, "champion")
    mine = [to for name, to in moves if name == "champion"]
    assert (found[-1] if found else None) == (mine[-1] if mine else None)
    assert len(set(found)) == len(found)
    # the slowest way: of each version only its last first-time move counts
    slow: list[int] = []
    for to in mine:
        while to in slow and slow[-1] != to:
            slow.pop()
        if to is None:
            slow = []
        elif to not in slow:
            slow.append(to)
    assert found == slow
