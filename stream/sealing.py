"""Decisions written down a batch at a time: the bytes of `Decision`, without making one of each.

What comes out is what `claimtrace.decisions.seal` gives for the same values, byte for byte;
`tests/stream/test_sealing.py` compares the two. `decision_text` puts the bytes together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import (
    BYTES_BEFORE,
    BYTES_BEHIND,
    CHAIN_AT,
    GENESIS,
    ModelRef,
    RuleHit,
    link_all,
)
from claimtrace.facts import Facts
from claimtrace.ids import id_hashes
from claimtrace.records import Records

from .decision_text import ID_CHARS, Columns, Texts, write_decisions
from .reasons import Explained

_encode = msgspec.json.Encoder().encode
_HASH_BYTES, _ID_HASH_BYTES = 16, 20
_PIECES: Final = (
    b'{"schema_version":1,"decision_id":"', b'","claim_id":"', b',"event_time_ms":',
    b',"log_time_ms":', b',"known_time_ms":', b',"score":', b',"margin":', b',"features":[',
    b'],"feature_hash":"',
)  # fmt: skip
"""What stands before each value: see `Columns.pieces`."""
_ID_AT: Final = len(_PIECES[0]) + np.arange(ID_CHARS)
_CHAIN_AT: Final = CHAIN_AT + np.arange(len(GENESIS))


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
    """The sealed decisions of a batch, in columns: texts as uint8[n, characters], and bytes."""

    decision_ids: NDArray[np.uint8]
    feature_hashes: NDArray[np.uint8]
    chains: NDArray[np.uint8]
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
    claims: Facts,
    matrix: NDArray[np.float64],
    verdicts: Verdicts,
    explained: Mapping[int, Explained],
    chains: dict[int, str],
    buffer: bytearray,
) -> Sealed:
    """Write the decisions on claims down and link each to the one before it on its partition.

    Args:
        frame: what they share.
        claims: in order.
        matrix: float64[n, features], their served vectors.
        verdicts: one of each a claim.
        explained: by place among the claims, for those that are referred.
        chains: the head of each partition's chain; moves on.
        buffer: to work in; nothing in it counts, before or after.
    """
    event_ids, records = claims.event_ids, claims.records
    texts = Texts()
    hashes = b"".join(_hashes(matrix))
    quoted, bounds = _quoted(event_ids)
    columns = Columns(
        texts=texts,
        pieces=np.array([texts.number(piece) for piece in _PIECES], np.int64),
        variants=np.array(
            [
                _places(records, frame, texts),
                _judged(list(zip(verdicts.bands, verdicts.outcomes, strict=True)), frame, texts),
                _reasons(verdicts.rules, explained, texts),
                _ends(verdicts.flags, frame, texts),
            ],
            np.int64,
        ),
        id_hashes=_table(b"".join(id_hashes(event_ids, frame.policy)), _ID_HASH_BYTES),
        feature_hashes=_table(hashes, _HASH_BYTES),
        claims=quoted,
        claim_bounds=bounds,
        integers=np.stack([records.positions, claims.event_times_ms, records.log_times_ms]),
        numbers=np.column_stack([verdicts.scores, verdicts.margins, matrix]),
    )
    starts, ends = write_decisions(columns, BYTES_BEFORE, BYTES_BEHIND, buffer)
    spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
    bodies = link_all(buffer, spans, records.partitions(), chains)
    written = np.frombuffer(buffer, np.uint8)
    return Sealed(
        decision_ids=written[starts[:, None] + _ID_AT],
        feature_hashes=_table(hashes.hex().encode(), 2 * _HASH_BYTES),
        chains=written[ends[:, None] + _CHAIN_AT],
        bodies=bodies,
    )


def _places(records: Records, frame: Frame, texts: Texts) -> NDArray[np.int64]:
    numbers = [
        texts.number(
            f'","policy":{_text(frame.policy)},"topic":{_text(topic)}'
            f',"partition":{partition},"position":'.encode()
        )
        for topic, partition in records.places
    ]
    return np.array(numbers, np.int64)[records.parts]


def _judged(verdicts: Sequence[tuple[str, str]], frame: Frame, texts: Texts) -> list[int]:
    threshold = _text(frame.threshold)
    known = {
        (band, outcome): texts.number(
            f',"band":"{band}","outcome":"{outcome}","threshold":{threshold},"rules":'.encode()
        )
        for band, outcome in sorted(set(verdicts))
    }
    return [known[verdict] for verdict in verdicts]


def _reasons(
    rules: Sequence[list[RuleHit]], explained: Mapping[int, Explained], texts: Texts
) -> list[int]:
    found = [texts.number(b'[],"base_margin":null,"rest_margin":null,"reasons":[]')] * len(rules)
    with_rules = [i for i, hits in enumerate(rules) if hits]
    for i in sorted({*with_rules, *explained}):
        why = explained.get(i)
        base, rest, reasons = (
            (why.base_margin, why.rest_margin, why.reasons) if why else (None, None, ())
        )
        found[i] = texts.number(
            f'{_text(rules[i])},"base_margin":{_text(base)}'
            f',"rest_margin":{_text(rest)},"reasons":{_text(reasons)}'.encode()
        )
    return found


def _ends(flags: Sequence[tuple[str, ...]], frame: Frame, texts: Texts) -> list[int]:
    known = {
        names: texts.number(
            f'","model":{_text(frame.model)},"definitions":{_text(frame.definitions)}'
            f',"rules_digest":{_text(frame.rules)},"shadow":[],"flags":{_text(names)}'.encode()
        )
        for names in sorted(set(flags))
    }
    return [known[names] for names in flags]


def _hashes(matrix: NDArray[np.float64]) -> list[bytes]:
    """A digest of each row's bytes."""
    rows, stride = matrix.tobytes(), matrix.shape[1] * matrix.itemsize
    sha256 = hashlib.sha256
    return [
        sha256(rows[start : start + stride]).digest()[:_HASH_BYTES]
        for start in range(0, len(rows), stride)
    ]


def _text(thing: Any) -> str:
    return _encode(thing).decode()


def _quoted(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts as they stand between quotes in JSON, one behind the other, and their bounds."""
    joined = "".join(texts)
    if joined.isascii() and len(_encode(joined)) == len(joined) + 2:  # nothing is escaped
        sizes, content = [len(text) for text in texts], joined.encode()
    else:
        parts = [_encode(text)[1:-1] for text in texts]
        sizes, content = [len(part) for part in parts], b"".join(parts)
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return np.frombuffer(content, np.uint8), bounds


def _table(content: bytes, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8).reshape(-1, width)
