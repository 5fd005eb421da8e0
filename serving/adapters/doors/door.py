"""A door: a claim goes through the gate, onto the log, and waits there for its decision."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from claimtrace.clock import Clock
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.events import Record
from claimtrace.ids import digest
from claimtrace.refusals import Refusal
from featurestore.definitions.domain import Domain
from stream.engine.engine import Engine
from stream.engine.looked import Looked

from ...doors.claim_record import Named, claim_record, named_in
from ...doors.waiting import Place, Waiting, WaitingRoom, decided_in, refusal_in, request_in
from ..looks.desk import LookDesk, NoAnswer, TooManyWaiting
from .live import LiveDecisions
from .putting import Putting
from .tail import Tail

if TYPE_CHECKING:
    from .lookup import Gate

_RETRY_S: Final = 0.02
"""Pause before the index is asked again for a decision that the gate knows of."""
_FIND_S: Final = 5.0


class Answer(NamedTuple):
    """The result for a claim: its decision, or why it was refused; both empty: it still waits.

    `is_replayed` says that the decision is on an earlier record of the same bytes.
    """

    sealed: bytes = b""
    refusal: Refusal | None = None
    is_replayed: bool = False


_ASK_AGAIN: Final = Answer()
Found = TypeVar("Found")


@dataclass(frozen=True)
class Log:
    """The log of a door.

    Attributes:
        putting: puts claims there.
        tail: follows decisions and dead letters.
        partitions: of the topic of claims; 0 where the client knows the partition of a key.
        frame: makes the bytes of a claim those of the log, such as with a schema's id.
        has_headers: whether claims keep the header with their request, and their places are told;
            without, a dead letter's bytes say who waits for it.
    """

    putting: Putting
    tail: Tail
    partitions: int
    frame: Callable[[bytes], bytes] = bytes
    has_headers: bool = True


class Door:
    """Has claims decided on.

    Args:
        domain: the definitions.
        log: where claims go, and where decisions come from.
        clock: for the log time of claims.
        most_waiting: requests that may wait.
        timeout_s: how long a request waits for the gate.
        gate: says whether claims are known; None: the engine of this process, by `serve`.
    """

    def __init__(
        self, domain: Domain, log: Log, clock: Clock, most_waiting: int, timeout_s: float,
        gate: Gate | None = None,
    ) -> None:  # fmt: skip
        self.desk = LookDesk[bytes, Looked](most_waiting, timeout_s)
        self.gate: Gate = gate or self.desk
        self.live = LiveDecisions()
        self._domain, self._log, self._clock = domain, log, clock
        self.id_field = domain.claim.id_field
        self._room = WaitingRoom[asyncio.Future[Answer]](most_waiting)
        self._puts: dict[tuple[str, str], asyncio.Future[Place]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def decide(self, value: bytes, wait_s: float) -> Answer:
        """Have a claim decided on; the answer is the sealed decision, never an invented one.

        Args:
            value: the claim as JSON.
            wait_s: how long the decision is waited for.

        Raises:
            StoreUnavailable: the log can't be written.
            TooManyWaiting: the claim was not put on the log.
            NoAnswer: there is no worker or follower that could know its id; it was not put.
        """
        self._loop = asyncio.get_running_loop()
        if not value:  # on the log it would be a tombstone, which is left out
            return Answer(refusal=Refusal("bad_json"))
        value = self._log.frame(value)
        named = named_in(value, self._domain)
        request = secrets.token_hex(8)
        others = self._room.contents_of(named.claim_id)
        if others - {named.content}:
            return Answer(refusal=Refusal("id_conflict"))
        if self._room.is_full:
            raise TooManyWaiting
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._room.enter(Waiting(request, named.claim_id, named.content, future))
        try:
            known = await self._known(value, named.claim_id)
            if known is not None:
                return known
            await self._put(request, named, value)
            waiting = Waiting(request, named.claim_id, named.content, future)
            return await self._awaited(waiting, value, wait_s)
        finally:
            self._room.leave(request)

    async def find(self, claim_id: str) -> bytes | None:
        """Return the sealed decision on a claim; None for none."""
        return await _in_time(self._log.tail.find(claim_id))

    async def page(self, partition: int, position: int, most: int) -> list[Record]:
        """Return decisions of a partition from a position on."""
        return await _in_time(self._log.tail.page(partition, position, most))

    def serve(self, engine: Engine) -> int:
        """Answer those who stand at the gate, on the engine's thread; returns how many."""
        return self.desk.serve(lambda values: self._gated(engine, values))

    def fell(self, records: list[Record]) -> None:
        """Hear records of the topics of decisions and dead letters, in the tail's thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._take, records)

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return len(self._room)

    @property
    def is_ready(self) -> bool:
        """Whether earlier decisions can be found."""
        return self._log.tail.is_ready

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads; decisions are told to a loop from now on."""
        self._loop = loop
        self._log.tail.start()
        self._log.putting.start()

    def wake(self) -> None:
        """Read the log at once: the worker of this process has decided."""
        self._log.tail.wake()

    def refuse(self) -> None:
        """Refuse whoever stands at the gate, and end the streams of decisions."""
        self.desk.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.live.close)

    def close(self) -> None:
        """Put what waits to be put; refuse whoever stands at the gate; end the threads."""
        self.desk.close()
        self._log.putting.close()
        self._log.tail.close()

    async def _put(self, request: str, named: Named, value: bytes) -> None:
        """Put a claim on the log; or wait until the same bytes of another request are there."""
        what = named.claim_id, named.content
        under_way = self._puts.get(what)
        if under_way is None:
            record = claim_record(self._domain.claim.topic, named, value, request,
                                  self._clock.now_ms(), self._log.partitions)  # fmt: skip
            under_way = asyncio.ensure_future(
                self._log.putting.put(record, lambda place: self._room.put(request, place))
            )
            self._puts[what] = under_way
            under_way.add_done_callback(lambda _: self._puts.pop(what, None))
        await asyncio.shield(under_way)

    async def _awaited(
        self, waiting: Waiting[asyncio.Future[Answer]], value: bytes, wait_s: float
    ) -> Answer:
        ends_s = self._clock.monotonic_s() + wait_s
        while True:
            left_s = ends_s - self._clock.monotonic_s()
            try:
                found = await asyncio.wait_for(waiting.waiter, max(0.0, left_s))
            except TimeoutError:
                return Answer()
            if found is not _ASK_AGAIN:
                return found
            # somebody else put a claim with this id on the log at the same time
            waiting = waiting._replace(waiter=asyncio.get_running_loop().create_future())
            self._room.leave(waiting.request)
            self._room.enter(waiting)
            known = await self._known(value, waiting.claim_id)
            while known is None and self._clock.monotonic_s() < ends_s:
                # it was decided by another worker: the engine here comes to know of it
                await asyncio.sleep(_RETRY_S)
                known = await self._known(value, waiting.claim_id)
            if known is None:
                return Answer()
            # where nobody is told the place of a record, the decision is taken as on the own one
            return known if self._log.has_headers else known._replace(is_replayed=False)

    async def _known(self, value: bytes, claim_id: str) -> Answer | None:
        """Return the answer to a claim that needn't be decided on; None for one that is new."""
        found = await self.gate.ask(value, 1)
        if found.refusal is not None:
            return Answer(refusal=found.refusal)
        if not found.is_known:
            return None
        for _ in range(round(_FIND_S / _RETRY_S)):
            sealed = await self.find(claim_id)
            if sealed is not None:
                return Answer(sealed, is_replayed=True)
            await asyncio.sleep(_RETRY_S)  # it is applied, and on its way to the log
        raise NoAnswer("the decision on this claim isn't on the log yet")

    def _gated(self, engine: Engine, values: Sequence[bytes]) -> list[Looked]:
        topic, now_ms = self._domain.claim.topic, self._clock.now_ms()
        return engine.gate(
            [Record(topic, 0, at, None, value, now_ms) for at, value in enumerate(values)]
        )

    def _dead(self, record: Record) -> list[asyncio.Future[Answer]]:
        """Return who waited for the claim that became a dead letter."""
        if self._log.has_headers:
            return [future for _, future in self._room.dead([request_in(record.headers)])]
        return self._room.dead_with(digest(record.value or b""))

    def _take(self, records: Sequence[Record]) -> None:
        """Give those who wait their answers, in the event loop."""
        for each in records:
            if each.topic == DEAD_TOPIC:
                for future in self._dead(each):
                    _set(future, Answer(refusal=refusal_in(each.headers)))
                continue
            decided = decided_in(each.value or b"")
            if decided is None:
                continue
            own, others = self._room.decided(decided)
            for future in own:
                _set(future, Answer(decided.sealed))
            for future in others:
                _set(future, _ASK_AGAIN)
        self.live.publish([each for each in records if each.topic == DECISIONS_TOPIC])


def _set(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


async def _in_time(asked: Future[Found]) -> Found:
    """Return what the tail's thread has found.

    Raises:
        NoAnswer: it hasn't, as the log doesn't answer.
    """
    try:
        return await asyncio.wait_for(asyncio.wrap_future(asked), _FIND_S)
    except TimeoutError as error:
        raise NoAnswer("the log doesn't answer") from error
