"""Random histories of three domains with everything that can happen to a record, for looks.

Late and very late claims, duplicates, other bytes under a known id, ids that are forgotten by then,
labels that are flipped and retracted, profiles, values framed by a schema registry, schemas that it
doesn't know, refused bytes and tombstones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks.canonical import DOMAIN as CANONICAL
from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.editions import ROLLOUTS
from claimtrace.encoding.encoder import encode
from claimtrace.events import Record
from claimtrace.refusals import Refusal
from claimtrace.schemas.confluent_frame import frame
from claimtrace_examples import card_payments
from claimtrace_examples.auto_claims import DOMAIN, ClaimAdjudicated, ClaimFiled
from featurestore.definitions.domain import Domain
from stream.engine.engine import Engine
from stream.journal.plan import in_plan_order
from tests.worlds.random_events import DAY_MS, KEY, START, a_stream, ms
from tests.worlds.rollouts import a_rollout, a_scorer, rollout_of, scorer_of
from tests.worlds.stream_folder import terms

DOMAINS: Final = {
    "auto_claims": DOMAIN,
    "canonical": CANONICAL,
    "card_payments": card_payments.DOMAIN,
}
KNOWN_SCHEMA, UNKNOWN_SCHEMA = 7, 4_711
REMEMBER_MS: Final = 40 * DAY_MS


def _plain(number: int, payload: bytes) -> bytes | Refusal:
    assert number == KNOWN_SCHEMA
    return payload


@dataclass(frozen=True)
class History:
    """Records of one domain in plan order, and who is in charge of them."""

    domain: Domain
    edition: int
    records: list[Record]
    model: ModelRef | None
    rollout: RolloutRef | None

    def engine(self, scorer: Callable[[ModelRef], Any] = scorer_of) -> Engine:
        """Make an engine without any state."""
        begun = msgspec.structs.replace(
            terms(1, remember_ms=REMEMBER_MS), edition=self.edition, domain=self.domain.name,
            definitions=self.domain.definitions_digest, rules=self.domain.rules_digest,
            topics=list(self.domain.topics),
        )  # fmt: skip
        return Engine(self.domain, begun, KEY, scorer, _plain, rollout_of)

    def is_claim(self, record: Record) -> bool:
        """Whether a record is on the topic of claims."""
        return record.topic == self.domain.claim.topic


def a_history(seed: int, name: str, count: int, edition: int, *, rolls_out: bool) -> History:
    """Make a history of about `count` events."""
    rng, domain = np.random.default_rng(seed), DOMAINS[name]
    pace = int(rng.choice([1, 12]))  # slow histories outlast all windows
    events = [
        (event, _paced_ms(log_time_ms, pace))
        for _, each, _, log_time_ms in a_stream(seed, count, revised=bool(rng.random() < 0.5))
        if (event := _of_domain(_paced(each, pace), name, rng)) is not None
    ]
    # few ids come again: some soon, some when they have been forgotten
    sent: list[tuple[str, bytes, int]] = []
    for event, log_time_ms in events:
        sent.append((event.topic, encode(event), log_time_ms))
        while rng.random() < 0.25:
            topic, value, _ = sent[int(rng.integers(len(sent)))]
            sent.append((topic, _changed(value, rng), log_time_ms))
    positions: dict[str, int] = {}
    records = []
    for topic, value, log_time_ms in sent:
        position = positions.get(topic, 0)
        positions[topic] = position + 1
        records.append(Record(topic, 0, position, None, value, log_time_ms))
    model = a_scorer(1).ref if name == "auto_claims" and rng.random() < 0.9 else None
    rollout = None
    if rolls_out and model is not None and edition >= ROLLOUTS:
        rollout = a_rollout(int(rng.integers(1, 1000)), share_ppm=500_000)
    in_order = list(in_plan_order(records, domain.tie_order(edition)))
    return History(domain, edition, in_order, model, rollout)


def _paced_ms(at_ms: int, pace: int) -> int:
    return ms(START) + (at_ms - ms(START)) * pace


def _paced(event: Any, pace: int) -> Any:
    """Return an event at its time in a history that takes longer by a factor."""
    name = event.time_field
    at = START + (getattr(event, name) - START) * pace
    return msgspec.structs.replace(event, **{name: at})


def _of_domain(event: Any, name: str, rng: np.random.Generator) -> Any:
    """Return an event of auto claims as one of a domain; None when it has no such event."""
    if name == "auto_claims":
        return event
    if name == "canonical":
        return event if isinstance(event, ClaimFiled | ClaimAdjudicated) else None
    if isinstance(event, ClaimFiled):
        return card_payments.CardPaid(
            payment_id=event.claim_id, paid_at=event.filed_at, customer_id=event.policy_id,
            terminal_id=event.repair_shop_id, amount_cents=event.total_claim_cents,
            weekday=int(rng.integers(7)), hour=int(rng.integers(24)),
        )  # fmt: skip
    if isinstance(event, ClaimAdjudicated):
        return card_payments.PaymentReviewed(
            review_id=event.adjudication_id, reviewed_at=event.decided_at,
            claim_id=event.claim_id, outcome=event.outcome,
        )  # fmt: skip
    return None


def _changed(value: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes of an event once more: as they are, or in a way that a sender gets wrong."""
    kind = int(rng.integers(8))
    if kind <= 2 or not value.startswith(b"{"):
        return value
    if kind == 3 and value.endswith(b"}"):
        return json.dumps(json.loads(value) | {"more": 1}, separators=(",", ":")).encode()
    if kind == 4:
        return frame(KNOWN_SCHEMA, value)
    if kind == 5:
        return frame(UNKNOWN_SCHEMA, value)
    return b"" if kind == 6 else value[:-1]
