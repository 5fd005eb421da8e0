"""A schema registry: the schemas of ids, and ids for the schemas of our own events.

The schema of an id never changes, so every answer is cached on disk and requested once: a replay
needs no registry, and a registry that is down affects new ids only. Whether an id is unknown
depends on *when* the registry was asked. The driver therefore asks before it makes a plan
(`Schemas.unknown_in`) and writes the unknown ids into the plan; a replay refuses the same records
although an id has been registered since.

Ids are requested from the configured address only: references, redirects and addresses inside
schemas are never followed.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ...adapters.files.atomic_files import make_folder, read_file, write_file
from ...adapters.process.system_clock import SystemClock
from ...clock import Clock
from ...errors import ConfigError, StateError, StoreUnavailable, UsageError
from ...events import Event, Record
from ...ids import digest
from ...limits import MAX_VALUE_BYTES
from ...refusals import Refusal
from ...settings.schema import SchemaSettings
from ..avro_reader import plain_reader
from ..confluent_frame import MAX_SCHEMA_BYTES, MAX_SCHEMA_ID, frame, schema_id
from ..event_schemas import avro_schema, avro_values, json_schema, subject_of
from .registry_client import ask, connect

ABSENT_S: Final = 10.0
"""Time after which an id that the registry didn't know is requested again."""
MAX_ABSENT: Final = 10_000
"""Unknown ids that are remembered: a sender that makes up ids must not fill the memory."""
_MAX_FILE_BYTES: Final = 8 * MAX_SCHEMA_BYTES  # JSON escapes of the text included

Reader = Callable[[bytes], bytes | Refusal]


class _Known(msgspec.Struct, frozen=True):
    """The schema of an id as cached on disk; `refused` is the reason when its text isn't kept."""

    kind: str
    text: str
    digest: str
    refused: str = ""


class Schemas:
    """Converts values written with a registered schema to plain JSON.

    Args:
        settings: `schemas` of the settings; `mock://name` is a registry in this process.
        cache_folder: the folder where schemas are cached, by registry and id.
        clock: measures how long an unknown id isn't requested again.

    Raises:
        ConfigError: the extra `schemas` isn't installed, or the address is invalid.
    """

    def __init__(
        self, settings: SchemaSettings, cache_folder: Path, clock: Clock | None = None
    ) -> None:
        self._where = settings.registry
        self._client = connect(settings)
        self._folder = cache_folder / digest(settings.registry.rstrip("/").encode())[:16]
        self._clock = clock or SystemClock()
        self._readers: dict[int, Reader] = {}
        self._absent: dict[int, float] = {}

    def unknown_in(self, records: Iterable[Record]) -> list[int]:
        """Return `unknown` for the schema ids in front of these records' values."""
        values = (r.value for r in records if r.value and len(r.value) <= MAX_VALUE_BYTES)
        return self.unknown(number for v in values if (number := schema_id(v)) is not None)

    def unknown(self, ids: Iterable[int]) -> list[int]:
        """Return those of the ids that the registry doesn't know, ascending.

        Raises:
            StoreUnavailable: the registry doesn't answer; nothing may be planned until it does.
            ConfigError: the registry refuses our name and password.
        """
        now = self._clock.monotonic_s()
        absent = []
        for number in sorted(set(ids).difference(self._readers)):
            if now < self._absent.get(number, now):
                absent.append(number)
            elif self._find(number) is None:
                if len(self._absent) >= MAX_ABSENT:
                    self._absent.clear()
                self._absent[number] = now + ABSENT_S
                absent.append(number)
        return absent

    def plain(self, number: int, payload: bytes) -> bytes | Refusal:
        """Convert a payload written with the schema of an id to JSON.

        This is the function `claimtrace.schemas.confluent_frame.Plain` that a decoder takes.

        Raises:
            StateError: the registry no longer knows an id that was known when its records were
                planned.
            StoreUnavailable: the id isn't on disk, and the registry doesn't answer.
        """
        read = self._readers.get(number) or self._find(number)
        if read is None:
            raise StateError(
                f"schema id {number} was known when its records were planned",
                where=self._where,
                hint="restore the schema, or the folder of schemas",
            )
        return read(payload)

    def _find(self, number: int) -> Reader | None:
        if number > MAX_SCHEMA_ID:
            return None  # not a valid request: registries number schemas with 31 bits
        known = self._from_disk(number)
        if known is None:
            known = self._from_registry(number)
            if known is None:
                return None
            self._keep(number, known)
        self._readers[number] = _reader(number, known)
        return self._readers[number]

    def _keep(self, number: int, known: _Known) -> None:
        """Write a schema to the cache; a read-only copy of a folder has none."""
        try:
            make_folder(self._folder)
            write_file(self._path(number), msgspec.json.encode(known))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _from_disk(self, number: int) -> _Known | None:
        try:
            known = msgspec.json.decode(read_file(self._path(number), _MAX_FILE_BYTES), type=_Known)
        except (FileNotFoundError, StateError, msgspec.DecodeError):
            return None
        return known if known.digest == digest(known.text.encode()) else None

    def _from_registry(self, number: int) -> _Known | None:
        found = ask(lambda: self._client.get_schema(number), self._where)
        if found is None:
            return None
        kind, text, refused = found.schema_type or "AVRO", found.schema_str, ""
        if not isinstance(kind, str) or not isinstance(text, str) or not text:
            # an incomplete answer would be cached for good
            raise StoreUnavailable("the schema registry answers without a schema",
                                   where=self._where, hint="check schemas.registry")  # fmt: skip
        if kind not in ("AVRO", "JSON"):
            kind, refused = "OTHER", "neither Avro nor JSON Schema"
        elif kind == "AVRO" and found.references:
            refused = "refers to other schemas"
        elif len(text.encode()) > MAX_SCHEMA_BYTES:
            refused = "too large"
        text = "" if refused or kind == "JSON" else text  # a JSON value is read without its schema
        return _Known(kind, text, digest(text.encode()), refused)


