"""Schema ids are resolved once and cached; "not found" is told apart from a failing registry."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from claimtrace.batches.accepted import Accepted
from claimtrace.clock import ManualClock
from claimtrace.encoding.decoder import Decoder
from claimtrace.encoding.encoder import encode
from claimtrace.errors import ConfigError, StateError, StoreUnavailable, UsageError
from claimtrace.events import Record
from claimtrace.limits import MAX_VALUE_BYTES
from claimtrace.refusals import Refusal
from claimtrace.schemas.adapters import registry_client
from claimtrace.schemas.adapters.registry import ABSENT_S, Encoder, Schemas
from claimtrace.schemas.adapters.registry_client import connect
from claimtrace.schemas.confluent_frame import FRAME_BYTES, frame, schema_id
from claimtrace.schemas.event_schemas import avro_schema, avro_values
from claimtrace.settings.schema import SchemaSettings
from claimtrace_examples.auto_claims import DOMAIN, ClaimFiled
from tests.worlds.random_events import KEY, a_stream

NOW_MS = 1_800_000_000_000
FORMATS = pytest.mark.parametrize("form", ["json", "avro"])


def wire_of(schemas):
    return Decoder(DOMAIN.events, DOMAIN.currency, KEY, schemas.plain)


def record(value, log_time_ms=NOW_MS):
    return Record("claims.filed", 0, 0, None, value, log_time_ms)


# --- a registry in this process


@given(st.integers(0, 2**32))
@effort(max_examples=25, deadline=None)
@FORMATS
def test_framed_events_are_accepted_exactly_as_plain_ones(form, tmp_path_factory, seed):
    settings = SchemaSettings(registry="mock://round", format=form)
    encoder = Encoder(settings, DOMAIN.events)
    schemas = Schemas(settings, tmp_path_factory.mktemp("cache"))
    wire = wire_of(schemas)
    for _, event, _, log_ms in a_stream(seed, 20):
        plain = Record(event.topic, 0, 0, None, encode(event), log_ms)
        framed = plain._replace(value=encoder.encode(event.topic, plain.value))
        assert schema_id(framed.value) is not None
        assert schemas.unknown_in([plain, framed]) == []
        answers = wire.decode([plain, framed])
        assert isinstance(answers[0], Accepted)
        assert answers[0] == answers[1], "the digest of the content too"


@FORMATS
def test_a_topic_has_one_id_that_others_find(form, tmp_path):
    settings = SchemaSettings(registry=f"mock://one-{form}", format=form)
    value = encode(ClaimFiled(claim_id="c"))
    first = Encoder(settings, DOMAIN.events).encode("claims.filed", value)
    second = Encoder(settings, DOMAIN.events).encode("claims.filed", value)
    assert first == second
    assert connect(settings).get_subjects() == ["claims.filed-value"]


def test_all_limits_hold_for_what_is_framed(tmp_path):
    settings = SchemaSettings(registry="mock://limits", format="json")
    encoder, schemas = Encoder(settings, DOMAIN.events), Schemas(settings, tmp_path)
    by_avro = Encoder(SchemaSettings(registry="mock://limits", format="avro"), DOMAIN.events)
    number = schema_id(by_avro.encode("claims.filed", b'{"claim_id":"c"}'))
    parsed = fastavro.parse_schema(avro_schema(ClaimFiled))

    def avro(**values):
        out = io.BytesIO()
        event = avro_values(ClaimFiled(claim_id="c", **values))
        fastavro.schemaless_writer(out, parsed, event)
        return frame(number, out.getvalue())

    deep = b'{"claim_id":"c","x":' + b"[" * 40 + b"]" * 40 + b"}"
    put = [
        encoder.encode("claims.filed", value)
        for value in (b"", b"[]", b'{"claim_id":"c","claim_id":"d"}', deep, b'{"claim_id":7}',
                      b'{"claim_id":"\xff"}', b" " * MAX_VALUE_BYTES, b"\0\0\0\0\1{}")
    ]  # fmt: skip
    # of 60 kB of control characters JSON makes 360
    put += [avro(address="\x01" * 60_000), avro(vin="\0"), avro(vin="v" * 129),
            avro(currency="EUR"), avro(filed_at=datetime(1980, 1, 1, tzinfo=UTC)),
            avro(num_injuries=-1)]  # fmt: skip
    answers = wire_of(schemas).decode([record(value) for value in put])
    reasons = [answer.reason for answer in answers]
    assert reasons == ["bad_json", "bad_json", "duplicate_key", "too_deep", "bad_type", "bad_utf8",
                       "too_large", "bad_json", "too_large", "bad_string", "out_of_range",
                       "bad_currency", "time_out_of_range", "out_of_range"]  # fmt: skip


def test_framed_values_without_a_registry_stay_refused():
    answer = Decoder(DOMAIN.events, DOMAIN.currency, KEY).decode([record(frame(1, b"{}"))])[0]
    assert answer == Refusal("unknown_schema", "", "magic byte 0")


@pytest.mark.parametrize("value", [b"\0", b"\0\0\0\1", *(bytes([i]) * 20 for i in range(1, 9))])
def test_other_magic_bytes_and_half_frames_are_refused(value, tmp_path):
    settings = SchemaSettings(registry="mock://magic")
    answer = wire_of(Schemas(settings, tmp_path)).decode([record(value)])[0]
    assert answer == Refusal("unknown_schema", "", f"magic byte {value[0]}")


def test_an_id_stays_unknown_in_the_plan_that_says_so(tmp_path):
    settings = SchemaSettings(registry="mock://later", format="json")
    clock = ManualClock()
    schemas = Schemas(settings, tmp_path, clock)
    value = frame(1, b'{"claim_id":"c"}')
    unknown = schemas.unknown_in([record(value), record(frame(9, b"")), record(b"{}")])
    assert unknown == [1, 9]
    refused = Refusal("unknown_schema", "", "schema id 1")
    assert wire_of(schemas).decode([record(value)], unknown) == [refused]

    assert schema_id(Encoder(settings, DOMAIN.events).encode("claims.filed", b"{}")) == 1
    assert schemas.unknown([1]) == [1], "asked a moment ago"
    clock.sleep(ABSENT_S)
    assert schemas.unknown([1]) == []
    assert isinstance(wire_of(schemas).decode([record(value)])[0], Accepted)
    replay = Schemas(settings, tmp_path)
    assert wire_of(replay).decode([record(value)], unknown) == [refused]


def test_an_id_that_was_known_and_is_gone_stops_a_replay(tmp_path):
    schemas = Schemas(SchemaSettings(registry="mock://gone"), tmp_path)
    with pytest.raises(StateError, match="schema id 5 was known"):
        wire_of(schemas).decode([record(frame(5, b"{}"))])


SCHEMAS_REFUSED = {
    "Protobuf": ("PROTOBUF", 'syntax = "proto3"; message E {}', []),
    "with references": ("AVRO", '{"type":"record","name":"R","fields":[]}', ["other"]),
    "recursive": (
        "AVRO", '{"type":"record","name":"R","fields":[{"name":"a","type":["null","R"]}]}', []),
    "too large": ("AVRO", '{"type":"record","name":"R","fields":[]}' + " " * 300_000, []),
    "no schema": ("AVRO", "http://127.0.0.1:1/schema.avsc", []),
}  # fmt: skip


@pytest.mark.parametrize("case", SCHEMAS_REFUSED)
def test_schemas_that_are_not_read_are_refused_by_id(case, tmp_path):
    from confluent_kafka.schema_registry import Schema, SchemaReference

    kind, text, others = SCHEMAS_REFUSED[case]
    settings = SchemaSettings(registry=f"mock://refused-{case}")
    references = [SchemaReference(name, name, 1) for name in others]
    number = connect(settings).register_schema("s", Schema(text, kind, references))
    for schemas in (Schemas(settings, tmp_path), Schemas(settings, tmp_path)):  # then from disk
        assert schemas.unknown([number]) == []
        answer = wire_of(schemas).decode([record(frame(number, b"\0"))])[0]
        assert answer.reason == "unknown_schema"
        assert answer.detail.startswith(f"schema id {number}: ")


NO_ZONE = b'{"claim_id":"c","filed_at":"2026-01-01T00:00:00"}'


@pytest.mark.parametrize("value", [b'{"claim_id":7}', b"not json", b"{}", NO_ZONE])
def test_what_has_no_avro_form_is_the_producers_error(value):
    settings = SchemaSettings(registry="mock://writer", format="avro")
    with pytest.raises(UsageError, match="Avro"):
        Encoder(settings, DOMAIN.events).encode("claims.filed", value)


def test_a_topic_without_an_event_type_is_the_producers_error():
    with pytest.raises(UsageError, match="no event type"):
        Encoder(SchemaSettings(registry="mock://writer"), DOMAIN.events).encode("other", b"{}")


# --- a registry over HTTP that answers as the test sets it


class Answers:
    """The responses of the HTTP stand-in, and the requests that it received.

    `respond` is a function from method, path and body to a status and a body.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.respond: Any = None
        self.url = ""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry_client, "TIMEOUT_S", 0.3)
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answers.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
            status, response = answers.respond(self.command, self.path, body)
            content = response if isinstance(response, bytes) else json.dumps(response).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 302:
                self.send_header("Location", f"{answers.url}/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that hang up
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    answers.url = f"http://127.0.0.1:{server.server_port}"
    yield answers
    server.shutdown()
    server.server_close()
    thread.join()


def settings_of(registry: Answers, **more: Any) -> SchemaSettings:
    return SchemaSettings(registry=registry.url, **more)


JSON_SCHEMA = (200, {"schema": "{}", "schemaType": "JSON"})
NOT_FOUND = (404, {"error_code": 40403, "message": "Schema 7 not found"})


def test_an_id_is_asked_for_once_and_needs_no_registry_after(registry, tmp_path):
    registry.respond = lambda *_: JSON_SCHEMA
    schemas = Schemas(settings_of(registry), tmp_path)
    assert schemas.unknown([3, 3]) == schemas.unknown([3]) == []
    assert len(registry.asked) == 1

    registry.respond = lambda *_: (500, {"error_code": 50001})
    for held in (schemas, Schemas(settings_of(registry), tmp_path)):
        assert held.unknown([3]) == []
        assert held.plain(3, b"{}") == b"{}"
    with pytest.raises(StoreUnavailable):
        schemas.unknown([3, 4])


def test_another_registrys_ids_are_not_taken_for_its_own(registry, tmp_path):
    registry.respond = lambda *_: JSON_SCHEMA
    Schemas(settings_of(registry), tmp_path).unknown([1])
    other = Schemas(SchemaSettings(registry="mock://another"), tmp_path)
    assert other.unknown([1]) == [1]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"kind":"AVRO","text":"{}","digest":"0"}', b"x" * 10**7]
)
def test_a_damaged_file_is_asked_for_again(registry, tmp_path, damage):
    text = msgspec.json.encode(avro_schema(ClaimFiled)).decode()
    registry.respond = lambda *_: (200, {"schema": text})
    Schemas(settings_of(registry), tmp_path).unknown([2])
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(damage)
    assert Schemas(settings_of(registry), tmp_path).unknown([2]) == []
    assert len(registry.asked) == 2
    assert path.read_bytes() != damage


