"""The training data: vectors as they were served, with the verdicts known at a given time.

No feature is recomputed: a claim's features are the ones that its decision logged. A claim without
a verdict isn't a legitimate claim: it has no label, counts in no metric, and still uses up a part
of the day's capacity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS
from claimtrace.errors import StateError, UsageError
from claimtrace.ids import digest_of
from featurestore.offline.tables import DECISIONS, DEFINITIONS, LABELS, newest_digest_query

from .queries import EVERYTHING, Sample, claims_query, counts_query, rows_query
from .queries import NEVER_MS as NEVER_MS

if TYPE_CHECKING:
    from featurestore.offline.adapters.delta import OfflineStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_ROWS: Final = 2_000_000
"""Most claims that are read without a sample; 80 features of them are 1.3 GB."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """All claims scored under one digest of definitions, in order of event time and claim id.

    Attributes:
        definitions: digest of the definitions.
        features: the F feature names of the definitions, in vector order.
        claim_ids: n strings.
        matrix: float64[n, F], the served vectors, NaN where missing.
        labels: float64[n]: 1 fraud, 0 legitimate, NaN no verdict known at `at_ms`.
        event_times_ms: int64[n].
        label_known_ms: int64[n], when the verdict became known; `NEVER_MS` without a verdict.
        groups: int64[n], equal for claims of one policy.
        amounts_cents: float64[n], NaN where the claim has no amount.
        unseen: int64[n], 1 if the claim has a category that the definitions don't list, else 0.
        at_ms: time of the reading; nothing that became known later is included.
        lineage: table versions, queries and counts, enough to read the same rows again.
        share: the share of the claims not known as frauds that was read; 1 without a sample.
        drawn: bool[n], rows that are a fair sample of all claims, frauds and others alike; None:
            all of them.
        decided_at_ms: int64[n], when the verdict was reached; `NEVER_MS` without one; None:
            unknown.
    """

    definitions: str
    features: list[str]
    claim_ids: list[str]
    matrix: Floats
    labels: Floats
    event_times_ms: Ints
    label_known_ms: Ints
    groups: Ints
    amounts_cents: Floats
    unseen: Ints
    at_ms: int
    lineage: dict[str, Any]
    share: float = 1.0
    drawn: NDArray[np.bool_] | None = None
    decided_at_ms: Ints | None = None

    @property
    def weights(self) -> Floats:
        """float64[n]; how many claims a row stands for: above 1 for the others of a sample."""
        return np.where(self.is_fraud, 1.0, 1.0 / self.share)

    @property
    def fair(self) -> NDArray[np.bool_]:
        """bool[n]; rows whose distribution is that of all claims, without weights."""
        return np.ones(len(self.labels), np.bool_) if self.drawn is None else self.drawn

    def counted(self, rows: NDArray[Any]) -> int:
        """Return how many claims some rows stand for; `rows` are numbers, or bool[n]."""
        return round(float(np.sum(self.weights[rows])))

    @property
    def is_fraud(self) -> NDArray[np.bool_]:
        """bool[n]; False for legitimate claims and for claims without a verdict."""
        return np.asarray(self.labels == 1)

    @property
    def has_label(self) -> NDArray[np.bool_]:
        """bool[n]; whether a verdict is known."""
        return ~np.isnan(self.labels)

    @property
    def days(self) -> Ints:
        """int64[n]; the day (UTC) of the claim's event time, counted from 1970."""
        return self.event_times_ms // DAY_MS


def load_dataset(
    offline: OfflineStore, at_ms: int, *, max_rows: int = MAX_ROWS, sample: Sample = EVERYTHING
) -> Dataset:
    """Read the served vectors of the newest definitions, with the verdicts known at `at_ms`.

    The verdict of a claim is the one decided last, and none if that one was retracted
    (`featurestore.definitions.verdicts`); any other outcome that is neither fraud nor legitimate
    isn't a verdict. A claim that was decided more than once (on another topic, in a replay) counts
    once, with its first vector.

    Args:
        max_rows: most claims that are read.
        sample: the share of the claims not known as frauds that is read.

    Raises:
        UsageError: no decisions, labels or definitions are stored yet; or there are more than
            `max_rows` claims, and the hint names the share that fits.
        StateError: the length of a vector differs from the number of features defined; or a file of
            the store is not the one that was committed.
    """
    tables = offline.tables()
    for table in (DECISIONS, LABELS, DEFINITIONS):
        if table not in tables:
            raise UsageError(
                f"the offline store has no {table} yet",
                hint="stream some claims and their adjudications first",
            )
        offline.check_files(table)
    newest = offline.sql(newest_digest_query())
    if not newest.num_rows:
        raise UsageError("no decision is stored yet", hint="stream some claims first")
    digest = newest["definitions"][0].as_py()
    features = _features(offline, digest)
    _check_size(offline, digest, at_ms, max_rows, sample)
    query = claims_query(digest, at_ms, sample)
    rows = offline.sql(query)
    if not rows.num_rows:
        raise UsageError("no decision was known by then", where=f"at_ms {at_ms}")
    labels = _floats(rows, "label")
    matrix = _matrix(rows, len(features))
    return Dataset(
        definitions=digest,
        features=features,
        claim_ids=rows["claim_id"].to_pylist(),
        matrix=matrix,
        labels=labels,
        event_times_ms=_ints(rows, "event_time_ms"),
        label_known_ms=_ints(rows, "label_known_ms"),
        groups=_codes(rows["group_key"]),
        amounts_cents=_floats(rows, "amount_cents"),
        unseen=_ints(rows, "unseen"),
        at_ms=at_ms,
        lineage={
            "tables": {name: tables[name] for name in (DECISIONS, LABELS, DEFINITIONS)},
            "query": query,
            "query_digest": digest_of(query),
            "claims": rows.num_rows,
            "labelled": int(np.sum(~np.isnan(labels))),
            "frauds": int(np.sum(labels == 1)),
            "definitions": digest,
            "at_ms": at_ms,
            **({} if sample.share >= 1 else {"sample": sample._asdict()}),
        },
        share=sample.share,
        drawn=None if sample.share >= 1 else rows["drawn"].to_numpy().astype(np.bool_),
        decided_at_ms=_ints(rows, "decided_at_ms"),
    )


