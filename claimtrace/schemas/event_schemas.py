"""Schemas made from event types, Avro and JSON Schema, and the rules by which they may change.

A subject is `<topic>-value`. A new field has a default; a field is never removed; its type and
meaning never change. `breaches` names every place where one version of a schema breaks this with
an earlier one, so Avro subjects can be FULL_TRANSITIVE and JSON subjects BACKWARD_TRANSITIVE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, inspect

from ..errors import DefinitionError
from ..events import EPOCH, Event

NAMESPACE: Final = "claimtrace"
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_MILLISECOND: Final = timedelta(milliseconds=1)
_AVRO_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_AVRO: Final[dict[type[inspect.Type], Any]] = {
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.StrType: "string",
    inspect.EnumType: "string",
    inspect.LiteralType: "string",
    inspect.DateTimeType: {"type": "long", "logicalType": "timestamp-millis"},
}
_ANNOTATIONS: Final = ("default", "description", "title", "examples")


def subject_of(topic: str) -> str:
    """The name under which the schemas of a topic's values stand in a registry.

    >>> subject_of("claims.filed")
    'claims.filed-value'
    """
    return f"{topic}-value"


def avro_schema(kind: type[Event]) -> dict[str, Any]:
    """The Avro record of an event type: a field for a field, in their order.

    Whole numbers are `long`, times `timestamp-millis`, enumerations strings (a new value is then
    no new schema), a nullable field a union whose first branch is that of its default.

    Raises:
        DefinitionError: a field has a type or a name that this has no form for.

    >>> class Ping(Event, topic="pings", id="ping_id", time="sent_at"):
    ...     ping_id: str
    ...     sent_at: datetime | None = None
    >>> for field in avro_schema(Ping)["fields"][:2]:
    ...     print(field["name"], field["type"])
    ping_id string
    sent_at ['null', {'type': 'long', 'logicalType': 'timestamp-millis'}]
    """
    fields: list[dict[str, Any]] = []
    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        where = f"{kind.__name__}.{field.name}"
        if not _AVRO_NAME.match(field.encode_name):
            raise DefinitionError("Avro has no such name for a field", where=where)
        made = _avro_type(field.type, field.default, where)
        written: dict[str, Any] = {"name": field.encode_name, "type": made}
        if not field.required:
            if field.default_factory is not NODEFAULT:
                raise DefinitionError("the default of a field on the wire is a plain value",
                                      where=where)  # fmt: skip
            written["default"] = msgspec.to_builtins(field.default)
        fields.append(written)
    return {"type": "record", "name": kind.__name__, "namespace": NAMESPACE, "fields": fields}


def _avro_type(found: inspect.Type, default: Any, where: str) -> Any:
    while isinstance(found, inspect.Metadata):
        found = found.type
    if isinstance(found, inspect.UnionType):
        branches = [_avro_type(branch, NODEFAULT, where) for branch in found.types]
        if len(branches) != 2 or "null" not in branches:
            raise DefinitionError("a field on the wire has one type, or one and none", where=where)
        return sorted(branches, key=lambda branch: (branch == "null") is not (default is None))
    simple = _AVRO.get(type(found))
    texts = getattr(found, "values", ()) if isinstance(found, inspect.LiteralType) else ()
    if simple is None or not all(isinstance(text, str) for text in texts):
        raise DefinitionError("there is no Avro form for the type of this field", where=where,
                              hint="write a text, a number, a time or a truth value")  # fmt: skip
    return dict(simple) if isinstance(simple, dict) else simple


def json_schema(kind: type[Event]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what our producers write for an event type.

    It is closed (`additionalProperties` is false), because registries let a new field into a closed
    object only: in an open one anything could have stood under that name before. Readers here go by
    the event type and ignore fields they don't know.
    """
    (_,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema = parts.pop(kind.__name__)
    schema.pop("description", None)  # prose is no new version
    schema["additionalProperties"] = False
    for name, field in schema["properties"].items():
        _portable(field, _is_time(kind, name))
    return {"$schema": _DRAFT, **schema, **({"$defs": parts} if parts else {})}


def _portable(field: dict[str, Any], time: bool) -> None:
    """What msgspec says about a field, in words that other languages have too."""
    for each in (field, *field.get("anyOf", ())):
        if "pattern" in each:
            each["pattern"] = each["pattern"].replace(r"\Z", "$")
        if time and each.get("type") == "string":
            each["format"] = "date-time"


def _is_time(kind: type[Event], name: str) -> bool:
    fields = inspect.type_info(kind).fields  # type: ignore[attr-defined]
    found = next(field.type for field in fields if field.encode_name == name)
    branches = found.types if isinstance(found, inspect.UnionType) else (found,)
    return any(
        isinstance(getattr(branch, "type", branch), inspect.DateTimeType) for branch in branches
    )


def avro_values(event: Event) -> dict[str, Any]:
    """The values of an event as an Avro writer takes them; times as whole milliseconds, cut off.

    Raises:
        ValueError: a time has no zone: Avro's times have one, so its flag would be lost.
    """
    values = msgspec.structs.asdict(event)
    names = zip(event.__struct_fields__, event.__struct_encode_fields__, strict=True)
    written: dict[str, Any] = {}
    for name, encoded in names:
        value = values[name]
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"{name} has no zone")
            value = (value - EPOCH) // _MILLISECOND
        elif value is not None and not isinstance(value, str | int | float):
            value = msgspec.to_builtins(value)
        written[encoded] = value
    return written


def breaches(former: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Where a schema breaks the rules with a former one of its subject; both Avro, or both JSON.

    Stricter than a registry: a field stays, whatever its default was, because readers count on it.

    >>> was = {"type": "record", "name": "E", "fields": [{"name": "a", "type": "string"}]}
    >>> now = {"type": "record", "name": "E", "fields": [{"name": "b", "type": "long"}]}
    >>> breaches(was, now)
    ['a is gone', 'b is new and has no default']
    """
    if "fields" in schema:
        if any(former.get(key) != schema.get(key) for key in ("type", "name", "namespace")):
            return ["the record has another name"]
        was = {field["name"]: field for field in former["fields"]}
        now = {field["name"]: field for field in schema["fields"]}
        optional = {name for name, field in now.items() if "default" in field}
        was_optional = {name for name, field in was.items() if "default" in field}
    else:
        was, now = former["properties"], schema["properties"]
        optional = set(now) - set(schema.get("required", ()))
        was_optional = set(was) - set(former.get("required", ()))
    said = [f"{name} is gone" for name in was if name not in now]
    for name, field in now.items():
        if name not in was:
            if name not in optional:
                said.append(f"{name} is new and has no default")
        elif _type_of(was[name]) != _type_of(field):
            said.append(f"{name} has another type")
        elif name in was_optional and name not in optional:
            said.append(f"{name} has lost its default")
    return said


def _type_of(field: Mapping[str, Any]) -> Any:
    """A field without what is only said about it; the order of branches is no type."""
    if isinstance(field.get("type"), list):  # an Avro union
        return sorted(map(str, field["type"]))
    if "fields" not in field and "name" in field and "type" in field:
        return field["type"]
    return {key: value for key, value in field.items() if key not in _ANNOTATIONS}
