"""What the folders of earlier editions are written, continued and compared with.

The product is used by its command line only, in a process of its own, so that its modules may move.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUTPUTS = ("claims.decisions", "claims.dead", "claims.drift", "claims.alerts")
MORE = ("contracts", "adjudicated", "claimed")
"""The files of further events that an edition keeps: NAME.csv with its mapping NAME.toml."""

_CRASHED = 137
_SEVERAL = """
import contextlib, io, json, os, runpy, sys
if point := os.environ.get("CRASH_AT"):
    from stream.worker.observer import WorkerObserver
    WorkerObserver.passed = lambda self, passed: os._exit(137) if passed == point else None
answers = []
for command in json.loads(sys.argv.pop()):
    sys.argv[1:] = command
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("claimtrace", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code or 0
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""
"""Does `python -m claimtrace` several times, because its imports and kernels take their time; with
`CRASH_AT` a worker ends at that point of `stream.worker.driver.CRASH_POINTS` as in a crash."""


class Crashed(RuntimeError):
    """A process ended where `CRASH_AT` asked it to."""


class Answer(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


def ask(
    edition: Path,
    cwd: Path,
    commands: Sequence[Sequence[str]],
    launcher: Sequence[str] = (),
    **environment: str,
) -> list[Answer]:
    """Run commands of `claimtrace` one after the other in one new process.

    The domain of the edition can be imported there. Settings come from the folder alone. A launcher
    is a command that runs the command behind it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMTRACE_")}
    path = os.pathsep.join([str(ROOT), str(edition)])
    asked = json.dumps([list(map(str, each)) for each in commands])
    ran = subprocess.run(
        [*launcher, sys.executable, "-c", _SEVERAL, asked],
        cwd=cwd,
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    if ran.returncode == _CRASHED:
        raise Crashed
    if ran.returncode:
        raise RuntimeError(f"ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return [Answer(*each) for each in json.loads(ran.stdout)]


def succeed(
    edition: Path, cwd: Path, commands: Sequence[Sequence[str]], **environment: str
) -> list[str]:
    """The same for commands that must exit with 0; returns what each printed."""
    answers = ask(edition, cwd, commands, **environment)
    for command, answer in zip(commands, answers, strict=True):
        if answer.code:
            raise RuntimeError(f"{command} exited with {answer.code}: {answer.out}{answer.err}")
    return [answer.out for answer in answers]


def pack(folder: Path) -> None:
    """Compress the snapshots: they are mostly room for what may come."""
    for path in (folder / "state" / "snapshots").glob("snapshot-*.bin"):
        path.with_suffix(".bin.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()


def copy_of(edition: Path, into: Path) -> Path:
    """A copy of an edition's folder as it was left, to work on."""
    shutil.copytree(edition / "folder", into)
    for path in (into / "state" / "snapshots").glob("snapshot-*.bin.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    return into


def further_events(edition: Path, folder: Path) -> list[list[str]]:
    """The commands that put the edition's further events on the log."""
    more = edition / "more"
    return [
        ["--folder", str(folder), "replay", str(more / f"{name}.csv"), "--mapping",
         str(more / f"{name}.toml"), "--json"]
        for name in MORE
    ]  # fmt: skip


def proofs(log: Path) -> dict[str, dict[str, int | str]]:
    """For each output topic of a log: how many records it has, and one SHA-256 of all of them."""
    found: dict[str, dict[str, int | str]] = {}
    for topic in OUTPUTS:
        hashed, count = hashlib.sha256(), 0
        for partition, records in records_of(log, topic).items():
            for value in records:
                hashed.update(b"%d %d\n" % (partition, len(value)) + value)
                count += 1
        found[topic] = {"records": count, "sha256": hashed.hexdigest()}
    return found


def records_of(log: Path, topic: str) -> Mapping[int, list[bytes]]:
    """The values of a topic by partition, read from the SQLite file without the product's reader.

    This is a second reader of log format 1; a newer format needs a branch here.
    """
    assert not log.with_name(log.name + "-wal").exists(), "somebody has it open"
    database = sqlite3.connect(f"{log.resolve().as_uri()}?immutable=1", uri=True)
    try:
        assert database.execute("PRAGMA user_version").fetchone() == (1,), "another log format"
        rows = database.execute(
            "SELECT partition, base, count, body FROM batches JOIN topics USING (topic_id) "
            "WHERE topic = ? ORDER BY partition, base",
            (topic,),
        ).fetchall()
    finally:
        database.close()
    found: dict[int, list[bytes]] = {}
    for partition, base, count, body in rows:
        values = found.setdefault(partition, [])
        assert base == len(values), "positions have no gaps"
        values.extend(_values(body, count))
    return found


def _values(body: bytes, count: int) -> Iterator[bytes]:
    if body[0] == 1:
        length = int.from_bytes(body[1:5], "little")
        body = bytes(pa.Codec("zstd").decompress(body[5:], length))
    else:
        body = body[1:]
    columns = 3 if body[0] else 2
    sizes = np.frombuffer(body, "<i4", columns * count, 1 + 8 * count).reshape(columns, count)
    at = 1 + 8 * count + 4 * sizes.size + int(np.maximum(sizes[0], 0).sum())
    for size in np.maximum(sizes[1], 0).tolist():
        yield body[at : at + size]
        at += size


def files_in(folder: Path) -> list[Path]:
    """All files, sorted by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
