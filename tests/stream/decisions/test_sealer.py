"""Decisions sealed as a batch have the bytes of the slow oracle, `seal`, called for each."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from claimtrace.batches.accepted import Accepted, AcceptedEvents, AcceptedRecord
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.decisions import (
    GENESIS,
    Baseline,
    Decision,
    ModelRef,
    Reason,
    RuleHit,
    Window,
    check_seal,
    seal,
)
from claimtrace.events import Record
from claimtrace.ids import decision_id
from claimtrace_examples.auto_claims import ClaimFiled
from stream.decisions.reasons import Explanation
from stream.decisions.sealer import Frame, Verdicts, seal_all

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
numbers = (
    st.floats(allow_nan=True, allow_infinity=True)
    | st.integers(-(2**53), 2**53).map(float)
    | st.sampled_from([-0.0, 0.0, 1e15, -1e15, 1e15 - 1, 1e16, 1e300, 5e-324, 0.1, -7.0])
)
finite = st.floats(allow_nan=False, allow_infinity=False)
reasons = st.builds(
    Reason, feature=text, value=st.none() | finite, contribution=finite, text=text,
    baseline=st.none() | st.builds(Baseline, kind=text, value=finite),
    counted=st.none() | st.just(Window("phone", 1, 2)),
)  # fmt: skip
explanation_values = st.builds(
    Explanation, reasons=st.lists(reasons, max_size=3), rest_margin=finite, base_margin=finite
)
frames = st.builds(
    Frame, policy=text, threshold=st.none() | finite,
    model=st.none() | st.builds(ModelRef, name=text, version=st.integers(1, 99), digest=text),
    definitions=text, rules=text, review_threshold=st.just(UNSET) | st.none() | finite,
)  # fmt: skip
one = st.fixed_dictionaries(
    {
        "id": text,
        "topic": text,
        "partition": st.integers(0, 3),
        "position": st.integers(0, 2**62),
        "event_time_ms": st.integers(-(2**40), 2**45),
        "log_time_ms": st.integers(0, 2**45),
        "vector": st.lists(numbers, min_size=5, max_size=5),
        "score": st.floats(0, 1) | st.just(float("nan")),
        "margin": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "flags": st.lists(text, max_size=2).map(tuple),
        "rules": st.lists(st.builds(RuleHit, rule=text, text=text), max_size=2),
        "explanation": st.none() | explanation_values,
    }
)


@settings(max_examples=200, deadline=None)
@given(frames, st.lists(one, max_size=6))
def test_the_bytes_are_those_of_a_decision(frame: Frame, rows: list[dict]) -> None:
    claims = [
        AcceptedRecord(
            Record(r["topic"], r["partition"], r["position"], None, b"", r["log_time_ms"]),
            Accepted(ClaimFiled(claim_id="x"), r["id"], r["event_time_ms"], 0, 0),
        )
        for r in rows
    ]
    matrix = np.array([r["vector"] for r in rows], np.float64).reshape(len(rows), 5)
    scores = np.array([r["score"] for r in rows])
    margins = np.array([np.nan if r["score"] != r["score"] else r["margin"] for r in rows])
    verdicts = Verdicts(
        scores, margins, np.zeros(len(rows), np.int64), np.full(len(rows), 2),
        np.arange(len(rows)), [r["flags"] for r in rows],
        {i: r["rules"] for i, r in enumerate(rows) if r["rules"]},
    )  # fmt: skip
    explanations = {i: r["explanation"] for i, r in enumerate(rows) if r["explanation"] is not None}
    chains: dict[int, str] = {}
    sealed = seal_all(
        frame,
        AcceptedEvents.of(claims),
        ByteStrings.of_texts([r["id"] for r in rows]),
        matrix,
        verdicts,
        explanations,
        chains,
        bytearray(b"x" * 999),
    )
    before: dict[int, str] = {}
    for i, row in enumerate(rows):
        explanation = explanations.get(i)
        is_early = frame.review_threshold is UNSET
        decision = Decision(
            schema_version=1 if is_early else 3,
            decision_id=decision_id(row["id"], frame.policy),
            claim_id=row["id"],
            policy=frame.policy,
            topic=row["topic"],
            partition=row["partition"],
            position=row["position"],
            event_time_ms=row["event_time_ms"],
            log_time_ms=row["log_time_ms"],
            known_time_ms=row["log_time_ms"],
            score=row["score"],
            margin=float(margins[i]),
            band="low",
            outcome="refer",
            threshold=frame.threshold,
            review_threshold=frame.review_threshold,
            rules=row["rules"],
            base_margin=explanation.base_margin if explanation else None,
            rest_margin=explanation.rest_margin if explanation else None,
            reasons=explanation.reasons if explanation else [],
            features=row["vector"],
            feature_hash=hashlib.sha256(matrix[i].tobytes()).hexdigest()[:32],
            model=frame.model,
            definitions=frame.definitions,
            rules_digest=frame.rules,
            shadow=[],
            flags=list(row["flags"]),
        )
        chain_before = before.get(row["partition"], GENESIS)
        body, chain = seal(decision, chain_before)
        assert (sealed.bodies[i], sealed.chains[i].tobytes()) == (body, chain.encode())
        written = sealed.decision_ids[i].tobytes(), sealed.feature_hashes[i].tobytes()
        assert written == (decision.decision_id.encode(), decision.feature_hash.encode())
        assert check_seal(body, chain_before)
        before[row["partition"]] = chain
    assert chains == before