def test_a_404_of_the_registrys_own_is_an_answer(registry, tmp_path):
    registry.respond = lambda *_: NOT_FOUND
    schemas = Schemas(settings_of(registry), tmp_path)
    assert schemas.unknown([9, 7]) == [7, 9]
    assert schemas.unknown([7, 9]) == [7, 9]
    assert len(registry.asked) == 2, "an unknown id is remembered for a while"


@pytest.mark.parametrize(
    "response",
    [
        (404, b"<html>default backend</html>"),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        (404, {"error": "no such page"}),
        (500, {"error_code": 50001, "message": "Error in the backend datastore"}),
        (503, b""),
        (429, b"slow down"),
        (302, b""),
        (200, b"<html>login</html>"),
        (200, b"[]"),
        (200, {"schema": 5, "schemaType": "JSON"}),
        (200, {}),
        (200, b""),
    ],
    ids=str,
)
def test_all_else_is_trouble_with_the_registry_and_skips_nothing(registry, tmp_path, response):
    registry.respond = lambda *_: response
    with pytest.raises(StoreUnavailable) as caught:
        Schemas(settings_of(registry), tmp_path).unknown([7])
    assert caught.value.retryable
    assert not any("elsewhere" in path for _, path, _ in registry.asked), "no redirect is followed"
    registry.respond = lambda *_: JSON_SCHEMA
    assert Schemas(settings_of(registry), tmp_path).unknown([7]) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_names_the_settings(registry, tmp_path, status):
    registry.respond = lambda *_: (status, {"error_code": status * 100 + 1, "message": "no"})
    (tmp_path / "secret").write_text("s3cret\n")
    with_file = settings_of(registry, username="me", password_file=str(tmp_path / "secret"))
    for settings in (settings_of(registry, username="me", password="s3cret"), with_file):
        with pytest.raises(ConfigError) as caught:
            Schemas(settings, tmp_path).unknown([7])
        assert "schemas.username" in str(caught.value)
        assert "CLAIMTRACE_SCHEMAS__PASSWORD" in str(caught.value)
        assert "s3cret" not in str(caught.value)
    assert {login for _, _, login in registry.asked} == {"Basic bWU6czNjcmV0"}


