"""A claim with some of its fields changed, for what-if."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from claimtrace.errors import UsageError
from claimtrace.events import Event, Record
from claimtrace.refusals import REASONS, Refusal
from featurestore.definitions.domain import Domain
from stream.engine.engine import Engine

_WHERE = "--what-if"


def parsed_changes(domain: Domain, texts: Iterable[str]) -> dict[str, Any]:
    """Read changes that are written `FIELD=VALUE`; a value that is no JSON is a text.

    Raises:
        UsageError: it isn't written so, or the claim has no such field or it can't be changed.

    >>> from claimtrace_examples.auto_claims import DOMAIN
    >>> parsed_changes(DOMAIN, ["total_claim_cents=200000", "policy_id=P-1"])
    {'total_claim_cents': 200000, 'policy_id': 'P-1'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is no FIELD=VALUE", where=_WHERE,
                             hint="such as --what-if total_claim_cents=200000")  # fmt: skip
        found[name] = _value(value)
    check_changes(domain, found)
    return found


def check_changes(domain: Domain, changes: Mapping[str, Any]) -> None:
    """Refuse fields that the claim doesn't have, and those that say which claim it is, and when.

    Raises:
        UsageError: names the field.
    """
    names = domain.claim.__struct_fields__
    for name in changes:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(f"the claim has no field {name!r}", where=_WHERE,
                             hint=f"did you mean {near[0]}?" if near else "")  # fmt: skip
        if name == domain.claim.id_field:
            raise UsageError(f"{name} says which claim it is", where=_WHERE,
                             hint="change another field")  # fmt: skip
        if name == domain.claim.time_field:
            raise UsageError(
                f"{name} says what had happened before the claim", where=_WHERE,
                hint="--at-plan and --as-of ask about other days",
            )  # fmt: skip


def changed(
    engine: Engine, record: Record, event: Event, changes: Mapping[str, Any]
) -> tuple[Record, Event]:
    """Return the claim's record and event with changed fields; unchanged ones keep their bytes.

    Raises:
        UsageError: the changed claim would be refused on the log.
    """
    if not changes:
        return record, event
    fields = msgspec.json.decode(msgspec.json.encode(event))
    value = msgspec.json.encode({**fields, **changes})
    made = Record(*record[:4], value, record.log_time_ms)
    answer = engine.decoder.decode([made])[0]
    if answer is None or isinstance(answer, Refusal):
        refused = answer or Refusal("bad_json")
        raise UsageError(
            f"such a claim would be refused: {refused.reason} {refused.field}".rstrip(),
            where=_WHERE, hint=REASONS.get(refused.reason, ""),
        )  # fmt: skip
    return made, answer.event


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text
