"""Bad input, groups C1 to C27 of the fault catalogue, through the whole stream in one run.

The records of each case are put between good claims on a real log. The worker survives all of them,
loses none, gives each record the outcome of the table, and decides on the good claims as if the
others didn't exist.

"""

from __future__ import annotations

import tracemalloc
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC, SealedDecision
from claimtrace.encoding import json_guard as gate
from claimtrace.encoding.decoder import Decoder
from claimtrace.encoding.encoder import encode
from claimtrace.events import Record
from claimtrace.ids import digest
from claimtrace.limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_VALUE_BYTES
from claimtrace.refusals import REASONS, Refusal
from claimtrace_examples.auto_claims import DOMAIN
from stream.decisions.dead_letters import KEPT_OF_OVERSIZE_BYTES, PREFIX, dead_letter
from stream.engine.effects import Counts
from stream.proofs.verify import check_chains
from tests.worlds.fault_catalogue import CLAIMS, Case, Dead, Decided, Put, Silent
from tests.worlds.fault_catalogue_form import cases_of_form
from tests.worlds.fault_catalogue_meaning import cases_of_meaning
from tests.worlds.random_events import KEY, START, a_claim, ms
from tests.worlds.stream_folder import World

CASES = [*cases_of_form(), *cases_of_meaning()]
START_MS = ms(START) + 5 * 86_400_000
STEP_MS = 60_000


class Sent(NamedTuple):
    """A record of a case, and the topic-partition and position at which it must be found."""

    record: Record
    put: Put


class Ran(NamedTuple):
    """The results of a run."""

    sent: dict[str, list[Sent]]
    decisions: dict[tuple[int, int], dict[str, Any]]
    letters: dict[tuple[str, int, int], Record]
    rows: dict[tuple[str, int, int], Any]
    counts: Counts
    watermark: int
    broken: list[str]
    sealed: list[bytes]


def records_of(*, with_cases: bool) -> tuple[list[Record], dict[str, list[Sent]]]:
    """Return good claims and, between them, the records of the cases; one record a minute."""
    rng = np.random.default_rng(4)
    now = START_MS
    records: list[Record] = []
    sent: dict[str, list[Sent]] = {}
    positions: dict[tuple[str, int], int] = {}

    def put(topic: str, partition: int, value: bytes | None, headers: Any = ()) -> Record:
        position = positions.get((topic, partition), 0)
        positions[topic, partition] = position + 1
        record = Record(topic, partition, position, b"key", value, now, headers)
        records.append(record)
        return record

    for number, case in enumerate(CASES):
        partition = number % 2
        good = msgspec.structs.replace(
            a_claim(rng, number, START), filed_at=None, claim_id=f"good-{number}"
        )
        put(CLAIMS, partition, encode(good))
        now += STEP_MS
        for topic_partition, each in enumerate(case.puts):
            # the records of one case that have no id of their own share the case's
            name = str(1000 + number)
            own = case.fault in ("C9", "C10", "C11", "C26") and len(case.puts) > 1
            value = each.bytes_at(now, f"{name}{chr(97 + topic_partition)}" if own else name)
            if with_cases:
                record = put(each.topic, partition, value, each.headers)
                sent.setdefault(case.name, []).append(Sent(record, each))
            now += STEP_MS
    return records, sent


