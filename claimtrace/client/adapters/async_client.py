"""The client for asyncio."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from ...decisions import SealedDecision
from ...looks import AdvisoryDecision
from .. import calls, jobs
from ..answers import FeatureGroup, Job, Models, NotScored
from ..calls import Claim
from ..exchange import Patience
from ..http import Heard, Lost, Pause, Request, Response, Talk
from .connection import (
    CHUNK_BYTES,
    Gathered,
    checked_url,
    headers_of,
    httpx_module,
    lost,
    open_file,
    saved,
)

T = TypeVar("T")


class AsyncClient:
    """A client of `claimtrace serve` for asyncio; tasks may share one.

    Every call but sending files is repeated on lost connections, 429 (after Retry-After) and 503,
    until `total_s` is over. A repeat is safe: the claim's id is its idempotency key.

    Args:
        url: the server's address, such as `https://claims.example.com`.
        key: an API key or a JWT; none for a server on this machine that asks for none.
        answer_s: seconds to wait for one answer.
        total_s: seconds that a call may take in all, with repeats.
        plain_http: let the key travel by `http` to other machines.
        verify: an `ssl.SSLContext` with your own authority; by default the usual authorities.

    Raises:
        ConfigError: the address is none, or the key would travel unencrypted.

    >>> AsyncClient("https://claims.test", key="ct_ab_secret")
    AsyncClient('https://claims.test')
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        answer_s: float = 10.0,
        total_s: float = 30.0,
        plain_http: bool = False,
        verify: Any = True,
    ) -> None:
        self.url = checked_url(url, key, plain_http=plain_http)
        self._httpx = httpx_module()
        self._patience = Patience(answer_s, total_s)
        self._http = self._httpx.AsyncClient(headers=headers_of(key), verify=verify)
        self.batches = AsyncBatches(self._run, self._patience)

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def decide(self, claim: Claim, *, wait_s: float = 2.0) -> SealedDecision:
        """Put a claim on the log, and wait for its decision.

        The same claim again gives the same decision, also from another machine or next week.

        Args:
            claim: the event's fields, or its JSON.
            wait_s: seconds that the server holds the request, at most 30. Afterwards the decision
                is asked for until `total_s` is over.

        Raises:
            ClaimRefused: the claim isn't acceptable; `code` says why, and nothing was written.
            Conflict: its id was used by other bytes; nothing was written.
            NotDecidedYet: it is on the log, and will be decided.
            ApiError: see `claimtrace.errors`.
        """
        return calls.read_decision(await self.decide_bytes(claim, wait_s=wait_s))

    async def decide_bytes(self, claim: Claim, *, wait_s: float = 2.0) -> bytes:
        """Do as `decide`; returns the sealed bytes, which the chain's hash is of."""
        return await self._run(
            lambda now_s: calls.decide(claim, wait_s, self.url, self._patience, now_s)
        )

    @overload
    async def score(
        self, claims: Sequence[Claim], model: str | None = None
    ) -> list[AdvisoryDecision | NotScored]: ...
    @overload
    async def score(self, claims: Claim, model: str | None = None) -> AdvisoryDecision: ...
    async def score(
        self, claims: Claim | Sequence[Claim], model: str | None = None
    ) -> AdvisoryDecision | list[AdvisoryDecision | NotScored]:
        """Ask what would be decided on one claim, or on each of 1 to 256; nothing is written.

        Args:
            claims: a claim, or a list of them.
            model: `NAME:VERSION` of another model that is to decide alone.

        Returns:
            The advisory decision; for a list one answer for each claim, in their order, where
            `NotScored` says why a claim would be refused.

        Raises:
            ClaimRefused: the one claim would be refused.
            Conflict: the one claim is decided already.
            ApiError: see `claimtrace.errors`.
        """
        return await self._run(lambda now_s: calls.score(claims, model, self._patience, now_s))

    async def decision(self, claim_id: str) -> SealedDecision:
        """Return the decision on a claim.

        Raises:
            NotFound: there is none.
        """
        return calls.read_decision(await self.decision_bytes(claim_id))

    async def decision_bytes(self, claim_id: str) -> bytes:
        """Return the sealed bytes of the decision on a claim."""
        return await self._run(lambda now_s: calls.decision(claim_id, self._patience, now_s))

    async def evidence(self, claim_id: str, *, at_plan: int | None = None) -> dict[str, Any]:
        """Return the evidence of a decision: rows that each feature counted, and the proof.

        Args:
            claim_id: the claim.
            at_plan: as it was known after this plan of the journal; by default as it was decided.
        """
        return await self._run(
            lambda now_s: calls.evidence(claim_id, at_plan, self._patience, now_s)
        )

    async def what_if(self, claim_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what would have been decided, had fields of the claim had other values."""
        return await self._run(
            lambda now_s: calls.what_if(claim_id, changes, self._patience, now_s)
        )

    async def features(self, group: str, key: str) -> FeatureGroup:
        """Return the windows over an entity, or the fields of its profile, as they are now."""
        return await self._run(lambda now_s: calls.features(group, key, self._patience, now_s))

    async def models(self) -> Models:
        """Return the versions of the registry, the newest first."""
        return await self._run(lambda now_s: calls.models(self._patience, now_s))

    async def _run(self, begin: Callable[[float], Talk[T]]) -> T:
        talk = begin(time.monotonic())
        try:
            step = next(talk)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(random.uniform(step.least_s, step.most_s))  # noqa: S311
                    found: Response | Lost | None = None
                else:
                    found = await self._send(step.request, step.within_s)
                step = talk.send(Heard(found, time.monotonic()))
        except StopIteration as ended:
            return cast("T", ended.value)

    async def _send(self, request: Request, within_s: float) -> Response | Lost:
        file = open_file(request.file) if request.file else None
        try:
            async with (
                asyncio.timeout(None if request.save_to else within_s),
                self._http.stream(
                    request.method,
                    self.url + request.path,
                    params=request.query or None,
                    headers=request.headers,
                    content=_parts(file) if file is not None else request.content or None,
                    timeout=within_s,
                ) as answer,
            ):
                headers = {name.lower(): value for name, value in answer.headers.items()}
                if request.save_to and answer.status_code == 200:
                    with saved(request.save_to) as target:
                        async for part in answer.aiter_bytes():
                            target.write(part)
                    return Response(200, headers)
                gathered = Gathered(request)
                async for part in answer.aiter_bytes():
                    gathered.add(part)
                return Response(answer.status_code, headers, gathered.whole())
        except TimeoutError:  # httpx limits each read, not their sum
            return Lost(f"{request.label} took too long", sent=True)
        except self._httpx.HTTPError as error:
            return lost(error, request, self._httpx)
        finally:
            if file is not None:
                file.close()


async def _parts(file: Any) -> AsyncIterator[bytes]:
    while part := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield part


class AsyncBatches:
    """Files of claims, which the server scores or puts on the log; `client.batches`."""

    def __init__(
        self, run: Callable[[Callable[[float], Talk[Any]]], Awaitable[Any]], patience: Patience
    ):
        self._run, self._patience = run, patience

    async def send(
        self, file: str | os.PathLike[str], *, way: jobs.Way = "look", fields: Sequence[str] = ()
    ) -> Job:
        """Send a file of claims; returns its job.

        Args:
            file: NDJSON, CSV or Parquet by its name's ending, each also `.gz`.
            way: `look`: nothing is written, all lines at one plan; `claims`: they are decided.
            fields: fields of the answers to put into the output; by default the usual ones.
        """
        name, chosen = os.fspath(file), tuple(fields)
        job: Job = await self._run(
            lambda now_s: jobs.send(name, way, chosen, self._patience, now_s)
        )
        return job

    async def list(self) -> list[Job]:
        """Return the caller's jobs, the newest first."""
        found: list[Job] = await self._run(lambda now_s: jobs.listed(self._patience, now_s))
        return found

    async def get(self, job_id: str) -> Job:
        """Return how far a job is."""
        job: Job = await self._run(lambda now_s: jobs.shown(job_id, self._patience, now_s))
        return job

    async def wait(self, job_id: str, *, limit_s: float = 3_600.0) -> Job:
        """Wait until a job is done.

        Raises:
            ApiError: it failed, or was cancelled.
            NotDecidedYet: it isn't finished within the limit.
        """
        job: Job = await self._run(
            lambda now_s: jobs.awaited(job_id, limit_s, self._patience, now_s)
        )
        return job

    async def output(self, job_id: str, save_to: str | os.PathLike[str]) -> str:
        """Save the output of a job that is done; returns the name of the file."""
        name = os.fspath(save_to)
        found: str = await self._run(lambda now_s: jobs.output(job_id, name, self._patience, now_s))
        return found

    async def remove(self, job_id: str) -> Job:
        """Cancel a job that isn't finished; delete one that is, with its files."""
        job: Job = await self._run(lambda now_s: jobs.removed(job_id, self._patience, now_s))
        return job
