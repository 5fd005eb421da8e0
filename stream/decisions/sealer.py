"""Decisions written down a batch at a time: the bytes of `Decision`, without making one of each.

What comes out is what `claimtrace.decisions.seal` gives for the same values, byte for byte;
`tests/stream/decisions/test_sealer.py` compares the two. `decision_text` puts the bytes together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.accepted import AcceptedEvents
from claimtrace.batches.records import Records
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.buffers.sha_kernels import chain_up, sha1_each, sha256_rows
from claimtrace.decisions import (
    BYTES_BEHIND,
    CHAIN_AT,
    GENESIS,
    UNLINKED,
    ModelRef,
    RuleHit,
)
from claimtrace.ids import id_prefix

from .outcomes import BANDS, OUTCOMES
from .reasons import Explained
from .text_kernel import ID_CHARS, Columns, Texts, cut, write_decisions

_encode = msgspec.json.Encoder().encode
_HASH_BYTES: Final = 16
_PIECES: Final = (
    b'{"schema_version":1,"decision_id":"', b'","claim_id":"', b',"event_time_ms":',
    b',"log_time_ms":', b',"known_time_ms":', b',"score":', b',"margin":', b',"features":[',
    b'],"feature_hash":"',
)  # fmt: skip
"""What stands before each value: see `Columns.pieces`."""


class Verdicts(NamedTuple):
    """What stands on the decisions of a batch beside their facts, one of each a claim.

    `scores` and `margins` are float64[n], NaN without a model; `bands`, `outcomes` and `flags`
    int64[n], numbers of `BANDS`, `OUTCOMES` and `flag_sets`; `rules` those that fired, by place.
    """

    scores: NDArray[np.float64]
    margins: NDArray[np.float64]
    bands: NDArray[np.int64]
    outcomes: NDArray[np.int64]
    flags: NDArray[np.int64]
    flag_sets: Sequence[tuple[str, ...]]
    rules: Mapping[int, list[RuleHit]]


class Sealed(NamedTuple):
    """The sealed decisions of a batch, in columns: texts as uint8[n, characters], and bytes."""

    decision_ids: NDArray[np.uint8]
    feature_hashes: NDArray[np.uint8]
    chains: NDArray[np.uint8]
    bodies: ByteStrings


class Frame(NamedTuple):
    """What all decisions of a batch share."""

    policy: str
    threshold: float | None
    model: ModelRef | None
    definitions: str
    rules: str


def seal_all(
    frame: Frame,
    claims: AcceptedEvents,
    ids: ByteStrings,
    matrix: NDArray[np.float64],
    verdicts: Verdicts,
    explained: Mapping[int, Explained],
    chains: dict[int, str],
    buffer: bytearray,
) -> Sealed:
    """Write the decisions on claims down and link each to the one before it on its partition.

    Args:
        frame: what they share.
        claims, ids: in order; the ids of their events.
        matrix: float64[n, features], their served vectors.
        verdicts: one of each a claim.
        explained: by place among the claims, for those that are referred.
        chains: the head of each partition's chain; moves on.
        buffer: to work in; nothing in it counts, before or after.
    """
    records, texts = claims.records, Texts()
    hashes = np.ascontiguousarray(sha256_rows(matrix)[:, :_HASH_BYTES])
    columns = Columns(
        texts=texts,
        pieces=np.array([texts.number(piece) for piece in _PIECES], np.int64),
        variants=np.array(
            [
                _places(records, frame, texts),
                _judged(verdicts, frame, texts),
                _reasons(verdicts.rules, explained, len(claims), texts),
                _ends(verdicts, frame, texts),
            ]
        ),
        id_hashes=sha1_each(id_prefix(frame.policy), ids),
        feature_hashes=hashes,
        claims=_quoted(ids),
        integers=np.stack([records.positions, claims.event_times_ms, records.log_times_ms]),
        numbers=np.column_stack([verdicts.scores, verdicts.margins, matrix]),
    )
    starts, ends = write_decisions(columns, UNLINKED, buffer)
    written = np.frombuffer(buffer, np.uint8)
    _link(written, starts, ends, records.partitions(), chains)
    sizes = ends + BYTES_BEHIND - starts
    digits = hashes.tobytes().hex().encode()
    return Sealed(
        decision_ids=cut(written, starts + len(_PIECES[0]), ID_CHARS),
        feature_hashes=np.frombuffer(digits, np.uint8).reshape(len(claims), 2 * _HASH_BYTES),
        chains=cut(written, ends + CHAIN_AT, len(GENESIS)),
        bodies=ByteStrings.packed(written[: sizes.sum()].copy(), sizes),
    )


def _link(
    written: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    partitions: NDArray[np.int64],
    chains: dict[int, str],
) -> None:
    """Link decisions where they lie, each to the one before it on its partition.

    Args:
        written: uint8, the decisions, `UNLINKED` behind each.
        starts, ends: where each lies, without its last brace.
        partitions: of each.
        chains: the head of each partition's chain; moves on.
    """
    numbers, owners = np.unique(partitions, return_inverse=True)
    known = "".join(chains.get(partition, GENESIS) for partition in numbers.tolist())
    heads = np.frombuffer(known.encode(), np.uint8).reshape(len(numbers), len(GENESIS)).copy()
    chain_up(written, starts, ends + 1, owners, heads, CHAIN_AT - 1)
    written[ends] = ord(",")
    for partition, head in zip(numbers.tolist(), heads, strict=True):
        chains[partition] = head.tobytes().decode()


def _places(records: Records, frame: Frame, texts: Texts) -> NDArray[np.int64]:
    numbers = [
        texts.number(
            f'","policy":{_text(frame.policy)},"topic":{_text(topic)}'
            f',"partition":{partition},"position":'.encode()
        )
        for topic, partition in records.topic_partitions
    ]
    return np.array(numbers, np.int64)[records.parts]


def _judged(verdicts: Verdicts, frame: Frame, texts: Texts) -> NDArray[np.int64]:
    threshold = _text(frame.threshold)
    numbers = [
        [
            texts.number(
                f',"band":"{band}","outcome":"{outcome}","threshold":{threshold},"rules":'.encode()
            )
            for outcome in OUTCOMES
        ]
        for band in BANDS
    ]
    return np.array(numbers)[verdicts.bands, verdicts.outcomes]


def _reasons(
    rules: Mapping[int, list[RuleHit]], explained: Mapping[int, Explained], rows: int, texts: Texts
) -> NDArray[np.int64]:
    none = texts.number(b'[],"base_margin":null,"rest_margin":null,"reasons":[]')
    found = np.full(rows, none)
    for i in sorted({*rules, *explained}):
        why = explained.get(i)
        base, rest, reasons = (
            (why.base_margin, why.rest_margin, why.reasons) if why else (None, None, ())
        )
        found[i] = texts.number(
            f'{_text(rules.get(i, ()))},"base_margin":{_text(base)}'
            f',"rest_margin":{_text(rest)},"reasons":{_text(reasons)}'.encode()
        )
    return found


def _ends(verdicts: Verdicts, frame: Frame, texts: Texts) -> NDArray[np.int64]:
    numbers = [
        texts.number(
            f'","model":{_text(frame.model)},"definitions":{_text(frame.definitions)}'
            f',"rules_digest":{_text(frame.rules)},"shadow":[],"flags":{_text(names)}'.encode()
        )
        for names in verdicts.flag_sets
    ]
    return np.array(numbers, np.int64)[verdicts.flags]


def _text(thing: Any) -> str:
    return _encode(thing).decode()


def _quoted(ids: ByteStrings) -> ByteStrings:
    """The texts as they stand between quotes in JSON."""
    whole = ids.content_alone().tobytes()
    if len(_encode(whole.decode())) == len(whole) + 2:  # nothing is escaped
        return ids
    return ByteStrings.of([_encode((each or b"").decode())[1:-1] for each in ids])
