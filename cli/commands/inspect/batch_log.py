"""The claims of a batch on the log: they are put there, and their answers are read from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace.ids import digest, partition_of
from serving.batches.answer import Answer, id_in, refused_conflict
from serving.batches.awaited import Awaited
from serving.batches.batch import answer_all
from serving.batches.rows import Row

from ...console import notify
from ...transports.choice import open_transport
from ...wiring.workspace import Workspace
from ..events.target import framing, is_shared, open_target, send

if TYPE_CHECKING:
    from serving.adapters.claim_files.parts import FoundDecisions, Parts

    from ...progress_bar import Advance

_FLUSH_S: Final = 60.0
_POLLS_S: Final = (0.1, 0.2, 0.5, 1.0)
"""Pauses between two looks at the log while no answer comes; the last one goes on."""
_TELL_S: Final = 5.0
"""Without any answer for this long the person is told what is waited for."""
_PAGE: Final = 5_000


def put_on_log(
    workspace: Workspace,
    rows: Iterator[Row],
    parts: Parts,
    awaited: Awaited,
    gate: Callable[[Sequence[Row]], list[Answer]],
    advance: Advance,
) -> None:
    """Put the claims of a file on the log, chunk by chunk, but for those that would be refused.

    A chunk whose process was killed is put there again: the stream knows its claims by their ids.

    Args:
        workspace: the log.
        rows: of the file.
        parts: the answers so far: `sent` for a claim that is on the log.
        awaited: names the batch in the headers of its claims.
        gate: says what would become of the claims of a chunk.
        advance: the progress.
    """
    claims = _Claims(workspace, awaited)
    changes = framing(workspace)
    with open_target(workspace) as target:

        def put(line: int, chunk: Sequence[Row]) -> list[Answer]:
            answers, outgoing = claims.of(line, chunk, gate(chunk))
            for change in changes:
                outgoing = list(change(outgoing))
            if outgoing:
                send(target.sink, outgoing, lambda: False, advance)
                target.sink.flush(_FLUSH_S)
            return answers

        answer_all(rows, parts, put, advance, claims.note)


class _Claims:
    """Makes records of claims; two lines with one id and other bytes are a conflict."""

    def __init__(self, workspace: Workspace, awaited: Awaited) -> None:
        domain = workspace.domain
        self._topic, self._id_field = domain.claim.topic, domain.claim.id_field
        self._key_field = domain.split_by.key
        self._by_key = is_shared(workspace)
        self._partitions = workspace.settings.partitions
        self._clock, self._awaited = workspace.clock, awaited
        self._sent: dict[str, str] = {}

    def of(
        self, line: int, chunk: Sequence[Row], gated: Sequence[Answer]
    ) -> tuple[list[Answer], list[Outgoing]]:
        """Return the answers to the lines of a chunk, and the records to send."""
        answers, outgoing = list(gated), []
        now_ms = self._clock.now_ms()
        for at, (row, answer) in enumerate(zip(chunk, gated, strict=True)):
            if answer.status == "known":
                # maybe put on the log by this batch, before it was killed: no other answer than
                # that of a batch that wasn't
                answers[at] = Answer(status="sent", claim_id=answer.claim_id)
            if answer.status != "decided":
                continue
            claim_id = id_in(row.value, self._id_field)
            if self._sent.setdefault(claim_id, digest(row.value)) != digest(row.value):
                answers[at] = refused_conflict()
                continue
            answers[at] = Answer(status="sent", claim_id=claim_id)
            key = id_in(row.value, self._key_field)
            partition = -1 if self._by_key else partition_of(key, self._partitions)
            header = self._awaited.header(line + at)
            outgoing.append(
                Outgoing(self._topic, partition, key.encode() or None, row.value, now_ms, (header,))
            )
        return answers, outgoing

    def note(self, chunk: Sequence[Row]) -> None:
        """Note the claims of a chunk that was put on the log by an earlier run."""
        for row in chunk:
            claim_id = id_in(row.value, self._id_field)
            if claim_id:
                self._sent.setdefault(claim_id, digest(row.value))


class LogReader:
    """Reads decisions and dead letters of the log for those that are awaited.

    Args:
        workspace: the log.
        awaited: the lines without an answer.
        found: gets the decisions.
        dead_ends: where the dead letters of each partition are read from.
    """

    def __init__(
        self,
        workspace: Workspace,
        awaited: Awaited,
        found: FoundDecisions,
        dead_ends: Sequence[int],
    ) -> None:
        self._workspace, self._awaited, self._found = workspace, awaited, found
        self._at = {(DEAD_TOPIC, partition): end for partition, end in enumerate(dead_ends)}
        self._has_dead = bool(dead_ends)

    @staticmethod
    def dead_ends(workspace: Workspace) -> list[int]:
        """Return the end of each partition of dead letters as of now."""
        with open_transport(workspace) as transport:
            ends = []
            for partition in range(transport.partitions(DEAD_TOPIC)):
                newest = list(transport.records(DEAD_TOPIC, partition, last=1))
                ends.append(newest[-1].position + 1 if newest else 0)
            return ends or [0]

    def read_once(self) -> int:
        """Read what is on the log by now; returns how many were awaited and are there."""
        before = len(self._awaited)
        with open_transport(self._workspace) as transport:
            topics = (DECISIONS_TOPIC, DEAD_TOPIC) if self._has_dead else (DECISIONS_TOPIC,)
            for topic in topics:
                for partition in range(transport.partitions(topic)):
                    at = self._at.get((topic, partition), 0)
                    for page in _pages(transport.records_from(topic, partition, at)):
                        self._take(topic, page)
                        self._at[topic, partition] = page[-1].position + 1
        return before - len(self._awaited)

    def wait(self, wait_s: float | None, advance: Advance) -> None:
        """Read until nothing is awaited any more.

        Raises:
            StoreUnavailable: nothing came for that long.
        """
        clock, polls, told = self._workspace.clock, 0, False
        since_s = clock.monotonic_s()
        while len(self._awaited):
            came = self.read_once()
            if came:
                advance(came)
                polls, since_s = 0, clock.monotonic_s()
                continue
            quiet_s = clock.monotonic_s() - since_s
            if wait_s is not None and quiet_s >= wait_s:
                raise StoreUnavailable(
                    f"no decision on {len(self._awaited):,} claims came for {wait_s:g} s",
                    where=DECISIONS_TOPIC,
                    hint="the claims are on the log: run claimtrace stream, and the same command "
                    "goes on",
                )  # fmt: skip
            if quiet_s > _TELL_S and not told:
                notify("the claims are on the log; waiting for a worker: claimtrace stream")
                told = True
            clock.sleep(_POLLS_S[min(polls, len(_POLLS_S) - 1)])
            polls += 1

    def _take(self, topic: str, page: Sequence[Record]) -> None:
        if topic == DECISIONS_TOPIC:
            self._found.add(self._awaited.take(page))
        else:
            self._awaited.take_dead(page)


def _pages(records: Iterator[Record]) -> Iterator[list[Record]]:
    page: list[Record] = []
    for record in records:
        page.append(record)
        if len(page) >= _PAGE:
            yield page
            page = []
    if page:
        yield page
