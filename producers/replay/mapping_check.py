"""Check a mapping against the event types of a domain, before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect

from claimtrace.errors import ConfigError
from claimtrace.events import Event

from .mapping import FieldColumn, LabelColumn, ReplayMapping
from .nearest import nearest

_KINDS: Final[dict[type, tuple[str, ...]]] = {
    inspect.StrType: ("text",),
    inspect.DateTimeType: ("time",),
    inspect.BoolType: ("boolean",),
    inspect.IntType: ("integer", "cents"),
    inspect.FloatType: ("number", "integer"),
    inspect.AnyType: ("text", "integer", "number", "cents", "time", "boolean"),
}
"""Type of an event's field -> the kinds that give it; the first is the default, but of numbers."""
_NUMBERS: Final = (inspect.IntType, inspect.FloatType)


class KnownEvents:
    """A domain's event types, currency and outcomes: enough to check a mapping and its rows.

    Args:
        events: the event types.
        currency: of all amounts; empty: any.
        outcomes: those that count as labels; empty: any.
        outcome_field: the field of `label_topic` with the outcome.
        label_topic: the topic of the events that carry outcomes.
    """

    def __init__(
        self,
        events: Sequence[type[Event]],
        currency: str = "",
        outcomes: Collection[str] = (),
        outcome_field: str = "outcome",
        label_topic: str = "",
    ) -> None:
        self.by_topic = {kind.topic: kind for kind in events}
        self.currency = currency
        self.outcomes = frozenset(outcomes)
        self.outcome_field = outcome_field
        self.label_topic = label_topic

    def of(self, topic: str, where: str) -> type[Event]:
        """Return the event type of a topic.

        Raises:
            ConfigError: the domain has no such topic.
        """
        kind = self.by_topic.get(topic)
        if kind is None:
            hint = nearest(topic, self.by_topic) or "one of " + ", ".join(self.by_topic)
            raise ConfigError(f"the domain has no topic {topic}", where=where, hint=hint)
        return kind


def checked(mapping: ReplayMapping, known: KnownEvents, where: str = "") -> ReplayMapping:
    """Return the mapping with every kind and the id field filled in.

    Raises:
        ConfigError: it names a topic, a field, a kind or a constant that the domain's event types
            don't have, or leaves out the event's id.
    """
    event = known.of(mapping.topic, where)
    types = _types(event)
    fields: dict[str, str | FieldColumn] = {}
    for name, column in mapping.field_columns.items():
        _check_field(name, event, where)
        fields[name] = _with_kind(name, column, types[name], where)
    _check_id(mapping, event, where)
    if mapping.time.field:
        _check_time_field(mapping, event, where)
    _check_constants(mapping.constants, event, known, where)
    if mapping.label is not None:
        _check_label(mapping.label, mapping, known, where)
    return msgspec.structs.replace(mapping, fields=fields, id_field=event.id_field)


def _types(event: type[Event]) -> dict[str, tuple[inspect.Type, ...]]:
    """Return the types that each field takes, apart from null."""
    info = inspect.type_info(event)
    assert isinstance(info, inspect.StructType)
    return {field.name: _members(field.type) for field in info.fields}


