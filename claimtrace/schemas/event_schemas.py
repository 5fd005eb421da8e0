"""Schemas made from event types: Avro and JSON Schema.

A subject is `<topic>-value`. Schemas change by these rules: a new field has a default; a field is
never removed; its type and meaning never change. Tests compare every published version with the
current one (`tests/oracles/schema_evolution.py`), so Avro subjects can be FULL_TRANSITIVE and JSON
subjects BACKWARD_TRANSITIVE.
"""

from __future__ import annotations

import re
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


def subject_of(topic: str) -> str:
    """Return the subject under which a registry keeps the schemas of a topic's values.

    >>> subject_of("claims.filed")
    'claims.filed-value'
    """
    return f"{topic}-value"


def avro_schema(kind: type[Event]) -> dict[str, Any]:
    """Return the Avro record schema of an event type, with its fields in order.

    Whole numbers are `long`, times `timestamp-millis`, enumerations strings (so that a new value
    needs no new schema), a nullable field a union whose first branch is that of its default.

    Raises:
        DefinitionError: Avro can't represent the type or the name of a field.

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
        # Avro wants the branch of the default first; False sorts before True
        return sorted(branches, key=lambda branch: (branch == "null") is not (default is None))
    simple = _AVRO.get(type(found))
    texts = getattr(found, "values", ()) if isinstance(found, inspect.LiteralType) else ()
    if simple is None or not all(isinstance(text, str) for text in texts):
        raise DefinitionError("there is no Avro form for the type of this field", where=where,
                              hint="write a text, a number, a time or a truth value")  # fmt: skip
    return dict(simple) if isinstance(simple, dict) else simple


def json_schema(kind: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the values that our producers write for an event type.

    The object is closed (`additionalProperties` is false), because registries accept a new field in
    a closed object only: in an open one earlier values could hold anything under that name. Readers
    here decode by the event type and ignore unknown fields.
    """
    (_,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema = parts.pop(kind.__name__)
    schema.pop("description", None)  # a reworded docstring must not be a new schema version
    schema["additionalProperties"] = False
    for name, field in schema["properties"].items():
        _portable(field, _is_time(kind, name))
    return {"$schema": _DRAFT, **schema, **({"$defs": parts} if parts else {})}


def _portable(field: dict[str, Any], time: bool) -> None:
    """Rewrite msgspec's schema of a field in place, into keywords that other languages know."""
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
    """Return an event's values for an Avro writer; times are whole milliseconds, rounded down.

    Raises:
        ValueError: a time has no zone: Avro's times have one, so the flag `no_zone` would be lost.
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
