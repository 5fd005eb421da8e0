"""The gate of a door without a worker: asked over HTTP at a process that has one.

Whoever waits while a question is under way is in the next question.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

import httpx
import msgspec

from stream.engine.looked import Looked

from ...doors.lookup import Question, read_verdicts, taken
from ..looks.desk import NoAnswer, TooManyWaiting

PATH: Final = "/v1/decisions/lookup"
_NOBODY: Final = "no worker or follower says whether the claim is known"


class Gate(Protocol):
    """The one who says whether a claim would be refused, or is known."""

    async def ask(self, ask: bytes, claims: int) -> Looked:
        """Wait for what is said of one claim."""


class Lookup:
    """Asks the server at `serve.lookup`; of one event loop.

    Args:
        url: of the server; empty: nobody is asked, and all claims are refused.
        key: its API key; empty: none.
        most: claims that may wait.
        timeout_s: how long an answer is waited for.
        transport: of httpx, for tests.
    """

    def __init__(
        self, url: str, key: str, most: int, timeout_s: float, transport: Any = None
    ) -> None:
        self._url, self._most, self._timeout_s = url.rstrip("/"), most, timeout_s
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._transport = transport
        self._waiting: list[tuple[bytes, asyncio.Future[Looked]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, ask: bytes, claims: int) -> Looked:  # noqa: ARG002
        """Wait for what the server says of a claim.

        Raises:
            TooManyWaiting: the claim doesn't wait.
            NoAnswer: there is no server, or it has no state.
        """
        if not self._url:
            raise NoAnswer(f"{_NOBODY}: serve.lookup names none")
        if len(self._waiting) >= self._most:
            raise TooManyWaiting
        future: asyncio.Future[Looked] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await future

    async def _ask(self) -> None:
        async with httpx.AsyncClient(
            headers=self._headers, timeout=self._timeout_s, transport=self._transport
        ) as client:
            while self._waiting:
                count = taken([len(value) for value, _ in self._waiting])
                batch = self._waiting[:count]
                del self._waiting[:count]
                try:
                    found = await self._answers(client, [value for value, _ in batch])
                except Exception as error:  # whoever waits must hear of it
                    why = str(error) or type(error).__name__
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(NoAnswer(f"{_NOBODY}: {why}"))
                    continue
                for (_, future), looked in zip(batch, found, strict=True):
                    if not future.done():
                        future.set_result(looked)

    async def _answers(self, client: httpx.AsyncClient, claims: list[bytes]) -> Any:
        body = msgspec.json.encode(Question(claims))
        answer = await client.post(f"{self._url}{PATH}", content=body)
        if answer.status_code != 200:
            raise NoAnswer(f"the server at serve.lookup answers {answer.status_code}")
        found = read_verdicts(answer.content, len(claims))
        if found is None:
            raise NoAnswer("the server at serve.lookup doesn't answer as claimtrace serve does")
        return found
