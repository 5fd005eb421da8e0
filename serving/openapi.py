"""The OpenAPI document of the routes, made from the tuples that the app itself is made from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

OPENAPI_VERSION: Final = "3.1.0"
PROBLEM: Final = "application/problem+json"
_IN_PATH: Final = re.compile(r"\{([a-z_]+)(?::[a-z]+)?\}")
_REF: Final = "#/components/schemas/{name}"


class Parameter(NamedTuple):
    """A parameter of the query, or a header.

    >>> Parameter("at_plan", int, "The state after this plan.").place
    'query'
    """

    name: str
    type: Any
    text: str
    place: str = "query"
    is_required: bool = False


class Media(NamedTuple):
    """A body that isn't one JSON value; `type` is None where its schema says nothing."""

    media: str
    type: Any = None


class Described(Protocol):
    """An endpoint as far as its description goes."""

    @property
    def method(self) -> str:
        """Return the method, in capitals."""

    @property
    def path(self) -> str:
        """Return the path, with parameters in braces."""

    @property
    def scope(self) -> Any:
        """Return the right that is asked for; None: none is."""

    @property
    def summary(self) -> str:
        """Return what it does, in one line."""

    @property
    def request(self) -> Any:
        """Return the type of the body, `Media`, or a tuple of them; None: there is none."""

    @property
    def answers(self) -> Mapping[int, Any]:
        """Return the type of each status' body: a struct, `Media`, or None for no body."""

    @property
    def query(self) -> Sequence[Parameter]:
        """Return the parameters of the query, and headers."""


def openapi(
    endpoints: Sequence[Described], problem: type[msgspec.Struct], version: str
) -> dict[str, Any]:
    """Describe endpoints.

    Args:
        endpoints: in the order in which they are shown.
        problem: the struct of every error's body.
        version: of the product.

    Returns:
        The document, of plain values; `msgspec.json.encode` writes it.
    """
    found = _types(endpoints) | {problem}
    ordered = sorted(found, key=lambda each: (str(getattr(each, "__name__", "")), str(each)))
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        path = _IN_PATH.sub(r"{\1}", each.path)
        paths.setdefault(path, {})[each.method.lower()] = _operation(each, problem, schema_of)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "claimtrace", "version": version,
                 "description": "Decisions on claims: exact, once, explained and replayable."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


def _operation(
    each: Described, problem: type[msgspec.Struct], schema_of: Mapping[Any, Any]
) -> dict[str, Any]:
    """Describe one endpoint."""
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _IN_PATH.findall(each.path)
    ]
    asked = [
        {"name": one.name, "in": one.place, "required": one.is_required, "description": one.text,
         "schema": schema_of[one.type]}
        for one in each.query
    ]  # fmt: skip
    error = {PROBLEM: {"schema": schema_of[problem]}}
    said: dict[str, Any] = {
        "operationId": _operation_id(each),
        "summary": each.summary,
        "tags": [each.path.removeprefix("/v1").split("/")[1] or "start"],
        "parameters": [*in_path, *asked],
        "responses": {
            **{str(status): _answer(status, body, schema_of)
               for status, body in sorted(each.answers.items())},
            "default": {"description": "What went wrong, and how to go on.", "content": error},
        },
    }  # fmt: skip
    if each.request is not None:
        content = _content(each.request, schema_of)
        said["requestBody"] = {"required": True, "content": content}
    if each.scope is not None:
        said["security"] = [{"key": []}]
        said["x-scope"] = str(each.scope)
    return said


def _answer(status: int, body: Any, schema_of: Mapping[Any, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": _WORDS.get(status, f"Status {status}.")}
    if body is not None:
        said["content"] = _content(body, schema_of)
    return said


def _content(body: Any, schema_of: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for one in _bodies(body):
        if isinstance(one, Media):
            schema = {"type": "string"} if one.type is None else schema_of[one.type]
            found.setdefault(one.media, []).append(schema)
        else:
            found.setdefault("application/json", []).append(schema_of[one])
    return {
        media: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
        for media, schemas in found.items()
    }


def _bodies(body: Any) -> Sequence[Any]:
    """Return the bodies that are possible, each of one media type."""
    is_several = isinstance(body, tuple) and not isinstance(body, Media)
    return body if is_several else (body,)


def _types(endpoints: Sequence[Described]) -> set[Any]:
    """Return every type that a body or a parameter has."""
    found: set[Any] = set()
    for each in endpoints:
        for body in (each.request, *each.answers.values()):
            if body is not None:
                found |= {one.type if isinstance(one, Media) else one for one in _bodies(body)}
        found |= {one.type for one in each.query}
    return found - {None}


def _operation_id(each: Described) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", _IN_PATH.sub(r"by_\1", each.path)) if word]
    return "_".join([each.method.lower(), *(word for word in words if word != "v1")])


_WORDS: Final = {
    200: "The answer.",
    201: "It was made.",
    202: "It was taken, and is answered later.",
    204: "Done; there is nothing to say.",
}
