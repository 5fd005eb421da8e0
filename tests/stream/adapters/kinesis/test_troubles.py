"""A worker that loses its rights waits until it may read again; no record is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from tests.contracts.kinesis_ground import KinesisGround
from tests.contracts.test_transports import check, story_of
from tests.servers.kinesis import KinesisLocal
from tests.servers.kinesis_faults import error, inject, times
from tests.simulation.histories import a_history


@pytest.mark.parametrize("code", ["KMSAccessDeniedException", "ExpiredTokenException"])
def test_a_worker_waits_until_it_may_read_again(
    kinesis: KinesisLocal, tmp_path: Path, code: str
) -> None:
    """B17: it reports why and isn't ready; records that it couldn't read are no dead letters."""
    story = story_of(a_history(46), plain=True)
    ground = KinesisGround(tmp_path / "ground", kinesis)
    ground.put(story.rows)
    inject(ground._client, "GetRecords", times(2, error(code)))
    worker = ground.start()
    ground.run(worker)
    worker.finish()
    assert any(code in line for line in worker.lines), worker.lines
    assert worker.observer.was_not_ready
    check(ground, story, may_repeat=False)
    assert len(ground.records(DEAD_TOPIC)) == story.dead
    assert len(ground.records(DECISIONS_TOPIC)) == story.claims
    ground.close()
