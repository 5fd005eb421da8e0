"""Says yes or no as IAM does, for the part of its language that `deploy/iam` is written in.

    policy = Policy.read(Path("deploy/iam/worker.json"), {"REGION": "eu-central-1"})
    policy.decide(Asked("kinesis:GetRecords", "arn:aws:kinesis:...:stream/prod.claims.filed"))

What isn't allowed is denied, and a statement that denies beats all that allow. A part of the
language that isn't known here is an error, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

_KEYS: Final = {"Sid", "Effect", "Action", "Resource", "Condition"}
VERSION: Final = "2012-10-17"


@dataclass(frozen=True)
class Asked:
    """One thing that a caller wants to do; a call may be several.

    Args:
        context: what conditions look at, such as `s3:prefix`; a key that a call doesn't have isn't
            there.
    """

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


class Grant(NamedTuple):
    """One thing that a statement says may be done: which makes it possible to ask if anyone did."""

    sid: str
    action: str
    resource: str


@dataclass(frozen=True)
class Statement:
    """One statement of a policy.

    Raises:
        ValueError: it says something that isn't known here.
    """

    sid: str
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """A statement of a document."""
        if unknown := set(told) - _KEYS:
            raise ValueError(f"unknown in a statement: {', '.join(sorted(unknown))}")
        if told["Effect"] not in ("Allow", "Deny"):
            raise ValueError(f"unknown effect: {told['Effect']}")
        conditions = {
            operator: {key: _many(values) for key, values in keys.items()}
            for operator, keys in told.get("Condition", {}).items()
        }
        if unknown := set(conditions) - set(_OPERATORS):
            raise ValueError(f"unknown conditions: {', '.join(sorted(unknown))}")
        return cls(
            told.get("Sid", ""), told["Effect"] == "Allow", _many(told["Action"]),
            _many(told["Resource"]), conditions,
        )  # fmt: skip

    def grants(self, asked: Asked) -> list[Grant]:
        """Its pairs of action and resource that are about this; none when it isn't."""
        holds = all(
            _OPERATORS[operator](asked.context.get(key), values)
            for operator, keys in self.conditions.items()
            for key, values in keys.items()
        )
        return [
            Grant(self.sid, action, resource)
            for action in self.actions
            if _is_like(asked.action.lower(), action.lower())
            for resource in self.resources
            if holds and _is_like(asked.resource, resource)
        ]

    def all_grants(self) -> Iterator[Grant]:
        """All that it allows."""
        for action in self.actions:
            yield from (Grant(self.sid, action, resource) for resource in self.resources)


@dataclass(frozen=True)
class Policy:
    """A policy document."""

    statements: tuple[Statement, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From a document that was read."""
        if document["Version"] != VERSION:
            raise ValueError(f"version {document['Version']}: the older one has other rules")
        return cls(tuple(map(Statement.read, document["Statement"])))

    @classmethod
    def read(cls, path: Path, values: Mapping[str, str]) -> Self:
        """From a file, with its placeholders replaced as the documentation has it done by sed."""
        return cls.of(json.loads(filled(path.read_text(encoding="utf-8"), values)))

    def decide(self, asked: Asked) -> list[Grant]:
        """What allows it; empty: nothing does, or something denies it."""
        if any(each.grants(asked) for each in self.statements if not each.allows):
            return []
        return [grant for each in self.statements if each.allows for grant in each.grants(asked)]

    def grants(self) -> set[Grant]:
        """All that it allows."""
        return {grant for each in self.statements if each.allows for grant in each.all_grants()}

    def actions(self) -> set[str]:
        """The actions that it allows somewhere."""
        return {grant.action for grant in self.grants()}

    def without(self, *sids: str) -> Policy:
        """The same without some statements."""
        return Policy(tuple(each for each in self.statements if each.sid not in sids))


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace placeholders.

    >>> filled("arn:aws:kinesis:REGION:ACCOUNT:stream/NAME.*", {"REGION": "here", "NAME": "prod"})
    'arn:aws:kinesis:here:ACCOUNT:stream/prod.*'
    """
    names = "|".join(sorted(values, key=len, reverse=True))  # NAMESPACE before NAME
    return re.sub(rf"\b(?:{names})\b", lambda found: values[found[0]], text)


def _many(told: str | list[str]) -> tuple[str, ...]:
    return (told,) if isinstance(told, str) else tuple(told)


def _is_like(text: str, pattern: str) -> bool:
    """Stars and question marks stand for anything, slashes and colons too."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _equals(found: str | None, wanted: tuple[str, ...]) -> bool:
    return found in wanted


def _like(found: str | None, wanted: tuple[str, ...]) -> bool:
    return found is not None and any(_is_like(found, each) for each in wanted)


def _null(found: str | None, wanted: tuple[str, ...]) -> bool:
    return str(found is None).lower() in wanted


def _like_if_there(found: str | None, wanted: tuple[str, ...]) -> bool:
    return found is None or _like(found, wanted)


_OPERATORS: Final = {
    "StringEquals": _equals,
    "StringLike": _like,
    "StringLikeIfExists": _like_if_there,
    "Null": _null,
}
