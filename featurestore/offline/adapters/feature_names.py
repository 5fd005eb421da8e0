"""The names of the features of a digest of definitions, as the offline store keeps them."""

from __future__ import annotations

from typing import Protocol

import pyarrow.dataset as pads

from claimtrace.errors import UsageError

from ..tables import DEFINITIONS
from .delta_errors import reading_errors


class Datasets(Protocol):
    """A store of tables."""

    def dataset(self, table: str) -> pads.Dataset:
        """Return the newest version of a table."""


def feature_names(store: Datasets, digest: str) -> list[str]:
    """Return the names of the features of one definitions digest, in vector order.

    Raises:
        UsageError: the table `definitions` has no rows of the digest.
    """
    dataset = store.dataset(DEFINITIONS)
    with reading_errors(DEFINITIONS):
        rows = dataset.to_table(
            columns=["feature_position", "feature"], filter=pads.field("digest") == digest
        )
    # another worker may have written the same rows too: of equal positions the last row counts
    names = dict(
        zip(rows["feature_position"].to_pylist(), rows["feature"].to_pylist(), strict=True)
    )
    if not names or sorted(names) != list(range(len(names))):
        raise UsageError(
            "the offline store doesn't know these definitions",
            where=digest,
            hint="the engine writes them with its first decisions; is this the right folder?",
        )
    return [names[index] for index in range(len(names))]