def run(folder: Any, *, with_cases: bool) -> Ran:
    records, sent = records_of(with_cases=with_cases)
    world = World(folder, offline_every=10**6, snapshot_every=10**6)
    world.put(records)
    driver, log = world.start()
    while driver.step(32):
        pass
    driver.finish()
    watermark = driver.engine.intake.watermark
    log.close()
    outputs = world.outputs()
    letters = {}
    for record in (r for partition in outputs[DEAD_TOPIC] for r in partition):
        dead_headers = dict(record.headers)
        topic_partition = tuple(
            dead_headers[PREFIX + part].decode() for part in ("topic", "partition", "position")
        )
        letters[topic_partition[0], int(topic_partition[1]), int(topic_partition[2])] = record
    decisions = {}
    for record in (r for partition in outputs[DECISIONS_TOPIC] for r in partition):
        found = msgspec.json.decode(record.value)
        decisions[found["partition"], found["position"]] = found
    events = world.offline().dataset("events").to_table().to_pylist()
    rows = {(row["topic"], row["partition"], row["position"]): row for row in events}
    broken = check_chains(dict(enumerate(outputs[DECISIONS_TOPIC]))).broken
    sealed = [record.value or b"" for partition in outputs[DECISIONS_TOPIC] for record in partition]
    return Ran(sent, decisions, letters, rows, driver.counts, watermark, broken, sealed)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("catalogue"), with_cases=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_record_becomes_what_the_table_says(case: Case, ran: Ran) -> None:
    for record, put in ran.sent[case.name]:
        topic_partition = (record.topic, record.partition, record.position)
        decision = ran.decisions.get(topic_partition[1:]) if record.topic == CLAIMS else None
        letter = ran.letters.get(topic_partition)
        row = ran.rows[topic_partition]
        assert row["value"] == record.value, "the raw back-up has every byte"
        match put.expected:
            case Dead() as dead:
                assert decision is None
                assert letter is not None, decision
                check_letter(record, letter, dead)
                reason = None if dead.reason == "id_conflict" else dead.reason
                assert row["reason"] == reason
            case Decided() as decided:
                assert letter is None, letter and letter.headers
                assert decision is not None
                check_decision(record, decision, decided)
            case Silent():
                assert decision is None
                assert letter is None


def check_letter(record: Record, letter: Record, dead: Dead) -> None:
    """Check a dead letter: original bytes, key and headers, and a reason without their content."""
    dead_headers = {k: v.decode() for k, v in letter.headers if k.startswith(PREFIX)}
    assert dead_headers[PREFIX + "reason"] == dead.reason
    assert dead_headers[PREFIX + "field"] == dead.field
    assert dead_headers[PREFIX + "hint"] == REASONS[dead.reason]
    assert dead_headers[PREFIX + "log-time-ms"] == str(record.log_time_ms)
    assert letter.key == record.key
    assert letter.partition == record.partition
    value = record.value or b""
    if len(value) > MAX_VALUE_BYTES:
        assert letter.value == value[:KEPT_OF_OVERSIZE_BYTES]
        assert dead_headers[PREFIX + "digest"] == digest(value)
        assert dead_headers[PREFIX + "bytes"] == str(len(value))
    else:
        assert (letter.value or b"") == value
    kept = [header for header in letter.headers if not header[0].startswith(PREFIX)]
    assert kept == list(record.headers[: len(kept)])
    assert len(kept) <= MAX_HEADERS
    assert sum(len(k) + len(v) for k, v in kept) <= MAX_HEADER_BYTES
    if dead.reason != "headers_too_large":
        assert tuple(kept) == record.headers
    assert all(c.isprintable() and c.isascii() for text in dead_headers.values() for c in text)
    assert not any("script" in text or "ERROR" in text for text in dead_headers.values())


def check_decision(record: Record, decision: dict[str, Any], decided: Decided) -> None:
    """Check a decision: exactly these flags and features, and no control character in its bytes."""
    assert decision["flags"] == [*decided.flags, "no_model"]
    names = DOMAIN.feature_names
    for name, want in decided.features:
        assert decision["features"][names.index(name)] == want, name
    if decided.event_time:
        written = Put(f'{{"t":"{decided.event_time}"}}'.encode(), decided)
        value = written.bytes_at(record.log_time_ms, "")
        when = msgspec.json.decode(value, type=dict[str, Any])["t"]
        assert decision["event_time_ms"] == ms(msgspec.convert(when, type=type(START)))


