"""The assembly of batches: where their files lie, and the command that works on each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.adapters.batches.service import BatchService
    from serving.batches.job import Job

    from .workspace import Workspace


def build_batches(workspace: Workspace, folder: Path, config: Path | None = None) -> BatchService:
    """Open the jobs of a folder, and go on with those that were under way.

    Args:
        workspace: what claims are scored with.
        folder: has the jobs and their files.
        config: the settings file that was named on the command line.
    """
    from serving.adapters.batches.job_store import JobStore
    from serving.adapters.batches.runner import JobRunner
    from serving.adapters.batches.service import BatchService
    from serving.adapters.claim_files.parts import lines_answered

    named = [] if config is None else ["--config", str(config)]

    def command(job: Job, source: Path, output: Path) -> list[str]:
        line = [sys.executable, "-m", "claimtrace", *named, "--folder", str(workspace.folder),
                "score", str(source), "--out", str(output), "--as", job.way, "--json"]  # fmt: skip
        return [*line, "--fields", ",".join(job.fields)] if job.fields else line

    store = JobStore(folder)
    runner = JobRunner(store, command, lines_answered, workspace.clock)
    runner.start()
    return BatchService(store, runner, workspace.clock)
