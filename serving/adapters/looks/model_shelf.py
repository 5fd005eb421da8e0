"""The models that requests name: loaded by threads of their own, and kept while they are used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from claimtrace.decisions import ModelRef
from claimtrace.errors import ClaimtraceError
from models.scorer import Scorer

from ...looks.loaded_models import LoadedModels, Wanted


class NoSuchModel(ClaimtraceError):
    """The registry has no such version."""


class Misfitting(ClaimtraceError):
    """A model of other definitions; its message has both digests."""


class Registered(NamedTuple):
    """The registry as far as requests go; all of it may be called from several threads.

    Args:
        published: returns every version there is, the oldest first.
        misfit: returns in words, with the digests, why a version can't serve; "" if it can.
        load: returns the loaded, verified model of a version.
    """

    published: Callable[[], Sequence[ModelRef]]
    misfit: Callable[[ModelRef], str]
    load: Callable[[ModelRef], Scorer]


class ModelShelf:
    """At most `most` models beside those in charge; the one least recently used leaves.

    The engine finds them through `scorer_of`, which it asks instead of the registry.

    Args:
        registered: the registry.
        most: models that stay loaded.
        in_charge: returns a model that a plan names, as the engine loaded it before.
    """

    def __init__(
        self, registered: Registered, most: int, in_charge: Callable[[ModelRef], Scorer]
    ) -> None:
        self._registered, self._in_charge = registered, in_charge
        self._loaded = LoadedModels[ModelRef, Scorer](most)
        self._lock = threading.Lock()
        self._loading: dict[ModelRef, asyncio.Future[Scorer]] = {}
        # one at a time: each takes a core and, for a moment, its size in memory
        self._threads = ThreadPoolExecutor(1, "models")
        self._pinned: Scorer | None = None

    async def loaded(self, wanted: Wanted) -> Scorer:
        """Return a model, loaded if need be; who asks for one that is being loaded waits for it.

        Raises:
            NoSuchModel: the registry doesn't have it.
            Misfitting: it is of other definitions.
            ClaimtraceError: it is damaged, or the registry doesn't answer.
        """
        with self._lock:
            for ref in self._loaded.names():
                if (ref.name, ref.version) == wanted:
                    found = self._loaded.get(ref)
                    assert found is not None
                    return found
        loop = asyncio.get_running_loop()
        ref = await loop.run_in_executor(self._threads, self._ref_of, wanted)
        running = self._loading.get(ref)
        if running is None:
            running = loop.run_in_executor(self._threads, self._load, ref)
            self._loading[ref] = running
            running.add_done_callback(lambda _: self._loading.pop(ref, None))
        return await asyncio.shield(running)

    def scorer_of(self, ref: ModelRef) -> Scorer:
        """Return a model to the engine: the one that is looked with, else one in charge."""
        pinned = self._pinned
        return pinned if pinned is not None and pinned.ref == ref else self._in_charge(ref)

    def pin(self, scorer: Scorer | None) -> None:
        """Have the engine's next look use a model, even if it has left the shelf meanwhile."""
        self._pinned = scorer

    def names(self) -> list[ModelRef]:
        """Return the models on the shelf."""
        with self._lock:
            return self._loaded.names()

    def close(self) -> None:
        """End the thread that loads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ref_of(self, wanted: Wanted) -> ModelRef:
        found = next((ref for ref in self._registered.published()
                      if (ref.name, ref.version) == wanted), None)  # fmt: skip
        if found is None:
            raise NoSuchModel(f"there is no model {wanted.name}:{wanted.version}", where="model",
                              hint="GET /v1/models lists them")  # fmt: skip
        return found

    def _load(self, ref: ModelRef) -> Scorer:
        if why := self._registered.misfit(ref):
            raise Misfitting(why, where=ref.label,
                             hint="name a version of the definitions of now")  # fmt: skip
        scorer = self._registered.load(ref)
        with self._lock:
            self._loaded.put(ref, scorer)
        return scorer
