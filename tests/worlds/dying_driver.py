"""The driver in a process of its own, which dies at a given point.

    python -m tests.worlds.dying_driver FOLDER BATCH

    CRASH_AT=emitted:2  ends at once, as `kill -9` does, when it passes that point the second time
    HOLD_AT=planned:1   prints a line and waits there to be killed

It holds the folder's lock, prints `started` once it has recovered, and ends when all is consumed.

"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.errors import ClaimtraceError
from tests.worlds.stream_folder import World

KILLED = 137


def main() -> int:
    """Consume the records of the log."""
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    passed: dict[str, int] = {}

    def crash(point: str) -> None:
        passed[point] = passed.get(point, 0) + 1
        here = f"{point}:{passed[point]}"
        if here == os.environ.get("CRASH_AT"):
            os._exit(KILLED)
        if here == os.environ.get("HOLD_AT"):
            print("holding", flush=True)
            time.sleep(600)

    try:
        with FolderLock(folder):
            driver, log = World(folder, durable=True, background_from_bytes=0).start(crash)
            print("started", flush=True)
            while driver.step(batch):
                pass
            driver.finish()
            log.close()
    except ClaimtraceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
