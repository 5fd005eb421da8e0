"""A small folder of a whole stream, as an earlier edition left it, and ways to damage a copy."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli.__main__ import main
from tests.compat.editions import HERE, copy_of, further_events

EDITION = HERE / "edition_1"


class Told(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Everything printed, on one line."""
        return " ".join((self.out + self.err).split())

    @property
    def json(self) -> Any:
        """What was printed as JSON."""
        return json.loads(self.out)


def ask(folder: Path, *arguments: str) -> Told:
    """Run a command on a folder, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--folder", str(folder), *arguments])
    return Told(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def edition_domain() -> Iterator[None]:
    """Let the edition's domain be imported."""
    sys.path.insert(0, str(EDITION))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("CLAIMTRACE_FOLDER", raising=False)
            yield
    finally:
        sys.path.remove(str(EDITION))


def lived_folder(into: Path) -> Path:
    """Make a folder in which this version has promoted a model, decided, and stopped cleanly."""
    folder = copy_of(EDITION, into)
    assert ask(folder, "models", "promote", "1", "--reason", "again").code == 0
    events = [words[2:] for words in further_events(EDITION, folder)]
    for words in (*events, ["stream", "--until-end"]):
        told = ask(folder, *words)
        assert told.code == 0, told.words
    return folder


def copied(folder: Path, into: Path) -> Path:
    """Copy a folder, to damage it."""
    shutil.copytree(folder, into)
    return into


def contents(folder: Path) -> Mapping[str, str]:
    """Return the digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def change_log(folder: Path, statement: str, *arguments: object) -> int:
    """Change the log's file behind the product's back; returns how many rows were changed."""
    database = sqlite3.connect(folder / "log.db")
    count = database.execute(statement, arguments).rowcount
    database.commit()
    database.close()
    return count


def drop_newest_batch(folder: Path, topic: str) -> None:
    """Remove the newest stored batch of a topic."""
    changed = change_log(
        folder,
        "delete from batches where (topic_id, partition, base) = ("
        "select topic_id, partition, base from batches join topics using (topic_id) "
        "where topics.topic = ? order by base desc limit 1)",
        topic,
    )
    assert changed == 1


def empty_topic(folder: Path, topic: str) -> None:
    """Remove all records of a topic."""
    changed = change_log(
        folder,
        "delete from batches where topic_id = (select topic_id from topics where topic = ?)",
        topic,
    )
    assert changed


def cut_lines(path: Path, keep: int) -> None:
    """Keep the first lines of a file; a negative number cuts that many off the end."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:keep]))
