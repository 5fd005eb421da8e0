"""Decisions followed and dead letters sent again on a real broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from claimtrace.adapters.kafka.errors import Fenced
from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, Decision, seal
from claimtrace.errors import ClaimtraceError
from claimtrace.events import Outgoing, Record
from claimtrace.refusals import Refusal
from cli.__main__ import app
from producers.adapters.kafka import KafkaSink
from serving.reading.dead_letter import RESENT_HEADER, letter_of, resent, resent_id
from stream.decisions.dead_letters import dead_letter
from tests.cli.test_kafka_commands import (  # noqa: F401 - fixtures
    INPUTS,
    answer,
    apart,
    own,
    session_of,
    topics,
)
from tests.cli.test_reading import NOW_MS, claim
from tests.servers.topics import read_topic


def decision(number: int) -> bytes:
    return seal(
        Decision(
            decision_id=f"d-{number}", claim_id=f"c-{number}", policy="auto_claims",
            topic="claims.filed", partition=number % 4, position=number, event_time_ms=NOW_MS,
            log_time_ms=NOW_MS + number, known_time_ms=NOW_MS, score=None, margin=None,
            band="unscored", outcome="refer" if number % 2 else "approve", threshold=None, rules=[],
            base_margin=None, rest_margin=None, reasons=[], features=[], feature_hash="",
            model=None, definitions="", rules_digest="", shadow=[], flags=[],
        ),
        GENESIS,
    )[0]  # fmt: skip


def run(session: object, *words: str) -> str:
    ran = CliRunner().invoke(app, [*words], env=session)  # type: ignore[arg-type]
    if isinstance(ran.exception, ClaimtraceError):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_decisions_and_dead_letters_on_kafka(own, tmp_path: Path) -> None:  # noqa: F811
    session = session_of(own, tmp_path)
    answer(topics.app, session, "create")
    connection = session.settings.kafka_connection
    environment = {"CLAIMTRACE_SOURCE": session.settings.source,
                   "CLAIMTRACE_FOLDER": session.settings.folder}  # fmt: skip
    refused = [
        dead_letter(
            Record("claims.filed", n % 4, 100 + n, b"pol-%d" % n, claim(n), NOW_MS, (("a", b"1"),)),
            Refusal("unknown_schema"),
        )
        for n in range(3)
    ]
    sink = KafkaSink(connection)
    decided = [Outgoing(DECISIONS_TOPIC, n % 4, b"k", decision(n), NOW_MS) for n in range(8)]
    sink.send([*decided, decided[0], *refused, refused[0]])  # what a worker that died sends twice
    sink.flush(30)

    lines = run(environment, "decisions", "tail", "--once", "-n", "100", "--json").splitlines()
    assert sorted(line.encode() for line in lines) == sorted(map(decision, range(8)))
    found = json.loads(run(environment, "decisions", "list", "--outcome", "refer", "--json"))
    assert [each["claim_id"] for each in found] == ["c-7", "c-5", "c-3", "c-1"]
    assert "the last 9 decisions" in run(environment, "top", "--once")
    assert json.loads(run(environment, "decisions", "show", "c-4", "--json"))["position"] == 4

    # a process that was killed while its transaction was open
    dying = KafkaSink(connection, transactional_id=f"{connection.kafka.group}-resend")
    first = refused[0]
    read = Record(first.topic, 0, 0, first.key, first.value, NOW_MS, first.headers)
    dying.begin()
    dying.send([resent(letter_of(read), None, NOW_MS)])
    dying.flush(30)
    for expected in (["claims.filed/0/100", "claims.filed/1/101", "claims.filed/2/102"], []):
        told = json.loads(run(environment, "dead", "resend", "--all", "--yes", "--json"))
        assert told["sent"] == expected
    with pytest.raises(Fenced):  # whoever comes late can't send any more
        dying.commit([], None)
    dying.close()
    sink.close()

    there = read_topic(own.bootstrap, "claims.filed")
    assert sorted(resent_id(each.headers) for each in there) == [
        "claims.filed/0/100", "claims.filed/1/101", "claims.filed/2/102",
    ]  # fmt: skip
    assert all(each.headers == (("a", b"1"), (RESENT_HEADER, each.headers[-1][1]))
               for each in there)  # fmt: skip
    listed = json.loads(run(environment, "dead", "list", "--state", "--json"))
    assert [each["sent_again"] for each in listed["letters"]] == [True] * 3
    assert set(INPUTS) >= {"claims.filed"}
