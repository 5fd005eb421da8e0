"""Evaluate IAM policies, for the part of the policy language that `deploy/iam` uses.

    policy = Policy.read(Path("deploy/iam/worker.json"), {"REGION": "eu-central-1"})
    policy.decide(Asked("kinesis:GetRecords", "arn:aws:kinesis:...:stream/prod.claims.filed"))

A request is denied unless a statement allows it, and a statement that denies overrides all that
allow. An unsupported part of the language is an error, never a guess.
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
    """A permission that a call needs: an action on a resource; a call may need several.

    Args:
        context: the keys that conditions test, such as `s3:prefix`, as far as the call has them.
    """

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


class Grant(NamedTuple):
    """One pair of action and resource of a statement, so that unused pairs can be found."""

    sid: str
    action: str
    resource: str


@dataclass(frozen=True)
class Statement:
    """One statement of a policy.

    Raises:
        ValueError: the statement uses an unsupported part of the language.
    """

    sid: str
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Parse a statement of a policy document."""
        if unknown := set(entry) - _KEYS:
            raise ValueError(f"unknown in a statement: {', '.join(sorted(unknown))}")
        if entry["Effect"] not in ("Allow", "Deny"):
            raise ValueError(f"unknown effect: {entry['Effect']}")
        conditions = {
            operator: {key: _many(values) for key, values in keys.items()}
            for operator, keys in entry.get("Condition", {}).items()
        }
        if unknown := set(conditions) - set(_OPERATORS):
            raise ValueError(f"unknown conditions: {', '.join(sorted(unknown))}")
        return cls(
            entry.get("Sid", ""), entry["Effect"] == "Allow", _many(entry["Action"]),
            _many(entry["Resource"]), conditions,
        )  # fmt: skip

    def grants(self, asked: Asked) -> list[Grant]:
        """Return the pairs of action and resource that match, if the conditions hold."""
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
        """Return all pairs of action and resource of the statement."""
        for action in self.actions:
            yield from (Grant(self.sid, action, resource) for resource in self.resources)


@dataclass(frozen=True)
class Policy:
    """A policy document."""

    statements: tuple[Statement, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Make a policy from a parsed document."""
        if document["Version"] != VERSION:
            raise ValueError(f"version {document['Version']}: the older one has other rules")
        return cls(tuple(map(Statement.read, document["Statement"])))

    @classmethod
    def read(cls, path: Path, values: Mapping[str, str]) -> Self:
        """Read a policy from a file and replace its placeholders, as the guide does with sed."""
        return cls.of(json.loads(filled(path.read_text(encoding="utf-8"), values)))

    def decide(self, asked: Asked) -> list[Grant]:
        """Return the grants that allow a permission; empty if none does, or a statement denies."""
        if any(each.grants(asked) for each in self.statements if not each.allows):
            return []
        return [grant for each in self.statements if each.allows for grant in each.grants(asked)]

    def grants(self) -> set[Grant]:
        """Return all pairs of action and resource that the policy allows."""
        return {grant for each in self.statements if each.allows for grant in each.all_grants()}

    def actions(self) -> set[str]:
        """Return the actions that the policy allows on any resource."""
        return {grant.action for grant in self.grants()}

    def without(self, *sids: str) -> Policy:
        """Return the policy without some statements."""
        return Policy(tuple(each for each in self.statements if each.sid not in sids))


def filled(text: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders in a text.

    >>> filled("arn:aws:kinesis:REGION:ACCOUNT:stream/NAME.*", {"REGION": "here", "NAME": "prod"})
    'arn:aws:kinesis:here:ACCOUNT:stream/prod.*'
    """
    names = "|".join(sorted(values, key=len, reverse=True))  # NAMESPACE before NAME
    return re.sub(rf"\b(?:{names})\b", lambda found: values[found[0]], text)


def _many(entry: str | list[str]) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry)


def _is_like(text: str, pattern: str) -> bool:
    """Whether a value matches a pattern, in which `*` and `?` match slashes and colons too."""
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
