"""The index of evidence on disk: a folder of arrays that are mapped, not read, when it is opened.

A folder is written aside and renamed. What doesn't fit the journal, or can't be read, is built
again: nothing here is needed to decide.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from claimtrace.ids import digest
from featurestore.state_arrays import below, under
from serving.evidence.index import EvidenceIndex, Gap
from stream.journal.plan import Plan, encoded_plan
from stream.journal.terms import Terms, encoded_terms

_HEAD: Final = "index.json"
_VERSION: Final = 1
_LEAST_NEW: Final = 0.05
"""The share of new rows from which on it is worth to write all of them."""


class _Head(msgspec.Struct, frozen=True):
    """What an index belongs to, and the small parts of it."""

    version: int
    terms: str
    plan: int
    plan_digest: str
    edition: int
    gaps: list[Gap]
    holders: dict[str, int]


class IndexFile:
    """The newest index below a folder.

    Args:
        folder: made by the first `save`.
        terms: of the journal; an index of others is not opened.
    """

    def __init__(self, folder: Path, terms: Terms) -> None:
        self._folder = folder
        self._terms = digest(encoded_terms(terms))
        self._saved = 0
        self._arrays: dict[str, Any] = {}

    def load(self, index: EvidenceIndex, plans: Sequence[Plan]) -> bool:
        """Fill an empty index; returns whether there was one that fits the journal."""
        for folder in sorted(self._folder.glob("index-*"), reverse=True):
            with suppress(OSError, ValueError, KeyError, msgspec.MsgspecError):
                head = msgspec.json.decode((folder / _HEAD).read_bytes(), type=_Head)
                if not self._fits(head, plans):
                    continue
                arrays = {
                    path.stem.replace("~", "/"): np.load(path, mmap_mode="r", allow_pickle=False)
                    for path in sorted(folder.glob("*.npy"))
                }
                columns = {name: arrays[f"columns/{name}"] for name in index.columns}
                index.columns = columns
                index.plan, index.edition, index.gaps = head.plan, head.edition, list(head.gaps)
                index.holders = dict(head.holders)
                index.engine.begin(head.edition)
                self._saved, self._arrays = len(index), arrays
                return True
        return False

    def restore_ledgers(self, index: EvidenceIndex) -> None:
        """Restore what an extension needs, and a question doesn't."""
        for topic, ledger in index.ledgers.items():
            if found := below(f"ledgers/{topic}/", self._arrays):
                ledger.restore({name: np.array(array) for name, array in found.items()})

    def save(self, index: EvidenceIndex, plans: Sequence[Plan]) -> None:
        """Write the index if enough of it is new; a folder that can't be written is left alone."""
        if len(index) - self._saved <= _LEAST_NEW * len(index) and self._saved:
            return
        with suppress(OSError):
            self._write(index, plans)
            self._saved = len(index)

    def _fits(self, head: _Head, plans: Sequence[Plan]) -> bool:
        if head.version != _VERSION or head.terms != self._terms or head.plan > len(plans):
            return False
        return head.plan == 0 or _digest_of(plans, head.plan) == head.plan_digest

    def _write(self, index: EvidenceIndex, plans: Sequence[Plan]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        made = self._folder / f"index-{index.plan:012d}"
        aside = self._folder / f".writing-{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        arrays = under("columns/", index.columns)
        for topic, ledger in index.ledgers.items():
            arrays.update(under(f"ledgers/{topic}/", ledger.arrays()))
        for name, array in arrays.items():
            np.save(aside / f"{name.replace('/', '~')}.npy", array, allow_pickle=False)
        head = _Head(_VERSION, self._terms, index.plan, _digest_of(plans, index.plan),
                     index.edition, index.gaps, index.holders)  # fmt: skip
        (aside / _HEAD).write_bytes(msgspec.json.encode(head))
        shutil.rmtree(made, ignore_errors=True)
        aside.rename(made)
        for older in self._folder.glob("index-*"):
            if older != made:
                shutil.rmtree(older, ignore_errors=True)


def _digest_of(plans: Sequence[Plan], number: int) -> str:
    plan = plans[number - 1]
    assert plan.number == number, "plans are numbered from 1 without gaps"
    return digest(encoded_plan(plan))
