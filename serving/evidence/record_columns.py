"""What the index of evidence keeps of a record: numbers and hashes, no id in plain and no value.

A hash is the first 64 bits of the SipHash of the id's key under the secret key of the settings. Two
ids with one hash only make a replay read a record too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.records import Records
from claimtrace.buffers.siphash import Key, hash_parts
from featurestore.definitions.domain import Domain
from featurestore.definitions.features import Entity
from featurestore.fields.event_columns import EventColumns
from featurestore.fields.id_rules import IdRules, id_rules
from featurestore.fields.interning import join_strings
from stream.engine.engine import Engine

NO_KEY: Final = np.uint64(0)
"""The hash of a missing id, which links no claims."""

Columns = dict[str, NDArray[Any]]
"""By name: `kinds` (index among `Domain.events`), `partitions`, `positions`, `plans`, `log_times`,
`event_times`, `ids` (hashes of event ids), `contents` (of their bytes), `about` (of a label's
claim, or of a profile's entity), and `keys` [slots, n] (of a claim's entities)."""

WIDTHS: Final = {
    "kinds": np.int16, "partitions": np.int32, "positions": np.int64, "plans": np.int32,
    "log_times": np.int64, "event_times": np.int64, "ids": np.uint64, "contents": np.uint64,
    "about": np.uint64,
}  # fmt: skip


def slots_of(domain: Domain) -> list[tuple[Entity, str]]:
    """Return the entity and the field of each row of `keys`."""
    return [(entity, name) for entity in domain.entities for name in entity.fields]


def rules_of(domain: Domain, entity: Entity, edition: int) -> IdRules:
    """Return how ids of an entity are read under an edition, as the feature state reads them."""
    missing = domain.missing_ids(edition)
    return id_rules(entity.form, missing | frozenset(entity.deny), edition)


def hash_joined(joined: NDArray[np.uint8], key: Key) -> NDArray[np.uint64]:
    """Return the hash of each of the joined strings (`interning.join_strings`)."""
    ends = np.flatnonzero(joined == 0) + 1
    bounds = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
    found = hash_parts(joined, bounds, key)
    found[np.diff(bounds) == 1] = NO_KEY
    return found


def hash_texts(texts: Sequence[str], key: Key) -> NDArray[np.uint64]:
    """Return the hash of each text; an empty one has `NO_KEY`.

    >>> from claimtrace.buffers.siphash import hash_key
    >>> found = hash_texts(["a", "", "a"], hash_key("secret"))
    >>> bool(found[0] == found[2]), int(found[1])
    (True, 0)
    """
    if not texts:
        return np.zeros(0, np.uint64)
    return hash_joined(join_strings(texts), key)


def columns_of(
    engine: Engine, key: Key, records: Records, plans: NDArray[np.int64],
    unknown_schemas: Sequence[int] = (),
) -> Columns:  # fmt: skip
    """Return the columns of the accepted records, in their order.

    Args:
        engine: decodes them; its state is neither read nor changed, only its edition is read.
        key: of the hashes.
        records: of plans with one edition and the same unknown schemas.
        plans: int64[n], the plan of each record.
        unknown_schemas: as the plans have it.
    """
    domain = engine.domain
    decoded, columns = engine.decode(records, unknown_schemas)
    facts, accepted = decoded.facts, decoded.accepted
    count = len(facts)
    found: Columns = {
        "kinds": np.zeros(count, np.int16),
        "partitions": facts.records.partitions().astype(np.int32),
        "positions": facts.records.positions,
        "plans": plans[accepted].astype(np.int32),
        "log_times": facts.records.log_times_ms,
        "event_times": facts.event_times_ms,
        "ids": hash_texts(list(facts.event_ids), key),
        "contents": facts.contents,
        "about": np.zeros(count, np.uint64),
        "keys": np.zeros((len(slots_of(domain)), count), np.uint64),
    }
    for number, kind in enumerate(domain.events):
        rows = np.flatnonzero(facts.records.is_of(kind.topic))
        if not rows.size:
            continue
        found["kinds"][rows] = number
        if kind is domain.claim:
            fields = (
                EventColumns([facts.event(i) for i in rows.tolist()], kind)
                if columns is None
                else engine.intake.features.reading.fields_of(columns)
            )
            for slot, (entity, name) in enumerate(slots_of(domain)):
                keys, _ = fields.keys(name, rules_of(domain, entity, engine.edition))
                found["keys"][slot, rows] = hash_joined(keys, key)
            continue
        events = [facts.event(i) for i in rows.tolist()]
        labels = domain.labels
        if labels is not None and kind is labels.event:
            about = [getattr(event, labels.claim) or "" for event in events]
            found["about"][rows] = hash_texts(about, key)
        for group in domain.groups:
            if kind is group.event:
                rules = rules_of(domain, group.entity, engine.edition)
                keys, _ = EventColumns(events, kind).keys(group.entity.key, rules)
                found["about"][rows] = hash_joined(keys, key)
    return found
