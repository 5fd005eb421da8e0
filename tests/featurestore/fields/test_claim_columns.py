"""The fast JSON reader and the decoder give the same fields and decisions, bit for bit."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.batches.accepted import UNREAD, Accepted
from claimtrace.batches.records import Records
from claimtrace.editions import NEWEST, OLDEST
from claimtrace.encoding.column_decoder import ColumnDecoder
from claimtrace.encoding.decoder import Decoder
from claimtrace.encoding.missing_values import MISSING_IDS
from claimtrace.events import Headers, Record
from claimtrace_examples.auto_claims import DOMAIN, ClaimFiled
from featurestore.fields.claim_columns import ClaimColumns, Spellings
from featurestore.fields.event_columns import CategoryReader, EventColumns
from featurestore.fields.id_rules import id_rules
from tests.simulation.histories import a_history, merged
from tests.simulation.lives import rules_of
from tests.worlds.random_events import KEY
from tests.worlds.stream_folder import terms

NAMES = ("narrative", "vin", "phone", "repair_shop_id")
keys = (
    st.text(max_size=10)
    | st.sampled_from(["UNKNOWN", "000", "1111111111", " Shop-7 ", "A:b_c", "+1 (555) 01", "ß", "é",
                       "n/a", "x" * 128, "Shop 7", "tbd", "aaaaaaaaaaa", "9999999-9999", "\x7f",
                       "Shop  7", "none  provided", "(null)", "-1", "0", "X", "#REF!", "\\N", "--"])
    | st.text("aA1 -_./:,", max_size=12)
    | st.sampled_from(sorted(MISSING_IDS))
    | st.sampled_from(sorted(MISSING_IDS)).map(str.upper)
)  # fmt: skip
claims = st.fixed_dictionaries(
    {"claim_id": st.from_regex(r"\A[a-z0-9]{1,8}\Z")},
    optional={
        **{name: st.none() | keys for name in NAMES},
        "incident_type": st.none() | st.sampled_from(["Theft", "theft", "Break-In", "?", "\u00e9"]),
        "filed_at": st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1239+01:00",
                                     "2026-01-02T03:04:05", "1980-01-01T00:00:00Z",
                                     "2031-01-01T00:00:00Z", None]),
        "currency": st.sampled_from(["USD", "EUR", "US"]),
        "total_claim_cents": st.none() | st.integers(-1, 10**11 + 1),
        "schema_version": st.sampled_from([1, 1, 2]),
    },
)  # fmt: skip

headers = st.sampled_from([(), (), (("schema", b"claims.filed/1"),), (("x", b"y"),) * 100])


def as_record(document: dict[str, Any] | bytes, position: int) -> Record:
    value = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return Record("claims.filed", 0, position, None, value, 1_767_400_000_000)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(claims | st.binary(max_size=20), headers), max_size=8), headers)
def test_answers_and_fields_are_those_of_the_decoder(
    documents: list[tuple[Any, Headers]], others: Headers
) -> None:
    records = [as_record(each, i)._replace(headers=own) for i, (each, own) in enumerate(documents)]
    records.append(Record("claims.adjudicated", 0, 0, None, b'{"adjudication_id":"a"}', 1, others))
    slow = Decoder(DOMAIN.events, "USD", KEY).decode(records)
    read, columns = ColumnDecoder(DOMAIN.events, "USD", KEY).read(Records.of(records))
    assert read.facts.records == [records[i] for i in read.accepted]
    answers = dict(zip(read.accepted.tolist(), [fact.accepted for fact in read.facts], strict=True))
    events = []
    for index, want in enumerate(slow):
        got = answers.get(index)
        if not isinstance(want, Accepted):
            assert (got, read.refused[index]) == (None, want)
        elif got is not None and got.event is UNREAD:
            assert got[1:] == want[1:]
        else:
            assert got == want
        if isinstance(want, Accepted) and isinstance(want.event, ClaimFiled):
            events.append(want.event)
    assert len(answers) + len(read.refused) == len(records)
    plain = EventColumns(events, ClaimFiled)
    reader = CategoryReader(["theft", "break-in"])
    fields = ClaimColumns(columns, {"incident_type": Spellings(reader, KEY)})
    assert len(fields) == len(plain) == len(events)
    for name in ("total_claim_cents", "filed_at"):
        assert fields.number(name).tobytes() == plain.number(name).tobytes()
    for _ in range(2):  # the second time from the cache
        codes = fields.codes("incident_type", reader)
        assert codes.tobytes() == plain.codes("incident_type", reader).tobytes()
    for name in NAMES:
        assert fields.texts(name) == plain.texts(name)
        for form, edition in product(("id", "code", "phone"), (OLDEST, NEWEST)):
            for deny in (frozenset[str](), frozenset({"shop-7", "555"})):
                rules = id_rules(form, deny, edition)
                got, empty = fields.keys(name, rules)
                want_keys, want_empty = plain.keys(name, rules)
                assert (got.tobytes(), empty) == (want_keys.tobytes(), want_empty)


@pytest.mark.parametrize("seed", range(12))
def test_an_engine_without_the_fast_way_decides_the_same(seed: int) -> None:
    from stream.engine.engine import Engine
    from stream.journal.plan import plan_of
    from tests.worlds.models import a_scorer, scorer_of

    history, rules = a_history(seed), rules_of(seed)
    fast, slow = (
        Engine(DOMAIN, terms(history.partitions, **rules.terms), KEY, scorer_of) for _ in range(2)
    )
    assert fast._is_flat
    slow._is_flat = False
    records: list[Record] = []
    next_positions: dict[tuple[str, int], int] = {}
    for entry in (each for stage in history.stages for each in merged(stage)):
        position = next_positions.get((entry.topic, entry.partition), 0)
        next_positions[entry.topic, entry.partition] = position + 1
        origin = entry.topic, entry.partition, position
        records.append(Record(*origin, b"k", entry.value, entry.log_time_ms))
    champion = a_scorer(1).ref
    rng = np.random.default_rng(seed)
    at = 0
    while at < len(records):
        batch = records[at : at + int(rng.integers(1, 40))]
        at += len(batch)
        plan = plan_of(fast.plan + 1, batch, champion, batch[-1].log_time_ms, [])
        assert fast.step(plan, batch).outgoing == slow.step(plan, batch).outgoing
    left, right = fast.arrays(), slow.arrays()
    assert left.keys() == right.keys()
    assert [name for name in left if left[name].tobytes() != right[name].tobytes()] == []
