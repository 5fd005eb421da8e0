"""The embedded log: round trips, order, atomicity, damage, several processes, kill -9."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.adapters.embedded_log.log import BATCH_RECORDS, EmbeddedLog
from claimtrace.adapters.embedded_log.record_batch import decode_batch, encode_batch
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.errors import ConfigError, StateError, StoreUnavailable
from claimtrace.events import Outgoing, Record

ROOT = Path(__file__).resolve().parents[4]

maybe_bytes = st.none() | st.binary(max_size=40)
header_tuples = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3).map(
    tuple
)
outgoing = st.builds(
    Outgoing,
    topic=st.sampled_from(["a", "b"]),
    partition=st.integers(0, 2),
    key=maybe_bytes,
    value=maybe_bytes,
    log_time_ms=st.integers(-5, 2**53),
    headers=header_tuples,
)


def new_log(folder: Path) -> EmbeddedLog:
    log = EmbeddedLog(folder / "log.db", durable=False)
    log.create_topic("a", 3)
    log.create_topic("b", 3)
    return log


def plain(records: list[Record]) -> list[Outgoing]:
    return [
        Outgoing(r.topic, r.partition, r.key, r.value, r.log_time_ms, r.headers) for r in records
    ]


@given(st.lists(outgoing, max_size=40), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_what_is_appended_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Outgoing], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    with new_log(folder) as log:
        for start in range(0, len(records), cut):
            assert log.append(records[start : start + cut])
    with EmbeddedLog(folder / "log.db", create=False) as log:
        for topic in ("a", "b"):
            for partition in range(3):
                expected = [r for r in records if (r.topic, r.partition) == (topic, partition)]
                found = log.read(topic, partition, 0, 1000)
                assert plain(found) == expected
                assert [r.position for r in found] == list(range(len(expected)))
                assert log.ends(topic)[partition] == len(expected)
                assert log.last(topic, partition) == (found[-1] if found else None)
                for start in range(len(expected) + 1):
                    assert log.read(topic, partition, start, 2) == found[start : start + 2]


def test_bodies_are_packed_when_that_helps() -> None:
    values = [b'{"claim":%d}' % n for n in range(500)]
    none = ByteStrings.none(500)
    body = encode_batch(none, ByteStrings.of(values), range(500))
    assert len(body) < sum(map(len, values)) / 2
    assert [r.value for r in decode_batch(body, 500, "t", 1, 7)] == values
    noise = random.Random(1).randbytes(5000)
    assert len(encode_batch(none[:1], ByteStrings.of([noise]), [1])) < 5100


def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with new_log(tmp_path) as log:
        with pytest.raises(ValueError, match="differ in length"):
            log.append_columns("a", 0, [b"k"], [b"v", b"w"], [1, 2])
        assert log.ends("a") == [0, 0, 0]


def test_large_columns_are_cut_and_read_across_the_cuts(tmp_path: Path) -> None:
    count = 2 * BATCH_RECORDS + 17
    with new_log(tmp_path) as log:
        values = [b"%d" % n for n in range(count)]
        log.append_columns("a", 1, None, values, np.arange(count))
        found = log.read("a", 1, BATCH_RECORDS - 3, 7)
        assert [r.value for r in found] == values[BATCH_RECORDS - 3 : BATCH_RECORDS + 4]
        assert found[0].key is None
        assert [r.value for r in log.read_range("a", 1, 5, count)] == values[5:]
        assert log.read_range("a", 1, 9, 9) == []
        with pytest.raises(StateError, match=r"ends at 2017, before position 2018"):
            log.read_range("a", 1, 2010, 2018)


# -- order ----------------------------------------------------------------------------------------


def merged_by_hand(heads: dict[tuple[int, int], list[Record]]) -> list[Record]:
    """Merge by the rule, literally: repeatedly take the head with the least (time, partition)."""
    heads = {part: list(records) for part, records in heads.items()}
    out = []
    while any(heads.values()):
        part = min((records[0].log_time_ms, at) for at, records in heads.items() if records)[1]
        out.append(heads[part].pop(0))
    return out


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 9)), max_size=60),
    st.integers(1, 9),
    st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_merged_is_the_rule_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    targets: list[tuple[int, int, int]],
    cut: int,
    early: int,
) -> None:
    records = [Outgoing("ab"[t], p, None, b"%d" % n, at) for n, (t, p, at) in enumerate(targets)]
    with new_log(tmp_path_factory.mktemp("log")) as log:
        log.append(records[:early])
        log.merged(["b", "a"], {}, cut)  # reads ahead before the rest is there
        log.append(records[early:])
        expected = merged_by_hand(
            {
                (index, p): log.read(topic, p, 0, 100)
                for index, topic in enumerate(["b", "a"])
                for p in range(3)
            }
        )
        positions: dict[tuple[str, int], int] = {}
        found: list[Record] = []
        while batch := log.merged(["b", "a"], positions, cut):
            assert len(batch) == min(cut, len(expected) - len(found))
            found += batch
            for record in batch:
                positions[record.topic, record.partition] = record.position + 1
        assert found == expected
        assert log.merged(["b", "a"], {}, 1000) == expected  # a seek back
        assert log.merged(["b", "a"], {}, 0) == []


def test_merged_sees_what_another_process_appends(tmp_path: Path) -> None:
    with new_log(tmp_path) as log, EmbeddedLog(tmp_path / "log.db") as other:
        assert log.merged(["a"], {}, 10) == []
        other.append([Outgoing("a", 2, None, b"x", 1)])
        assert [r.value for r in log.merged(["a"], {}, 10)] == [b"x"]
        other.append([Outgoing("a", 2, None, b"y", 2)])
        assert [r.value for r in log.merged(["a"], {("a", 2): 1}, 10)] == [b"y"]


def test_merged_forgets_what_was_taken_back(tmp_path: Path) -> None:
    with new_log(tmp_path) as log:

        def append_and_fail() -> None:
            with log.transaction():
                log.append_columns("a", 0, None, [b"gone"], [1])
                assert len(log.merged(["a"], {}, 10)) == len(log.read("a", 0, 0, 10)) == 1
                raise RuntimeError

        with pytest.raises(RuntimeError):
            append_and_fail()
        assert log.merged(["a"], {}, 10) == log.read("a", 0, 0, 10) == []


# -- atomic, idempotent, durable ------------------------------------------------------------------


def test_a_repeated_sequence_writes_nothing(tmp_path: Path) -> None:
    record = Outgoing("a", 0, b"k", b"v", 1)
    with new_log(tmp_path) as log:
        assert log.producer_sequence("driver") == -1
        assert log.append([record], producer=("driver", 4))
        assert not log.append([record], producer=("driver", 4))
        assert not log.append([record], producer=("driver", 3))
        assert log.append([record], producer=("other", 0))
        assert log.append([], producer=("driver", 9))
        assert (log.ends("a")[0], log.producer_sequence("driver")) == (2, 9)


def test_a_failed_append_leaves_nothing(tmp_path: Path) -> None:
    with new_log(tmp_path) as log:
        good = Outgoing("a", 0, None, b"v", 1)
        for bad in (good._replace(partition=3), good._replace(topic="nowhere")):
            with pytest.raises(ConfigError):
                log.append([good, bad], producer=("p", 1))
        assert log.ends("a") == [0, 0, 0]
        assert log.producer_sequence("p") == -1


def test_transactions_join(tmp_path: Path) -> None:
    with new_log(tmp_path) as log, EmbeddedLog(tmp_path / "log.db") as other:
        with log.transaction():
            log.append_columns("a", 0, None, [b"1"], [1])
            log.append_columns("a", 0, None, [b"2"], [2])
            assert log.ends("a")[0] == 2
            assert other.ends("a")[0] == 0
        assert [r.value for r in other.read("a", 0, 0, 9)] == [b"1", b"2"]


def test_a_full_disk_is_named_and_harmless(tmp_path: Path) -> None:
    with new_log(tmp_path) as log:
        log.append([Outgoing("a", 0, None, b"before", 1)])
        pages = log._db.execute("PRAGMA page_count").fetchone()[0]
        log._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        noise = random.Random(2).randbytes(2**20)
        with pytest.raises(StoreUnavailable, match="disk is full") as caught:
            log.append([Outgoing("a", 0, None, noise, 2)], producer=("p", 1))
        assert caught.value.retryable
        assert "make room" in caught.value.hint
        assert log.producer_sequence("p") == -1
        log._db.execute("PRAGMA max_page_count = 1000000")
        log.append([Outgoing("a", 0, None, noise, 2)], producer=("p", 1))
        assert [r.value for r in log.read("a", 0, 0, 9)] == [b"before", noise]


WRITER = """
import sys
from pathlib import Path
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.events import Outgoing
log = EmbeddedLog(Path(sys.argv[1]))
print("ready", flush=True)
n = log.producer_sequence("w") + 1
while True:
    log.append([Outgoing("ab"[i % 2], i % 3, None, b"%d" % n * 90, n) for i in range(12)],
               producer=("w", n))
    print(n, flush=True)
    n += 1
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    new_log(tmp_path).close()
    rng = random.Random(3)
    acknowledged = -1
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.005, 0.1))
        writer.send_signal(signal.SIGKILL)
        printed = writer.communicate()[0].split("\n")[:-1]  # the last line may be cut short
        acknowledged = int(printed[-1]) if printed else acknowledged
        with EmbeddedLog(path) as log:
            sequence = log.producer_sequence("w")
            assert sequence >= acknowledged
            for topic in "ab":
                assert log.ends(topic) == [2 * (sequence + 1)] * 3
                for partition in range(3):
                    records = log.read(topic, partition, 0, 10**6)
                    assert [r.log_time_ms for r in records[::2]] == list(range(sequence + 1))
    assert acknowledged > 0


