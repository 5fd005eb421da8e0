"""The schemas of our events: their content, and that no version breaks a former one.

`schemas/v1`, `v2` ... hold every version that was ever published; the newest equals the schemas
that the code makes. After a change that keeps the rules, write the next folder:

    python -m tests.worlds.published_schemas
"""

from __future__ import annotations

import copy
import io
import json
import re
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Literal

import fastavro
import jsonschema
import msgspec
import pytest

from claimtrace.encoding.encoder import encode
from claimtrace.errors import DefinitionError
from claimtrace.events import Event, EventId
from claimtrace.schemas.event_schemas import (
    avro_schema,
    avro_values,
    json_schema,
    subject_of,
)
from claimtrace_examples.auto_claims import ClaimFiled
from tests.oracles.schema_evolution import breaches
from tests.worlds.published_schemas import KINDS, made, published
from tests.worlds.random_events import a_stream

VERSIONS = published()


@pytest.mark.parametrize("name", sorted(made()))
def test_no_version_breaks_any_former_one(name):
    for former in VERSIONS:
        if name in former:
            assert breaches(former[name], made()[name]) == []


def test_the_newest_published_version_is_what_the_code_makes():
    assert VERSIONS[-1] == made(), "run python -m tests.worlds.published_schemas"
    assert all(set(former) <= set(made()) for former in VERSIONS), "a schema is never taken back"


class Kind(Enum):
    ONE = "one"


class Every(Event, topic="every", id="every_id", time="at"):
    every_id: EventId
    needed: Annotated[int, msgspec.Meta(ge=0)]
    at: datetime | None = None
    flag: bool = False
    share: float = 0.5
    kind: Kind = Kind.ONE
    word: Literal["a", "b"] | None = "a"


def test_the_avro_schema_says_what_the_event_type_says():
    assert avro_schema(Every) == {
        "type": "record",
        "name": "Every",
        "namespace": "claimtrace",
        "fields": [
            {"name": "every_id", "type": "string"},
            {"name": "needed", "type": "long"},
            {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
             "default": None},
            {"name": "flag", "type": "boolean", "default": False},
            {"name": "share", "type": "double", "default": 0.5},
            {"name": "kind", "type": "string", "default": "one"},
            {"name": "word", "type": ["string", "null"], "default": "a"},
            {"name": "schema_version", "type": "long", "default": 1},
        ],
    }  # fmt: skip


def test_the_values_are_those_that_the_schema_takes():
    at = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)), microsecond=1999)
    values = avro_values(Every(every_id="e", needed=1, at=at))
    assert values["at"] == 1_767_225_600_001
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(avro_schema(Every)), values)
    with pytest.raises(ValueError, match="at has no zone"):
        avro_values(Every(every_id="e", needed=1, at=datetime(2026, 1, 1)))


class Unwritable(Event, topic="t", id="i", time="w"):
    i: EventId
    w: datetime | None = None
    parts: tuple[int, str] | None = None


class Several(Event, topic="t", id="i", time="w"):
    i: EventId
    w: int | str | None = None


class Made(Event, topic="t", id="i", time="w"):
    i: EventId
    w: str = msgspec.field(default_factory=lambda: "x")


class Renamed(Event, topic="t", id="i", time="w"):
    i: str = msgspec.field(name="is-it")


@pytest.mark.parametrize("kind", [Unwritable, Several, Made, Renamed])
def test_what_has_no_avro_form_is_refused(kind):
    with pytest.raises(DefinitionError):
        avro_schema(kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.topic)
def test_other_implementations_take_our_schemas(kind):
    fastavro.parse_schema(avro_schema(kind))
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    patterns = re.findall(r'"pattern": "(.*?)"', json.dumps(schema))
    assert patterns
    assert not any(r"\\Z" in each for each in patterns), "no word of ECMA-262"


def test_our_events_are_valid_by_their_json_schema():
    judges = {kind: jsonschema.Draft202012Validator(json_schema(kind)) for kind in KINDS}
    for _, event, _, _ in a_stream(3, 40):
        assert judges[type(event)].is_valid(json.loads(encode(event)))
    assert not judges[ClaimFiled].is_valid({"claim_id": "c", "other": 1})


AVRO = {
    "a field is gone": (lambda s: s["fields"].pop(3), "currency is gone"),
    "a new field has no default": (
        lambda s: s["fields"].append({"name": "n", "type": "long"}), "n is new and has no default"),
    "a type changes": (lambda s: s["fields"][3].update(type="long"), "currency has another type"),
    "a null is taken away": (
        lambda s: s["fields"][4].update(type="string"), "policy_id has another type"),
    "a logical type changes": (
        lambda s: s["fields"][1]["type"][1].update(logicalType="timestamp-micros"),
        "filed_at has another type"),
    "a default is taken away": (
        lambda s: s["fields"][3].pop("default"), "currency has lost its default"),
    "the record is renamed": (lambda s: s.update(name="Other"), "the record has another name"),
}  # fmt: skip
JSON = {
    "a field is gone": (lambda s: s["properties"].pop("currency"), "currency is gone"),
    "a new field is required": (
        lambda s: (s["properties"].update(n={"type": "integer"}), s["required"].append("n")),
        "n is new and has no default"),
    "a bound changes": (
        lambda s: s["properties"]["policy_id"]["anyOf"][0].update(maxLength=5),
        "policy_id has another type"),
    "a field becomes required": (
        lambda s: s["required"].append("currency"), "currency has lost its default"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "problem"), AVRO.values(), ids=AVRO)
def test_a_breach_in_avro_is_named(change, problem):
    assert breach(avro_schema, change) == [problem]


@pytest.mark.parametrize(("change", "problem"), JSON.values(), ids=JSON)
def test_a_breach_in_json_is_named(change, problem):
    assert breach(json_schema, change) == [problem]


def breach(make, change):
    former, now = make(ClaimFiled), copy.deepcopy(make(ClaimFiled))
    change(now)
    return breaches(former, now)


@pytest.mark.parametrize("make", [avro_schema, json_schema])
def test_a_new_field_with_a_default_is_none(make):
    now = make(ClaimFiled)
    former = copy.deepcopy(now)
    if "fields" in former:
        former["fields"].pop()
    else:
        former["properties"].pop("narrative")
        former["title"] = "another"
    assert breaches(former, now) == []


def test_the_subject_is_that_of_the_topic():
    assert subject_of("claims.filed") == "claims.filed-value"