class Encoder:
    """Frames our own events for Kafka, in the format of the settings.

    A topic's schema is looked up with the topic's first value, and registered when it is missing.

    Args:
        settings: `schemas` of the settings.
        events: the event types of the topics.

    Raises:
        ConfigError: as for `Schemas`.
        DefinitionError: an event type has no Avro form.
    """

    def __init__(self, settings: SchemaSettings, events: Sequence[type[Event]]) -> None:
        self._where = settings.registry
        self._avro = settings.format == "avro"
        self._client = connect(settings)
        self._events = {kind.topic: kind for kind in events}
        make = avro_schema if self._avro else json_schema
        self._schemas = {topic: make(kind) for topic, kind in self._events.items()}
        self._ids: dict[str, int] = {}
        self._writers: dict[str, Callable[[bytes], bytes]] = {}

    def encode(self, topic: str, value: bytes) -> bytes:
        """Encode a value of plain JSON with the topic's schema and frame it.

        Raises:
            UsageError: the topic has no event type; with Avro, the value is not of that type.
            ConfigError: the registry refuses the schema, or our name and password.
            StoreUnavailable: the registry doesn't answer.
        """
        if topic not in self._schemas:
            raise UsageError("no event type is declared for the topic", where=topic)
        if topic not in self._ids:
            self._ids[topic] = self._register(topic)
            if self._avro:
                self._writers[topic] = _writer(self._events[topic], self._schemas[topic])
        payload = self._writers[topic](value) if self._avro else value
        return frame(self._ids[topic], payload)

    def _register(self, topic: str) -> int:
        from confluent_kafka.schema_registry import Schema

        text = msgspec.json.encode(self._schemas[topic]).decode()
        schema = Schema(text, "AVRO" if self._avro else "JSON")
        subject = subject_of(topic)
        found = ask(lambda: self._client.lookup_schema(subject, schema), self._where)
        if found is not None:
            return int(found.schema_id)
        number = ask(lambda: self._client.register_schema(subject, schema), self._where)
        if number is None:
            raise ConfigError("the registry takes no schemas", where=self._where)
        return int(number)


def _writer(kind: type[Event], schema: dict[str, Any]) -> Callable[[bytes], bytes]:
    import fastavro

    parsed = fastavro.parse_schema(schema)
    decode = msgspec.json.Decoder(kind).decode

    def write(value: bytes) -> bytes:
        written = io.BytesIO()
        try:
            fastavro.schemaless_writer(written, parsed, avro_values(decode(value)))
        except (msgspec.DecodeError, ValueError, OverflowError) as error:
            raise UsageError(
                f"can't be written as Avro: {error}",
                where=kind.topic,
                hint="write it as plain JSON, or as schemas.format = json",
            ) from error
        return written.getvalue()

    return write


def _reader(number: int, known: _Known) -> Reader:
    """Return the reader of a schema; one that can't be used refuses every payload."""
    if not known.refused and known.kind == "JSON":
        return bytes
    refused = known.refused
    if not refused:
        try:
            return plain_reader(known.text)
        except ConfigError as error:
            refused = error.what
    refusal = Refusal("unknown_schema", "", f"schema id {number}: {refused}")
    return lambda _payload: refusal
