"""The sources of `claimtrace top`: the log, its newest decisions, and the metrics of workers."""

from __future__ import annotations

import http.client
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from claimtrace.decisions import ALERTS_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import ClaimtraceError, UsageError
from claimtrace.events import Record
from claimtrace.settings.schema import KAFKA
from serving.reading.decision_row import DecisionRow
from serving.reading.worker_figures import WorkerFigures, figures_of

from ...transports.choice import open_transport
from ...wiring.workspace import Workspace
from .decision_sources import row_of
from .following import follow

_LAST: Final = 1_000
"""Decisions over which outcomes and latencies are counted."""
_MOST_PAGES: Final = 50
_PATIENCE_S: Final = 1.0
_MOST_BYTES: Final = 4 * 1024 * 1024
_SHARE: Final = 20
"""How many times longer than it takes a slow question isn't asked again."""


@dataclass(frozen=True)
class Sample:
    """One look: what was found, and at which second of a monotonic clock.

    `ends` are the records of each topic so far, `lags` those that wait for a decision: by input, or
    under "" for all of them together. A worker that didn't answer has its error instead of figures.
    """

    at_s: float
    now_ms: int
    ends: dict[str, int]
    lags: dict[str, int]
    decisions: tuple[DecisionRow, ...]
    latencies_ms: tuple[int, ...]
    alert: str
    workers: dict[str, WorkerFigures | str]


@dataclass
class Sources:
    """The sources of a live view; `look` asks all of them once.

    Args:
        workspace: with the settings.
        workers: addresses of workers' metrics, `host:port`.
    """

    workspace: Workspace
    workers: tuple[str, ...]
    _pages: Iterator[list[Record]] | None = None
    _decided: deque[tuple[DecisionRow, int]] = field(default_factory=lambda: deque(maxlen=_LAST))
    _lags: dict[str, int] = field(default_factory=dict)
    _alert: str = ""
    _lags_again_s: float = 0.0

    def look(self) -> Sample:
        """Ask all sources once; decisions are those since the view began, and the last before."""
        clock = self.workspace.clock
        ends = self._ends()
        self._read_decisions(ends)
        rows = tuple(row for row, _ in self._decided)
        return Sample(
            clock.monotonic_s(), clock.now_ms(), ends, dict(self._lags), rows, self._latencies(),
            self._alert, {each: _figures(each) for each in self.workers},
        )  # fmt: skip

    @property
    def _topics(self) -> list[str]:
        return [*self.workspace.domain.topics, DECISIONS_TOPIC, DEAD_TOPIC, ALERTS_TOPIC]

    def _ends(self) -> dict[str, int]:
        """Return the number of records of each topic, and refresh lags and the newest alert."""
        source, clock = self.workspace.settings.source, self.workspace.clock
        if source == "local":
            with self.workspace.log() as log:
                there = log.topics()
                ends = {topic: sum(log.ends(topic)) for topic in self._topics if topic in there}
        elif source.startswith(KAFKA):
            from stream.adapters.kafka.following import ends_and_commits

            found = ends_and_commits(self.workspace.settings.kafka_connection, self._topics, clock)
            ends = {topic: sum(end for end, _ in parts) for topic, parts in found.items()}
            self._lags = {
                topic: sum(max(0, end - max(at, 0)) for end, at in found[topic])
                for topic in self.workspace.domain.topics
                if topic in found
            }
        else:
            ends = {}  # a stream of Kinesis has no positions: workers tell
        if clock.monotonic_s() >= self._lags_again_s:
            self._refresh_slowly(ends)
        return ends

    def _refresh_slowly(self, ends: dict[str, int]) -> None:
        """Ask what takes longer, not more often than it can be afforded."""
        clock = self.workspace.clock
        began_s = clock.monotonic_s()
        with suppress(ClaimtraceError), open_transport(self.workspace) as transport:
            waiting = transport.waiting_records()
            if waiting is not None:
                self._lags = {"": waiting}
            if ends.get(ALERTS_TOPIC):
                for record in transport.records(ALERTS_TOPIC, 0, 1):
                    self._alert = _alert_text(record)
        self._lags_again_s = began_s + _SHARE * (clock.monotonic_s() - began_s)

    def _read_decisions(self, ends: dict[str, int]) -> None:
        """Take what has been decided since the last look, up to a limit."""
        if self._pages is None:
            if self.workspace.settings.source == "local" and DECISIONS_TOPIC not in ends:
                return
            self._pages = follow(self.workspace, DECISIONS_TOPIC, _LAST)
            self._take(self._first_page())
        for _ in range(_MOST_PAGES):
            page = next(self._pages)
            self._take(page)
            if not page:
                return

    def _first_page(self) -> list[Record]:
        assert self._pages is not None
        try:
            return next(self._pages)
        except UsageError:  # there is no such topic yet
            self._pages = iter(lambda: list[Record](), None)
            return []

    def _take(self, page: list[Record]) -> None:
        for record in page[-_LAST:]:
            row = row_of(record)
            self._decided.append((row, record.log_time_ms - row.log_time_ms))

    def _latencies(self) -> tuple[int, ...]:
        """Return how long after its claim each decision was on the log; servers' logs tell."""
        if self.workspace.settings.source == "local":
            return ()  # there a decision has the log time of its claim
        return tuple(lasted for _, lasted in self._decided if lasted >= 0)


def check_address(text: str) -> str:
    """Return the address of a worker's metrics, `host:port`.

    Raises:
        UsageError: it is none.

    >>> check_address("127.0.0.1:9464")
    '127.0.0.1:9464'
    """
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65_536
    if not host or not is_port or "/" in text or "@" in text or not text.isprintable():
        raise UsageError(f"{text!r} is no address of a worker", where="--worker",
                         hint="write host:port, as in metrics.listen: 127.0.0.1:9464")  # fmt: skip
    return text


def _figures(address: str) -> WorkerFigures | str:
    """Ask a worker for its metrics; returns its error in a word when it doesn't answer."""
    host, _, port = address.rpartition(":")
    asked = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_PATIENCE_S)
    try:
        asked.request("GET", "/metrics")
        answer = asked.getresponse()
        body = answer.read(_MOST_BYTES)
        if answer.status != http.client.OK:
            return f"answers {answer.status}"
        return figures_of(body.decode(errors="replace"))
    except TimeoutError:
        return "doesn't answer"
    except (OSError, http.client.HTTPException):
        return "not reachable"
    finally:
        asked.close()


def _alert_text(record: Record) -> str:
    """Return an alert in one line; total, since the topic may hold anything."""
    try:
        found: Any = msgspec.json.decode(record.value or b"")
    except msgspec.DecodeError:
        return "an alert that can't be read"
    if not isinstance(found, dict):
        return "an alert that can't be read"
    words = [found.get(name) for name in ("model", "layer", "state", "text")]
    return ", ".join(each for each in words if isinstance(each, str))