def test_a_slow_registry_is_not_waited_for(registry, tmp_path):
    registry.respond = lambda *_: time.sleep(1.5) or JSON_SCHEMA
    with pytest.raises(StoreUnavailable):
        Schemas(settings_of(registry), tmp_path).unknown([7])


def test_nobody_listening_is_trouble_too(registry, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        registry.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(StoreUnavailable, match="doesn't answer"):
        Schemas(settings_of(registry), tmp_path).unknown([7])


def test_ids_that_no_registry_gives_out_are_not_asked_for(registry, tmp_path):
    registry.respond = lambda *_: (404, {"error_code": 404})
    schemas = Schemas(settings_of(registry), tmp_path)
    assert schemas.unknown([2**31, 2**32 - 1]) == [2**31, 2**32 - 1]
    oversize = b"\0\0\0\0\7" + b" " * MAX_VALUE_BYTES
    assert schemas.unknown_in([record(oversize), record(None), record(b"\0\0")]) == []
    assert registry.asked == []


def test_unknown_ids_do_not_fill_the_memory(registry, tmp_path, monkeypatch):
    monkeypatch.setattr("claimtrace.schemas.adapters.registry.MAX_ABSENT", 3)
    registry.respond = lambda *_: NOT_FOUND
    schemas = Schemas(settings_of(registry), tmp_path)
    assert schemas.unknown(range(10)) == list(range(10))
    assert len(schemas._absent) <= 3


def test_a_schema_is_looked_up_before_it_is_registered(registry):
    def respond(_method, path, _body):
        return NOT_FOUND if path.split("?")[0].endswith("-value") else (200, {"id": 12})

    registry.respond = respond
    value = Encoder(settings_of(registry), DOMAIN.events).encode("claims.filed", b"{}")
    assert (schema_id(value), value[FRAME_BYTES:]) == (12, b"{}")
    paths = [path.split("?")[0] for _, path, _ in registry.asked]
    assert paths == ["/subjects/claims.filed-value", "/subjects/claims.filed-value/versions"]


def test_an_incompatible_schema_is_told_to_a_person(registry):
    def respond(_method, path, _body):
        refusal = {"error_code": 409, "message": "currency was removed\x1b[2J"}
        return NOT_FOUND if path.split("?")[0].endswith("-value") else (409, refusal)

    registry.respond = respond
    with pytest.raises(ConfigError, match="currency was removed") as caught:
        Encoder(settings_of(registry), DOMAIN.events).encode("claims.filed", b"{}")
    assert str(caught.value).isprintable()


# --- settings


def test_without_the_extra_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(ConfigError, match=r"pip install claimtrace\[schemas\]"):
        Schemas(SchemaSettings(registry="mock://x"), tmp_path)


@pytest.mark.parametrize(
    ("given", "response"),
    [
        ({"registry": "http://me:s3cret@host:8081"}, "schemas.username"),
        ({"registry": "ftp://host"}, "http://host:8081"),
        ({"registry": "http://host", "ca_file": "/no/such/file"}, "schemas.ca_file"),
        ({"registry": "http://host", "username": "u", "password_file": "/no/such/file"},
         "schemas.password_file"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(given, response, tmp_path):
    with pytest.raises(ConfigError) as caught:
        Schemas(SchemaSettings(**given), tmp_path)
    assert response in str(caught.value)
    assert "s3cret" not in str(caught.value)
