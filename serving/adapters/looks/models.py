"""The registry's versions for the routes, asked for in a thread and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from claimtrace.decisions import ModelRef

from ...models_shown import Models, models_shown
from .model_shelf import ModelShelf, Registered


class ModelService:
    """Lists versions; whether one fits the definitions is found out once, as both never change.

    Args:
        registered: the registry.
        aliases: the aliases that are set, with their versions.
        shelf: the models in memory.
        most_loaded: models that stay in memory.
    """

    def __init__(
        self,
        registered: Registered,
        aliases: Callable[[], Mapping[str, int]],
        shelf: ModelShelf,
        most_loaded: int,
    ) -> None:
        self._registered, self._aliases, self._shelf = registered, aliases, shelf
        self._most_loaded = most_loaded
        self._misfits: dict[ModelRef, str] = {}
        self._threads = ThreadPoolExecutor(1, "registry")

    async def shown(self) -> Models:
        """Return the versions, the newest first."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._shown)

    def close(self) -> None:
        """End the thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _shown(self) -> Models:
        published = self._registered.published()
        for ref in published:
            if ref not in self._misfits:
                self._misfits[ref] = self._registered.misfit(ref)
        return models_shown(published, self._aliases(), self._shelf.names(), self._misfits,
                            self._most_loaded)  # fmt: skip
