"""The requests that wait for a decision: who they are, and which record of the log ends their wait.

A decision names the record that it is on. A request whose own record it is has its answer. One
whose claim id was decided on by another record, which somebody else put on the log at the same
time, has to ask the gate again: its bytes were the same, or they are in conflict.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from claimtrace.events import Headers
from claimtrace.refusals import Refusal

REQUEST_HEADER: Final = "x-request"
"""Header of a claim that came over HTTP, with the number of its request."""
VIA: Final = ("x-via", b"rest")
"""Header that says how a claim came onto the log."""

Waiter = TypeVar("Waiter")


class Place(NamedTuple):
    """A record of the claims' topic."""

    partition: int
    position: int


class Decided(NamedTuple):
    """A decision that fell: the claim's id, the record that it is on, and the sealed bytes."""

    claim_id: str
    place: Place
    sealed: bytes


class _Sealed(msgspec.Struct):
    claim_id: str
    partition: int
    position: int


_sealed: Final = msgspec.json.Decoder(_Sealed).decode


def decided_in(value: bytes) -> Decided | None:
    """Read a record of the topic of decisions; None for bytes that are no decision.

    >>> decided_in(b'{"claim_id":"c","partition":1,"position":7}').place
    Place(partition=1, position=7)
    """
    try:
        found = _sealed(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Decided(found.claim_id, Place(found.partition, found.position), value)


def request_in(headers: Headers) -> str:
    """Return the request in the headers of a dead letter; empty for none."""
    for name, text in headers:
        if name == REQUEST_HEADER:
            return text.decode("ascii", errors="replace")
    return ""


def refusal_in(headers: Headers) -> Refusal:
    """Return why a record became a dead letter, from its headers."""
    told = {name: text.decode(errors="replace") for name, text in headers}
    return Refusal(told.get("x-dead-reason", "unknown"), told.get("x-dead-field", ""),
                   told.get("x-dead-detail", ""))  # fmt: skip


class Waiting(NamedTuple, Generic[Waiter]):
    """One request that waits."""

    request: str
    claim_id: str
    content: str
    waiter: Waiter


class WaitingRoom(Generic[Waiter]):
    """The requests that wait, by claim and by request.

    Args:
        most: requests that may wait.

    >>> room = WaitingRoom[str](10)
    >>> room.enter(Waiting("r1", "c", "digest", "who"))
    >>> room.put("r1", Place(0, 3))
    >>> room.decided(Decided("c", Place(0, 3), b"{}"))
    (['who'], [])
    >>> len(room)
    0
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_request: dict[str, Waiting[Waiter]] = {}
        self._by_claim: dict[str, dict[str, Waiting[Waiter]]] = {}
        self._places: dict[str, Place] = {}

    def __len__(self) -> int:
        return len(self._by_request)

    @property
    def is_full(self) -> bool:
        """Whether nobody else may wait."""
        return len(self._by_request) >= self.most

    def contents_of(self, claim_id: str) -> set[str]:
        """Return the digests of the bytes with which a claim is waited for."""
        return {each.content for each in self._by_claim.get(claim_id, {}).values()}

    def enter(self, waiting: Waiting[Waiter]) -> None:
        """Have a request wait; before its claim is put on the log."""
        self._by_request[waiting.request] = waiting
        self._by_claim.setdefault(waiting.claim_id, {})[waiting.request] = waiting

    def put(self, request: str, place: Place) -> None:
        """Note where the record of a request is."""
        if request in self._by_request:
            self._places[request] = place

    def decided(self, decided: Decided) -> tuple[list[Waiter], list[Waiter]]:
        """Take a decision.

        Returns those whose own record it is on, and of the same bytes, who have their answer; and
        those who have to ask the gate again. A request whose own record isn't known yet asks again.
        """
        found = list(self._by_claim.get(decided.claim_id, {}).values())
        own = {each.content for each in found if self._places.get(each.request) == decided.place}
        answered = [each for each in found if each.content in own]
        others = [each.waiter for each in found if each.content not in own]
        for each in answered:
            self.leave(each.request)
        return [each.waiter for each in answered], others

    def dead(self, requests: Iterable[str]) -> list[tuple[str, Waiter]]:
        """Take the requests of dead letters; returns who waited for them."""
        found = [self._by_request[one] for one in requests if one in self._by_request]
        for each in found:
            self.leave(each.request)
        return [(each.request, each.waiter) for each in found]

    def dead_with(self, content: str) -> list[Waiter]:
        """Take a dead letter that names no request; returns who waited with its bytes.

        Args:
            content: the digest of its bytes.
        """
        found = [each for each in self._by_request.values() if each.content == content]
        for each in found:
            self.leave(each.request)
        return [each.waiter for each in found]

    def leave(self, request: str) -> None:
        """End the wait of a request."""
        waiting = self._by_request.pop(request, None)
        self._places.pop(request, None)
        if waiting is None:
            return
        others = self._by_claim[waiting.claim_id]
        del others[request]
        if not others:
            del self._by_claim[waiting.claim_id]
