"""Where events come from and decisions go to, for the commands: the embedded log, Kafka or
Kinesis.

One file for each; `Session.transport` chooses by the setting `source`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from claimtrace.decisions import ModelRef
from claimtrace.errors import ModelError, StoreUnavailable
from claimtrace.events import Record

if TYPE_CHECKING:
    from models.scorer import Scorer
    from stream.journal.plan import Plan
    from stream.journal.source import Source
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver

    from ..wiring.workspace import Session

Said = Callable[[str], None]
Stopping = Callable[[], bool]


class Transport(ABC):
    """An open log with its journal; close it, or use it in `with`."""

    idle_s = 0.05
    """How long a worker sleeps when nothing is new."""

    may_repeat = False
    """Whether a decision may be on the log again, with the same bytes."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @abstractmethod
    def source(self) -> Source:
        """Reads the inputs."""

    @abstractmethod
    def plans(self, from_number: int = 1) -> Iterable[Plan]:
        """The journal's plans; the terms must be those of the settings.

        Raises:
            StateError: there is no journal, or a term differs.
        """

    @abstractmethod
    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 when there is none."""

    @abstractmethod
    def records(self, topic: str, partition: int, last: int | None = None) -> Iterator[Record]:
        """All records of a partition, or the last so many."""

    @abstractmethod
    def driver(self, said: Said, watching: WorkerObserver, stopping: Stopping) -> Driver:
        """A driver over it, not recovered yet."""

    @abstractmethod
    def end_of_inputs(self) -> Callable[[dict[tuple[str, int], int]], bool]:
        """Fixes the end of the inputs as of now; the answer says whether positions are there."""

    @abstractmethod
    def waiting_records(self) -> int | None:
        """How many records wait to be decided on; None when that can't be told beforehand."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""

    @abstractmethod
    def report(self, positions: dict[tuple[str, int], int], watching: WorkerObserver) -> None:
        """Tell the metrics where the worker is."""

    def alone(self) -> AbstractContextManager[Any]:
        """Held while a worker runs, so that no other one can on the same state."""
        return nullcontext()

    def shared_scorer_of(self, ref: ModelRef) -> Scorer:
        """A model that a plan names; another worker's champion may not be in our registry yet."""
        try:
            return self.session.scorer_of(ref)
        except ModelError as error:
            raise StoreUnavailable(
                f"a plan needs the model {ref.label}: {error.what}",
                where="models",
                hint="all workers need the same registry: share the folder models/",
            ) from error

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def planned_records(plans: Iterable[Plan]) -> int:
    """How many records the plans have."""
    return sum(span.to_position - span.from_position for plan in plans for span in plan.ranges)