def test_nothing_is_lost(ran: Ran) -> None:
    c = ran.counts
    assert c.records == c.claims + c.changes + c.labels + c.duplicates + c.dead + c.tombstones
    assert c.records == len(ran.rows) == len(CASES) + sum(len(s) for s in ran.sent.values())
    assert c.claims == len(ran.decisions)
    assert c.dead == len(ran.letters)
    silent = [p.expected.counted for s in ran.sent.values() for _, p in s
              if isinstance(p.expected, Silent)]  # fmt: skip
    for name in ("tombstones", "duplicates", "changes", "labels"):
        assert getattr(c, name) == silent.count(name), name
    assert ran.broken == []


def test_good_claims_are_decided_as_if_the_others_were_not_there(
    ran: Ran, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone = run(tmp_path_factory.mktemp("alone"), with_cases=False)
    moved = {"position", "chain"}

    def good(found: Ran) -> dict[str, Any]:
        return {
            d["claim_id"]: {k: v for k, v in d.items() if k not in moved}
            for d in found.decisions.values()
            if d["claim_id"].startswith("good-")
        }

    assert len(good(alone)) == len(CASES)
    assert good(ran) == good(alone)


def test_a_clock_that_runs_ahead_moves_nothing(ran: Ran) -> None:
    # only the tolerated four minutes may stand before the newest good claim's log time
    assert ran.watermark <= max(row["log_time_ms"] for row in ran.rows.values()) + 240_000


def test_every_group_of_the_catalogue_is_in_the_table() -> None:
    assert {case.fault for case in CASES} == {f"C{i}" for i in range(1, 28)}
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_reason_is_reached(ran: Ran) -> None:
    """Other reasons need another domain, a log that isn't ours, or a schema registry."""
    reached = {dict(r.headers)[PREFIX + "reason"].decode() for r in ran.letters.values()}
    assert set(REASONS) - reached == {"bad_avro", "missing_field", "unknown_topic"}


def test_decisions_are_inert_and_read_back_as_they_were_sealed(ran: Ran) -> None:
    for sealed in ran.sealed:
        assert min(sealed) >= 0x20, "a control character could forge a line or move a cursor"
        assert b"script" not in sealed, "free text stays on the input"
        assert msgspec.json.encode(msgspec.json.decode(sealed, type=SealedDecision)) == sealed


HOSTILE = {
    "8 MiB of {}": b"{}" * 2**22,
    "a million brackets": b"[" * 10**6,
    "200 000 brackets in an object": b'{"x":' + b"[" * 200_000,
    "a million quotes": b'{"' + b'"' * 200_000,
    "commas": b"{" + b"," * 200_000,
    "backslashes": b'{"' + b"\\" * 200_000,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_cost_no_more_memory_than_their_own(value: bytes) -> None:
    wire = Decoder(DOMAIN.events, DOMAIN.currency, KEY)
    record = Record(CLAIMS, 0, 0, None, value, START_MS)
    wire.decode([record])  # kernels are compiled now
    tracemalloc.start()
    answer = wire.decode([record])[0]
    assert isinstance(answer, Refusal)
    dead_letter(record, answer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    copies = 2 * len(value) if len(value) <= MAX_VALUE_BYTES else 0
    assert peak < copies + 256 * 1024


def test_a_deep_nest_is_left_at_the_limit_not_read_to_its_end() -> None:
    value = b'{"x":' + b"[" * 200_000
    codes, offsets = gate.inspect(np.frombuffer(value, np.uint8), np.array([0, len(value)]))
    assert (codes[0], offsets[0]) == (gate.TOO_DEEP, 5 + 31)


def test_an_oversize_value_never_reaches_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    inspect = gate.inspect

    def spy(buffer: Any, bounds: Any) -> Any:
        seen.append(buffer.size)
        return inspect(buffer, bounds)

    monkeypatch.setattr(gate, "inspect", spy)
    wire = Decoder(DOMAIN.events, DOMAIN.currency, KEY)
    wire.decode([Record(CLAIMS, 0, 0, None, b"[" * 10**6, START_MS)])
    assert seen == [0]
