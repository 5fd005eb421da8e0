"""One event is one line, whatever is in it; secrets are in none."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.adapters.reporting.log_lines import (
    JsonFormatter,
    LineFormatter,
    end_log,
    log_event,
    log_fault,
    start_log,
)

SECRET = "hunter2-and-more"
HOSTILE = [
    "a\nb", "a\r\nERROR forged", "\x1b[31mred", "\u202eabc", "\u2028", "\0", "\ud800",
    'say "x"', "k=v", "back\\slash", "x" * 25_000, "", " ",
]  # fmt: skip
TEXTS = st.text(st.characters()) | st.sampled_from(HOSTILE)
NAMES = st.sampled_from(["plan", "where", "time", "level", "event", "trace", "logger"])
VALUES = TEXTS | st.integers() | st.floats() | st.none() | st.booleans()


def record(words: str, fields: dict[str, Any], name: str = "claimtrace.worker") -> Any:
    made: Any = logging.LogRecord(name, logging.INFO, "", 0, words, None, None)
    made.fields = fields
    return made


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.dictionaries(NAMES, VALUES))
def test_a_line_is_one_printable_line(words: str, fields: dict[str, Any]) -> None:
    line = LineFormatter().format(record(words, fields))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert len(line) < 200_000


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.dictionaries(NAMES, VALUES))
def test_a_json_line_is_one_object_with_everything_in_it(
    words: str, fields: dict[str, Any]
) -> None:
    line = JsonFormatter().format(record(words, fields))
    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line, parse_constant=lambda constant: pytest.fail(constant))
    assert told["level"] == "info"
    assert len(told) == 3 + len(fields), "no field hides another one or time, level and words"
    if len(words) < 2_000 and "://" not in words:
        assert told["event"] == words


@settings(deadline=None, max_examples=60)
@given(
    TEXTS, TEXTS, st.sampled_from(["text", "json"]),
    st.sampled_from([SECRET, "p\nw\x1b!", "päss", 'quo"te']),
)  # fmt: skip
def test_secrets_are_in_no_line(before: str, after: str, form: str, secret: str) -> None:
    out = io.StringIO()
    handler = start_log(out, form, "info", [secret, "", "abc"])
    try:
        log_event("warning", before + secret + after, where=secret, url=f"http://u:{secret}@host/x")
        log_fault(ValueError(f"{before}{secret}"))
    finally:
        end_log(handler)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    for line in lines:
        shown = json.dumps(json.loads(line), ensure_ascii=False) if form == "json" else line
        assert secret not in shown
        assert secret.encode("unicode_escape").decode() not in shown


def test_a_login_in_an_address_is_not_shown() -> None:
    line = LineFormatter().format(record("asked https://ann:s3cr3t@registry:8081/subjects", {}))
    assert "s3cr3t" not in line
    assert "https://...@registry:8081/subjects" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_fault_of_ours_has_its_trace(form: str) -> None:
    out = io.StringIO()
    handler = start_log(out, form, "error")
    try:
        try:
            {}["shop"]
        except KeyError as error:
            log_fault(error)
    finally:
        end_log(handler)
    (line,) = out.getvalue().splitlines()
    assert "a fault of ours: KeyError: 'shop'" in line
    assert "Traceback (most recent call last)" in line
    assert "test_log_lines.py" in line
    if form == "json":
        assert json.loads(line)["trace"].count("\n") >= 3


def test_the_level_says_what_is_written_and_the_end_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest has its own there
    out = io.StringIO()
    handler = start_log(out, "text", "warning")
    log_event("info", "snapshot published", plan=3)
    log_event("warning", "paused", store="log")
    logging.getLogger("botocore.retries").warning("throttled by %s", "SNS")
    logging.getLogger("claimtrace.kafka").error("1/1 brokers are down")
    end_log(handler)
    log_event("error", "after the end")
    lines = [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "WARNING paused  store=log",
        "WARNING throttled by SNS  logger=botocore.retries",
    ]


def test_a_stream_that_takes_nothing_ends_no_worker() -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    handler = start_log(Full(), "text", "info")
    log_event("error", "still alive")
    end_log(handler)
