"""The sink on the embedded log, and a whole simulation written with its ground truth in a file."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims.events import ClaimAdjudicated, ClaimFiled, PolicyChanged
from producers.adapters.embedded import TRUTH_SCHEMA, EmbeddedSink, write_chunks
from producers.sending.sink import ListSink, Sink
from producers.simulation.config import SimulationConfig
from producers.simulation.event_rows import EventClasses
from producers.simulation.simulator import Simulation

EVENTS = EventClasses(ClaimFiled, PolicyChanged, ClaimAdjudicated)


def test_local_sink_is_durable_at_once_and_reports(tmp_path: Path) -> None:
    reported: list[int] = []
    with EmbeddedLog(tmp_path / "log.db") as log:
        log.create_topic("a", 2)
        sink: Sink = EmbeddedSink(log, reported.append)
        records = [Outgoing("a", n % 2, b"k", b"%d" % n, n, (("h", b"x"),)) for n in range(5)]
        sink.send(records)
        sink.send([])
        sink.flush(1.0)
        sink.close()
        assert reported == [5]
        kept = ListSink()
        kept.send(records)
        assert [r.value for r in log.merged(["a"], {}, 9)] == [r.value for r in kept.sent]


def test_a_simulation_is_written_with_its_truth_apart(tmp_path: Path) -> None:
    config = SimulationConfig(days=20, claims_per_day=40, policies=800, partitions=3)
    simulation = Simulation(config, EVENTS)
    reported: list[int] = []
    with EmbeddedLog(tmp_path / "log.db", durable=False) as log:
        for topic in simulation.topics:
            log.create_topic(topic, config.partitions)
        truth_path = tmp_path / "truth" / "truth.parquet"
        written = write_chunks(
            simulation.chunks(chunk_records=300), log, truth_path, reported.append
        )
        ends = {topic: sum(log.ends(topic)) for topic in simulation.topics}
        assert sum(ends.values()) == written == sum(reported)
        assert max(reported) <= 300
        records = log.merged(simulation.topics, {}, 10**6)
        times = [record.log_time_ms for record in records]
        assert times == sorted(times)
        assert len(times) == written
    truth = pq.read_table(truth_path)
    assert truth.schema == TRUTH_SCHEMA
    assert 0 < truth.num_rows <= ends["claims.filed"]
    assert len(set(truth["claim_id"].to_pylist())) == truth.num_rows
