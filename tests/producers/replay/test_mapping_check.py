"""A mapping is held against the event types before anything is written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ConfigError
from claimtrace.events import Cents, Event, EventId
from claimtrace_examples.auto_claims.events import ClaimAdjudicated, ClaimFiled, PolicyChanged
from producers.replay.mapping import load_mapping
from producers.replay.mapping_check import KnownEvents, checked

KNOWN = KnownEvents(
    [ClaimFiled, PolicyChanged, ClaimAdjudicated], "USD", ("fraud", "legit"), "outcome",
    "claims.adjudicated",
)  # fmt: skip
FIELDS: dict[str, Any] = {"claim_id": "A", "policy_id": "B"}
LABEL: dict[str, Any] = {
    "column": "F", "values": {"1": "fraud"}, "delay": "1d", "topic": "claims.adjudicated",
    "id_field": "adjudication_id", "time_field": "decided_at", "event_id_field": "claim_id",
}  # fmt: skip
BASE: dict[str, Any] = {
    "topic": "claims.filed", "key": "policy_id", "time": {"field": "filed_at", "column": "T"},
    "fields": FIELDS,
}  # fmt: skip


class Odd(Event, topic="odd", id="odd_id", time="at", frozen=True):
    odd_id: EventId
    at: datetime | None = None
    flag: bool | None = None
    ratio: float | None = None
    amount: Cents | None = None
    parts: list[str] | None = None


def check(**changes: Any) -> Any:
    return checked(load_mapping({**BASE, **changes}), KNOWN, "m.toml")


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"topic": "claims.field"}, "no topic claims.field", "did you mean claims.filed?"),
        ({"topic": "x"}, "no topic x", "one of claims.filed, policies.changed"),
        ({"fields": {**FIELDS, "total_claim_cent": "C"}}, "no field total_claim_cent",
         "did you mean total_claim_cents?"),
        ({"fields": {**FIELDS, "num_injurys": "C"}}, "no field num_injurys", "num_injuries?"),
        ({"fields": {**FIELDS, "Polizze": "C"}}, "no field Polizze", "its fields: "),
        ({"fields": {**FIELDS, "num_injuries": "C"}}, "doesn't say its kind", "kind = 'integer'"),
        ({"fields": {**FIELDS, "num_injuries": {"column": "C", "kind": "number"}}},
         "can't be of kind number", "integer or cents"),
        ({"fields": {**FIELDS, "vin": {"column": "C", "kind": "cents"}}}, "can't be of kind cents",
         "its kind is text"),
        ({"fields": {**FIELDS, "incident_at": {"column": "C", "kind": "text"}}},
         "can't be of kind text", "its kind is time"),
        ({"fields": {"policy_id": "B"}}, "no column for claim_id", 'claim_id = "..."'),
        ({"id_field": "policy_id"}, "has its id in claim_id", "leave id_field out"),
        ({"time": {"field": "filed", "column": "T"}}, "no field filed", "filed_at"),
        ({"time": {"field": "incident_at", "column": "T"}}, "has its time in filed_at", "fields"),
        ({"fields": {**FIELDS, "filed_at": "T"}}, "by `time` and in [fields]", "leave it out"),
        ({"constants": {"colour": "red"}}, "no field colour", ""),
        ({"constants": {"num_injuries": "two"}}, "num_injuries = 'two'", ""),
        ({"constants": {"currency": "EUR"}}, "currency is USD, not EUR", "convert"),
        ({"label": {**LABEL, "topic": "claims.adjudged"}}, "no topic", "claims.adjudicated"),
        ({"label": {**LABEL, "id_field": "id"}}, "label.id_field", "adjudication_id"),
        ({"label": {**LABEL, "id_field": "claim_id"}}, "label.id_field", "adjudication_id"),
        ({"label": {**LABEL, "time_field": "decided"}}, "no field decided", "decided_at"),
        ({"label": {**LABEL, "event_id_field": "claim"}}, "no field claim", "claim_id"),
        ({"label": {**LABEL, "outcome_field": "result"}}, "no field result", ""),
        ({"label": {**LABEL, "constants": {"sauce": "x"}}}, "no field sauce", "source"),
        ({"label": {**LABEL, "values": {"1": "Fraud"}}}, "'Fraud', which is no label", "'fraud'"),
        ({"label": {**LABEL, "values": {"1": "open"}}}, "no outcome that is a label", "legit"),
        ({"label": {**LABEL, "topic": "claims.filed"}}, "label", ""),
    ],
)  # fmt: skip
def test_a_mapping_that_does_not_fit_is_refused(
    changes: dict[str, Any], what: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check(**changes)
    assert what in caught.value.what
    assert fix in caught.value.hint
    assert caught.value.where == "m.toml"


def test_kinds_and_the_id_are_filled_in() -> None:
    found = check(
        fields={**FIELDS, "incident_at": "C", "num_injuries": {"column": "D", "kind": "integer"}},
        label={**LABEL, "values": {"1": "fraud", "2": "open"}},
    )
    kinds = {name: column.kind for name, column in found.field_columns.items()}
    assert kinds == {
        "claim_id": "text", "policy_id": "text", "incident_at": "time", "num_injuries": "integer",
    }  # fmt: skip
    assert found.id_field == "claim_id"
    odd = KnownEvents([Odd])
    table = {"topic": "odd", "key": "odd_id", "time": {"column": "T"}}
    for field, kind, fits in (
        ("flag", "", True), ("ratio", "number", True), ("amount", "cents", True),
        ("ratio", "text", False), ("flag", "integer", False), ("parts", "", False),
        ("parts", "text", False), ("ratio", "", False),
    ):  # fmt: skip
        fields = {"odd_id": "I", field: {"column": "C", "kind": kind}}
        mapping = load_mapping({**table, "fields": fields})
        if fits:
            assert checked(mapping, odd).field_columns[field].kind == (kind or "boolean")
        else:
            with pytest.raises(ConfigError, match=field):
                checked(mapping, odd)


@given(st.sampled_from(ClaimFiled.__struct_fields__), st.data())
@settings(deadline=None)
def test_a_misspelt_field_names_the_one_that_was_meant(field: str, data: st.DataObject) -> None:
    """One letter left out, or doubled."""
    place = data.draw(st.integers(0, len(field) - 1))
    short, long = field[:place] + field[place + 1 :], field[: place + 1] + field[place:]
    wrong = data.draw(st.sampled_from([short, long]))
    if wrong in ClaimFiled.__struct_fields__:
        return
    with pytest.raises(ConfigError, match="has no field") as caught:
        check(fields={**FIELDS, wrong: "C"})
    assert "did you mean" in caught.value.hint or "its fields: " in caught.value.hint
    if len(field) > 6:
        assert "did you mean" in caught.value.hint
