"""Measure the client's CPU on Kinesis: reading, writing, and a whole worker.

    python -m benchmarks.kinesis_rate            a table
    python -m benchmarks.kinesis_rate --json     the same for a program

The canonical events are on streams of a local server that stands in for Kinesis. The server is a
process of its own, slower than Kinesis, and isn't counted: all figures are CPU of the client.
Reading is HTTP and signature, decoding of JSON and base64, unpacking of records, and columns. Two
decoders take turns on the same shards: `typed` is the one of this project, `boto3` is the client's
own. `line` is a worker with everything on, as in `kafka_rate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, Final

import msgspec

from benchmarks.canonical import DOMAIN, PARTITIONS, YEAR_MS, Sent, events
from benchmarks.champion import load_champion, open_line
from benchmarks.command import command, say
from benchmarks.kafka_rate import measure
from benchmarks.line import Line, peak_mb
from claimtrace.adapters.kinesis.fast_json import Entry, FastKinesis, Page
from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
)
from claimtrace.errors import StateError
from claimtrace.ids import partition_of
from claimtrace.settings.schema import KinesisConnection
from producers.adapters.kinesis import KinesisSink
from stream.adapters.embedded.file_journal import FileJournal
from stream.adapters.kinesis.output import KinesisOutput
from stream.adapters.kinesis.polling import PAGE_RECORDS, KinesisReads, ReadRequest, ShardPage
from stream.adapters.kinesis.source import KinesisSource
from stream.adapters.process.garbage import rare_collections
from stream.worker.driver import Driver
from stream.worker.parts import LogParts
from tests.servers.kinesis import create_streams
from tests.servers.ministack import Ministack

NAME: Final = "bench"
CALL: Final = 400
"""Records of one call; the service accepts five megabytes."""
BATCHES = (2000, 500)


class PlainReads(KinesisReads):
    """Reads with boto3's own decoder.

    The initializer of the base class isn't called: its hooks would stay in the client.
    """

    def __init__(self, client: Any) -> None:
        self._client, self._wire, self._limit = client, Plain(client), PAGE_RECORDS


class Plain:
    """Calls of boto3 as in its documentation."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get_records(self, iterator: str, limit: int) -> Page:
        """Read a page of a shard."""
        return Page.of(self._client.get_records(ShardIterator=iterator, Limit=limit))

    def put_records(self, name: str, entries: Sequence[Entry]) -> None:
        """Put records on a stream."""
        rows = [msgspec.structs.asdict(each) for each in entries]
        for row in rows:
            del row["ExplicitHashKey"]
        self._client.put_records(StreamName=name, Records=rows)


class Stamped(KinesisReads):
    """Reads that replace the server's timestamps, which are all of today, by the events' own."""

    def __init__(self, client: Any, times_ms: dict[tuple[str, int], list[int]]) -> None:
        super().__init__(client)
        self._times_ms, self._at = times_ms, dict.fromkeys(times_ms, 0)

    def read(self, request: ReadRequest) -> ShardPage:
        """Read a page, with the log times of the canonical events."""
        page = super().read(request)
        shard = request.stream, request.shard
        at = self._at[shard]
        self._at[shard] = end = at + len(page.values)
        return page._replace(log_times_ms=tuple(self._times_ms[shard][at:end]))


def fill(client: Any, sent: Sequence[Sent]) -> dict[tuple[str, int], list[int]]:
    """Put the events on their shards; returns their log times by stream and shard."""
    hashes = [
        str(shard.first_hash) for shard in KinesisReads(client).shards(stream_of(DOMAIN.topics[0]))
    ]
    wire, times_ms = FastKinesis(client), dict[tuple[str, int], list[int]]()
    waiting: dict[str, list[Entry]] = {}

    def put(name: str) -> None:
        assert not any(wire.put_records(name, waiting.pop(name)))

    for topic, key, value, log_time_ms in sent:
        name, number = stream_of(topic), partition_of(key, PARTITIONS)
        times_ms.setdefault((name, number), []).append(log_time_ms)
        waiting.setdefault(name, []).append(Entry(value, key, hashes[number]))
        if len(waiting[name]) == CALL:
            put(name)
    for name in list(waiting):
        put(name)
    return times_ms


def stream_of(topic: str) -> str:
    """Name the stream of a topic."""
    return f"{NAME}.{topic}"


