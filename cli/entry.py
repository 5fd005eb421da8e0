"""The first module of a run: it answers Ctrl-C while the rest of the program is being imported.

Only what Python has loaded already is imported here, because a Ctrl-C during an import of ours
would end in a trace.
"""

from __future__ import annotations

import os
import signal
import sys

_INTERRUPTED = 130  # as `stopped.INTERRUPTED`
_EARLY = b"stopped before it began: nothing was changed; run the same command again\n"


def _leave(*_: object) -> None:
    """End at once: nothing has been opened yet, and an import can't be interrupted cleanly."""
    os.write(2, _EARLY)
    os._exit(_INTERRUPTED)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _again(unraisable: sys.UnraisableHookArgs) -> None:
    """Send a Ctrl-C again that came where Python can't raise it; show anything else as usual."""
    if unraisable.exc_type is KeyboardInterrupt:
        signal.raise_signal(signal.SIGINT)
    else:
        sys.__unraisablehook__(unraisable)


def main() -> int:
    """Run the command of the command line; from its start on, Ctrl-C is a KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in a shell's background
        return _run()
    signal.signal(signal.SIGINT, _leave)
    sys.unraisablehook = _again
    try:
        return _run()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over: the exit code stands


def _run() -> int:
    from .__main__ import main as run

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        return run()
    except KeyboardInterrupt:  # before the command began, or while an earlier one was answered
        os.write(2, b"stopped; run the same command again\n")
        return _INTERRUPTED
