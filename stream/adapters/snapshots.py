"""Snapshots: all state of the engine as of one plan, in one file that proves itself.

    magic, length of the index, index (JSON: names, types, shapes), the arrays' bytes, SHA-256

Written aside, synced, renamed; so a snapshot is there whole or not at all. The newest two stay:
when the newest is damaged, the one before it and a longer replay give the same state.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from claimtrace.adapters.atomic_files import sync_folder
from claimtrace.errors import StateError
from featurestore.arrays import Arrays

MAGIC: Final = b"claimtrace-snapshot-1\n"
KEPT: Final = 2
_NAME: Final = "snapshot-{:012d}.bin"


class _Entry(msgspec.Struct, array_like=True):
    name: str
    dtype: str
    shape: list[int]


class Snapshots:
    """The snapshots in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.aside"):
            left.unlink()

    def write(self, plan: int, arrays: Arrays) -> Path:
        """Make the state as of a plan durable, and drop all but the newest two."""
        path = self._folder / _NAME.format(plan)
        aside = path.with_suffix(".aside")
        entries = [_Entry(name, a.dtype.str, list(a.shape)) for name, a in arrays.items()]
        index = msgspec.json.encode(entries)
        hashed = hashlib.sha256()
        with aside.open("wb") as file:
            for part in (MAGIC, len(index).to_bytes(8, "little"), index, *arrays.values()):
                block = part if isinstance(part, bytes) else np.ascontiguousarray(part).data
                if isinstance(block, memoryview) and block.nbytes == 0:
                    continue
                hashed.update(block)
                file.write(block)
            file.write(hashed.digest())
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        sync_folder(self._folder)
        for old in self._paths()[:-KEPT]:
            old.unlink()
        return path

    def newest(self, fits: Callable[[Arrays], bool] = lambda _: True) -> tuple[int, Arrays] | None:
        """The newest snapshot that is whole and fits: its plan and arrays; None when none does.

        Raises:
            StateError: when there are snapshots but all are damaged.
        """
        paths = self._paths()
        whole = 0
        for path in reversed(paths):
            arrays = _read(path)
            if arrays is None:
                continue
            whole += 1
            if fits(arrays):
                return int(path.stem.rpartition("-")[2]), arrays
        if paths and not whole:
            raise StateError(
                "every snapshot is damaged",
                where=str(self._folder),
                hint="remove them: the state is rebuilt from the journal, which takes longer",
            )
        return None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("snapshot-*.bin"))


def _read(path: Path) -> Arrays | None:
    content = path.read_bytes()
    body, proof = content[:-32], content[-32:]
    if not body.startswith(MAGIC) or hashlib.sha256(body).digest() != proof:
        return None
    at = len(MAGIC)
    size = int.from_bytes(body[at : at + 8], "little")
    at += 8
    entries = msgspec.json.decode(body[at : at + size], type=list[_Entry])
    at += size
    arrays: Arrays = {}
    for entry in entries:
        dtype = np.dtype(entry.dtype)
        count = int(np.prod(entry.shape, dtype=np.int64))
        arrays[entry.name] = np.frombuffer(body, dtype, count, at).reshape(entry.shape)
        at += count * dtype.itemsize
    return arrays
