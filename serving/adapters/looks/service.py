"""Looks for the routes: from claims to answers, by whoever has an engine in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from claimtrace.clock import Clock
from claimtrace.decisions import ModelRef
from claimtrace.errors import StoreUnavailable
from featurestore.definitions.domain import Domain
from models.scorer import Scorer
from stream.engine.engine import Engine

from ...looks.answering import Answered, Ask, answers
from ...looks.entity import FeatureGroup, check_group, feature_group
from ...looks.freshness import Freshness, is_too_old
from ...looks.loaded_models import Wanted
from .desk import LookDesk
from .model_shelf import ModelShelf

Found = TypeVar("Found")


class TooFarBehind(StoreUnavailable):
    """The state is older than `serve.max_behind`: no answer is better than an old one."""


class _Asking(NamedTuple):
    ask: Ask
    scorer: Scorer | None


class LookService:
    """Looks at the state of the worker, or follower, of this process.

    Args:
        most_waiting: claims that may wait.
        max_behind_ms: a state that may be further behind answers nothing.
        timeout_s: how long a request waits for the engine.
        shelf: the models that requests name.
        clock: for the log time of claims.
        domain: the definitions.
    """

    def __init__(
        self, most_waiting: int, max_behind_ms: int, timeout_s: float, shelf: ModelShelf,
        clock: Clock, domain: Domain,
    ) -> None:  # fmt: skip
        self._domain, self.id_field = domain, domain.claim.id_field
        self.desk = LookDesk[_Asking, Answered](most_waiting, timeout_s)
        self.shelf = shelf
        self.freshness = Freshness()
        self._max_behind_ms, self._clock = max_behind_ms, clock

    async def look(self, values: Sequence[bytes], model: Wanted | None = None) -> Answered:
        """Look at claims.

        Args:
            values: 1 to 256 claims as JSON.
            model: the model that is to decide; None: who is in charge.

        Raises:
            TooFarBehind: the state is too old.
            TooManyWaiting, NoAnswer: see `LookDesk.ask`.
            NoSuchModel, Misfitting: see `ModelShelf.loaded`.
        """
        self.check_fresh()  # who would be refused needn't wait; it is asked again with the batch
        scorer = None if model is None else await self.shelf.loaded(model)
        ref = None if scorer is None else scorer.ref
        return await self.desk.ask(_Asking(Ask(values, ref), scorer), len(values), ref)

    async def read(self, work: Callable[[Engine], Found]) -> Found:
        """Return what `work` reads of the engine, between two plans.

        Raises:
            TooFarBehind, TooManyWaiting, NoAnswer: as `look`.
        """
        self.check_fresh()
        found: Any = await self.desk.question(work)  # type: ignore[arg-type]
        return found  # type: ignore[no-any-return]

    async def entity(self, group: str, key: str) -> FeatureGroup | None:
        """Return what the features know of an entity; None when nothing has named it.

        Raises:
            NoSuchGroup, BadKey: see `serving.looks.entity.check_group`.
            TooFarBehind, TooManyWaiting, NoAnswer: as `look`.
        """
        check_group(self._domain, group, key)
        now_ms = self._clock.now_ms()
        return await self.read(lambda engine: feature_group(engine, group, key, now_ms))

    def serve(self, engine: Engine) -> int:
        """Answer one batch of those who wait, on the engine's thread; returns how many."""
        return self.desk.serve(lambda batch: self._answers(engine, batch), engine)

    @property
    def behind_ms(self) -> int | None:
        """How far the state may be behind the log; None: nobody knows yet."""
        return self.freshness.behind_ms(self._clock.now_ms())

    @property
    def is_fresh(self) -> bool:
        """Whether looks are answered."""
        return not is_too_old(self.behind_ms, self._max_behind_ms)

    def check_fresh(self) -> None:
        """Raise `TooFarBehind` when the state is too old."""
        behind_ms = self.behind_ms
        if is_too_old(behind_ms, self._max_behind_ms):
            said = "is not known yet" if behind_ms is None else f"may be {behind_ms:,} ms old"
            raise TooFarBehind(
                f"the state {said}", where="serve.max_behind",
                hint="ask again when the worker has caught up, or ask another one",
            )  # fmt: skip

    def close(self) -> None:
        """Refuse whoever waits and comes; end the thread that loads models."""
        self.desk.close()
        self.shelf.close()

    def _answers(self, engine: Engine, batch: Sequence[_Asking]) -> list[Answered]:
        self.check_fresh()
        self.shelf.pin(batch[0].scorer)
        try:
            return answers(engine, [each.ask for each in batch], self._clock.now_ms())
        finally:
            self.shelf.pin(None)


def model_key(ref: ModelRef | None) -> str:
    """Name a model as requests do; "" for who is in charge.

    >>> model_key(ModelRef("auto_claims", 3, "ab")), model_key(None)
    ('auto_claims:3', '')
    """
    return "" if ref is None else f"{ref.name}:{ref.version}"