def reading_us(reads: KinesisReads, count: int) -> float:
    """Measure CPU microseconds an event of reading events into columns."""
    source = source_of(reads)
    positions: dict[Any, int] = {}
    done, began_s = 0, process_time()
    while done < count:
        found = source.poll(positions, 2000)
        for part, place in enumerate(found.places):
            here = found.positions[found.parts == part]
            if len(here):
                positions[place] = int(here.max()) + 1
        done += len(found)
    spent_s = process_time() - began_s
    source.close()
    return 1e6 * spent_s / done


def source_of(reads: KinesisReads) -> KinesisSource:
    """Open the input streams as a worker does, without a limit of reads a second."""

    def refuse(what: str) -> None:
        raise StateError(what)

    streams = {topic: stream_of(topic) for topic in DOMAIN.topics}
    source = KinesisSource(reads, streams, SystemClock(), refuse, YEAR_MS)
    source.readers = 0
    return source


def writing_us(put: Callable[[str, Sequence[Entry]], Any], sent: Sequence[Sent]) -> float:
    """Measure CPU microseconds an event of putting events on a stream."""
    entries = [Entry(value, key) for _, key, value, _ in sent]
    calls = [entries[start : start + CALL] for start in range(0, len(entries), CALL)]
    began_s = process_time()
    for call in calls:
        put(stream_of("written"), call)
    return 1e6 * (process_time() - began_s) / len(entries)


def kinesis_driver(line: Line, source: KinesisSource, client: Any) -> Driver:
    """Assemble a worker on Kinesis from the parts that `claimtrace stream` uses."""
    clock, folder = SystemClock(), line.folder / "kinesis"
    folder.mkdir()
    journal = FileJournal(folder / "journal", msgspec.structs.replace(line.terms, partitions=0))
    output = KinesisOutput(KinesisSink(KinesisConnection(f"kinesis://{NAME}"), clock, client))
    return line.driver_of(LogParts(source, journal, output), folder, clock)


def run(models: Path, *, policies: int, claims: int, repetitions: int) -> dict[str, Any]:
    """Measure reading and writing by both decoders in turns, then a whole worker."""
    with TemporaryDirectory() as name, Ministack(Path(name) / "aws") as server, rare_collections():
        client = server.client("kinesis")
        many = dict.fromkeys((*DOMAIN.topics, DECISIONS_TOPIC), PARTITIONS)
        one = dict.fromkeys((DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC, "written"), 1)
        create_streams(client, {stream_of(t): n for t, n in {**many, **one}.items()})
        sent = list(events(policies, claims))
        say(f"putting {len(sent):,} events ...")
        times_ms = fill(client, sent)
        read: dict[str, list[float]] = {"typed": [], "boto3": []}
        written: dict[str, list[float]] = {"typed": [], "boto3": []}
        for turn in range(repetitions + 1):
            say(f"turn {turn} of {repetitions} ...")
            for kind, reads in (("typed", KinesisReads), ("boto3", PlainReads)):
                read[kind].append(reading_us(reads(server.client("kinesis")), len(sent)))
            for kind, wire in (("typed", FastKinesis), ("boto3", Plain)):
                put = wire(server.client("kinesis")).put_records
                written[kind].append(writing_us(put, sent[:4000]))
        line = open_line(Path(name), policies, load_champion(models))
        driver = kinesis_driver(line, source_of(Stamped(client, times_ms)), client)
        say("the whole line ...")
        measure(driver, len(sent) // 5, BATCHES[0])  # warms up
        whole = [measure(driver, len(sent) // 5, batch) for batch in BATCHES]
        line.close()
    return {
        "events": len(sent),
        "read_us": {kind: median(each[1:]) for kind, each in read.items()},
        "write_us": {kind: median(each[1:]) for kind, each in written.items()},
        "line": whole,
        "peak_mb": peak_mb(),
    }


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"{found['events']:,} events\n\n              us an event   events/s and core")
    for what in ("read", "write"):
        for kind, us in found[f"{what}_us"].items():
            print(f"{what:5s} {kind:6s} {us:13.1f} {1e6 / us:19,.0f}")
    for each in found["line"]:
        us = each["cpu_us_per_event"]
        print(f"line  {each['batch']:6.0f} {us:13.1f} {1e6 / us:19,.0f}")


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "policies, each with one claim a year"),
        claims=(24_000, "claims on the streams"),
        repetitions=(5, "turns of reading and writing"),
    )  # fmt: skip
