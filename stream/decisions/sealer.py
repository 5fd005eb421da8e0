"""Encode and chain the decisions of a batch, without making a `Decision` object for each.

The bytes are those of `claimtrace.decisions.seal`, the slow oracle, for the same values;
`tests/stream/decisions/test_sealer.py` compares the two. `text_kernel` puts the bytes together.

A decision is fixed pieces of text (P, the same for all), variants (V, one of a few texts of the
batch, each encoded once) and values of its own, in this order:

    P0 {"schema_version":1,"decision_id":"          UUID of the id hash
    P1 ","claim_id":"                               claim id, escaped as in JSON
    V0 ","policy":..,"topic":..,"partition":..,"position":    position
    P2 ,"event_time_ms":  P3 ,"log_time_ms":  P4 ,"known_time_ms":    log time as known time
    P5 ,"score":  P6 ,"margin":                     numbers, null for NaN
    V1 ,"band":..,"outcome":..,"threshold":..,"rules":     `review_threshold` before the rules (*)
    V2 rules, "base_margin", "rest_margin", "reasons"
    P7 ,"features":[                                the served vector
    P8 ],"feature_hash":"                           hex digits
    V3 ","model":..,"definitions":..,"rules_digest":..,"shadow":[],"flags":[..]
       }                                            `UNLINKED`, whose brace becomes a comma and
                                                    whose zeros become the chain (`_link`)

(*) Since edition 4, and P0 has version 3 then.

Under a roll-out (`rolled_out`) P0 has version 2 before edition 4, V3 ends at the first other
model's score, and a number and a variant follow for each model that didn't decide:

    V3 ","model":..,..,"shadow":[{"role":..,"model":..,"score":          its score
    V4 ,"outcome":..},{"role":..,"model":..,"score":                     that of the next one
    V5 ,"outcome":..}],"flags":[..],"arm":..,"rollout":..
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET
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
    RuleHit,
)
from claimtrace.ids import id_prefix

from .frame import Frame as Frame
from .outcomes import BANDS, OUTCOMES
from .reasons import Explanation
from .rolled_out import OtherModels, others_texts
from .text_kernel import ID_CHARS, Columns, Texts, cut, write_decisions

_encode = msgspec.json.Encoder().encode
_HASH_BYTES: Final = 16
_PIECES: Final = (
    b'{"schema_version":1,"decision_id":"', b'","claim_id":"', b',"event_time_ms":',
    b',"log_time_ms":', b',"known_time_ms":', b',"score":', b',"margin":', b',"features":[',
    b'],"feature_hash":"',
)  # fmt: skip
"""P0 to P8 of the layout above; see `Columns.pieces`."""


class Verdicts(NamedTuple):
    """The judgement on each claim of a batch, in columns.

    `scores` and `margins` are float64[n], NaN without a model; `bands`, `outcomes` and `flags` are
    int64[n], indexes of `BANDS`, `OUTCOMES` and `flag_sets`; `rules` holds the rules that fired, by
    row.
    """

    scores: NDArray[np.float64]
    margins: NDArray[np.float64]
    bands: NDArray[np.int64]
    outcomes: NDArray[np.int64]
    flags: NDArray[np.int64]
    flag_sets: Sequence[tuple[str, ...]]
    rules: Mapping[int, list[RuleHit]]


class Sealed(NamedTuple):
    """The sealed decisions of a batch: texts as uint8[n, characters], and the bytes to send."""

    decision_ids: NDArray[np.uint8]
    feature_hashes: NDArray[np.uint8]
    chains: NDArray[np.uint8]
    bodies: ByteStrings


def seal_all(
    frame: Frame,
    claims: AcceptedEvents,
    ids: ByteStrings,
    matrix: NDArray[np.float64],
    verdicts: Verdicts,
    explanations: Mapping[int, Explanation],
    chains: dict[int, str],
    buffer: bytearray,
    others: OtherModels | None = None,
) -> Sealed:
    """Encode the decisions on some claims and link each to the one before it on its partition.

    Args:
        frame: the values that they share.
        claims, ids: the claims in log order, and the ids of their events.
        matrix: float64[n, features], their served vectors.
        verdicts: the judgement on each.
        explanations: by row, of the referred ones.
        chains: the head of each partition's chain; updated in place.
        buffer: scratch memory, reused from batch to batch; its content has no meaning outside of
            this call.
        others: what a roll-out adds, among it the model of each arm in place of the frame's.
    """
    records, texts = claims.records, Texts()
    hashes = np.ascontiguousarray(sha256_rows(matrix)[:, :_HASH_BYTES])
    columns = Columns(
        texts=texts,
        pieces=np.array([texts.number(piece) for piece in _pieces(frame, others)], np.int64),
        variants=np.array(
            [
                _source_texts(records, frame, texts),
                _by_arm(_outcome_texts, verdicts, frame, others, texts),
                _reason_texts(verdicts.rules, explanations, len(claims), texts),
                *_tails(verdicts, frame, others, texts),
            ]
        ),
        id_hashes=sha1_each(id_prefix(frame.policy), ids),
        feature_hashes=hashes,
        claims=_escaped(ids),
        integers=np.stack([records.positions, claims.event_times_ms, records.log_times_ms]),
        numbers=np.column_stack(
            [verdicts.scores, verdicts.margins, matrix, *(others.scores if others else ())]
        ),
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
        # a copy: the buffer is overwritten by the next batch
        bodies=ByteStrings.packed(written[: sizes.sum()].copy(), sizes),
    )


def _link(
    written: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    partitions: NDArray[np.int64],
    chains: dict[int, str],
) -> None:
    """Link decisions in place, each to the one before it on its partition.

    Args:
        written: uint8, the decisions, each followed by `UNLINKED`.
        starts, ends: int64[n], the bounds of each, without its last brace.
        partitions: int64[n], the partition of each.
        chains: the head of each partition's chain; updated in place.
    """
    numbers, owners = np.unique(partitions, return_inverse=True)
    known = "".join(chains.get(partition, GENESIS) for partition in numbers.tolist())
    heads = np.frombuffer(known.encode(), np.uint8).reshape(len(numbers), len(GENESIS)).copy()
    # the hash is over the closed object; then its brace becomes the comma before the chain field
    chain_up(written, starts, ends + 1, owners, heads, CHAIN_AT - 1)
    written[ends] = ord(",")
    for partition, head in zip(numbers.tolist(), heads, strict=True):
        chains[partition] = head.tobytes().decode()


def _source_texts(records: Records, frame: Frame, texts: Texts) -> NDArray[np.int64]:
    """Make V0, with policy, topic and partition."""
    numbers = [
        texts.number(
            f'","policy":{_json(frame.policy)},"topic":{_json(topic)}'
            f',"partition":{partition},"position":'.encode()
        )
        for topic, partition in records.topic_partitions
    ]
    return np.array(numbers, np.int64)[records.parts]


def _outcome_texts(verdicts: Verdicts, frame: Frame, texts: Texts) -> NDArray[np.int64]:
    """Make V1, with band, outcome and thresholds."""
    threshold = _json(frame.threshold)
    if frame.review_threshold is not UNSET:
        threshold += f',"review_threshold":{_json(frame.review_threshold)}'
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


def _reason_texts(
    rules: Mapping[int, list[RuleHit]],
    explanations: Mapping[int, Explanation],
    rows: int,
    texts: Texts,
) -> NDArray[np.int64]:
    """Make V2, with rules, margins and reasons; most claims have none and share one text."""
    none = texts.number(b'[],"base_margin":null,"rest_margin":null,"reasons":[]')
    found = np.full(rows, none)
    for i in sorted({*rules, *explanations}):  # sorted: no set is iterated on the decision path
        explanation = explanations.get(i)
        base, rest, reasons = (
            (explanation.base_margin, explanation.rest_margin, explanation.reasons)
            if explanation
            else (None, None, ())
        )
        found[i] = texts.number(
            f'{_json(rules.get(i, ()))},"base_margin":{_json(base)}'
            f',"rest_margin":{_json(rest)},"reasons":{_json(reasons)}'.encode()
        )
    return found


def _tails(
    verdicts: Verdicts, frame: Frame, others: OtherModels | None, texts: Texts
) -> list[NDArray[np.int64]]:
    """Make V3, with model, digests and flags; under a roll-out also the variants behind it."""
    if others is not None:
        heads = [_tail_head(each) for each in others.frames_of(frame)]
        return others_texts(others, heads, verdicts.flags, verdicts.flag_sets, texts)
    head = _tail_head(frame)
    numbers = [
        texts.number(f'{head}],"flags":{_json(names)}'.encode()) for names in verdicts.flag_sets
    ]
    return [np.array(numbers, np.int64)[verdicts.flags]]


def _tail_head(frame: Frame) -> str:
    """Return the beginning of V3, up to the other models."""
    return (
        f'","model":{_json(frame.model)},"definitions":{_json(frame.definitions)}'
        f',"rules_digest":{_json(frame.rules)},"shadow":['
    )


def _by_arm(
    make: Callable[[Verdicts, Frame, Texts], NDArray[np.int64]],
    verdicts: Verdicts,
    frame: Frame,
    others: OtherModels | None,
    texts: Texts,
) -> NDArray[np.int64]:
    """Make a variant, under a roll-out with the frame of each row's arm."""
    if others is None:
        return make(verdicts, frame, texts)
    made = [make(verdicts, each, texts) for each in others.frames_of(frame)]
    return np.stack(made)[others.arms, np.arange(len(others.arms))]


def _pieces(frame: Frame, others: OtherModels | None) -> tuple[bytes, ...]:
    """Return P0 to P8 with the version of the decisions."""
    if frame.review_threshold is not UNSET:
        return (_PIECES[0].replace(b":1,", b":3,"), *_PIECES[1:])
    if others is None:
        return _PIECES
    return (_PIECES[0].replace(b":1,", b":2,"), *_PIECES[1:])


def _json(value: Any) -> str:
    return _encode(value).decode()


def _escaped(ids: ByteStrings) -> ByteStrings:
    """Escape ids as JSON has them between its quotes."""
    whole = ids.content_alone().tobytes()
    if len(_encode(whole.decode())) == len(whole) + 2:  # nothing to escape: the usual case
        return ids
    return ByteStrings.of([_encode((each or b"").decode())[1:-1] for each in ids])
