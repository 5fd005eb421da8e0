"""Choose the few records of the log that can change what is decided on one claim.

They are the earlier claims that share an entity with it, the claims and labels of these ids, the
profile changes of its entities, and for each of them the records that held the watermarks then: the
watermark says what is late, and which ids are forgotten. Repeated records (duplicates) and those
with a known id and other bytes changed nothing when they arrived, and are left out.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.definitions.domain import Domain
from featurestore.definitions.features import WindowFeature
from featurestore.state.event_ledger import NEW

from .index import NO_ROW, EvidenceIndex
from .record_columns import NO_KEY, slots_of

Rows = NDArray[np.int64]

CLAIMS: Final = 0
"""The claims' number among the kinds of the index."""


class Selection(NamedTuple):
    """Rows of the index, each ascending.

    Args:
        rows: all that a small replay needs.
        claims, labels, changes: those of them that can count, without holders of watermarks.
        below: the first row that wasn't known.
    """

    rows: Rows
    claims: Rows
    labels: Rows
    changes: Rows
    below: int


def primary_slots(domain: Domain) -> list[int]:
    """Return for each entity the slot of the field whose entity gets the features."""
    slots = slots_of(domain)
    return [slots.index((entity, entity.key)) for entity in domain.entities]


def horizons_of(domain: Domain) -> dict[str, tuple[int, int]]:
    """Return for each entity how far its windows reach back, in ms: over claims, over labels."""
    found: dict[str, tuple[int, int]] = {}
    for each in domain.features:
        if isinstance(each, WindowFeature):
            claims_ms, labels_ms = found.get(each.entity.name, (0, 0))
            far_ms = each.width_ms + each.delay_ms
            found[each.entity.name] = (
                (claims_ms, max(labels_ms, far_ms))
                if each.known
                else (max(claims_ms, far_ms), labels_ms)
            )
    return found


def select(
    index: EvidenceIndex,
    keys: NDArray[np.uint64],
    event_time_ms: int,
    below: int,
    excluding: int = NO_ROW,
) -> Selection:
    """Select the records that the decision on a claim may depend on.

    Args:
        index: the index.
        keys: uint64[slots], the hashes of the claim's entities.
        event_time_ms: when the claim happened: no window reaches behind its horizon.
        below: the number of rows that were known.
        excluding: the claim's own row, if it is among them.
    """
    domain, columns = index.domain, index.columns
    kinds = columns["kinds"][:below]
    is_new = columns["statuses"][:below] == NEW
    is_claim = is_new & (kinds == CLAIMS)
    if excluding != NO_ROW and excluding < below:
        # a later day: no record with the claim's own id, or the claim would be a duplicate
        is_claim &= columns["ids"][:below] != columns["ids"][excluding]
    shares = np.zeros(below, np.bool_)
    slots, horizons = slots_of(domain), horizons_of(domain)
    times = columns["event_times"][:below]
    for primary in primary_slots(domain):
        if keys[primary] == NO_KEY:
            continue
        of = slots[primary][0]
        is_mine = np.zeros(below, np.bool_)
        for slot, (entity, _) in enumerate(slots):
            if entity == of:
                is_mine |= columns["keys"][slot, :below] == keys[primary]
        claims_ms, labels_ms = horizons.get(of.name, (0, 0))
        shares |= is_mine & (times > event_time_ms - claims_ms)
        if labels_ms:  # an old claim counts by a label that arrived in the window
            mine = np.flatnonzero(is_mine & is_claim)
            ids = columns["ids"][mine]
            labelled = _labelled_since(index, ids, event_time_ms - labels_ms, below)
            shares[mine[np.isin(ids, labelled)]] = True
    claims = np.flatnonzero(is_claim & shares)
    ids = np.unique(columns["ids"][claims])
    claims = np.flatnonzero(is_claim & np.isin(columns["ids"][:below], ids))
    about = columns["about"][:below]
    labels, changes = [], []
    for number, kind in enumerate(domain.events[1:], 1):
        is_kind = is_new & (kinds == number)
        if domain.labels is not None and kind is domain.labels.event:
            labels.append(np.flatnonzero(is_kind & np.isin(about, ids)))
        for group in domain.groups:
            key = keys[slots.index((group.entity, group.entity.key))]
            if kind is group.event and key != NO_KEY:
                changes.append(np.flatnonzero(is_kind & (about == key)))
    none = np.zeros(0, np.int64)
    found = claims, np.concatenate([none, *labels]), np.unique(np.concatenate([none, *changes]))
    counted = np.unique(np.concatenate(found))
    rows = np.unique(np.concatenate([counted, _holders(index, counted, below)]))
    return Selection(rows, *found, below)


def _labelled_since(
    index: EvidenceIndex, ids: NDArray[np.uint64], since_ms: int, below: int
) -> NDArray[np.uint64]:
    """Return those of some claims, as hashes, that have a label that arrived after a time."""
    columns, labels = index.columns, index.domain.labels
    if labels is None or not ids.size:
        return ids[:0]
    is_label = columns["kinds"][:below] == index.topics.index(labels.event.topic)
    about = columns["about"][:below][is_label & (columns["log_times"][:below] > since_ms)]
    wanted = np.sort(ids)  # few: the many labels aren't sorted
    at = np.minimum(np.searchsorted(wanted, about), wanted.size - 1)
    found: NDArray[np.uint64] = about[wanted[at] == about]
    return found


def _holders(index: EvidenceIndex, rows: Rows, below: int) -> Rows:
    """Return the rows that held the watermarks when `rows`, and the one behind them, arrived."""
    columns = index.columns
    behind = np.append(rows, below)
    before = behind[behind > 0] - 1
    found = np.concatenate([columns["holders"][rows], columns["claim_holders"][before]])
    kept: Rows = found[found != NO_ROW].astype(np.int64)
    return kept
