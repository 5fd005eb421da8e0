"""Batches for the routes: files are taken in as they arrive, jobs are shown to who sent them."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import msgspec

from claimtrace.adapters.files.atomic_files import make_folder, sync_folder
from claimtrace.clock import Clock
from claimtrace.errors import StoreUnavailable, UsageError

from ...batches.job import FINAL, As, Form, Job, Jobs
from .job_store import JobStore
from .runner import JobRunner

Result = TypeVar("Result")

MOST_OPEN: Final = 100
"""Jobs of one caller that aren't finished: a further file is refused."""


class NoSuchJob(UsageError):
    """There is no such job, or it is another caller's."""


class TooManyJobs(UsageError):
    """The caller has too many jobs that aren't finished."""


class BatchService:
    """Files of claims as jobs.

    Args:
        store: the jobs.
        runner: works on them.
        clock: for the times of jobs.
    """

    def __init__(self, store: JobStore, runner: JobRunner, clock: Clock) -> None:
        self._store, self._runner, self._clock = store, runner, clock
        self._threads = ThreadPoolExecutor(2, "files")

    async def add(
        self,
        parts: AsyncIterator[bytes],
        *,
        way: As,
        form: Form,
        gzip: bool,
        fields: list[str],
        by: str,
    ) -> Job:
        """Store a file as it arrives, and queue its job once the file is durable.

        Raises:
            TooManyJobs: of this caller.
            StoreUnavailable: the disk is full.
        """
        jobs = await self.newest(by)
        if sum(job.state not in FINAL for job in jobs.jobs) >= MOST_OPEN:
            raise TooManyJobs(f"{MOST_OPEN} jobs aren't finished", hint="wait, or cancel some")
        now_ms = self._clock.now_ms()
        job = Job(id=secrets.token_hex(16), state="queued", way=way, form=form, gzip=gzip,
                  fields=fields, by=by, created_ms=now_ms, changed_ms=now_ms,
                  in_bytes=0)  # fmt: skip
        size = await self._receive(self._store.input_of(job), parts)
        job = msgspec.structs.replace(job, changed_ms=self._clock.now_ms(), in_bytes=size)
        await self._run(self._store.add, job)
        self._runner.wake()
        return job

    async def get(self, name: str, by: str) -> Job:
        """Return a job.

        Raises:
            NoSuchJob: there is none of this caller.
        """
        job = await self._run(self._store.get, name)
        if job is None or job.by != by:
            raise NoSuchJob("there is no such job", hint="GET /v1/batches lists yours")
        return job

    async def newest(self, by: str) -> Jobs:
        """Return the newest jobs of a caller."""
        jobs = await self._run(self._store.newest, 1_000)
        return Jobs([job for job in jobs if job.by == by])

    async def output(self, name: str, by: str) -> tuple[Job, Path]:
        """Return a job that is done, and the path of its output.

        Raises:
            NoSuchJob: there is none of this caller.
            UsageError: it isn't done.
        """
        job = await self.get(name, by)
        if job.state != "done":
            raise UsageError(f"the job is {job.state}", where=name, hint="wait until it is done")
        return job, self._store.output_of(job)

    async def remove(self, name: str, by: str) -> Job:
        """Cancel a job that isn't finished; delete one that is, with its files.

        Raises:
            NoSuchJob: there is none of this caller.
        """
        job = await self.get(name, by)
        if job.state in FINAL:
            await self._run(self._store.delete, name)
            return job
        return await self._run(self._runner.cancel, job)

    def close(self) -> None:
        """Stop the work: a running job goes on when the server is started again."""
        self._runner.stop()
        self._threads.shutdown(wait=True)
        self._store.close()

    async def _receive(self, path: Path, parts: AsyncIterator[bytes]) -> int:
        """Write a file as it arrives; returns its size. Nothing is left of one that breaks off."""
        size = 0
        try:
            file = await self._run(_create, path)
            try:
                async for part in parts:
                    size += len(part)
                    await self._run(file.write, part)
                await self._run(_sync, file, path)
            finally:
                await self._run(file.close)
        except OSError as error:
            await self._run(_remove, path)
            raise StoreUnavailable(f"the file can't be kept: {error.strerror}",
                                   hint="send it again later") from error  # fmt: skip
        except BaseException:
            await asyncio.shield(self._run(_remove, path))
            raise
        return size

    async def _run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run work that touches the disk in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _create(path: Path) -> IO[bytes]:
    make_folder(path.parent)
    path.parent.chmod(0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(file: IO[bytes], path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    sync_folder(path.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()
