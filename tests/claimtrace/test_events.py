"""Event types: their topic, id and time field, and the bounds of their fields."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.events import Cents, Count, EntityId, Event, EventId, Pii, Text
from claimtrace.limits import MAX_AMOUNT_CENTS, MAX_ID_CHARS, MAX_TEXT_CHARS
from claimtrace_examples.auto_claims import ClaimAdjudicated, ClaimFiled, PolicyChanged


class Ping(Event, topic="pings", id="ping_id", time="sent_at"):
    ping_id: EventId
    sent_at: datetime | None = None
    phone: Annotated[EntityId, Pii] | None = None


def test_a_type_says_where_it_travels():
    assert (Ping.topic, Ping.id_field, Ping.time_field) == ("pings", "ping_id", "sent_at")
    assert [kind.topic for kind in (ClaimFiled, PolicyChanged, ClaimAdjudicated)] == [
        "claims.filed", "policies.changed", "claims.adjudicated"]  # fmt: skip
    assert Ping(ping_id="a").schema_version == 1
    with pytest.raises(AttributeError):
        Ping(ping_id="a").ping_id = "b"  # type: ignore[misc]


@given(st.text(max_size=12))
@settings(deadline=None)
def test_an_id_is_harmless_as_a_file_name_a_key_and_a_line(text):
    try:
        written = msgspec.convert(text, EventId)
    except msgspec.ValidationError:
        return
    assert written == text
    assert text.isascii()
    assert text[0].isalnum()
    assert ".." not in text
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-")


@pytest.mark.parametrize("text", ["c-1", "A", "0", "a.b:c_d-e", "x" * MAX_ID_CHARS])
def test_ids(text):
    assert msgspec.convert(text, EventId) == text


LIMITS = [(Cents, 0, MAX_AMOUNT_CENTS), (Count, 0, 1_000_000)]


@pytest.mark.parametrize(("kind", "low", "high"), LIMITS)
def test_numbers_have_a_range(kind, low, high):
    for value in (low, high):
        assert msgspec.convert(value, kind) == value
    for value in (low - 1, high + 1, 0.5, "1", True):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, kind)


def test_texts_have_a_length():
    assert msgspec.convert("x" * MAX_TEXT_CHARS, Text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("x" * (MAX_TEXT_CHARS + 1), Text)


def test_personal_data_is_marked():
    hints = get_type_hints(ClaimFiled, include_extras=True)

    def is_marked(hint: object) -> bool:
        return Pii in getattr(hint, "__metadata__", ()) or any(map(is_marked, get_args(hint)))

    marked = {name for name, hint in hints.items() if is_marked(hint)}
    assert marked >= {"phone", "other_party_phone", "bank_account", "address", "narrative"}
    assert "repair_shop_id" not in marked


@pytest.mark.parametrize("kind", [ClaimFiled, PolicyChanged, ClaimAdjudicated])
def test_only_the_id_is_required(kind):
    required = [field.name for field in msgspec.structs.fields(kind) if field.required]
    assert required == [kind.id_field]
