"""Background work is waited for at the end of a process, but not for ever."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from threading import Event

from claimtrace.settings.schema import Settings
from cli.transports.choice import open_transport
from cli.wiring.assembly import build_driver
from cli.wiring.workspace import Workspace
from stream.adapters.process.background import DaemonThreads
from stream.worker.observer import WorkerObserver


def test_the_end_waits_for_work_that_runs() -> None:
    may_end, ended = Event(), []
    with DaemonThreads() as threads:
        threads.submit(lambda: ended.append(may_end.wait(60)))
        threads.submit(may_end.set)
    assert ended == [True]


def test_the_end_does_not_wait_for_ever() -> None:
    never = Event()
    with DaemonThreads(longest_wait_s=0.01) as threads:
        future = threads.submit(never.wait)
    assert not future.done()
    never.set()
    assert future.result(60)


def test_a_worker_that_ends_with_an_error_waits_for_its_append(tmp_path: Path) -> None:
    """Arrow and Delta Lake crash the process when the interpreter ends under one of their calls."""
    workspace, done = Workspace(Settings(folder=str(tmp_path))), []
    with open_transport(workspace, create=True) as transport, transport.lock():
        with ExitStack() as opened:
            log = transport.open_log(WorkerObserver())
            driver = build_driver(workspace, log, WorkerObserver(), lambda: False, opened)
            executor = driver._ownership._writer._executor
            assert executor is not None
            stored = Event()
            executor.submit(lambda: done.append(stored.wait(1) or "stored"))
        assert done == ["stored"], "the worker has left its threads behind"