# -- damage and wrong use -------------------------------------------------------------------------


def damage(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "UPDATE batches SET body = CAST(body || 'x' AS BLOB) WHERE base = 2",
            "doesn't match its checksum",
        ),
        ("UPDATE batches SET crc = crc + 1 WHERE base = 2", "doesn't match its checksum"),
        ("UPDATE batches SET count = 1 WHERE base = 2", "doesn't match its checksum"),
        ("DELETE FROM batches WHERE base = 2", "is missing"),
    ],
)
def test_bit_rot_is_found_and_placed(tmp_path: Path, statement: str, what: str) -> None:
    with new_log(tmp_path) as log:
        for n in range(3):
            log.append_columns("a", 1, None, [b"x", b"y"], [n, n])
    damage(tmp_path / "log.db", statement)
    with EmbeddedLog(tmp_path / "log.db") as log:
        assert len(log.read("a", 1, 0, 2)) == 2
        with pytest.raises(StateError, match=what) as caught:
            log.read("a", 1, 0, 6)
        assert caught.value.where.startswith("a/1 position")
        assert len(log.read("a", 1, 4, 2)) == 2


def test_flipped_bits_on_disk_never_pass(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    values = [random.Random(n).randbytes(300) for n in range(900)]
    with new_log(tmp_path) as log:
        log.append_columns("a", 0, None, values, range(900))
    intact = path.read_bytes()
    for at in random.Random(4).sample(range(len(intact)), 40):
        path.write_bytes(intact[:at] + bytes([intact[at] ^ 0x10]) + intact[at + 1 :])
        try:
            with EmbeddedLog(path) as log:
                assert [r.value for r in log.read("a", 0, 0, 1000)] == values
        except (StateError, StoreUnavailable, ConfigError):
            continue


def test_only_a_log_is_opened(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no log"):
        EmbeddedLog(tmp_path / "none.db", create=False)
    assert not (tmp_path / "none.db").exists()
    other = tmp_path / "other.db"
    damage(other, "CREATE TABLE mine (x)")
    before = other.read_bytes()
    with pytest.raises(StateError, match="the file is no log"):
        EmbeddedLog(other)
    assert other.read_bytes() == before
    text = tmp_path / "notes.txt"
    text.write_text("not a database, only a rather long text " * 100)
    with pytest.raises(StateError):
        EmbeddedLog(text)
    new_log(tmp_path).close()
    damage(tmp_path / "log.db", "PRAGMA user_version = 99")
    with pytest.raises(StateError, match="format 99"):
        EmbeddedLog(tmp_path / "log.db")


def test_topics_keep_their_partitions(tmp_path: Path) -> None:
    with new_log(tmp_path) as log:
        log.create_topic("a", 3)
        assert log.topics() == {"a": 3, "b": 3}
        with pytest.raises(ConfigError, match="3 partitions, not 4"):
            log.create_topic("a", 4)
        for partitions in (0, 5000):
            with pytest.raises(ConfigError):
                log.create_topic("c", partitions)
        with pytest.raises(ConfigError, match="no topic c"):
            log.ends("c")
        with pytest.raises(ConfigError, match="no partition 7"):
            log.read("a", 7, 0, 1)
        with pytest.raises(ConfigError, match="negative"):
            log.read("a", 0, -1, 1)


def test_a_second_writer_waits_and_is_told(tmp_path: Path) -> None:
    with new_log(tmp_path) as log, EmbeddedLog(tmp_path / "log.db") as other:
        other._db.execute("PRAGMA busy_timeout = 20")
        with log.transaction():
            log.append_columns("a", 0, None, [b"1"], [1])
            with pytest.raises(StoreUnavailable, match="another process is writing"):
                other.append([Outgoing("a", 0, None, b"2", 2)])
        other.append([Outgoing("a", 0, None, b"2", 2)])
        assert [r.value for r in log.read("a", 0, 0, 9)] == [b"1", b"2"]


OPENER = """
import sys
from pathlib import Path
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.events import Outgoing
print("ready", flush=True)
sys.stdin.readline()
log = EmbeddedLog(Path(sys.argv[1]))
log.create_topic("a", 3)
for n in range(5):
    log.append([Outgoing("a", n % 3, None, sys.argv[2].encode(), n)])
log.close()
"""


def test_several_processes_open_a_new_log_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        for number in range(4)
    ]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == b"ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write(b"go\n")
        opener.stdin.flush()
    ended = [(opener.communicate()[1], opener.returncode) for opener in openers]
    assert ended == [(b"", 0)] * 4
    with EmbeddedLog(path, create=False) as log:
        assert sum(log.ends("a")) == 20
