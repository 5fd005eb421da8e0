"""Random but valid streams of events for property tests: few ids and few times, so they collide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from claimtrace.batches.accepted import Accepted, AcceptedRecord
from claimtrace.buffers.siphash import hash_key
from claimtrace.encoding.decoder import Decoder
from claimtrace.encoding.encoder import encode
from claimtrace.events import Record
from claimtrace_examples.auto_claims import DOMAIN, ClaimAdjudicated, ClaimFiled, PolicyChanged

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = hash_key("tests")
DAY_MS = 86_400_000


def ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def pick(rng: np.random.Generator, values: list[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def a_claim(rng: np.random.Generator, number: int, when: datetime) -> ClaimFiled:
    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.1 else value

    phones = ["555-0101", "(555) 0101", "5550102", "0000000", "5550103"]
    injury = maybe(int(rng.integers(0, 5) * 100_000 + rng.integers(0, 3)))
    return ClaimFiled(
        claim_id=f"c-{number}",
        filed_at=when,
        incident_at=maybe(when - timedelta(hours=int(rng.integers(0, 400)))),
        policy_id=maybe(f"P{rng.integers(4)}"),
        customer_id=maybe(f"k{rng.integers(3)}"),
        vin=maybe(pick(rng, ["1HG CM8", "1hgcm8", "2X"])),
        repair_shop_id=maybe(f"shop-{rng.integers(2)}"),
        clinic_id=maybe(pick(rng, ["clinic a", "CLINIC A", "b"])),
        phone=maybe(pick(rng, phones)),
        other_party_phone=maybe(pick(rng, phones)),
        bank_account=maybe(f"DE{rng.integers(3)}"),
        address=maybe(f"road {rng.integers(3)}"),
        incident_type=maybe(pick(rng, ["Collision", "Break-In", "Theft", "Meteor"])),
        incident_severity=maybe(pick(rng, ["Minor", "Major", "Totaled", "?"])),
        collision_type=maybe(pick(rng, ["Front", "N/A"])),
        num_injuries=maybe(int(rng.integers(0, 3))),
        injury_claim_cents=injury,
        total_claim_cents=maybe((injury or 0) + int(rng.integers(1, 10**6))),
    )


def a_stream(seed: int, count: int, *, revised: bool = False) -> list[tuple[str, Any, int, int]]:
    """Return (kind, event, event time, log time) in log order; with ties, late and very late.

    With `revised` few claims have many outcomes, decided in another order than they arrive.
    """
    rng = np.random.default_rng(seed)
    facts: list[tuple[str, Any, int, int]] = []
    now = START
    filed: list[str] = []
    for number in range(count):
        now += timedelta(milliseconds=int(pick(rng, [0, 0, 1, 1000, 3_600_000, 5 * DAY_MS])))
        kind = rng.random()
        if kind < (0.4 if revised else 0.65) or not filed:
            behind = int(pick(rng, [0, 0, 0, 1, 86_400_000, 29 * DAY_MS, 80 * DAY_MS]))
            when = now - timedelta(milliseconds=behind)
            event: Any = a_claim(rng, number, when)
            filed.append(event.claim_id)
            facts.append(("claim", event, ms(when), ms(now)))
        elif kind < (0.9 if revised else 0.85):
            decided = now
            outcomes = ["fraud", "legit", "withdrawn"]
            if revised:
                decided -= timedelta(hours=int(pick(rng, [0, 0, 1, 1, 24, 900])))
                outcomes += ["fraud", "retracted"]
            event = ClaimAdjudicated(
                adjudication_id=f"a-{number}",
                decided_at=decided,
                claim_id=pick(rng, [*(filed[-3:] * 3 if revised else filed[-6:]), "c-unknown"]),
                outcome=pick(rng, outcomes),
            )
            facts.append(("label", event, ms(decided), ms(now)))
        else:
            when = now - timedelta(milliseconds=int(pick(rng, [0, 0, DAY_MS])))
            event = PolicyChanged(
                change_id=f"p-{number}",
                changed_at=when,
                policy_id=f"p{rng.integers(4)}",
                inception_at=START - timedelta(days=int(rng.integers(0, 900))),
                customer_age=int(rng.integers(18, 90)),
                customer_gender=pick(rng, ["Male", "Female", "Unkown"]),
                customer_education=pick(rng, ["Bachelor", "High School", "?"]),
                policy_liability=pick(rng, ["25/50", "15/30"]),
            )
            facts.append(("change", event, ms(when), ms(now)))
    return facts


def as_records(stream: list[tuple[str, Any, int, int]]) -> list[Record]:
    """Return a stream as delivered records, with one partition a topic."""
    positions: dict[str, int] = {}
    records = []
    for _, event, _, log_time_ms in stream:
        position = positions.get(event.topic, 0)
        positions[event.topic] = position + 1
        records.append(Record(event.topic, 0, position, None, encode(event), log_time_ms))
    return records


def as_facts(records: list[Record]) -> list[AcceptedRecord]:
    wire = Decoder(DOMAIN.events, DOMAIN.currency, KEY)
    facts = []
    for record, answer in zip(records, wire.decode(records), strict=True):
        assert isinstance(answer, Accepted), answer
        facts.append(AcceptedRecord(record, answer))
    return facts
