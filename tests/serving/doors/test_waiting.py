"""The waiting room: whose wait a record ends, in any order in which things become known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.doors.waiting import (
    Decided,
    Place,
    Waiting,
    WaitingRoom,
    decided_in,
    refusal_in,
    request_in,
)

HERE, THERE = Place(0, 1), Place(0, 2)


def a_room(*waiting: Waiting[str]) -> WaitingRoom[str]:
    room = WaitingRoom[str](10)
    for each in waiting:
        room.enter(each)
    return room


def test_all_who_sent_the_same_bytes_have_the_one_decision() -> None:
    room = a_room(Waiting("r1", "c", "same", "ann"), Waiting("r2", "c", "same", "bob"))
    room.put("r1", HERE)
    assert room.decided(Decided("c", HERE, b"")) == (["ann", "bob"], [])
    assert len(room) == 0


def test_a_decision_on_somebody_elses_record_is_no_answer() -> None:
    room = a_room(Waiting("r1", "c", "mine", "ann"))
    room.put("r1", HERE)
    assert room.decided(Decided("c", THERE, b"")) == ([], ["ann"])
    assert len(room) == 1, "whoever asks the gate again still waits"


def test_whose_record_is_not_known_yet_asks_again() -> None:
    room = a_room(Waiting("r1", "c", "mine", "ann"))
    assert room.decided(Decided("c", HERE, b"")) == ([], ["ann"])


def test_a_dead_letter_ends_the_wait_of_its_request_alone() -> None:
    room = a_room(Waiting("r1", "c", "a", "ann"), Waiting("r2", "c", "a", "bob"))
    assert room.dead(["r1", "unknown", ""]) == [("r1", "ann")]
    assert room.contents_of("c") == {"a"}
    room.leave("r2")
    assert room.contents_of("c") == set()
    room.leave("r2")


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.sampled_from("xy"))))
def test_nobody_is_lost_and_nobody_is_answered_twice(steps: list[tuple[int, str, str]]) -> None:
    room, inside = WaitingRoom[int](100), set[int]()
    for number, (act, claim, content) in enumerate(steps):
        if act < 3:
            room.enter(Waiting(f"r{number}", claim, content, number))
            inside.add(number)
            if act:
                room.put(f"r{number}", Place(0, number))
        elif act == 3:
            own, others = room.decided(Decided(claim, Place(0, number - 1), b""))
            assert len(set(own)) == len(own)
            assert set(own) | set(others) <= inside
            assert not set(own) & set(others)
            inside -= set(own)
        elif act == 4 and inside:
            [(_, gone)] = room.dead([f"r{min(inside)}"])
            inside.remove(gone)
        elif inside:
            room.leave(f"r{max(inside)}")
            inside.remove(max(inside))
        assert len(room) == len(inside)


def test_bytes_that_are_no_decision_end_no_wait() -> None:
    for value in (b"", b"{", b"[]", b'{"claim_id":1}', b"\xff", b'{"claim_id":"c"}'):
        assert decided_in(value) is None


def test_headers_of_dead_letters_are_read_whatever_they_hold() -> None:
    assert request_in((("x-other", b"1"), ("x-request", b"ab"))) == "ab"
    assert request_in(()) == ""
    told = refusal_in((("x-dead-reason", b"id_conflict"), ("x-dead-field", b"claim_id")))
    assert (told.reason, told.field) == ("id_conflict", "claim_id")
    assert refusal_in((("x-dead-reason", b"\xff"),)).reason
