"""The file of a search: Optuna's journal, JSON by lines, read with distrust.

A line may be torn by a kill while it was written: it is cut off, and its trial is judged again. All
else that isn't a search of ours is damage, and refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from claimtrace.errors import StateError
from claimtrace.settings.loading import MOST_TRIALS

from ..fitting.search import Range, Result

MOST_BYTES: Final = 64 * 2**20
"""Most bytes of a file that is read: some 5 KB a trial are written."""

MARK: Final = "claimtrace"
"""The name of our own attribute of a study and of a trial."""

_CREATE_STUDY: Final = 0
_STUDY_ATTRIBUTE: Final = 2
_CREATE_TRIAL: Final = 4


class Start(msgspec.Struct, frozen=True):
    """Where an earlier search's best settings came from."""

    study: str
    asked: dict[str, float]


class Header(msgspec.Struct, frozen=True):
    """The beginning of a search: its objective, its time, and its first settings.

    Attributes:
        objective: what it looks for.
        at_ms: the time as of which its claims were read.
        warm: the settings tried first, after the built-in choice.
    """

    objective: str
    at_ms: int
    warm: list[Start]


class Found(msgspec.Struct, frozen=True):
    """The content of a file."""

    header: Header
    results: list[Result]


class _Line(msgspec.Struct):
    op_code: int
    user_attr: dict[str, msgspec.Raw] = {}
    user_attrs: dict[str, msgspec.Raw] = {}


def read_study(path: Path, space: Mapping[str, Range]) -> Found | None:
    """Read a search; cuts off a torn last line. None if the file holds no search yet.

    Raises:
        StateError: the file isn't one of ours, or is damaged; the hint says what to do.
    """
    content = _content(path)
    whole = content[: content.rfind(b"\n") + 1]
    header, results = None, list[Result]()
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            read = msgspec.json.decode(line, type=_Line)
            if read.op_code == _STUDY_ATTRIBUTE and header is None:
                header = msgspec.json.decode(read.user_attr[MARK], type=Header)
            elif read.op_code == _CREATE_TRIAL and header is not None:
                results.append(_sound(msgspec.json.decode(read.user_attrs[MARK], type=Result)))
            elif read.op_code != _CREATE_STUDY or number > 1:
                raise ValueError(f"operation {read.op_code}")
            _check(header, results[-1:], space)
        except (msgspec.DecodeError, KeyError, ValueError, RecursionError) as error:
            raise broken(path, f"line {number}: {error}") from None
    if len(results) > MOST_TRIALS + 1:
        raise broken(path, f"{len(results):,} trials")
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return None if header is None else Found(header, results)


def broken(path: Path, what: str) -> StateError:
    """Return the error for a damaged file."""
    return StateError(
        f"the file of a search is damaged: {what}", where=str(path),
        hint="remove the file: the search then starts anew",
    )  # fmt: skip


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise broken(path, f"more than {MOST_BYTES:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise broken(path, str(error)) from error


def _sound(result: Result) -> Result:
    numbers = (result.value, result.average_precision, *result.looks.values())
    if not all(map(math.isfinite, numbers)) or not 1 <= result.rounds <= 10**6:
        raise ValueError("a result that can't be")
    return result


def _check(header: Header | None, results: list[Result], space: Mapping[str, Range]) -> None:
    """Refuse settings that lie outside of what is searched; names that aren't searched may stand
    in settings of an earlier search."""
    warm: list[Any] = header.warm if header is not None else []
    for asked in [*(each.asked for each in warm), *(each.asked for each in results)]:
        for name, value in asked.items():
            if name in space and not space[name].low <= value <= space[name].high:
                raise ValueError(f"{name} = {value} is not within the search")
