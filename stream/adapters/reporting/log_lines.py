"""Log lines: one line an event, as text or as JSON, through the standard library's `logging`.

    2026-03-01T12:00:00.123Z INFO  snapshot published  plan=120 seconds=0.41
    {"time":"2026-03-01T12:00:00.123Z","level":"info","event":"snapshot published","plan":120,...}

A line is one line whatever it tells: control characters, line ends and other characters without a
shape are written as escapes, long values are cut, and known secrets are replaced.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from claimtrace.settings.schema import REDACTED

ROOT: Final = "claimtrace"
"""The logger above all of ours; silent until `start_log` adds a handler."""
LOG: Final = logging.getLogger(f"{ROOT}.worker")
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_STDERR: Final = 2
_MOST_CHARACTERS: Final = 2_000
_MOST_TRACE_CHARACTERS: Final = 20_000
_SHORTEST_SECRET: Final = 4
_LOGIN: Final = re.compile(r"://[^/@\s]+@")
_BARE: Final = re.compile(r"[^\s\"=\\]+")
_RESERVED: Final = ("time", "level", "event", "logger", "trace")

logging.getLogger(ROOT).addHandler(logging.NullHandler())  # else the last-resort handler prints


def log_event(level: str, words: str, /, **fields: Any) -> None:
    """Log an event of the worker's life: fixed words, and fields with what belongs to it."""
    LOG.log(LEVELS[level], words, extra={"fields": fields})


def log_fault(error: BaseException) -> None:
    """Log a fault of the product with its trace."""
    words = f"a fault of ours: {type(error).__name__}: {error}"
    LOG.error(words, exc_info=error, extra={"fields": {}})


class LineFormatter(logging.Formatter):
    """Formats a record as one line of text.

    Args:
        secrets: texts that are replaced wherever they are; those of less than four characters
            would change other words and are left.

    >>> record = logging.LogRecord("claimtrace.worker", 20, "", 0, "model in charge", None, None)
    >>> record.created, record.fields = 1.8e9, {"model": "auto_claims/3", "why": "a\\nb"}
    >>> LineFormatter().format(record)
    '2027-01-15T08:00:00.000Z INFO    model in charge  model=auto_claims/3 why="a\\\\nb"'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        known = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, known))) if known else None

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        told = self._told(record)
        head = f"{told.pop('time')} {told.pop('level').upper():<7} {told.pop('event')}"
        fields = " ".join(f"{name}={_bare(value)}" for name, value in told.items())
        return f"{head}  {fields}" if fields else head

    def _told(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return time, level, words and fields, cleaned."""
        when = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, Any] = {
            "time": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "event": self._clean(record.getMessage(), _MOST_CHARACTERS),
        }
        if not record.name.startswith(ROOT):
            told["logger"] = self._clean(record.name, _MOST_CHARACTERS)
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        for name, value in fields.items():
            plain = isinstance(value, int | float) or value is None
            name = f"{name}_" if name in _RESERVED else name
            told[name] = value if plain else self._clean(str(value), _MOST_CHARACTERS)
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            told["trace"] = self._clean(trace, _MOST_TRACE_CHARACTERS)
        return told

    def _clean(self, text: str, most: int) -> str:
        """Return a text without secrets, cut in its middle, and escaped for this form of lines."""
        if self._secrets is not None:
            text = self._secrets.sub(REDACTED, text)
        text = _LOGIN.sub(f"://{REDACTED}@", text)
        if len(text) > most:
            text = f"{text[: most // 2]} ... {text[-most // 2 :]}"
        return self._escape(text)

    def _escape(self, text: str) -> str:
        return "".join(c if c.isprintable() and c != "\\" else _escaped(c) for c in text)


class JsonFormatter(LineFormatter):
    """Formats a record as one JSON object in ASCII; a trace keeps its line ends as `\\n`.

    >>> record = logging.LogRecord("claimtrace.worker", 30, "", 0, "paused", None, None)
    >>> record.created, record.fields = 1.8e9, {"store": "log"}
    >>> JsonFormatter().format(record)
    '{"time":"2027-01-15T08:00:00.000Z","level":"warning","event":"paused","store":"log"}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        told = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self._told(record).items()
        }
        return json.dumps(told, separators=(",", ":"))

    def _escape(self, text: str) -> str:
        return text  # JSON has escapes of its own


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream; a stream that is closed or full never ends the worker."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Ignore an error of the stream; the line that met it is lost."""


def start_log(
    output: TextIO, form: str, level: str, secrets: Iterable[str] = ()
) -> logging.Handler:
    """Write the log to a file or terminal from now on; returns the handler, for `end_log`.

    Warnings of other libraries are written in the same form, unless somebody else (such as Faust)
    has taken care of the root logger. librdkafka's own lines are written at the level `debug`.

    Args:
        output: takes the lines.
        form: "text" or "json".
        level: a word of `LEVELS`.
        secrets: see `LineFormatter`.
    """
    handler = _Handler(output)
    handler.setFormatter((JsonFormatter if form == "json" else LineFormatter)(secrets))
    ours, root = logging.getLogger(ROOT), logging.getLogger()
    ours.setLevel(LEVELS[level])
    ours.propagate = False
    ours.addHandler(handler)
    logging.getLogger(f"{ROOT}.kafka").setLevel(
        logging.DEBUG if level == "debug" else logging.CRITICAL + 1
    )
    if not root.handlers:
        root.addHandler(handler)
        logging.captureWarnings(True)
    return handler


def write_last(words: str) -> None:
    """Write a last line past the handler's lock, which a thread that hangs may hold."""
    record = logging.LogRecord(LOG.name, logging.WARNING, "", 0, words, None, None)
    for handler in logging.getLogger(ROOT).handlers:
        if isinstance(handler, _Handler):
            os.write(_STDERR, f"{handler.format(record)}\n".encode("ascii", "backslashreplace"))


def end_log(handler: logging.Handler) -> None:
    """Stop writing the log; harmless when called again."""
    for logger in (logging.getLogger(ROOT), logging.getLogger()):
        logger.removeHandler(handler)
    logging.getLogger(ROOT).propagate = True
    logging.getLogger(f"{ROOT}.kafka").setLevel(logging.NOTSET)
    logging.captureWarnings(False)
    handler.close()


def _escaped(character: str) -> str:
    known = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character)
    if known is not None:
        return known
    code = ord(character)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
    )


def _bare(value: Any) -> str:
    """Return a value for the text form: in quotes when it has blanks, quotes or a `=`."""
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    if _BARE.fullmatch(text):
        return text
    inner = text.replace('"', '\\"')
    return f'"{inner}"'
