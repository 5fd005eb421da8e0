"""The rules of schema evolution: a new field has a default; fields stay and keep their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ANNOTATIONS: Final = ("default", "description", "title", "examples")


def breaches(former: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return where a schema breaks the rules with a former one of its subject.

    Both are Avro, or both are JSON Schema. Stricter than a registry: a field stays, whatever its
    default was, because readers depend on it.

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
    found = [f"{name} is gone" for name in was if name not in now]
    for name, field in now.items():
        if name not in was:
            if name not in optional:
                found.append(f"{name} is new and has no default")
        elif _type_of(was[name]) != _type_of(field):
            found.append(f"{name} has another type")
        elif name in was_optional and name not in optional:
            found.append(f"{name} has lost its default")
    return found


def _type_of(field: Mapping[str, Any]) -> Any:
    """Return a field's type without annotations; the order of a union's branches doesn't count."""
    if isinstance(field.get("type"), list):  # an Avro union
        return sorted(map(str, field["type"]))
    if "fields" not in field and "name" in field and "type" in field:
        return field["type"]
    return {key: value for key, value in field.items() if key not in _ANNOTATIONS}