def _members(found: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(found, inspect.Metadata):
        return _members(found.type)
    if isinstance(found, inspect.UnionType):
        members = [member for each in found.types for member in _members(each)]
        return tuple(each for each in members if not isinstance(each, inspect.NoneType))
    return (found,)


def _check_field(name: str, event: type[Event], where: str, key: str = "") -> None:
    known = event.__struct_fields__
    if name not in known:
        # the nearest one, else all: a name of another language is near to none
        hint = nearest(name, known) or "its fields: " + ", ".join(known)
        said = f"{key}: " if key else ""
        raise ConfigError(f"{said}{event.topic} has no field {name}", where=where, hint=hint)


def _with_kind(
    name: str, column: FieldColumn, types: Sequence[inspect.Type], where: str
) -> FieldColumn:
    fitting = [kind for each in types for kind in _KINDS.get(type(each), ())]
    if not fitting:
        raise ConfigError(f"no kind of column gives the field {name}", where=where)
    if not column.kind:
        if isinstance(types[0], _NUMBERS):
            said = " or ".join(f"kind = '{kind}'" for kind in fitting)
            raise ConfigError(
                f"the field {name} is a number, and the mapping doesn't say its kind", where=where,
                hint=f'{name} = {{ column = "{column.column}", ... }} with {said}',
            )  # fmt: skip
        return msgspec.structs.replace(column, kind=fitting[0])
    if column.kind not in fitting:
        raise ConfigError(
            f"the field {name} can't be of kind {column.kind}", where=where,
            hint="its kind is " + " or ".join(fitting),
        )  # fmt: skip
    return column


def _check_id(mapping: ReplayMapping, event: type[Event], where: str) -> None:
    if event.id_field not in mapping.fields:
        raise ConfigError(
            f"the mapping has no column for {event.id_field}, the id of {event.topic}",
            where=where, hint=f'add {event.id_field} = "..." to [fields]',
        )  # fmt: skip
    if mapping.id_field not in ("", event.id_field):
        raise ConfigError(
            f"id_field is {mapping.id_field}, but {event.topic} has its id in {event.id_field}",
            where=where, hint="leave id_field out",
        )  # fmt: skip


def _check_time_field(mapping: ReplayMapping, event: type[Event], where: str) -> None:
    field = mapping.time.field
    _check_field(field, event, where, "time")
    if field != event.time_field:
        raise ConfigError(
            f"{event.topic} has its time in {event.time_field}, not in {field}", where=where,
            hint=f"time = {{ field = '{event.time_field}', ... }}; {field} may be one of [fields]",
        )  # fmt: skip
    if field in mapping.fields:
        raise ConfigError(f"{field} is given by `time` and in [fields]", where=where,
                          hint="leave it out of [fields]")  # fmt: skip


def _check_constants(
    constants: Mapping[str, Any], event: type[Event], known: KnownEvents, where: str
) -> None:
    for name, value in constants.items():
        _check_field(name, event, where, "constants")
        field = next(f for f in msgspec.structs.fields(event) if f.name == name)
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            raise ConfigError(f"constants: {name} = {value!r}: {error}", where=where) from error
        if name == "currency" and known.currency and value != known.currency:
            raise ConfigError(f"the domain's currency is {known.currency}, not {value}",
                              where=where, hint="convert the amounts before the replay"
                              )  # fmt: skip


def _check_label(
    label: LabelColumn, mapping: ReplayMapping, known: KnownEvents, where: str
) -> None:
    event = known.of(label.topic, where)
    for key in ("id_field", "time_field", "event_id_field", "outcome_field"):
        _check_field(getattr(label, key), event, where, f"label.{key}")
    for key, right in (("id_field", event.id_field), ("time_field", event.time_field)):
        if getattr(label, key) != right:
            raise ConfigError(f"label.{key} is {getattr(label, key)}, but {label.topic} has it in "
                              f"{right}", where=where, hint=f"{key} = '{right}'")  # fmt: skip
    _check_constants(label.constants, event, known, where)
    if label.topic == mapping.topic:
        raise ConfigError("label.topic is the topic of the rows themselves", where=where)
    for text, outcome in label.values.items():
        meant = nearest_outcome(outcome, known.outcomes)
        if meant:
            raise ConfigError(
                f"label.values: {text!r} gives the outcome {outcome!r}, which is no label",
                where=where, hint=f"did you mean {meant!r}?",
            )  # fmt: skip
    if known.outcomes and not known.outcomes.intersection(label.values.values()):
        raise ConfigError("label.values names no outcome that is a label", where=where,
                          hint="labels are " + ", ".join(sorted(known.outcomes)))  # fmt: skip


def nearest_outcome(outcome: str, known: Collection[str]) -> str:
    """Return the known outcome that differs only in case and white space; else an empty text.

    >>> nearest_outcome(" Fraud", ["fraud", "legit"]), nearest_outcome("open", ["fraud"])
    ('fraud', '')
    """
    if outcome in known:
        return ""
    plain = outcome.strip().casefold()
    return next((each for each in sorted(known) if each.casefold() == plain), "")
