"""Sealed decisions: they are read back as written, and any edit breaks the chain."""

from __future__ import annotations

import json
import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.decisions import (
    GENESIS,
    Baseline,
    Decision,
    ModelRef,
    OtherVerdict,
    Reason,
    RuleHit,
    SealedDecision,
    Window,
    chain_of,
    check_seal,
    seal,
)


def a_decision(**changes):
    plain = {
        "decision_id": "d",
        "claim_id": "c-1",
        "policy": "auto_claims",
        "topic": "claims.filed",
        "partition": 0,
        "position": 5,
        "event_time_ms": 1,
        "log_time_ms": 2,
        "known_time_ms": 2,
        "score": 0.25,
        "margin": -1.0986,
        "band": "low",
        "outcome": "refer",
        "threshold": 0.8,
        "rules": [RuleHit("r", "because")],
        "base_margin": -1.0,
        "rest_margin": 0.0,
        "reasons": [Reason("f", 1.0, 0.5, "words", Baseline("own", 2.0), Window("shop", 0, 1))],
        "features": [1.5, None, math.nan],
        "feature_hash": "0" * 32,
        "model": ModelRef("claims", 1, "0" * 64),
        "definitions": "0" * 64,
        "rules_digest": "0" * 64,
        "shadow": [OtherVerdict("shadow", ModelRef("claims", 2, "1" * 64), 0.5, "approve")],
        "flags": ["late"],
    }
    return Decision(**{**plain, **changes})


def test_a_sealed_decision_is_read_back():
    sealed, chain = seal(a_decision(), GENESIS)
    read = msgspec.json.decode(sealed, type=SealedDecision)
    assert read.chain == chain == chain_of(sealed)
    assert read.features == [1.5, None, None], "missing is null on the wire"
    assert read.reasons == a_decision().reasons
    assert json.loads(sealed)["chain"] == chain
    assert check_seal(sealed, GENESIS)
    assert not check_seal(sealed, chain)


def test_the_same_decision_has_the_same_bytes():
    assert seal(a_decision(), GENESIS) == seal(a_decision(), GENESIS)
    assert seal(a_decision(), GENESIS) != seal(a_decision(), "1" * 64)


@given(st.text(max_size=20), st.text(max_size=20))
@settings(deadline=None)
def test_no_content_can_forge_the_chain_field(claim_id, text):
    tricky = a_decision(claim_id=claim_id + '","chain":"' + text, flags=[text, '"}'])
    sealed, chain = seal(tricky, GENESIS)
    assert chain_of(sealed) == chain
    assert check_seal(sealed, GENESIS)
    assert msgspec.json.decode(sealed, type=SealedDecision).chain == chain


@given(data=st.data())
@settings(deadline=None)
def test_any_edit_breaks_the_seal(data):
    sealed = bytearray(seal(a_decision(), GENESIS)[0])
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    assert not check_seal(bytes(sealed), GENESIS)


@given(st.binary(max_size=200), st.text(max_size=64))
@settings(deadline=None)
def test_any_bytes_are_judged(sealed, before):
    assert check_seal(sealed, before) in (True, False)
    assert isinstance(chain_of(sealed), str)