def with_assumed(dataset: Dataset, after_ms: int) -> Dataset:
    """Return the data set in which old claims without a verdict count as legitimate.

    For domains in which only frauds are reported, such as card payments. The verdict counts as
    known since the claim had that age.

    Args:
        after_ms: the age in ms from which no report means that there is no fraud.
    """
    since_ms = dataset.event_times_ms + after_ms
    assumed = ~dataset.has_label & (since_ms <= dataset.at_ms)
    return replace(
        dataset,
        labels=np.where(assumed, 0.0, dataset.labels),
        label_known_ms=np.where(assumed, since_ms, dataset.label_known_ms),
        lineage=dataset.lineage | {"assumed_legit": int(np.sum(assumed)), "after_ms": after_ms},
    )


def _check_size(offline: OfflineStore, digest: str, at_ms: int, most: int, sample: Sample) -> None:
    """Refuse more claims than fit, before their vectors are read.

    Raises:
        UsageError: names the share that fits.
    """
    if offline.sql(rows_query(digest, at_ms, sample))["rows"][0].as_py() <= most:
        return
    counts = offline.sql(counts_query(digest, at_ms, sample))
    claims, frauds = counts["claims"][0].as_py(), counts["frauds"][0].as_py()
    if claims <= most:
        return
    # a little less than what fits exactly, since the number that is drawn is random
    fits = sample.share * max(0.0, 0.97 * most - frauds) / max(1, claims - frauds)
    digits = 1 - math.floor(math.log10(fits)) if fits > 0 else 0
    fits = math.floor(fits * 10**digits) / 10**digits
    what = f"{claims:,} claims, {frauds:,} of them known frauds: more than {most:,}"
    if fits <= 0:
        raise UsageError(what, where="training.most_rows", hint="raise training.most_rows")
    raise UsageError(
        what, where="training.most_rows",
        hint=f"claimtrace train --sample {fits:g} reads all frauds and that share of the others; "
        "or raise training.most_rows, if the memory is there",
    )  # fmt: skip


def _features(offline: OfflineStore, digest: str) -> list[str]:
    """Read the feature names of a digest of definitions, in vector order."""
    literal = "'" + digest.replace("'", "''") + "'"
    query = (
        f"SELECT DISTINCT feature_position, feature FROM {DEFINITIONS} "  # noqa: S608
        f"WHERE digest = {literal} ORDER BY feature_position"
    )
    rows = offline.sql(query)
    if rows["feature_position"].to_pylist() != list(range(rows.num_rows)) or not rows.num_rows:
        raise UsageError("the offline store doesn't know these definitions", where=digest)
    names: list[str] = rows["feature"].to_pylist()
    return names


def _matrix(rows: pa.Table, features: int) -> Floats:
    """Return the served vectors as float64[n, features]."""
    vectors = rows["features"].combine_chunks()
    lengths = np.unique(np.asarray(vectors.value_lengths()))
    if lengths.tolist() != [features]:
        raise StateError(
            f"vectors of {lengths.tolist()} numbers under definitions of {features}",
            where=DECISIONS,
        )
    flat = vectors.flatten().fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat, dtype=np.float64).reshape(rows.num_rows, features)


def _floats(rows: pa.Table, column: str) -> Floats:
    return np.asarray(rows[column].fill_null(float("nan")).to_numpy(), dtype=np.float64)


def _ints(rows: pa.Table, column: str) -> Ints:
    return np.asarray(rows[column].to_numpy(), dtype=np.int64)


def _codes(column: pa.ChunkedArray) -> Ints:
    """Encode strings as int64[n], equal for equal strings: ranks of the sorted distinct values."""
    return np.unique(column.to_numpy(zero_copy_only=False).astype(str), return_inverse=True)[
        1
    ].astype(np.int64)
