"""Decisions written down a batch at a time: the bytes of `Decision`, without making one of each.

A decision is a fixed frame with about twenty values in it. The frame is encoded once for a batch,
the numbers column by column, and the rest is putting them together; so sealing costs a third of
encoding each decision as an object. What comes out is what `claimtrace.decisions.seal` gives for
the same values, byte for byte; `tests/stream/test_sealing.py` compares the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import GENESIS, ModelRef, RuleHit, linked
from claimtrace.ids import decision_ids
from featurestore.intake import Fact

from .reasons import Explained
from .vector_text import rows_text

_encode = msgspec.json.Encoder().encode
_HASH_DIGITS = 32


class Verdicts(NamedTuple):
    """What stands on the decisions of a batch beside their facts, one of each a claim; scores and
    margins are float64[n], NaN without a model."""

    scores: NDArray[np.float64]
    margins: NDArray[np.float64]
    bands: list[str]
    outcomes: list[str]
    flags: list[tuple[str, ...]]
    rules: list[list[RuleHit]]


class Sealed(NamedTuple):
    """The sealed decisions of a batch, in columns."""

    decision_ids: list[str]
    feature_hashes: list[str]
    chains: list[str]
    bodies: list[bytes]


class Frame(NamedTuple):
    """What all decisions of a batch share."""

    policy: str
    threshold: float | None
    model: ModelRef | None
    definitions: str
    rules: str


def seal_all(
    frame: Frame,
    claims: Sequence[Fact],
    matrix: NDArray[np.float64],
    verdicts: Verdicts,
    explained: Mapping[int, Explained],
    chains: dict[int, str],
) -> Sealed:
    """Write the decisions on claims down and link each to the one before it on its partition.

    Args:
        frame: what they share.
        claims: in order.
        matrix: float64[n, features], their served vectors.
        verdicts: one of each a claim.
        explained: by place among the claims, for those that are referred.
        chains: the head of each partition's chain; moves on.
    """
    event_ids = [each.accepted.event_id for each in claims]
    ids = decision_ids(event_ids, frame.policy)
    hashes = _hashes(matrix)
    vectors = rows_text(matrix)
    scores, margins = _texts(verdicts.scores.tolist()), _texts(verdicts.margins.tolist())
    columns = zip(
        ids, _quoted(event_ids), hashes, vectors, claims,
        _texts([each.record.position for each in claims]),
        _texts([each.accepted.event_time_ms for each in claims]),
        _texts([each.record.log_time_ms for each in claims]),
        scores, margins, verdicts.bands, verdicts.outcomes, verdicts.flags,
        verdicts.rules, strict=True,
    )  # fmt: skip
    places: dict[tuple[str, int], str] = {}
    lists: dict[tuple[str, ...], str] = {}
    before_rules = f'","threshold":{_text(frame.threshold)},"rules":'
    after_hash = (
        f'","model":{_text(frame.model)},"definitions":{_text(frame.definitions)}'
        f',"rules_digest":{_text(frame.rules)},"shadow":[],"flags":'
    )
    links: list[str] = []
    bodies: list[bytes] = []
    for i, (id_, claim_id, hash_, vector, fact, position, event_ms, log_ms, score, margin, band,
            outcome, flags, rules) in enumerate(columns):  # fmt: skip
        record = fact.record
        place = record.topic, record.partition
        place_text = places.get(place) or _place(places, place, frame.policy)
        flags_text = lists.get(flags) or lists.setdefault(flags, _text(flags))
        why = explained.get(i)
        reasons_text = _reasons(why) if why else _NO_REASONS
        body = (
            f'{{"schema_version":1,"decision_id":"{id_}","claim_id":"{claim_id}"'
            f'{place_text}{position},"event_time_ms":{event_ms},"log_time_ms":{log_ms}'
            f',"known_time_ms":{log_ms},"score":{score},"margin":{margin},"band":"{band}"'
            f',"outcome":"{outcome}{before_rules}{_text(rules) if rules else "[]"}{reasons_text}'
            f',"features":[{vector}],"feature_hash":"{hash_}{after_hash}{flags_text}'
        )
        sealed, chain = linked(body, chains.get(record.partition, GENESIS))
        chains[record.partition] = chain
        links.append(chain)
        bodies.append(sealed)
    return Sealed(ids, hashes, links, bodies)


_NO_REASONS = ',"base_margin":null,"rest_margin":null,"reasons":[]'


def _reasons(why: Explained) -> str:
    base, rest = _text(why.base_margin), _text(why.rest_margin)
    return f',"base_margin":{base},"rest_margin":{rest},"reasons":{_text(why.reasons)}'


def _place(known: dict[tuple[str, int], str], place: tuple[str, int], policy: str) -> str:
    topic, partition = place
    text = f',"policy":{_text(policy)},"topic":{_text(topic)},"partition":{partition},"position":'
    known[place] = text
    return text


def _hashes(matrix: NDArray[np.float64]) -> list[str]:
    """A digest of each row's bytes."""
    rows, stride = matrix.tobytes(), matrix.shape[1] * matrix.itemsize
    sha256 = hashlib.sha256
    return [
        sha256(rows[start : start + stride]).hexdigest()[:_HASH_DIGITS]
        for start in range(0, len(rows), stride)
    ]


def _text(thing: Any) -> str:
    return _encode(thing).decode()


def _quoted(texts: list[str]) -> list[str]:
    """Each text as it stands between quotes in JSON."""
    whole = _text(texts)
    if "\\" not in whole and texts:  # then no quote is inside a text
        return whole[2:-2].split('","')
    return [_text(text)[1:-1] for text in texts]


def _texts(numbers: Sequence[float]) -> list[str]:
    """Each number as JSON, NaN as null."""
    return _encode(numbers)[1:-1].decode().split(",") if numbers else []
