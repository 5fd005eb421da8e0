"""`claimtrace serve` on a local Kinesis: one decision a claim, whoever asks, before and after."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.kinesis.polling import KinesisReads
from stream.adapters.kinesis.whole_stream import read_stream
from tests.servers.aws_local import REGION
from tests.servers.kinesis import KinesisLocal, create_streams
from tests.worlds.serve_process import ServeProcess

pytestmark = [pytest.mark.slow]

NAME = "doors"


def claim(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "claim_id": f"rest-{number}", "policy_id": f"pol-{number % 3}",
        "filed_at": "2025-11-27T22:33:26Z", "incident_at": "2025-11-27T06:47:00Z",
        "total_claim_cents": 100_000 + number, "phone": "+12768396626", **fields,
    }  # fmt: skip


@pytest.fixture
def streams(kinesis: KinesisLocal, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    topics = [*DOMAIN.topics, DECISIONS_TOPIC, DEAD_TOPIC, "claims.drift", "claims.alerts",
              "claims.audit"]  # fmt: skip
    create_streams(kinesis.client(), {f"{NAME}.{topic}": 2 for topic in topics})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    return {
        "SOURCE": f"kinesis://{NAME}", "KINESIS__REGION": REGION,
        "KINESIS__KINESIS_ENDPOINT": kinesis.endpoint,
    }  # fmt: skip


def decisions(kinesis: KinesisLocal) -> dict[str, set[bytes]]:
    """The decisions on the stream, by claim."""
    found: dict[str, set[bytes]] = {}
    reads = KinesisReads(kinesis.client())
    for record in read_stream(reads, f"{NAME}.{DECISIONS_TOPIC}", DECISIONS_TOPIC, SystemClock()):
        value = record.value or b""
        found.setdefault(json.loads(value)["claim_id"], set()).add(value)
    return found


def test_binding_on_kinesis(kinesis: KinesisLocal, streams: dict[str, str], tmp_path: Path) -> None:
    log, folder = tmp_path / "said", tmp_path / "data"
    with ServeProcess(folder, log, settings=streams).until_ready() as server:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(server.decide_patiently, [claim(n) for n in range(8)]))
        assert [each.status_code for each in answers] == [200] * 8, answers[0].text
        on_stream = decisions(kinesis)
        assert {n: {answers[n].content} for n in range(8)} == {
            n: on_stream[f"rest-{n}"] for n in range(8)
        }
        assert len(on_stream) == 8
        refused = server.decide_patiently(claim(9, total_claim_cents=-1))
        assert (refused.status_code, refused.json()["code"]) == (422, "out_of_range"), refused.text
    # another process, and another copy of the streams: the streams themselves know
    for left in (folder / "serve").glob("*.db*"):
        left.unlink()
    with ServeProcess(folder, log, settings=streams).until_ready() as server:
        again = server.decide_patiently(claim(3))
        assert (again.status_code, again.content) == (200, answers[3].content)
        assert again.headers["idempotent-replayed"] == "true"
        assert server.client.get("/v1/decisions/rest-3").content == answers[3].content
        other = server.decide_patiently(claim(3, total_claim_cents=5))
        assert (other.status_code, other.json()["code"]) == (409, "id_conflict")
    assert decisions(kinesis) == on_stream
    assert "Traceback" not in log.read_text()
