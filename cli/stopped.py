"""Words about a command that Ctrl-C stopped: what it leaves behind, and how to go on."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells give it."""

COMMAND: Final[ContextVar[str]] = ContextVar("COMMAND", default="")
"""The name of the command that runs."""

_NOTHING: Final = "nothing was changed; run the same command again"
_REMAINS: Final = {
    "backup": "a copy is there whole or not at all; if it isn't, run the same command again",
    "demo": "the steps that are done stay; the same command goes on with the next",
    "init": "the new folder is there whole or not at all; if it isn't, run the same command again",
    "models": "all of the change is in the registry or nothing: see claimtrace models history",
    "pipeline": "no model is published in part; the same command lets the run go on",
    "producers": "",  # it has said it, with its counts
    "told": "",
    "replay": "rows sent so far are on the log; the same command sends all again, and the stream "
    "drops those that it has had",
    "restore": "the folder is there whole or not at all; if it isn't, run the same command again",
    "score --out": "the answers so far are kept beside the output; the same command goes on from "
    "there",
    "simulate": "events written so far stay on the log; the same command goes on from there",
    "stream": "every batch that was begun is kept; the same command goes on from there",
    "topics": "topics made so far stay; the same command makes the rest",
    "train": "no model is published in part; run the same command again",
    "upgrade": "the edition begins in the journal or it doesn't; the same command says which",
}


def words() -> str:
    """Return what remains of the command that runs, and what to do next, in one line.

    Empty when the command says it itself.
    """
    return _REMAINS.get(COMMAND.get(), _NOTHING)


def have_told() -> None:
    """Take note that the words were said elsewhere, such as in a log."""
    COMMAND.set("told")
